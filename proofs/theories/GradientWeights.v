(** Weights of the backward pass: P = exp(s - LSE) recomputed from a stored log-sum-exp, and P D cast to the operand of
    dV = (P D)^T dO. *)
From Coq Require Import Reals List Lra.
From refattn Require Import LogMetric Growth Roundoff GradientRounding GradientSum GradientTotals.
Open Scope R_scope.

(** The functions of the same names in Python. *)
Definition p_recompute (score lse argument exponential : R) : R := score + lse + argument + exponential.

(** What a weight is off by after more roundings, of log-error `roundings` altogether; grown is w (e^(T + roundings) - 1)
    or more. *)
Definition weight_error (grown roundings lost : R) : R := grown + lost * (1 + growth roundings).

Definition value_weight_error (weight_error kept cast gain_lost cast_lost : R) : R :=
  kept * weight_error + gain_lost * (1 + growth cast) + cast_lost.

(** p computed as w e^t, |t| <= T, but for an underflow. *)
Definition recomputed (T lost w p : R) : Prop := exists t h, Rabs t <= T /\ Rabs h <= lost /\ p = w * exp t + h.

(** Theorem p_recompute: the score and the stored log-sum-exp are off, the argument z of the exponential is off from
    their difference, and the exponential errs by a factor. *)
Theorem p_recompute_error s s' l l' z t h p score lse argument exponential lost :
  Rabs (s' - s) <= score -> Rabs (l' - l) <= lse -> Rabs (z - (s' - l')) <= argument ->
  Rabs t <= exponential -> Rabs h <= lost -> p = exp z * exp t + h ->
  recomputed (p_recompute score lse argument exponential) lost (exp (s - l)) p.
Proof.
  intros S L Z T H ->. exists ((s' - s) - (l' - l) + (z - (s' - l')) + t), h. split; [|split; [exact H|]].
  - unfold p_recompute. apply Rabs_le_inv in S, L, Z, T. apply Rabs_le; lra.
  - rewrite <- !exp_plus. f_equal. f_equal. ring.
Qed.

(** A rounded difference as the argument: its error is u times the distance as it was computed. *)
Corollary p_recompute_subtract s s' l l' z t h p score lse u eta exponential lost :
  0 <= u -> Rabs (s' - s) <= score -> Rabs (l' - l) <= lse -> rounds u eta (s' - l') z ->
  Rabs t <= exponential -> Rabs h <= lost -> p = exp z * exp t + h ->
  recomputed (p_recompute score lse (u * (Rabs (s - l) + score + lse) + eta) exponential) lost (exp (s - l)) p.
Proof.
  intros U S L Z T H E. apply (p_recompute_error s s' l l' z t h p); try assumption.
  eapply Rle_trans; [exact (rounds_relative u eta _ _ U Z)|].
  apply Rplus_le_compat_r, Rmult_le_compat_l; [exact U|].
  apply Rle_trans with (Rabs (s - l) + (score + lse)); [|lra]. apply off_size.
  replace (s' - l' - (s - l)) with ((s' - s) - (l' - l)) by ring.
  apply Rabs_le_inv in S, L. apply Rabs_le; lra.
Qed.

(** Theorem value_weight_error: P times keep / (1 - p), rounded, and cast. *)
Theorem value_weight_error_bound T lost w p kept gain gain_lost g cast cast_lost c grown :
  0 <= w -> 0 <= kept -> 0 <= cast -> 0 <= gain ->
  recomputed T lost w p -> multiplied gain gain_lost kept p g -> rounds cast cast_lost g c ->
  w * growth (T + (gain + cast)) <= grown ->
  Rabs (c - w * kept) <= value_weight_error (weight_error grown (gain + cast) lost) kept cast gain_lost cast_lost.
Proof.
  intros W K C G0 (t & h & Ht & Hh & ->) (tg & hg & Tg & Hg & ->) HC Gr.
  destruct (rounds_log cast cast_lost _ _ C HC) as (tc & hc & Tc & Hc & ->). unfold value_weight_error, weight_error.
  replace (((w * exp t + h) * kept * exp tg + hg) * exp tc + hc - w * kept) with
    (kept * (w * (exp (t + (tg + tc)) - 1) + h * exp (tg + tc)) + (hg * exp tc + hc))
    by (rewrite !exp_plus; ring).
  assert (B1 : Rabs (tg + tc) <= gain + cast) by (eapply Rle_trans; [apply Rabs_triang|lra]).
  assert (B2 : Rabs (t + (tg + tc)) <= T + (gain + cast)) by (eapply Rle_trans; [apply Rabs_triang|lra]).
  assert (M1 : Rabs (w * (exp (t + (tg + tc)) - 1)) <= grown).
  { eapply Rle_trans; [|exact Gr]. rewrite Rabs_mult, (Rabs_pos_eq w) by exact W.
    apply Rmult_le_compat_l; [exact W|]. now apply abs_expm1. }
  assert (M2 : Rabs (h * exp (tg + tc)) <= lost * (1 + growth (gain + cast))).
  { rewrite Rabs_mult, (Rabs_pos_eq (exp _)) by (left; apply exp_pos).
    apply Rmult_le_compat; [apply Rabs_pos|left; apply exp_pos|exact Hh|now apply exp_within]. }
  assert (M3 : Rabs (hg * exp tc) <= gain_lost * (1 + growth cast)).
  { rewrite Rabs_mult, (Rabs_pos_eq (exp _)) by (left; apply exp_pos).
    apply Rmult_le_compat; [apply Rabs_pos|left; apply exp_pos|exact Hg|now apply exp_within]. }
  eapply Rle_trans; [apply Rabs_triang|]. rewrite Rabs_mult, (Rabs_pos_eq kept) by exact K.
  rewrite Rplus_assoc. apply Rplus_le_compat.
  - apply Rmult_le_compat_l; [exact K|]. eapply Rle_trans; [apply Rabs_triang|]. lra.
  - eapply Rle_trans; [apply Rabs_triang|]. lra.
Qed.
