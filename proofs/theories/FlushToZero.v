(** Subnormal results replaced by zero: all of them, or those of any set.

    [flush f flushed rnd] replaces by 0 every result below the normal range that [flushed] names, whether the machine
    decides before it rounds or after.  A sum is then no longer exact near zero: it errs by up to the smallest normal
    number, as products do. *)
From Coq Require Import Reals Lra Lia ZArith Bool.
From Flocq Require Import Core.
From refattn Require Import LogMetric Formats Truncation.
Open Scope R_scope.

Section Flush.
Variable f : format.
Hypothesis V : valid_format f.
Variable flushed : R -> bool.

(** What is not flushed is not flushed either once it has been rounded. *)
Definition stable (rnd : R -> R) : Prop := forall x, flushed x = false -> flushed (rnd x) = false.

Definition tiny (x : R) : bool := if Rlt_dec (Rabs x) (smallest_normal f) then true else false.
Definition flush (rnd : R -> R) (x : R) : R := if tiny x && flushed x then 0 else rnd x.

(** The numbers that survive an operation which leaves them as they are. *)
Definition survives (x : R) : Prop := holds f x /\ (x = 0 \/ tiny x = false \/ flushed x = false).

Lemma tiny_true x : tiny x = true -> Rabs x < smallest_normal f.
Proof. unfold tiny. destruct Rlt_dec; [auto|discriminate]. Qed.

Lemma tiny_false x : tiny x = false -> smallest_normal f <= Rabs x.
Proof. unfold tiny. destruct Rlt_dec; [discriminate|]. intros _. lra. Qed.

Lemma tiny_large x : smallest_normal f <= Rabs x -> tiny x = false.
Proof. unfold tiny. intros. destruct Rlt_dec; [lra|reflexivity]. Qed.

Section Rule.
Variable rule : R -> Z.
Context {HV : Valid_rnd rule}.
Variables unit lost : R.
Hypothesis base : rounding_ok (holds f) (round_by f rule) unit lost 0.
Hypothesis gradual : lost <= smallest_normal f.
Hypothesis keeps : stable (round_by f rule).
Notation rnd := (round_by f rule).

Lemma round_by_large x : smallest_normal f <= Rabs x -> smallest_normal f <= Rabs (rnd x).
Proof.
  intros H. apply abs_round_ge_generic; [now apply exponents_valid|assumption| |exact H].
  now apply holds_smallest_normal.
Qed.

Lemma flush_survives x : survives (flush rnd x).
Proof.
  unfold survives, flush. destruct (tiny x) eqn:T; simpl; [destruct (flushed x) eqn:K|].
  - split; [apply holds_0|now left].
  - split; [now apply holds_round|]. right; right. now apply keeps.
  - split; [now apply holds_round|]. right; left. apply tiny_large, round_by_large. now apply tiny_false.
Qed.

Lemma flush_fixed x : survives x -> flush rnd x = x.
Proof.
  intros [H D]. unfold flush. destruct (tiny x && flushed x) eqn:E; [|now apply round_by_held].
  apply andb_true_iff in E. destruct E as [T K], D as [->|[D|D]]; congruence.
Qed.

Lemma flush_0 x : tiny x && flushed x = true -> flush rnd x = x * (1 + 0) + - x /\ Rabs (- x) <= smallest_normal f.
Proof.
  intros E. unfold flush. rewrite E, Rabs_Ropp. apply andb_true_iff in E. destruct E as [T _].
  apply tiny_true in T. split; [ring|lra].
Qed.

Lemma flush_sum a b : holds f a -> holds f b -> exists d h,
  Rabs d <= unit / (1 + unit) /\ Rabs h <= smallest_normal f /\ flush rnd (a + b) = (a + b) * (1 + d) + h.
Proof.
  intros Fa Fb. pose proof base as [B _ _ _ _ _ _ _ _ sum _]. destruct (tiny (a + b) && flushed (a + b)) eqn:E.
  - exists 0, (- (a + b)). rewrite Rabs_R0. destruct (flush_0 _ E). split; [|now split].
    apply Rmult_le_pos; [lra|]. left. apply Rinv_0_lt_compat. lra.
  - unfold flush. rewrite E. destruct (sum a b Fa Fb) as (d & h & Hd & Hh & E0).
    exists d, h. repeat split; auto. assert (0 < smallest_normal f) by apply bpow_gt_0. lra.
Qed.

Theorem flush_ok : rounding_ok survives (flush rnd) unit (smallest_normal f) (smallest_normal f).
Proof.
  assert (P : 0 < smallest_normal f) by apply bpow_gt_0.
  pose proof base as [? ? ? ? ? ? ? sign error ? ?].
  constructor; auto; try lra.
  - exact flush_survives.
  - exact flush_fixed.
  - split; [apply holds_0|now left].
  - split; [now apply holds_1|]. right; left. apply tiny_large. rewrite Rabs_R1. now apply smallest_normal_le_1.
  - intros x H. unfold flush. destruct (tiny x && flushed x); [lra|now apply sign].
  - intros x. destruct (tiny x && flushed x) eqn:E.
    + exists 0, (- x). rewrite Rabs_R0. destruct (flush_0 _ E). split; [|now split].
      apply Rmult_le_pos; [lra|]. left. apply Rinv_0_lt_compat. lra.
    + unfold flush. rewrite E. destruct (error x) as (d & h & Hd & Hh & E0).
      exists d, h. repeat split; auto. lra.
  - intros a b [Fa _] [Fb _]. now apply flush_sum.
  - intros a b [Fa _] [Fb _]. apply (flush_sum a (- b) Fa). now apply holds_opp.
Qed.
End Rule.

Theorem nearest_flush_ok : stable (nearest f) ->
  rounding_ok survives (flush (nearest f)) (unit_roundoff f) (smallest_normal f) (smallest_normal f).
Proof.
  intros K. apply (flush_ok ZnearestE _ (smallest_subnormal f / 2)); [now apply nearest_ok| |exact K].
  pose proof (smallest_subnormal_normal f V). pose proof (smallest_subnormal_positive f). lra.
Qed.

Theorem truncated_flush_ok : stable (truncated f) ->
  rounding_ok survives (flush (truncated f)) (truncation_unit f) (smallest_normal f) (smallest_normal f).
Proof.
  intros K. apply (flush_ok Ztrunc _ (smallest_subnormal f)); [now apply truncated_ok| |exact K].
  now apply smallest_subnormal_normal.
Qed.
End Flush.

(** Every subnormal result flushed. *)
Definition always (x : R) : bool := true.

Lemma always_stable rnd : stable always rnd.
Proof. discriminate. Qed.
