(** The public theorems of formats and casts,
    stated in full a second time; see StatementsRoundoff.v. *)
From Coq Require Import ZArith QArith Qreals Reals List.
From Flocq Require Import Core.
From refattn Require Import LogMetric Formats Truncation Growth Roundoff Rationals FlushToZero FormatsStage
  FormatsExponential FormatsProduct Cast.
From refattn Require GrowthRational FormatsRational.
Import ListNotations.
Open Scope R_scope.

(** * Formats.v *)

Theorem nearest_relative :
  forall f : format,
    valid_format f ->
    forall x : R,
    smallest_normal f <= Rabs x ->
    exists d : R, Rabs d <= unit_roundoff f / (1 + unit_roundoff f) /\ nearest f x = x * (1 + d).
Proof. exact (@Formats.nearest_relative). Qed.

Theorem nearest_absolute :
  forall f : format,
    valid_format f -> forall x : R, Rabs x < smallest_normal f -> Rabs (nearest f x - x) <= smallest_subnormal f / 2.
Proof. exact (@Formats.nearest_absolute). Qed.

Theorem two_regimes_ok :
  forall f : format,
    valid_format f ->
    forall rule : R -> Z,
    Valid_rnd rule ->
    forall unit lost : R,
    0 <= unit <= 1 ->
    0 <= lost ->
    (forall x : R,
    smallest_normal f <= Rabs x -> exists d : R, Rabs d <= unit / (1 + unit) /\ round_by f rule x = x * (1 + d)) ->
    (forall x : R, Rabs x < smallest_normal f -> Rabs (round_by f rule x - x) <= lost) ->
    rounding_ok (holds f) (round_by f rule) unit lost 0.
Proof. exact (@Formats.two_regimes_ok). Qed.

Theorem nearest_ok :
  forall f : format,
    valid_format f -> rounding_ok (holds f) (nearest f) (unit_roundoff f) (smallest_subnormal f / 2) 0.
Proof. exact (@Formats.nearest_ok). Qed.

Theorem rounding_log_error :
  forall (F : R -> Prop) (rnd : R -> R) (unit lost lost_add x : R),
    rounding_ok F rnd unit lost lost_add ->
    exists t h : R, Rabs t <= unit /\ Rabs h <= lost /\ rnd x = x * exp t + h.
Proof. exact (@Formats.rounding_log_error). Qed.

(** * Truncation.v *)

Theorem truncated_relative :
  forall f : format,
    valid_format f ->
    forall x : R,
    smallest_normal f <= Rabs x ->
    exists d : R, Rabs d <= truncation_unit f / (1 + truncation_unit f) /\ truncated f x = x * (1 + d).
Proof. exact (@Truncation.truncated_relative). Qed.

Theorem truncated_absolute :
  forall f : format,
    valid_format f -> forall x : R, Rabs x < smallest_normal f -> Rabs (truncated f x - x) <= smallest_subnormal f.
Proof. exact (@Truncation.truncated_absolute). Qed.

Theorem truncated_ok :
  forall f : format,
    valid_format f -> rounding_ok (holds f) (truncated f) (truncation_unit f) (smallest_subnormal f) 0.
Proof. exact (@Truncation.truncated_ok). Qed.

(** * FlushToZero.v *)

Theorem flush_ok :
  forall f : format,
    valid_format f ->
    forall (flushed : R -> bool) (rule : R -> Z),
    Valid_rnd rule ->
    forall unit lost : R,
    rounding_ok (holds f) (round_by f rule) unit lost 0 ->
    lost <= smallest_normal f ->
    stable flushed (round_by f rule) ->
    rounding_ok (survives f flushed) (flush f flushed (round_by f rule)) unit (smallest_normal f)
     (smallest_normal f).
Proof. exact (@FlushToZero.flush_ok). Qed.

Theorem nearest_flush_ok :
  forall f : format,
    valid_format f ->
    forall flushed : R -> bool,
    stable flushed (nearest f) ->
    rounding_ok (survives f flushed) (flush f flushed (nearest f)) (unit_roundoff f) (smallest_normal f)
     (smallest_normal f).
Proof. exact (@FlushToZero.nearest_flush_ok). Qed.

Theorem truncated_flush_ok :
  forall f : format,
    valid_format f ->
    forall flushed : R -> bool,
    stable flushed (truncated f) ->
    rounding_ok (survives f flushed) (flush f flushed (truncated f)) (truncation_unit f)
     (smallest_normal f) (smallest_normal f).
Proof. exact (@FlushToZero.truncated_flush_ok). Qed.

(** * FormatsStage.v *)

Theorem stage_ok :
  forall f : format,
    valid_format f ->
    forall m : mode, rounding_ok (holds f) (stage_round f m) (stage_unit f m) (underflow_unit f m false) 0.
Proof. exact (@FormatsStage.stage_ok). Qed.

Theorem stage_flush_ok :
  forall f : format,
    valid_format f ->
    forall (m : mode) (flushed : R -> bool),
    stable flushed (stage_round f m) ->
    rounding_ok (survives f flushed) (flush f flushed (stage_round f m)) (stage_unit f m)
     (underflow_unit f m true) (sum_underflow_unit f true).
Proof. exact (@FormatsStage.stage_flush_ok). Qed.

Theorem stage_relative :
  forall f : format,
    valid_format f ->
    forall (m : mode) (x : R),
    smallest_normal f <= Rabs x ->
    rerr (stage_unit f m) (stage_round f m x) x /\ Rabs (stage_round f m x - x) <= stage_unit f m * Rabs x.
Proof. exact (@FormatsStage.stage_relative). Qed.

Theorem stage_absolute :
  forall f : format,
    valid_format f ->
    forall (m : mode) (x : R),
    Rabs x < smallest_normal f -> Rabs (stage_round f m x - x) <= underflow_unit f m false.
Proof. exact (@FormatsStage.stage_absolute). Qed.

Theorem stage_flush_absolute :
  forall f : format,
    valid_format f ->
    forall (m : mode) (flushed : R -> bool) (x : R),
    Rabs x < smallest_normal f -> Rabs (flush f flushed (stage_round f m) x - x) <= underflow_unit f m true.
Proof. exact (@FormatsStage.stage_flush_absolute). Qed.

(** * FormatsExponential.v *)

Theorem declared_exponential :
  forall f : format,
    valid_format f ->
    forall k own : R,
    0 <= k ->
    0 <= own ->
    declared_unit f k own < 1 ->
    forall E : R -> R,
    (forall z : R, holds f (E z)) ->
    E 0 = 1 ->
    (forall z : R, holds f z -> Rabs (E z - exp z) <= k * ulp radix2 (exponents f) (exp z) + own * exp z) ->
    exponential_ok (holds f) E (declared_unit f k own / (1 - declared_unit f k own))
     (k * smallest_subnormal f + own * smallest_normal f).
Proof. exact (@FormatsExponential.declared_exponential). Qed.

Theorem flushed_declared_exponential :
  forall f : format,
    valid_format f ->
    forall k own : R,
    0 <= k ->
    0 <= own ->
    declared_unit f k own < 1 ->
    forall E : R -> R,
    (forall z : R, holds f (E z)) ->
    E 0 = 1 ->
    (forall z : R, holds f z -> Rabs (E z - exp z) <= k * ulp radix2 (exponents f) (exp z) + own * exp z) ->
    exponential_ok (survives f always) (flushed_exponential f E)
     (declared_unit f k own / (1 - declared_unit f k own)) (smallest_normal f / (1 - declared_unit f k own)).
Proof. exact (@FormatsExponential.flushed_declared_exponential). Qed.

(** * FormatsProduct.v *)

Theorem narrow_held :
  forall (g f : format) (x : R),
    (precision f <= precision g)%Z -> (lowest g <= lowest f)%Z -> holds f x -> holds g x.
Proof. exact (@FormatsProduct.narrow_held). Qed.

Theorem narrow_product_exact :
  forall f g : format,
    valid_format f ->
    (2 * precision f <= precision g)%Z ->
    forall x y : R, (lowest g <= 2 * lowest f)%Z -> holds f x -> holds f y -> holds g (x * y).
Proof. exact (@FormatsProduct.narrow_product_exact). Qed.

Theorem narrow_product_normal :
  forall f g : format,
    valid_format f ->
    (2 * precision f <= precision g)%Z ->
    forall x y : R, holds f x -> holds f y -> (x * y <> 0 -> smallest_normal g <= Rabs (x * y)) -> holds g (x * y).
Proof. exact (@FormatsProduct.narrow_product_normal). Qed.

(** * Cast.v *)

Theorem stage_cast :
  forall (f : format) (m : mode),
    valid_format f -> cast_ok (stage_round f m) (stage_unit f m) (underflow_unit f m false).
Proof. exact (@Cast.stage_cast). Qed.

Theorem stage_flush_cast :
  forall (f : format) (m : mode) (flushed : R -> bool),
    valid_format f ->
    stable flushed (stage_round f m) ->
    cast_ok (flush f flushed (stage_round f m)) (stage_unit f m) (underflow_unit f m true).
Proof. exact (@Cast.stage_flush_cast). Qed.

Theorem cast_held :
  forall (f g : format) (m : mode) (x : R),
    valid_format f -> (precision f <= precision g)%Z -> (lowest g <= lowest f)%Z -> holds g (stage_round f m x).
Proof. exact (@Cast.cast_held). Qed.

Theorem cast_error :
  forall (cast : R -> R) (unit lost relative eta exact computed : R),
    cast_ok cast unit lost ->
    (exists t h : R, Rabs t <= relative /\ Rabs h <= eta /\ computed = exact * exp t + h) ->
    exists t h : R,
     Rabs t <= relative + unit /\ Rabs h <= eta * (1 + (exp unit - 1)) + lost /\ cast computed = exact * exp t + h.
Proof. exact (@Cast.cast_error). Qed.

Theorem cast_with_offset :
  forall (cast : R -> R) (unit lost scale : R),
    cast_ok cast unit lost -> 0 < scale -> cast_ok (fun p : R => cast (scale * p) / scale) unit (lost / scale).
Proof. exact (@Cast.cast_with_offset). Qed.

Theorem cast_of_weight :
  forall (f : format) (m : mode) (p : R), valid_format f -> 0 <= p <= 1 -> 0 <= stage_round f m p <= 1.
Proof. exact (@Cast.cast_of_weight). Qed.

(** * FormatsRational.v *)

Theorem format_unit_exact : forall f : format, Q2R (FormatsRational.format_unit (precision f)) = unit_roundoff f.
Proof. exact (@FormatsRational.format_unit_exact). Qed.

Theorem format_truncation_unit_exact :
  forall f : format, Q2R (FormatsRational.format_truncation_unit (precision f)) = truncation_unit f.
Proof. exact (@FormatsRational.format_truncation_unit_exact). Qed.

Theorem format_smallest_normal_exact :
  forall f : format, Q2R (FormatsRational.format_smallest_normal (emin f)) = smallest_normal f.
Proof. exact (@FormatsRational.format_smallest_normal_exact). Qed.

Theorem format_smallest_subnormal_exact :
  forall f : format, Q2R (FormatsRational.format_smallest_subnormal (precision f) (emin f)) = smallest_subnormal f.
Proof. exact (@FormatsRational.format_smallest_subnormal_exact). Qed.

Theorem format_max_finite_exact :
  forall f : format, Q2R (FormatsRational.format_max_finite (top f) (top_exponent f)) = max_finite f.
Proof. exact (@FormatsRational.format_max_finite_exact). Qed.

Theorem cast_lost_dominates :
  forall before unit lost : Q,
    0 <= Q2R before ->
    0 <= Q2R unit < 2 ->
    Q2R before * (1 + (exp (Q2R unit) - 1)) + Q2R lost <= Q2R (FormatsRational.cast_lost before unit lost).
Proof. exact (@FormatsRational.cast_lost_dominates). Qed.

Theorem weight_lost_exact :
  forall ulps own subnormal normal : Q,
    Q2R (FormatsRational.weight_lost ulps own subnormal normal) = Q2R ulps * Q2R subnormal + Q2R own * Q2R normal.
Proof. exact (@FormatsRational.weight_lost_exact). Qed.

Theorem flushed_weight_lost_exact :
  forall relative normal : Q,
    Q2R relative < 1 -> Q2R (FormatsRational.flushed_weight_lost relative normal) = Q2R normal / (1 - Q2R relative).
Proof. exact (@FormatsRational.flushed_weight_lost_exact). Qed.
