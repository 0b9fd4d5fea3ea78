(** c tanh (x / c): how much of an error in x is left of it. *)
From Coq Require Import Reals Lra Ranalysis.
From refattn Require Import LogMetric.
Open Scope R_scope.

Lemma cosh_pos x : 0 < cosh x.
Proof. unfold cosh. pose proof (exp_pos x). pose proof (exp_pos (- x)). lra. Qed.

Lemma cosh_sinh_1 x : cosh x * cosh x - sinh x * sinh x = 1.
Proof.
  unfold cosh, sinh. assert (E : exp x * exp (- x) = 1) by (rewrite <- exp_plus, Rplus_opp_r; apply exp_0). nra.
Qed.

Lemma cosh_neg x : cosh (- x) = cosh x.
Proof. unfold cosh. rewrite Ropp_involutive. lra. Qed.

Lemma cosh_abs x : cosh (Rabs x) = cosh x.
Proof. unfold Rabs. destruct (Rcase_abs x); [apply cosh_neg|reflexivity]. Qed.

Lemma cosh_mono a b : 0 <= a <= b -> cosh a <= cosh b.
Proof.
  intros [Ha Hb]. unfold cosh.
  assert (1 <= exp a) by (now apply exp_ge_1). assert (exp a <= exp b) by (now apply exp_le).
  assert (E : exp a * exp (- a) = 1) by (rewrite <- exp_plus, Rplus_opp_r; apply exp_0).
  assert (F : exp b * exp (- b) = 1) by (rewrite <- exp_plus, Rplus_opp_r; apply exp_0).
  pose proof (exp_pos (- a)). pose proof (exp_pos (- b)).
  assert ((exp b - exp a) * (1 - exp (- a) * exp (- b)) >= 0).
  { assert (exp (- a) <= 1) by (apply exp_le_1; lra). assert (exp (- b) <= 1) by (apply exp_le_1; lra).
    apply Rle_ge, Rmult_le_pos; [lra|]. nra. }
  nra.
Qed.

Lemma sech_square_mono a b : 0 <= a <= b -> / (cosh b * cosh b) <= / (cosh a * cosh a).
Proof.
  intros H. pose proof (cosh_mono a b H). pose proof (cosh_pos a). apply Rinv_le_contravar; nra.
Qed.

Lemma derivable_tanh x : derivable_pt_lim tanh x (/ (cosh x * cosh x)).
Proof.
  pose proof (cosh_pos x) as P.
  replace (/ (cosh x * cosh x)) with ((cosh x * cosh x - sinh x * sinh x) / Rsqr (cosh x)).
  - apply (derivable_pt_lim_div sinh cosh); [apply derivable_pt_lim_sinh|apply derivable_pt_lim_cosh|lra].
  - rewrite cosh_sinh_1. unfold Rsqr, Rdiv. ring.
Qed.

(** Mean value theorem: the slope is at most that at the point of the interval which is nearest to 0. *)
Lemma tanh_slope_ordered a b nearest : a < b -> 0 <= nearest ->
  (forall x, a <= x <= b -> nearest <= Rabs x) -> Rabs (tanh b - tanh a) <= / (cosh nearest * cosh nearest) * (b - a).
Proof.
  intros Hab Hn H. destruct (MVT_cor2 tanh (fun x => / (cosh x * cosh x)) a b Hab) as (x & E & I).
  { intros; apply derivable_tanh. }
  rewrite E. assert (B : nearest <= Rabs x) by (apply H; lra).
  pose proof (sech_square_mono nearest (Rabs x) (conj Hn B)) as S. rewrite cosh_abs in S.
  rewrite Rabs_mult, (Rabs_pos_eq (b - a)) by lra. apply Rmult_le_compat_r; [lra|].
  pose proof (cosh_pos x). rewrite Rabs_pos_eq; [exact S|]. left. apply Rinv_0_lt_compat. nra.
Qed.

Theorem tanh_slope a b nearest : 0 <= nearest ->
  (forall x, Rmin a b <= x <= Rmax a b -> nearest <= Rabs x) ->
  Rabs (tanh b - tanh a) <= / (cosh nearest * cosh nearest) * Rabs (b - a).
Proof.
  intros Hn H. destruct (Rtotal_order a b) as [L|[->|L]].
  - rewrite Rmin_left, Rmax_right in H by lra. rewrite (Rabs_pos_eq (b - a)) by lra. now apply tanh_slope_ordered.
  - rewrite !Rminus_diag_eq, Rabs_R0 by reflexivity. lra.
  - rewrite Rmin_right, Rmax_left in H by lra. rewrite Rabs_minus_sym, (Rabs_minus_sym b).
    rewrite (Rabs_pos_eq (a - b)) by lra. now apply tanh_slope_ordered.
Qed.

(** The softcap of a score known to within [error]. *)
Theorem softcap_slope cap exact computed error : 0 < cap -> Rabs (computed - exact) <= error ->
  let nearest := Rmax (Rabs exact - error) 0 / cap in
  Rabs (cap * tanh (computed / cap) - cap * tanh (exact / cap)) <= error * / (cosh nearest * cosh nearest).
Proof.
  intros Hc He nearest.
  assert (I : 0 < / cap) by (apply Rinv_0_lt_compat; lra).
  assert (N : 0 <= nearest).
  { unfold nearest, Rdiv. pose proof (Rmax_r (Rabs exact - error) 0). nra. }
  assert (S : 0 <= / (cosh nearest * cosh nearest)).
  { pose proof (cosh_pos nearest). left. apply Rinv_0_lt_compat. nra. }
  rewrite <- Rmult_minus_distr_l, Rabs_mult, (Rabs_pos_eq cap) by lra.
  apply Rle_trans with (cap * (/ (cosh nearest * cosh nearest) * Rabs (computed / cap - exact / cap))).
  - apply Rmult_le_compat_l; [lra|]. apply tanh_slope; [exact N|]. intros x Hx.
    assert (X : Rabs (x * cap - exact) <= error).
    { assert (C : computed = computed / cap * cap) by (field; lra).
      assert (E : exact = exact / cap * cap) by (field; lra).
      apply Rabs_le_inv in He. apply Rabs_le. unfold Rmin, Rmax in Hx.
      destruct (Rle_dec (exact / cap) (computed / cap)); split; nra. }
    assert (Y : Rabs exact - error <= Rabs x * cap).
    { rewrite <- (Rabs_pos_eq cap) at 1 by lra. rewrite <- Rabs_mult.
      assert (Z : Rabs exact <= Rabs (x * cap) + Rabs (x * cap - exact)).
      { replace exact with (x * cap - (x * cap - exact)) at 1 by ring. unfold Rminus at 1.
        eapply Rle_trans; [apply Rabs_triang|]. rewrite Rabs_Ropp. lra. }
      lra. }
    unfold nearest. apply Rmult_le_reg_r with cap; [lra|]. unfold Rdiv. rewrite Rmult_assoc, Rinv_l, Rmult_1_r by lra.
    apply Rmax_lub; [exact Y|]. pose proof (Rabs_pos x). nra.
  - replace (computed / cap - exact / cap) with ((computed - exact) * / cap) by (field; lra).
    rewrite Rabs_mult, (Rabs_pos_eq (/ cap)) by lra.
    replace (cap * (/ (cosh nearest * cosh nearest) * (Rabs (computed - exact) * / cap)))
      with (/ (cosh nearest * cosh nearest) * Rabs (computed - exact)).
    + rewrite Rmult_comm. now apply Rmult_le_compat_r.
    + set (k := / (cosh nearest * cosh nearest)). field. lra.
Qed.
