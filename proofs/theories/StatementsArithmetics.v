(** The public theorems of formats as instances of the abstract arithmetic,
    stated in full a second time; see StatementsRoundoff.v. *)
From Coq Require Import ZArith QArith Qreals Reals List.
From Flocq Require Import Core.
From refattn Require Import LogMetric Formats Truncation Sums Growth Perturbed Arithmetic Schedule ScheduleCost
  ScheduleSubtract ScheduleAnyOrder ScheduleArithmetic AlgebraMaximum Tiles TilesComputed TilesCost TilesRow Roundoff
  Splits Normaliser LogSumExp Output OutputCast Hull Softcap Dot Nearly Scores FlushToZero FormatsStage Overflow
  OverflowScore OverflowSchedule HullSum FormatsExponential FormatsProduct Cast FormatsArithmetic Binary32
  Binary32Scores Attention Binary32Attention Binary32Range.
Import ListNotations.
Open Scope R_scope.

(** * FormatsArithmetic.v *)

Theorem arithmetic_of_ok :
  forall (F : R -> Prop) (rnd E : R -> R) (unit relative lost_add lost lost_exp : R),
    rounding_ok F rnd unit lost lost_add ->
    exponential_ok F E relative lost_exp -> arith_ok (arithmetic_of F rnd E unit relative lost_add lost lost_exp).
Proof. exact (@FormatsArithmetic.arithmetic_of_ok). Qed.

Theorem correctly_rounded_exponential :
  forall (F : R -> Prop) (rnd : R -> R) (unit lost lost_add : R),
    rounding_ok F rnd unit lost lost_add -> exponential_ok F (fun z : R => rnd (exp z)) unit lost.
Proof. exact (@FormatsArithmetic.correctly_rounded_exponential). Qed.

Theorem ulps_exponential :
  forall f : format,
    valid_format f ->
    forall k : R,
    0 <= k ->
    exponential_unit f k < 1 ->
    forall E : R -> R,
    (forall z : R, holds f (E z)) ->
    E 0 = 1 ->
    (forall z : R, holds f z -> Rabs (E z - exp z) <= k * ulp radix2 (exponents f) (exp z)) ->
    exponential_ok (holds f) E (exponential_unit f k / (1 - exponential_unit f k)) (k * smallest_subnormal f).
Proof. exact (@FormatsArithmetic.ulps_exponential). Qed.

Theorem flushed_ulps_exponential :
  forall f : format,
    valid_format f ->
    forall k : R,
    0 <= k ->
    exponential_unit f k < 1 ->
    forall E : R -> R,
    (forall z : R, holds f (E z)) ->
    E 0 = 1 ->
    (forall z : R, holds f z -> Rabs (E z - exp z) <= k * ulp radix2 (exponents f) (exp z)) ->
    exponential_ok (survives f always) (flushed_exponential f E) (exponential_unit f k / (1 - exponential_unit f k))
     (smallest_normal f / (1 - exponential_unit f k)).
Proof. exact (@FormatsArithmetic.flushed_ulps_exponential). Qed.

(** * Binary32.v *)

Theorem rounded_arithmetic_ok :
  forall f : format, valid_format f -> forall m : mode, arith_ok (rounded_arithmetic f m).
Proof. exact (@Binary32.rounded_arithmetic_ok). Qed.

Theorem flushing_arithmetic_ok :
  forall f : format,
    valid_format f ->
    forall (m : mode) (flushed : R -> bool),
    stable flushed (stage_round f m) -> arith_ok (flushing_arithmetic f m flushed).
Proof. exact (@Binary32.flushing_arithmetic_ok). Qed.

Theorem ulps_arithmetic_ok :
  forall f : format,
    valid_format f ->
    forall (m : mode) (k : R) (E : R -> R),
    0 <= k ->
    exponential_unit f k < 1 ->
    (forall z : R, holds f (E z)) ->
    E 0 = 1 ->
    (forall z : R, holds f z -> Rabs (E z - exp z) <= k * ulp radix2 (exponents f) (exp z)) ->
    arith_ok (ulps_arithmetic f m k E).
Proof. exact (@Binary32.ulps_arithmetic_ok). Qed.

Theorem flushing_ulps_arithmetic_ok :
  forall f : format,
    valid_format f ->
    forall (m : mode) (k : R) (E : R -> R),
    0 <= k ->
    exponential_unit f k < 1 ->
    (forall z : R, holds f (E z)) ->
    E 0 = 1 ->
    (forall z : R, holds f z -> Rabs (E z - exp z) <= k * ulp radix2 (exponents f) (exp z)) ->
    arith_ok (flushing_ulps_arithmetic f m k E).
Proof. exact (@Binary32.flushing_ulps_arithmetic_ok). Qed.

Theorem binary32_ok : arith_ok binary32.
Proof. exact (@Binary32.binary32_ok). Qed.

Theorem binary64_ok : arith_ok binary64.
Proof. exact (@Binary32.binary64_ok). Qed.

Theorem bfloat16_ok : arith_ok bfloat16.
Proof. exact (@Binary32.bfloat16_ok). Qed.

Theorem binary16_ok : arith_ok binary16.
Proof. exact (@Binary32.binary16_ok). Qed.

Theorem binary32_truncated_ok : arith_ok binary32_truncated.
Proof. exact (@Binary32.binary32_truncated_ok). Qed.

Theorem binary32_flushed_ok : arith_ok binary32_flushed.
Proof. exact (@Binary32.binary32_flushed_ok). Qed.

(** * Binary32Scores.v *)

Theorem score32_error :
  forall (scale : R) (first : R * R) (rest : list (R * R)),
    Rabs (score32 scale first rest - scale * sumf value (first :: rest)) <= doubt32 scale (first :: rest).
Proof. exact (@Binary32Scores.score32_error). Qed.

(** * Binary32Attention.v *)

Theorem binary32_attention :
  forall (I : Type) (first : I -> R * R) (rest : I -> list (R * R)) (value_of : I -> R)
     (scale : R) (t : tile I) (ts : list (tile I)),
    (forall i : I, holds bf16 (value_of i)) ->
    forall m most : R,
    (forall i : I, In i (all_keys (t :: ts)) -> exact_score first rest scale i <= m) ->
    (forall i : I, In i (all_keys (t :: ts)) -> doubt32 scale (pairs first rest i) <= most) ->
    lost first rest scale t ts most (INR (length (all_keys (t :: ts)))) 0 0 /
    (let keys := all_keys (t :: ts) in fun m0 : R => sumf (p first rest scale m0) keys) m *
    (1 + excess (all_keys (t :: ts)) (p first rest scale m) (term_error first rest scale t ts m most 0)) < 1 ->
    Rabs (output32 first rest value_of scale t ts - exact_output first rest value_of scale t ts m) <=
    output_bound32 first rest value_of scale t ts m most.
Proof. exact (@Binary32Attention.binary32_attention). Qed.

(** * Binary32Range.v *)

Theorem dot32_in_range :
  forall (first : R * R) (rest : list (R * R)) (s : Dot.tree) (r : R),
    OverflowScore.part s (dot_tree first rest) ->
    computed unit32 lost32 s r ->
    sumf (fun q : R * R => Rabs (value q)) (first :: rest) *
    (1 + (exp (0 + INR (length (first :: rest)) * unit32) - 1)) +
    2 * INR (length (first :: rest)) * lost32 * (1 + (exp (INR (length (first :: rest)) * unit32) - 1)) <=
    max_finite fp32 -> Rabs r <= max_finite fp32.
Proof. exact (@Binary32Range.dot32_in_range). Qed.

Theorem normaliser32_in_range :
  forall (I : Type) (first : I -> R * R) (rest : I -> list (R * R)) (scale : R) (t : tile I)
     (ts : list (tile I)) (s : schedule I) (r : R),
    part s (schedule_all (score first rest scale) Rmax (tile_schedule (tile_max (score first rest scale) t) t) ts) ->
    Schedule.computed (score first rest scale) one (subtract (score first rest scale) (u binary32) 0)
     (normaliser_operations binary32 binary32 0 0 (fun _ : I => 1%nat)) s r ->
    (INR (length (all_keys (t :: ts))) + 1) * (1 + (exp (0 + path first rest scale t ts 0) - 1)) +
    lost_in_row first rest scale t ts (INR (length (all_keys (t :: ts)))) 0 0 <= max_finite fp32 ->
    Rabs r <= max_finite fp32.
Proof. exact (@Binary32Range.normaliser32_in_range). Qed.

Theorem numerator32_in_range :
  forall (I : Type) (first : I -> R * R) (rest : I -> list (R * R)) (value_of : I -> R)
     (scale : R) (t : tile I) (ts : list (tile I)) (s : schedule I) (r : R),
    part s (schedule_all (score first rest scale) Rmax (tile_schedule (tile_max (score first rest scale) t) t) ts) ->
    Schedule.computed (score first rest scale) value_of (subtract (score first rest scale) (u binary32) 0)
     (output_operations binary32 binary32 unit16 lost16 value_of (fun _ : I => 1%nat)) s r ->
    let seen := sumf (fun i : I => Rabs (value_of i)) (all_keys (t :: ts)) in
    seen * (1 + (exp (0 + path first rest scale t ts unit16) - 1)) +
    lost_in_row first rest scale t ts seen unit16 lost16 <= max_finite fp32 -> Rabs r <= max_finite fp32.
Proof. exact (@Binary32Range.numerator32_in_range). Qed.

Theorem row_computed :
  forall (I : Type) (first : I -> R * R) (rest : I -> list (R * R)) (value_of : I -> R)
     (scale : R) (t : tile I) (ts : list (tile I)),
    (forall i : I, holds bf16 (value_of i)) ->
    Schedule.computed (score first rest scale) one (subtract (score first rest scale) (u binary32) 0)
     (normaliser_operations binary32 binary32 0 0 (fun _ : I => 1%nat))
     (schedule_all (score first rest scale) Rmax (tile_schedule (tile_max (score first rest scale) t) t) ts)
     (snd (normaliser32 first rest scale t ts)) /\
    Schedule.computed (score first rest scale) value_of (subtract (score first rest scale) (u binary32) 0)
     (output_operations binary32 binary32 unit16 lost16 value_of (fun _ : I => 1%nat))
     (schedule_all (score first rest scale) Rmax (tile_schedule (tile_max (score first rest scale) t) t) ts)
     (snd (numerator32 first rest value_of scale t ts)).
Proof. exact (@Binary32Range.row_computed). Qed.

Theorem output32_in_range :
  forall (I : Type) (first : I -> R * R) (rest : I -> list (R * R)) (value_of : I -> R)
     (scale : R) (t : tile I) (ts : list (tile I)),
    (forall i : I, holds bf16 (value_of i)) ->
    forall m most : R,
    (forall i : I, In i (all_keys (t :: ts)) -> exact_score first rest scale i <= m) ->
    (forall i : I, In i (all_keys (t :: ts)) -> doubt32 scale (pairs first rest i) <= most) ->
    lost first rest scale t ts most (INR (length (all_keys (t :: ts)))) 0 0 /
    (let keys := all_keys (t :: ts) in fun m0 : R => sumf (p first rest scale m0) keys) m *
    (1 + excess (all_keys (t :: ts)) (p first rest scale m) (term_error first rest scale t ts m most 0)) < 1 ->
    Rabs (exact_output first rest value_of scale t ts m) + output_bound32 first rest value_of scale t ts m most <=
    max_finite bf16 -> Rabs (output32 first rest value_of scale t ts) <= max_finite bf16.
Proof. exact (@Binary32Range.output32_in_range). Qed.
