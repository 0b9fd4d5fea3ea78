(** Rounding towards zero: twice the unit roundoff, and the whole spacing below the normal range. *)
From Coq Require Import Reals Lra Lia ZArith.
From Flocq Require Import Core.
From refattn Require Import LogMetric Formats.
Open Scope R_scope.

Section Truncation.
Variable f : format.
Hypothesis V : valid_format f.
Local Instance precision_positive_ : Prec_gt_0 (precision f) := precision_positive f V.
Local Instance exponents_valid_ : Valid_exp (exponents f) := exponents_valid f V.

Definition truncated : R -> R := round_by f Ztrunc.
Definition truncation_unit : R := 2 * unit_roundoff f.

Lemma truncation_unit_bounds : 0 < truncation_unit <= / 2.
Proof. unfold truncation_unit. pose proof (unit_roundoff_bounds f V). lra. Qed.

Lemma truncation_unit_bpow : truncation_unit = bpow radix2 (1 - precision f).
Proof. unfold truncation_unit, unit_roundoff. unfold Zminus. now rewrite bpow_plus, bpow_1. Qed.

Lemma truncated_opp x : truncated (- x) = - truncated x.
Proof. apply round_ZR_opp. Qed.

(** What is cut off is less than one spacing of the result, whose significand is at least 1. *)
Lemma cut_off x : smallest_normal f <= x -> truncated x <= x <= truncated x * (1 + truncation_unit).
Proof.
  intros H. assert (P : 0 < smallest_normal f) by apply bpow_gt_0.
  unfold truncated, round_by. rewrite round_ZR_DN by lra.
  set (y := round radix2 (exponents f) Zfloor x).
  assert (Y : smallest_normal f <= y).
  { apply round_ge_generic; auto with typeclass_instances. now apply holds_smallest_normal. }
  assert (L : y <= x) by (apply round_DN_pt; exact exponents_valid_).
  split; [exact L|].
  assert (E : Rabs (y - x) <= ulp radix2 (exponents f) x) by (apply error_le_ulp; auto with typeclass_instances).
  assert (U : ulp radix2 (exponents f) x = ulp radix2 (exponents f) y).
  { symmetry. apply ulp_DN; [exact exponents_valid_|lra]. }
  rewrite U in E.
  assert (W : ulp radix2 (exponents f) y <= Rabs y * bpow radix2 (1 - precision f)).
  { apply ulp_FLT_le. rewrite smallest_normal_bpow, Rabs_pos_eq; lra. }
  rewrite <- truncation_unit_bpow, (Rabs_pos_eq y) in W by lra.
  apply LogMetric.Rabs_le_inv in E. lra.
Qed.

Lemma truncated_relative_positive x : smallest_normal f <= x ->
  exists d, Rabs d <= truncation_unit / (1 + truncation_unit) /\ truncated x = x * (1 + d).
Proof.
  intros H. assert (P : 0 < smallest_normal f) by apply bpow_gt_0.
  destruct (cut_off x H) as [L W]. pose proof truncation_unit_bounds as [U0 _].
  exists ((truncated x - x) / x). split; [|field; lra].
  assert (I : 0 < / (1 + truncation_unit)) by (apply Rinv_0_lt_compat; lra).
  assert (J : x * / (1 + truncation_unit) <= truncated x).
  { apply Rmult_le_reg_r with (1 + truncation_unit); [lra|]. rewrite Rmult_assoc, Rinv_l; lra. }
  assert (E : truncation_unit / (1 + truncation_unit) = 1 - / (1 + truncation_unit)) by (field; lra).
  rewrite E. apply Rabs_le. split; apply Rmult_le_reg_r with x; try lra;
    replace ((truncated x - x) / x * x) with (truncated x - x) by (field; lra).
  - lra.
  - assert (/ (1 + truncation_unit) * (1 + truncation_unit) = 1) by (field; lra). nra.
Qed.

Theorem truncated_relative x : smallest_normal f <= Rabs x ->
  exists d, Rabs d <= truncation_unit / (1 + truncation_unit) /\ truncated x = x * (1 + d).
Proof.
  intros H. destruct (Rle_or_lt 0 x) as [P|N].
  - rewrite Rabs_pos_eq in H by exact P. now apply truncated_relative_positive.
  - rewrite Rabs_left in H by exact N. destruct (truncated_relative_positive _ H) as (d & Hd & E).
    exists d. split; [exact Hd|]. rewrite truncated_opp in E. lra.
Qed.

Theorem truncated_absolute x : Rabs x < smallest_normal f -> Rabs (truncated x - x) <= smallest_subnormal f.
Proof.
  intros H. eapply Rle_trans; [apply error_le_ulp; auto with typeclass_instances|].
  unfold exponents. rewrite ulp_FLT_small.
  - apply Rle_refl.
  - exact precision_positive_.
  - eapply Rlt_le_trans; [exact H|]. apply bpow_le. unfold lowest. lia.
Qed.

Theorem truncated_ok : rounding_ok (holds f) truncated truncation_unit (smallest_subnormal f) 0.
Proof.
  pose proof truncation_unit_bounds. pose proof (smallest_subnormal_positive f).
  apply (two_regimes_ok f V Ztrunc); try lra.
  - exact truncated_relative.
  - exact truncated_absolute.
Qed.
End Truncation.
