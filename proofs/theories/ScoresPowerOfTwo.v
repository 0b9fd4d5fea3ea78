(** Scales that are powers of two cost nothing: their products are exact unless they underflow. *)
From Coq Require Import Reals List Lra Lia ZArith.
From Flocq Require Import Core Mult_error.
From refattn Require Import Formats Truncation FlushToZero FormatsStage LogMetric Roundoff Nearly Scores.
Import ListNotations.
Open Scope R_scope.

Section PowerOfTwo.
Variable f : format.
Hypothesis V : valid_format f.
Variable m : mode.

Lemma holds_times_power x e : holds f x -> smallest_normal f <= Rabs (x * bpow radix2 e) -> holds f (x * bpow radix2 e).
Proof.
  intros Hx Hn.
  apply generic_format_FLT_FLX.
  - unfold lowest in *. replace (emin f - precision f + 1 + precision f - 1)%Z with (emin f) by ring. exact Hn.
  - apply mult_bpow_exact_FLX. now apply (generic_format_FLX_FLT radix2 (lowest f)).
Qed.

Lemma normal_times_power x e : holds f x -> smallest_normal f <= Rabs (x * bpow radix2 e) ->
  stage_round f m (x * bpow radix2 e) = x * bpow radix2 e.
Proof.
  intros Hx L. pose proof (holds_times_power _ _ Hx L) as H. unfold stage_round, nearest, truncated.
  destruct m; apply round_by_held; auto with typeclass_instances.
Qed.

Theorem power_of_two_exact x e : holds f x ->
  nearly 0 (underflow_unit f m false) (stage_round f m (x * bpow radix2 e)) (x * bpow radix2 e).
Proof.
  intros Hx. unfold nearly. rewrite Rmult_0_l, Rplus_0_l.
  destruct (Rlt_le_dec (Rabs (x * bpow radix2 e)) (smallest_normal f)) as [L|L]; [now apply stage_absolute|].
  rewrite normal_times_power, Rminus_diag_eq, Rabs_R0 by auto. unfold underflow_unit.
  pose proof (smallest_subnormal_positive f). destruct m; lra.
Qed.

Theorem power_of_two_flushed flushed x e : holds f x ->
  nearly 0 (underflow_unit f m true) (flush f flushed (stage_round f m) (x * bpow radix2 e)) (x * bpow radix2 e).
Proof.
  intros Hx. unfold nearly. rewrite Rmult_0_l, Rplus_0_l.
  destruct (Rlt_le_dec (Rabs (x * bpow radix2 e)) (smallest_normal f)) as [L|L]; [now apply stage_flush_absolute|].
  unfold flush, tiny. destruct (Rlt_dec _ _) as [S|S]; [lra|]. simpl.
  rewrite normal_times_power, Rminus_diag_eq, Rabs_R0 by auto. unfold underflow_unit, smallest_normal.
  left. apply bpow_gt_0.
Qed.

(** So [scaled_score] holds with unit and constant 0. *)
Theorem scaled_by_power_of_two_error exact sum kept dot stored e : 0 <= stored -> holds f kept ->
  Rabs (sum - exact) <= dot -> nearly stored (underflow_unit f m false) kept sum ->
  Rabs (stage_round f m (kept * bpow radix2 e) - bpow radix2 e * exact) <=
    scaled_score dot (Rabs (bpow radix2 e * exact)) (Rabs (bpow radix2 e)) stored 0 0 (underflow_unit f m false).
Proof.
  intros Hs Hk Hd Hn. apply scaled_score_error with sum; try lra.
  exists kept, (bpow radix2 e). split; [exact Hn|]. split.
  - unfold nearly. rewrite Rminus_diag_eq, Rabs_R0 by reflexivity. lra.
  - now apply power_of_two_exact.
Qed.
End PowerOfTwo.
