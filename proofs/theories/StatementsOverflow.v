(** The public theorems of what cannot overflow,
    stated in full a second time; see StatementsRoundoff.v. *)
From Coq Require Import ZArith QArith Qreals Reals List.
From Flocq Require Import Core.
From refattn Require Import LogMetric Formats Truncation Sums Growth Perturbed Schedule Roundoff Rationals Dot
  FlushToZero Overflow OverflowScore OverflowSchedule.
From refattn Require GrowthRational OverflowRational.
Import ListNotations.
Open Scope R_scope.

(** * Overflow.v *)

Theorem round_in_range :
  forall f : format,
    valid_format f ->
    forall rule : R -> Z,
    Valid_rnd rule -> forall x : R, Rabs x <= max_finite f -> Rabs (round_by f rule x) <= max_finite f.
Proof. exact (@Overflow.round_in_range). Qed.

Theorem flush_in_range :
  forall f : format,
    valid_format f ->
    forall rule : R -> Z,
    Valid_rnd rule ->
    forall (flushed : R -> bool) (x : R),
    Rabs x <= max_finite f -> Rabs (flush f flushed (round_by f rule) x) <= max_finite f.
Proof. exact (@Overflow.flush_in_range). Qed.

Theorem limited_agrees :
  forall f : format,
    valid_format f ->
    forall rule : R -> Z,
    Valid_rnd rule ->
    forall x : R, Rabs x <= max_finite f -> limited f (round_by f rule) x = Some (round_by f rule x).
Proof. exact (@Overflow.limited_agrees). Qed.

Theorem overflowing_difference_lost :
  forall f : format,
    valid_format f ->
    forall s : R,
    (precision f - emin f <= top f * 2 ^ top_exponent f)%Z ->
    (0 <= top_exponent f)%Z -> s <= - max_finite f -> exp s <= smallest_subnormal f / 2.
Proof. exact (@Overflow.overflowing_difference_lost). Qed.

Theorem perturbed_size :
  forall (I : Type) (xs : list I) (a T : I -> R) (H r cost : R),
    perturbed xs a T H r ->
    (forall i : I, In i xs -> T i <= cost) -> Rabs r <= sumf (fun i : I => Rabs (a i)) xs * (1 + (exp cost - 1)) + H.
Proof. exact (@Overflow.perturbed_size). Qed.

Theorem partial_sum_in_range :
  forall (I : Type) (xs ys zs : list I) (a T : I -> R) (H r cost lost limit : R),
    xs = ys ++ zs ->
    perturbed ys a T H r ->
    (forall i : I, In i ys -> T i <= cost) ->
    H <= lost -> sumf (fun i : I => Rabs (a i)) xs * (1 + (exp cost - 1)) + lost <= limit -> Rabs r <= limit.
Proof. exact (@Overflow.partial_sum_in_range). Qed.

Theorem partial_terms_in_range :
  forall (I : Type) (xs ys zs : list I) (a T : I -> R) (H r lost limit : R),
    xs = ys ++ zs ->
    perturbed ys a T H r ->
    H <= lost ->
    (forall i : I, In i xs -> 0 <= T i) ->
    sumf (fun i : I => Rabs (a i)) xs + sumf (fun i : I => Rabs (a i) * (exp (T i) - 1)) xs + lost <= limit ->
    Rabs r <= limit.
Proof. exact (@Overflow.partial_terms_in_range). Qed.

Theorem output_in_range :
  forall (f : format) (rule : R -> Z),
    Valid_rnd rule ->
    forall computed exact bound : R,
    valid_format f ->
    Rabs (computed - exact) <= bound ->
    Rabs exact + bound <= max_finite f ->
    Rabs computed <= max_finite f /\ limited f (round_by f rule) computed = Some (round_by f rule computed).
Proof. exact (@Overflow.output_in_range). Qed.

(** * OverflowScore.v *)

Theorem score_in_range :
  forall (unit lost : R) (s t : tree) (r magnitude casting width limit : R),
    0 <= unit ->
    0 <= lost ->
    OverflowScore.part s t ->
    computed unit lost s r ->
    count t <= width ->
    size t <= magnitude * (1 + (exp casting - 1)) ->
    0 <= magnitude ->
    magnitude * (1 + (exp (casting + width * unit) - 1)) + 2 * width * lost * (1 + (exp (width * unit) - 1)) <=
    limit -> Rabs r <= limit.
Proof. exact (@OverflowScore.score_in_range). Qed.

Theorem reference_in_range :
  forall (I : Type) (xs : list I) (exact computed doubt : I -> R) (top best : I) (m m' : R),
    In top xs ->
    m = exact top ->
    In best xs ->
    m' = computed best ->
    (forall i : I, In i xs -> computed i <= m') ->
    (forall i : I, In i xs -> Rabs (computed i - exact i) <= doubt i) ->
    (forall i : I, In i xs -> 0 <= doubt i) ->
    Rabs (m' - m) <= ln (sumf (fun i : I => exp (exact i - m) * exp (doubt i)) xs).
Proof. exact (@OverflowScore.reference_in_range). Qed.

(** * OverflowSchedule.v *)

Theorem schedule_in_range :
  forall (I : Type) (x v : I -> R) (tau : R) (G : argument I) (E : operations I),
    argument_ok x tau G ->
    operations_ok E ->
    forall (s t : schedule I) (r limit : R),
    part s t ->
    wf x tau t ->
    Schedule.computed x v G E s r -> seen v G t * exp (cost E t) + lost v G E t <= limit -> Rabs r <= limit.
Proof. exact (@OverflowSchedule.schedule_in_range). Qed.

Theorem numerator_in_range :
  forall (I : Type) (x v : I -> R) (tau : R) (G : argument I) (E : operations I),
    argument_ok x tau G ->
    operations_ok E ->
    forall (s t : schedule I) (r lag total_cost total_lost limit : R),
    part s t ->
    wf x tau t ->
    Schedule.computed x v G E s r ->
    (forall i : I, In i (leaves t) -> peak G i <= lag) ->
    cost E t <= total_cost ->
    lost v G E t <= total_lost ->
    sumf (fun i : I => Rabs (v i)) (leaves t) * (1 + (exp (lag + total_cost) - 1)) + total_lost <= limit ->
    Rabs r <= limit.
Proof. exact (@OverflowSchedule.numerator_in_range). Qed.

Theorem weight_in_range :
  forall (I : Type) (x v : I -> R) (tau : R) (G : argument I) (E : operations I),
    argument_ok x tau G ->
    operations_ok E ->
    forall (i : I) (m r lag limit : R),
    v i = 1 ->
    x i <= m + tau ->
    Schedule.computed x v G E (Leaf i m) r ->
    peak G i <= lag -> 1 * (1 + (exp (lag + leaf_cost E i) - 1)) + leaf_lost E i <= limit -> Rabs r <= limit.
Proof. exact (@OverflowSchedule.weight_in_range). Qed.

Theorem normaliser_in_range :
  forall (I : Type) (x : I -> R) (tau : R) (G : argument I) (E : operations I) (s t : schedule I)
     (r keys lag total_cost total_lost limit : R),
    argument_ok x tau G ->
    operations_ok E ->
    part s t ->
    wf x tau t ->
    Schedule.computed x (fun _ : I => 1) G E s r ->
    (forall i : I, In i (leaves t) -> peak G i <= lag) ->
    INR (length (leaves t)) <= keys + 1 ->
    cost E t <= total_cost ->
    lost (fun _ : I => 1) G E t <= total_lost ->
    (keys + 1) * (1 + (exp (lag + total_cost) - 1)) + total_lost <= limit -> Rabs r <= limit.
Proof. exact (@OverflowSchedule.normaliser_in_range). Qed.

(** * OverflowRational.v *)

Theorem largest_sum_dominates :
  forall magnitude log_error lost : Q,
    0 <= Q2R magnitude ->
    0 <= Q2R log_error < 2 ->
    Q2R magnitude * (1 + (exp (Q2R log_error) - 1)) + Q2R lost <=
    Q2R (OverflowRational.largest_sum magnitude log_error lost).
Proof. exact (@OverflowRational.largest_sum_dominates). Qed.

Theorem largest_numerator_dominates :
  forall seen lag cost lost : Q,
    0 <= Q2R seen ->
    0 <= Q2R lag + Q2R cost < 2 ->
    Q2R seen * (1 + (exp (Q2R lag + Q2R cost) - 1)) + Q2R lost <=
    Q2R (OverflowRational.largest_numerator seen lag cost lost).
Proof. exact (@OverflowRational.largest_numerator_dominates). Qed.

Theorem largest_normaliser_dominates :
  forall keys lag cost lost : Q,
    0 <= Q2R keys ->
    0 <= Q2R lag + Q2R cost < 2 ->
    (Q2R keys + 1) * (1 + (exp (Q2R lag + Q2R cost) - 1)) + Q2R lost <=
    Q2R (OverflowRational.largest_normaliser keys lag cost lost).
Proof. exact (@OverflowRational.largest_normaliser_dominates). Qed.

Theorem largest_score_dominates :
  forall magnitude width casting unit lost : Q,
    0 <= Q2R magnitude ->
    0 <= Q2R width ->
    0 <= Q2R casting ->
    0 <= Q2R unit ->
    0 <= Q2R lost ->
    Q2R casting + Q2R width * Q2R unit < 2 ->
    Q2R magnitude * (1 + (exp (Q2R casting + Q2R width * Q2R unit) - 1)) +
    2 * Q2R width * Q2R lost * (1 + (exp (Q2R width * Q2R unit) - 1)) <=
    Q2R (OverflowRational.largest_score magnitude width casting unit lost).
Proof. exact (@OverflowRational.largest_score_dominates). Qed.

Theorem largest_reference_dominates :
  forall maximum logarithm excess : Q,
    0 <= Q2R maximum ->
    0 <= Q2R excess ->
    Rabs (Q2R maximum) + Q2R logarithm + ln (1 + Q2R excess) <=
    Q2R (OverflowRational.largest_reference maximum logarithm excess).
Proof. exact (@OverflowRational.largest_reference_dominates). Qed.
