(** From the operations of a kernel to the leaves and rescales of a schedule: exp (x - m) on each of the three paths. *)
From Coq Require Import Reals List Lra.
From refattn Require Import LogMetric Roundoff Nearly Argument Exponential.
Import ListNotations.
Open Scope R_scope.

(** p is e^w up to a factor e^t and an absolute error h. *)
Definition exponential_of (w cost eta p : R) : Prop :=
  exists t h, Rabs t <= cost /\ Rabs h <= eta /\ p = exp w * exp t + h.

Section Paths.
Variables unit constant lost relative eta : R.
Hypothesis unit_nonneg : 0 <= unit.
Hypothesis constant_nonneg : 0 <= constant.
Hypothesis lost_nonneg : 0 <= lost.
Hypothesis relative_small : 0 <= relative < 1.
Hypothesis eta_nonneg : 0 <= eta.

Theorem exponential_by_subtract x m z p : subtracted unit lost x m z -> nearly relative eta p (exp z) ->
  exponential_of (x - m) (exponential_error relative lost + argument_subtract (Rabs (x - m)) unit) eta p.
Proof.
  intros Hz Hp. rewrite Rplus_comm. now apply exponential_of_argument with z.
Qed.

(** In base 2, scores and references being in units of [scale] <= [most] nats. *)
Variables scale most factor : R.
Hypothesis scale_positive : 0 < scale <= most.
Hypothesis most_at_least_1 : 1 <= most.
Hypothesis factor_near : factor_held constant scale factor.

Definition exp2_cost (argument : R) : R :=
  exponential_error relative (argument_lost most unit constant lost) + argument.

Theorem exponential_by_subtract_exp2 x m z p :
  subtracted_exp2 unit lost factor x m z -> nearly relative eta p (exp2 z) ->
  exponential_of (scale * (x - m)) (exp2_cost (argument_subtract_exp2 (scale * Rabs (x - m)) unit constant)) eta p.
Proof.
  intros Hz Hp. unfold exp2_cost. rewrite Rplus_comm. apply exponential_of_argument with (z * ln 2); auto.
  now apply argument_subtract_exp2_error with factor.
Qed.

Theorem exponential_by_fma x m z p : fused unit lost factor x m z -> nearly relative eta p (exp2 z) ->
  exponential_of (scale * (x - m))
    (exp2_cost (argument_fma (scale * Rabs (x - m)) (scale * Rabs m) unit constant)) eta p.
Proof.
  intros Hz Hp. unfold exp2_cost. rewrite Rplus_comm. apply exponential_of_argument with (z * ln 2); auto.
  now apply argument_fma_error with factor.
Qed.
End Paths.
