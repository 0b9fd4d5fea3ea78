(** The public theorems of the gradients from end to end, and their rational twins,
    stated in full a second time; see StatementsRoundoff.v. *)
From Coq Require Import ZArith QArith Qreals Reals List.
From refattn Require Import LogMetric Sums Growth Perturbed Roundoff Rationals GradientRounding GradientSum
  GradientTotals GradientWeights GradientScores GradientSoftcap GradientEndToEnd.
From refattn Require GrowthRational GradientRational.
Import ListNotations.
Open Scope R_scope.

(** * GradientEndToEnd.v *)

Theorem score_gradient_bound :
  forall (I C : Type) (X : problem I C) (D : doubts I C),
    stage_ok (dot D) ->
    stage_ok (accumulator D) ->
    0 <= inner D ->
    0 <= gain D ->
    0 <= gain_lost D ->
    (forall i : I, 0 <= kept X i) ->
    forall (i : I) (ds : R),
    score_gradient_computed X D i ds -> Rabs (ds - score_gradient X i) <= score_gradient_off X D i.
Proof. exact (@GradientEndToEnd.score_gradient_bound). Qed.

Theorem sink_gradient_bound :
  forall (I C : Type) (X : problem I C) (D : doubts I C),
    stage_ok (accumulator D) ->
    forall (i : I) (ds : R),
    sink_gradient_computed X D i ds -> Rabs (ds - weight X i * sink_slope X i) <= sink_gradient_off X D i.
Proof. exact (@GradientEndToEnd.sink_gradient_bound). Qed.

Theorem operand_bound :
  forall (I C : Type) (X : problem I C) (D : doubts I C),
    stage_ok (dot D) ->
    stage_ok (accumulator D) ->
    stage_ok (scores D) ->
    stage_ok (operand D) ->
    0 <= constant D ->
    0 <= inner D ->
    0 <= gain D ->
    0 <= gain_lost D ->
    (forall i : I, 0 <= kept X i) ->
    (forall i : I, 0 <= tanh_off D i) ->
    (forall cap : R, softcap X = Some cap -> 0 < cap) ->
    forall (i : I) (y : R),
    operand_computed X D i y -> Rabs (y - score_gradient X i * factor X i) <= operand_off X D i.
Proof. exact (@GradientEndToEnd.operand_bound). Qed.

Theorem dropped_weight_bound :
  forall (I C : Type) (X : problem I C) (D : doubts I C),
    stage_ok (operand D) ->
    0 <= gain D ->
    (forall i : I, 0 <= kept X i) ->
    forall (i : I) (y : R),
    dropped_weight_computed X D i y -> Rabs (y - dropped_weight X i) <= dropped_weight_off X D i.
Proof. exact (@GradientEndToEnd.dropped_weight_bound). Qed.

Theorem gradient_bound :
  forall (I C : Type) (D : doubts I C),
    stage_ok (accumulator D) ->
    forall (G : Type) (again group result : stage) (scale cost loss n k : R),
    stage_ok again ->
    stage_ok group ->
    stage_ok result ->
    0 <= cost ->
    0 <= loss ->
    forall (a E y b : I -> R) (pairs : G -> list I) (gs : list G) (gradient : R),
    (forall i : I, In i (flat_map pairs gs) -> Rabs (y i - a i) <= E i) ->
    gradient_computed D again group result scale cost loss n k y b pairs gs gradient ->
    Rabs (gradient - sumf (fun i : I => a i * b i * scale) (flat_map pairs gs)) <=
    gradient_off D again group result scale cost loss n k a E b pairs gs.
Proof. exact (@GradientEndToEnd.gradient_bound). Qed.

Theorem query_and_key_gradient_bound :
  forall (I C : Type) (X : problem I C) (D : doubts I C),
    stage_ok (dot D) ->
    stage_ok (accumulator D) ->
    stage_ok (scores D) ->
    stage_ok (operand D) ->
    0 <= constant D ->
    0 <= inner D ->
    0 <= gain D ->
    0 <= gain_lost D ->
    (forall i : I, 0 <= kept X i) ->
    (forall i : I, 0 <= tanh_off D i) ->
    (forall cap : R, softcap X = Some cap -> 0 < cap) ->
    forall (G : Type) (again group result : stage) (scale cost loss n k : R),
    stage_ok again ->
    stage_ok group ->
    stage_ok result ->
    0 <= cost ->
    0 <= loss ->
    forall (y b : I -> R) (pairs : G -> list I) (gs : list G) (gradient : R),
    (forall i : I, In i (flat_map pairs gs) -> operand_computed X D i (y i)) ->
    gradient_computed D again group result scale cost loss n k y b pairs gs gradient ->
    Rabs (gradient - sumf (fun i : I => score_gradient X i * factor X i * b i * scale) (flat_map pairs gs)) <=
    gradient_off D again group result scale cost loss n k (fun i : I => score_gradient X i * factor X i)
     (operand_off X D) b pairs gs.
Proof. exact (@GradientEndToEnd.query_and_key_gradient_bound). Qed.

Theorem value_gradient_bound :
  forall (I C : Type) (X : problem I C) (D : doubts I C),
    stage_ok (accumulator D) ->
    stage_ok (operand D) ->
    0 <= gain D ->
    (forall i : I, 0 <= kept X i) ->
    forall (G : Type) (again group result : stage) (scale cost loss n k : R),
    stage_ok again ->
    stage_ok group ->
    stage_ok result ->
    0 <= cost ->
    0 <= loss ->
    forall (y b : I -> R) (pairs : G -> list I) (gs : list G) (gradient : R),
    (forall i : I, In i (flat_map pairs gs) -> dropped_weight_computed X D i (y i)) ->
    gradient_computed D again group result scale cost loss n k y b pairs gs gradient ->
    Rabs (gradient - sumf (fun i : I => dropped_weight X i * b i * scale) (flat_map pairs gs)) <=
    gradient_off D again group result scale cost loss n k (dropped_weight X) (dropped_weight_off X D) b pairs gs.
Proof. exact (@GradientEndToEnd.value_gradient_bound). Qed.

Theorem bias_gradient_bound :
  forall (I C : Type) (X : problem I C) (D : doubts I C),
    stage_ok (dot D) ->
    stage_ok (accumulator D) ->
    0 <= inner D ->
    0 <= gain D ->
    0 <= gain_lost D ->
    (forall i : I, 0 <= kept X i) ->
    forall (G : Type) (again group result : stage) (scale cost loss n k : R),
    stage_ok again ->
    stage_ok group ->
    stage_ok result ->
    0 <= cost ->
    0 <= loss ->
    forall (y b : I -> R) (pairs : G -> list I) (gs : list G) (gradient : R),
    (forall i : I, In i (flat_map pairs gs) -> score_gradient_computed X D i (y i)) ->
    gradient_computed D again group result scale cost loss n k y b pairs gs gradient ->
    Rabs (gradient - sumf (fun i : I => score_gradient X i * b i * scale) (flat_map pairs gs)) <=
    gradient_off D again group result scale cost loss n k (score_gradient X) (score_gradient_off X D) b pairs gs.
Proof. exact (@GradientEndToEnd.bias_gradient_bound). Qed.

Theorem sink_total_bound :
  forall (I C : Type) (X : problem I C) (D : doubts I C),
    stage_ok (accumulator D) ->
    forall (G : Type) (again group result : stage) (scale cost loss n k : R),
    stage_ok again ->
    stage_ok group ->
    stage_ok result ->
    0 <= cost ->
    0 <= loss ->
    forall (y b : I -> R) (pairs : G -> list I) (gs : list G) (gradient : R),
    (forall i : I, In i (flat_map pairs gs) -> sink_gradient_computed X D i (y i)) ->
    gradient_computed D again group result scale cost loss n k y b pairs gs gradient ->
    Rabs (gradient - sumf (fun i : I => weight X i * sink_slope X i * b i * scale) (flat_map pairs gs)) <=
    gradient_off D again group result scale cost loss n k (fun i : I => weight X i * sink_slope X i)
     (sink_gradient_off X D) b pairs gs.
Proof. exact (@GradientEndToEnd.sink_total_bound). Qed.

(** * GradientRational.v *)

Theorem p_recompute_dominates :
  forall score lse argument exponential : Q,
    Q2R score + Q2R lse + Q2R argument + Q2R exponential <=
    Q2R (GradientRational.p_recompute score lse argument exponential).
Proof. exact (@GradientRational.p_recompute_dominates). Qed.

Theorem gradient_sum_dominates :
  forall magnitude error additions lost : Q,
    0 <= Q2R additions < 2 ->
    0 <= Q2R magnitude ->
    0 <= Q2R error ->
    0 <= Q2R lost ->
    Q2R error + (exp (Q2R additions) - 1) * (Q2R magnitude + Q2R error) + Q2R lost * (1 + (exp (Q2R additions) - 1)) <=
    Q2R (GradientRational.gradient_sum magnitude error additions lost).
Proof. exact (@GradientRational.gradient_sum_dominates). Qed.

Theorem gradient_additions_dominates :
  forall terms unit scaling roundings again group group_unit : Q,
    Q2R terms * Q2R unit + Q2R scaling + Q2R roundings * Q2R again + Q2R group * Q2R group_unit <=
    Q2R (GradientRational.gradient_additions terms unit scaling roundings again group group_unit).
Proof. exact (@GradientRational.gradient_additions_dominates). Qed.

Theorem gradient_underflow_dominates :
  forall terms lost scale scaling_lost roundings again_lost group group_lost : Q,
    Q2R group *
    (Q2R scale * (2 * Q2R terms * Q2R lost + Q2R roundings * Q2R again_lost) + Q2R scaling_lost + 2 * Q2R group_lost) <=
    Q2R (GradientRational.gradient_underflow terms lost scale scaling_lost roundings again_lost group group_lost).
Proof. exact (@GradientRational.gradient_underflow_dominates). Qed.

Theorem probability_gradient_error_dominates :
  forall width unit reach lost kept gain gain_lost : Q,
    0 <= Q2R (width * unit + gain) < 2 ->
    0 <= Q2R width ->
    0 <= Q2R reach ->
    0 <= Q2R lost ->
    0 <= Q2R kept ->
    0 <= Q2R gain_lost ->
    0 + (exp (Q2R width * Q2R unit + Q2R gain) - 1) * (Q2R kept * Q2R reach + 0) +
    (Q2R kept * (2 * Q2R width * Q2R lost) + Q2R gain_lost) * (1 + (exp (Q2R width * Q2R unit + Q2R gain) - 1)) <=
    Q2R (GradientRational.probability_gradient_error width unit reach lost kept gain gain_lost).
Proof. exact (@GradientRational.probability_gradient_error_dominates). Qed.

Theorem delta_error_dominates :
  forall width unit products doubt lost : Q,
    0 <= Q2R (width * unit) < 2 ->
    0 <= Q2R width ->
    0 <= Q2R products ->
    0 <= Q2R doubt ->
    0 <= Q2R lost ->
    Q2R doubt + (exp (Q2R width * Q2R unit) - 1) * (Q2R products + Q2R doubt) +
    2 * Q2R width * Q2R lost * (1 + (exp (Q2R width * Q2R unit) - 1)) <=
    Q2R (GradientRational.delta_error width unit products doubt lost).
Proof. exact (@GradientRational.delta_error_dominates). Qed.

Theorem slope_error_dominates :
  forall product_error delta_error height inner unit lost : Q,
    0 <= Q2R inner < 2 ->
    0 <= Q2R unit < 2 ->
    0 <= Q2R height ->
    0 <= Q2R lost ->
    Q2R product_error + Q2R delta_error + (exp (Q2R inner) - 1) * Q2R height + Q2R lost * (2 + (exp (Q2R unit) - 1)) <=
    Q2R (GradientRational.slope_error product_error delta_error height inner unit lost).
Proof. exact (@GradientRational.slope_error_dominates). Qed.

Theorem weight_error_dominates :
  forall grown roundings lost : Q,
    0 <= Q2R roundings < 2 ->
    0 <= Q2R lost ->
    Q2R grown + Q2R lost * (1 + (exp (Q2R roundings) - 1)) <=
    Q2R (GradientRational.weight_error grown roundings lost).
Proof. exact (@GradientRational.weight_error_dominates). Qed.

Theorem score_gradient_error_dominates :
  forall weight weight_error slope slope_error lost : Q,
    Q2R weight_error * Q2R slope + (Q2R weight + Q2R weight_error) * Q2R slope_error + Q2R lost <=
    Q2R (GradientRational.score_gradient_error weight weight_error slope slope_error lost).
Proof. exact (@GradientRational.score_gradient_error_dominates). Qed.

Theorem softcap_gradient_dominates :
  forall tanh error unit constant lost : Q,
    0 <= Q2R (constant + unit) < 2 ->
    0 <= Q2R tanh <= 1 ->
    0 <= Q2R error ->
    0 <= Q2R unit ->
    0 <= Q2R lost ->
    (let off := Q2R error + (exp (Q2R constant + Q2R unit) - 1) * (Q2R tanh + Q2R error) + Q2R lost in
    let square :=
      off * (2 * Q2R tanh + off) + Q2R unit * (Q2R tanh * Q2R tanh + off * (2 * Q2R tanh + off)) + Q2R lost in
    square + Q2R unit * (1 - Q2R tanh * Q2R tanh + square) + Q2R lost) <=
    Q2R (GradientRational.softcap_gradient tanh error unit constant lost).
Proof. exact (@GradientRational.softcap_gradient_dominates). Qed.

Theorem through_softcap_dominates :
  forall error size factor factor_error unit lost : Q,
    Q2R error * Q2R factor + (Q2R size + Q2R error) * Q2R factor_error +
    Q2R unit * (Q2R size * Q2R factor + (Q2R error * Q2R factor + (Q2R size + Q2R error) * Q2R factor_error)) +
    Q2R lost <= Q2R (GradientRational.through_softcap error size factor factor_error unit lost).
Proof. exact (@GradientRational.through_softcap_dominates). Qed.

Theorem value_weight_error_dominates :
  forall weight_error kept cast gain_lost cast_lost : Q,
    0 <= Q2R cast < 2 ->
    0 <= Q2R gain_lost ->
    Q2R kept * Q2R weight_error + Q2R gain_lost * (1 + (exp (Q2R cast) - 1)) + Q2R cast_lost <=
    Q2R (GradientRational.value_weight_error weight_error kept cast gain_lost cast_lost).
Proof. exact (@GradientRational.value_weight_error_dominates). Qed.
