(** The softcap's slope 1 - tanh^2 = sech^2, which the backward pass makes of the tanh that the forward pass made: how
    far it is off, and what that does to dS on its way to Q and K. *)
From Coq Require Import Reals Lra Ranalysis Rtrigo_def.
From refattn Require Import LogMetric Growth Roundoff GradientRounding.
Open Scope R_scope.

(** The functions of the same names in Python. *)
Definition softcap_gradient (tanh error unit constant lost : R) : R :=
  let off := rounded error tanh (growth (constant + unit)) lost in
  let square := rounded (off * (2 * tanh + off)) (tanh * tanh) unit lost in
  rounded square (1 - tanh * tanh) unit lost.

Definition through_softcap (error size factor factor_error unit lost : R) : R :=
  rounded (error * factor + (size + error) * factor_error) (size * factor) unit lost.

Lemma cosh_pos x : 0 < cosh x.
Proof. unfold cosh. pose proof (exp_pos x). pose proof (exp_pos (- x)). lra. Qed.

Lemma sech2_range x : 0 < 1 - tanh x * tanh x <= 1.
Proof.
  pose proof (cosh_pos x) as C.
  assert (E : 1 - tanh x * tanh x = / (cosh x * cosh x)).
  { unfold tanh. assert (I : cosh x * cosh x - sinh x * sinh x = 1).
    { unfold cosh, sinh. assert (exp x * exp (- x) = 1) by (rewrite <- exp_plus, Rplus_opp_r; apply exp_0). lra. }
    apply Rmult_eq_reg_r with (cosh x * cosh x); [|nra]. field_simplify; [|lra|lra]. lra. }
  split; [rewrite E; apply Rinv_0_lt_compat; nra|]. pose proof (Rle_0_sqr (tanh x)). unfold Rsqr in *. lra.
Qed.

Lemma tanh_derivative x : derivable_pt_lim tanh x (1 - tanh x * tanh x).
Proof.
  pose proof (cosh_pos x) as C. unfold tanh.
  replace (1 - sinh x / cosh x * (sinh x / cosh x)) with ((cosh x * cosh x - sinh x * sinh x) / Rsqr (cosh x))
    by (unfold Rsqr; field; lra).
  apply (derivable_pt_lim_div sinh cosh); [apply derivable_pt_lim_sinh|apply derivable_pt_lim_cosh|lra].
Qed.

Lemma sech2_derivative x :
  derivable_pt_lim (fun y => 1 - tanh y * tanh y) x (- (2 * tanh x * (1 - tanh x * tanh x))).
Proof.
  replace (- (2 * tanh x * (1 - tanh x * tanh x))) with
    (0 - ((1 - tanh x * tanh x) * tanh x + tanh x * (1 - tanh x * tanh x))) by ring.
  apply derivable_pt_lim_minus; [apply derivable_pt_lim_const|].
  apply (derivable_pt_lim_mult tanh tanh); apply tanh_derivative.
Qed.

(** 2 t (1 - t^2) has its maximum 4 / (3 sqrt 3) = 0.7698... at t = 1 / sqrt 3. *)
Lemma slope_maximum t : Rabs t <= 1 -> Rabs (2 * t * (1 - t * t)) <= 77 / 100.
Proof.
  intros T. apply Rabs_le_inv in T.
  assert (K : forall s, 0 <= s -> s <= 1 -> 2 * s * (1 - s * s) <= 77 / 100).
  { intros s S0 S1. assert (0 <= (s - 5774 / 10000) * (s - 5774 / 10000)) by apply Rle_0_sqr. nra. }
  apply Rabs_le. destruct (Rle_or_lt 0 t).
  - pose proof (K t). assert (0 <= 2 * t * (1 - t * t)) by (assert (0 <= 1 - t * t) by nra; nra). lra.
  - pose proof (K (- t)). assert (0 <= 2 * - t * (1 - - t * - t)) by (assert (0 <= 1 - t * t) by nra; nra). lra.
Qed.

(** A slope that is taken at another argument changes by at most 0.77 per unit of the argument. *)
Theorem sech2_lipschitz a b :
  Rabs ((1 - tanh a * tanh a) - (1 - tanh b * tanh b)) <= 77 / 100 * Rabs (a - b).
Proof.
  assert (Main : forall a b, a < b ->
    Rabs ((1 - tanh a * tanh a) - (1 - tanh b * tanh b)) <= 77 / 100 * Rabs (a - b)).
  { clear a b. intros a b L.
    destruct (MVT_cor2 (fun y => 1 - tanh y * tanh y) (fun y => - (2 * tanh y * (1 - tanh y * tanh y))) a b L)
      as (c & E & _); [intros; apply sech2_derivative|].
    rewrite (Rabs_minus_sym (1 - tanh a * tanh a)), E, Rabs_mult, Rabs_Ropp, (Rabs_minus_sym a b).
    apply Rmult_le_compat_r; [apply Rabs_pos|]. apply slope_maximum.
    pose proof (sech2_range c). apply Rabs_le. nra. }
  destruct (Rtotal_order a b) as [L|[->|L]]; [now apply Main| |].
  - rewrite !Rminus_diag_eq, Rabs_R0 by reflexivity. lra.
  - rewrite (Rabs_minus_sym (1 - tanh a * tanh a)), (Rabs_minus_sym a b). now apply Main.
Qed.

Lemma square_off x t e : Rabs (x - t) <= e -> Rabs (x * x - t * t) <= e * (2 * Rabs t + e).
Proof.
  intros E. replace (x * x - t * t) with ((x - t) * (2 * t + (x - t))) by ring. rewrite Rabs_mult.
  apply Rmult_le_compat; try apply Rabs_pos; [exact E|].
  eapply Rle_trans; [apply Rabs_triang|]. rewrite Rabs_mult, (Rabs_pos_eq 2) by lra. lra.
Qed.

(** Theorem softcap_gradient: the slope 1 - x^2 from the capped score c tanh(a), which is off by c e, divided by a
    rounded c; or from the tanh itself, if that is off by no more. *)
Theorem softcap_gradient_bound a e constant u eta cap held capped x xx f :
  0 < cap -> 0 <= constant -> 0 <= u -> 0 <= eta -> 0 <= e -> Rabs (capped - cap * tanh a) <= cap * e ->
  (rounds constant 0 cap held /\ rounds u eta (capped / held) x) \/ Rabs (x - tanh a) <= e ->
  rounds u eta (x * x) xx -> rounds u eta (1 - xx) f ->
  Rabs (f - (1 - tanh a * tanh a)) <= softcap_gradient (Rabs (tanh a)) e u constant eta.
Proof.
  intros C K U ETA E0 E X XX HF. set (t := tanh a) in *.
  set (off := rounded e (Rabs t) (growth (constant + u)) eta).
  assert (G : 0 <= growth (constant + u)) by (apply growth_nonneg; lra).
  assert (O : Rabs (x - t) <= off).
  { destruct X as [[HC HX]|HX].
    - destruct (rounds_log constant 0 cap held K HC) as (s & z & S & Z & ->).
      assert (z = 0) as -> by (apply Rabs_le_inv in Z; lra).
      destruct (rounds_log u eta _ _ U HX) as (r & h & R & H & ->).
      assert (Q : Rabs (capped / cap - t) <= e).
      { replace (capped / cap - t) with ((capped - cap * t) * / cap) by (field; lra).
        rewrite Rabs_mult, (Rabs_pos_eq (/ cap)) by (left; now apply Rinv_0_lt_compat).
        apply Rmult_le_reg_r with cap; [exact C|]. rewrite Rmult_assoc, Rinv_l by lra. lra. }
      assert (EQ : capped / (cap * exp s + 0) * exp r + h = capped / cap * exp (r - s) + h).
      { unfold Rminus. rewrite exp_plus, exp_Ropp. pose proof (exp_pos s). field. lra. }
      rewrite EQ. apply (rounded_error t (capped / cap) _ e (Rabs t) (growth (constant + u)) eta G (Rle_refl _) Q).
      replace (capped / cap * exp (r - s) + h - capped / cap) with ((exp (r - s) - 1) * (capped / cap) + h) by ring.
      eapply Rle_trans; [apply Rabs_triang|]. rewrite Rabs_mult. apply Rplus_le_compat; [|exact H].
      apply Rmult_le_compat_r; [apply Rabs_pos|]. apply abs_expm1.
      unfold Rminus. eapply Rle_trans; [apply Rabs_triang|]. rewrite Rabs_Ropp. lra.
    - unfold off, rounded. pose proof (Rabs_pos t). assert (0 <= growth (constant + u) * (Rabs t + e)) by nra. lra. }
  pose proof (sech2_range a) as [F0 F1]. fold t in F0, F1.
  assert (T2 : Rabs (t * t) = Rabs t * Rabs t) by apply Rabs_mult.
  assert (TT : Rabs t * Rabs t = t * t) by (rewrite <- T2; apply Rabs_pos_eq; nra).
  pose proof (square_off x t off O) as S.
  pose proof (rounds_rounded u eta _ _ _ _ U S XX) as SR. rewrite T2 in SR.
  assert (B : Rabs (1 - xx - (1 - t * t)) <= rounded (off * (2 * Rabs t + off)) (Rabs t * Rabs t) u eta).
  { replace (1 - xx - (1 - t * t)) with (- (xx - t * t)) by ring. now rewrite Rabs_Ropp. }
  pose proof (rounds_rounded u eta _ _ _ _ U B HF) as FR.
  rewrite (Rabs_pos_eq (1 - t * t)) in FR by lra. unfold softcap_gradient. rewrite TT in *. exact FR.
Qed.

(** dS times a slope that is off, rounded. *)
Theorem through_softcap_bound ds a e f factor ef u eta x : 0 <= u -> 0 <= factor ->
  Rabs (ds - a) <= e -> Rabs (f - factor) <= ef -> rounds u eta (ds * f) x ->
  Rabs (x - a * factor) <= through_softcap e (Rabs a) factor ef u eta.
Proof.
  intros U F0 E F R. pose proof (product_off ds a e f factor ef E F) as P.
  rewrite (Rabs_pos_eq factor) in P by exact F0.
  pose proof (rounds_rounded u eta _ _ _ _ U P R) as X. rewrite Rabs_mult, (Rabs_pos_eq factor) in X by exact F0.
  exact X.
Qed.
