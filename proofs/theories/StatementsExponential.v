(** The public theorems of the exponential's argument and the exponential,
    stated in full a second time; see StatementsRoundoff.v. *)
From Coq Require Import ZArith QArith Qreals Reals List.
From refattn Require Import LogMetric Sums Growth Perturbed Schedule Roundoff Rationals Softcap Dot Nearly Scores
  Argument Exponential ExponentialPaths ArgumentSchedule.
From refattn Require GrowthRational DotRational ScoresRational ExponentialRational.
Import ListNotations.
Open Scope R_scope.

(** * Argument.v *)

Theorem argument_subtract_error :
  forall unit lost x m z : R, subtracted unit lost x m z -> Rabs (z - (x - m)) <= unit * Rabs (x - m) + lost.
Proof. exact (@Argument.argument_subtract_error). Qed.

Theorem argument_subtract_exp2_error :
  forall unit constant lost : R,
    0 <= unit ->
    0 <= constant ->
    0 <= lost ->
    forall scale most factor x m z : R,
    0 < scale <= most ->
    factor_held constant scale factor ->
    subtracted_exp2 unit lost factor x m z ->
    Rabs (z * ln 2 - scale * (x - m)) <=
    fold_left (fun total unit0 : R => total + unit0 + total * unit0) [unit; unit; constant] 0 *
    (scale * Rabs (x - m)) +
    (1 + most * (1 + fold_left (fun total unit0 : R => total + unit0 + total * unit0) [unit; constant] 0)) * lost.
Proof. exact (@Argument.argument_subtract_exp2_error). Qed.

Theorem argument_fma_error :
  forall unit constant lost : R,
    0 <= unit ->
    0 <= constant ->
    0 <= lost ->
    forall scale most factor x m z : R,
    0 < scale <= most ->
    1 <= most ->
    factor_held constant scale factor ->
    fused unit lost factor x m z ->
    Rabs (z * ln 2 - scale * (x - m)) <=
    fold_left (fun total unit0 : R => total + unit0 + total * unit0) [unit; unit; constant] 0 *
    (scale * Rabs (x - m)) +
    (unit + unit * fold_left (fun total unit0 : R => total + unit0 + total * unit0) [unit; constant] 0) *
    (scale * Rabs m) +
    (1 + most * (1 + fold_left (fun total unit0 : R => total + unit0 + total * unit0) [unit; constant] 0)) * lost.
Proof. exact (@Argument.argument_fma_error). Qed.

(** * Exponential.v *)

Theorem exponential_of_argument :
  forall relative eta argument lost z w y : R,
    0 <= relative < 1 ->
    0 <= eta ->
    Rabs (z - w) <= argument + lost ->
    nearly relative eta y (exp z) ->
    exists t h : R,
     Rabs t <= argument + (relative / (1 - relative) + lost) /\ Rabs h <= eta /\ y = exp w * exp t + h.
Proof. exact (@Exponential.exponential_of_argument). Qed.

Theorem polynomial_exp2_error :
  forall (p : R -> R) (polynomial evaluation reduction eta : R) (k : Z) (f f' power y : R),
    0 <= f' <= 1 ->
    0 <= evaluation ->
    0 <= polynomial ->
    Rabs (f' - f) * ln 2 <= reduction ->
    (forall g : R, 0 <= g <= 1 -> nearly polynomial 0 (p g) (exp2 g)) ->
    nearly evaluation 0 power (p f') ->
    nearly 0 eta y (exp2 (IZR k) * power) ->
    nearly
     (fold_left (fun total unit : R => total + unit + total * unit) [polynomial; evaluation; exp reduction - 1] 0)
     eta y (exp2 (IZR k + f)).
Proof. exact (@Exponential.polynomial_exp2_error). Qed.

(** * ExponentialPaths.v *)

Theorem exponential_by_subtract :
  forall unit lost relative eta : R,
    0 <= relative < 1 ->
    0 <= eta ->
    forall x m z p : R,
    subtracted unit lost x m z ->
    nearly relative eta p (exp z) ->
    exponential_of (x - m) (relative / (1 - relative) + lost + unit * Rabs (x - m)) eta p.
Proof. exact (@ExponentialPaths.exponential_by_subtract). Qed.

Theorem exponential_by_subtract_exp2 :
  forall unit constant lost relative eta : R,
    0 <= unit ->
    0 <= constant ->
    0 <= lost ->
    0 <= relative < 1 ->
    0 <= eta ->
    forall scale most factor : R,
    0 < scale <= most ->
    factor_held constant scale factor ->
    forall x m z p : R,
    subtracted_exp2 unit lost factor x m z ->
    nearly relative eta p (exp2 z) ->
    exponential_of (scale * (x - m))
     (exp2_cost unit constant lost relative most
        (fold_left (fun total unit0 : R => total + unit0 + total * unit0) [unit; unit; constant] 0 *
         (scale * Rabs (x - m)))) eta p.
Proof. exact (@ExponentialPaths.exponential_by_subtract_exp2). Qed.

Theorem exponential_by_fma :
  forall unit constant lost relative eta : R,
    0 <= unit ->
    0 <= constant ->
    0 <= lost ->
    0 <= relative < 1 ->
    0 <= eta ->
    forall scale most factor : R,
    0 < scale <= most ->
    1 <= most ->
    factor_held constant scale factor ->
    forall x m z p : R,
    fused unit lost factor x m z ->
    nearly relative eta p (exp2 z) ->
    exponential_of (scale * (x - m))
     (exp2_cost unit constant lost relative most
        (fold_left (fun total unit0 : R => total + unit0 + total * unit0) [unit; unit; constant] 0 *
         (scale * Rabs (x - m)) +
         (unit + unit * fold_left (fun total unit0 : R => total + unit0 + total * unit0) [unit; constant] 0) *
         (scale * Rabs m))) eta p.
Proof. exact (@ExponentialPaths.exponential_by_fma). Qed.

(** * ArgumentSchedule.v *)

Theorem by_subtract_ok :
  forall unit tau : R,
    0 <= unit -> 0 <= tau -> forall (I : Type) (x : I -> R), unit <= 1 -> argument_ok x tau (by_subtract unit tau x).
Proof. exact (@ArgumentSchedule.by_subtract_ok). Qed.

Theorem by_subtract_exp2_ok :
  forall unit constant tau : R,
    0 <= unit ->
    0 <= constant ->
    0 <= tau ->
    forall (I : Type) (x : I -> R),
    fold_left (fun total unit0 : R => total + unit0 + total * unit0) [unit; unit; constant] 0 <= 1 ->
    argument_ok x tau (by_subtract_exp2 unit constant tau x).
Proof. exact (@ArgumentSchedule.by_subtract_exp2_ok). Qed.

Theorem by_fma_ok :
  forall unit constant tau : R,
    0 <= unit ->
    0 <= constant ->
    0 <= tau ->
    forall (I : Type) (x : I -> R),
    fold_left (fun total unit0 : R => total + unit0 + total * unit0) [unit; unit; constant] 0 + offset unit constant <=
    1 -> argument_ok x tau (by_fma unit constant tau x).
Proof. exact (@ArgumentSchedule.by_fma_ok). Qed.

Theorem distance_known :
  forall tau a m a' m' doubt : R,
    Rabs (a' - a) <= doubt -> Rabs (m' - m) <= doubt -> m' - a' + 2 * tau <= Rabs (m - a) + 2 * doubt + 2 * tau.
Proof. exact (@ArgumentSchedule.distance_known). Qed.

Theorem reach_known :
  forall tau : R,
    0 <= tau ->
    forall a m a' m' doubt : R,
    Rabs (a' - a) <= doubt -> Rabs (m' - m) <= doubt -> reach tau a' m' <= Rmax (Rabs a) (Rabs m) + doubt + tau.
Proof. exact (@ArgumentSchedule.reach_known). Qed.

(** * ExponentialRational.v *)

Theorem argument_subtract_dominates :
  forall distance unit : Q, Q2R unit * Q2R distance <= Q2R (ExponentialRational.argument_subtract distance unit).
Proof. exact (@ExponentialRational.argument_subtract_dominates). Qed.

Theorem argument_subtract_exp2_dominates :
  forall distance unit constant : Q,
    fold_left (fun total unit0 : R => total + unit0 + total * unit0) [Q2R unit; Q2R unit; Q2R constant] 0 *
    Q2R distance <= Q2R (ExponentialRational.argument_subtract_exp2 distance unit constant).
Proof. exact (@ExponentialRational.argument_subtract_exp2_dominates). Qed.

Theorem argument_fma_dominates :
  forall distance shift unit constant : Q,
    fold_left (fun total unit0 : R => total + unit0 + total * unit0) [Q2R unit; Q2R unit; Q2R constant] 0 *
    Q2R distance +
    (Q2R unit +
    Q2R unit * fold_left (fun total unit0 : R => total + unit0 + total * unit0) [Q2R unit; Q2R constant] 0) *
    Q2R shift <= Q2R (ExponentialRational.argument_fma distance shift unit constant).
Proof. exact (@ExponentialRational.argument_fma_dominates). Qed.

Theorem argument_lost_dominates :
  forall scale unit constant lost : Q,
    (1 +
    Q2R scale * (1 + fold_left (fun total unit0 : R => total + unit0 + total * unit0) [Q2R unit; Q2R constant] 0)) *
    Q2R lost <= Q2R (ExponentialRational.argument_lost scale unit constant lost).
Proof. exact (@ExponentialRational.argument_lost_dominates). Qed.

Theorem exponential_error_dominates :
  forall relative lost : Q,
    Q2R relative < 1 ->
    Q2R relative / (1 - Q2R relative) + Q2R lost <= Q2R (ExponentialRational.exponential_error relative lost).
Proof. exact (@ExponentialRational.exponential_error_dominates). Qed.

Theorem polynomial_exp2_dominates :
  forall polynomial evaluation reduction : Q,
    0 <= Q2R polynomial ->
    0 <= Q2R evaluation ->
    0 <= Q2R reduction < 2 ->
    fold_left (fun total unit : R => total + unit + total * unit)
     [Q2R polynomial; Q2R evaluation; exp (Q2R reduction) - 1] 0 <=
    Q2R (ExponentialRational.polynomial_exp2 polynomial evaluation reduction).
Proof. exact (@ExponentialRational.polynomial_exp2_dominates). Qed.
