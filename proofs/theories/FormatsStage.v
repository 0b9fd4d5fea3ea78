(** A stage of refattn/contract/arithmetic.py: a format, how it rounds, whether subnormal results may be flushed.

    [stage_unit] is Stage.unit, [underflow_unit] the function of that name in refattn/bounds/stages.py. *)
From Coq Require Import Reals Lra Lia ZArith.
From Flocq Require Import Core.
From refattn Require Import LogMetric Formats Truncation FlushToZero.
Open Scope R_scope.

Inductive mode := Nearest | Truncated.

Section Stage.
Variable f : format.
Hypothesis V : valid_format f.
Variable m : mode.

Definition stage_round : R -> R := match m with Nearest => nearest f | Truncated => truncated f end.
Definition stage_unit : R := match m with Nearest => unit_roundoff f | Truncated => 2 * unit_roundoff f end.
Definition underflow_unit (flushes : bool) : R :=
  if flushes then smallest_normal f
  else match m with Nearest => smallest_subnormal f / 2 | Truncated => smallest_subnormal f end.
Definition sum_underflow_unit (flushes : bool) : R := if flushes then smallest_normal f else 0.

Theorem stage_ok : rounding_ok (holds f) stage_round stage_unit (underflow_unit false) 0.
Proof.
  unfold stage_round, stage_unit, underflow_unit. destruct m; [now apply nearest_ok|now apply (truncated_ok f V)].
Qed.

Theorem stage_flush_ok flushed : stable flushed stage_round ->
  rounding_ok (survives f flushed) (flush f flushed stage_round)
    stage_unit (underflow_unit true) (sum_underflow_unit true).
Proof.
  unfold stage_round, stage_unit. destruct m; [now apply nearest_flush_ok|now apply truncated_flush_ok].
Qed.

(** Stage.unit: the relative error where nothing underflows; underflow_unit: the absolute one where it does. *)
Theorem stage_relative x : smallest_normal f <= Rabs x ->
  rerr stage_unit (stage_round x) x /\ Rabs (stage_round x - x) <= stage_unit * Rabs x.
Proof.
  intros H.
  assert (U : 0 <= stage_unit <= 1) by apply stage_ok.
  assert (D : exists d, Rabs d <= stage_unit / (1 + stage_unit) /\ stage_round x = x * (1 + d)).
  { unfold stage_unit, stage_round. destruct m; [now apply nearest_relative|now apply truncated_relative]. }
  destruct D as (d & Hd & E). rewrite E. split; [now apply rerr_nearest|].
  replace (x * (1 + d) - x) with (d * x) by ring. rewrite Rabs_mult. apply Rmult_le_compat_r; [apply Rabs_pos|].
  eapply Rle_trans; [exact Hd|]. apply Rmult_le_reg_r with (1 + stage_unit); [lra|].
  unfold Rdiv. rewrite Rmult_assoc, Rinv_l by lra. nra.
Qed.

Theorem stage_absolute x : Rabs x < smallest_normal f -> Rabs (stage_round x - x) <= underflow_unit false.
Proof. unfold stage_round, underflow_unit. destruct m; [now apply nearest_absolute|now apply truncated_absolute]. Qed.

Theorem stage_flush_absolute flushed x : Rabs x < smallest_normal f ->
  Rabs (flush f flushed stage_round x - x) <= underflow_unit true.
Proof.
  intros H. unfold flush. destruct (tiny f x && flushed x)%bool.
  - replace (0 - x) with (- x) by ring. rewrite Rabs_Ropp. simpl. lra.
  - eapply Rle_trans; [now apply stage_absolute|]. pose proof (smallest_subnormal_normal f V).
    pose proof (smallest_subnormal_positive f). unfold underflow_unit. destruct m; lra.
Qed.
End Stage.
