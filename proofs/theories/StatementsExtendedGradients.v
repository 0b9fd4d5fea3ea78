(** The public theorems of the radii of rung 2's gradients,
    stated in full a second time; see StatementsRoundoff.v. *)
From Coq Require Import ZArith QArith Qreals Reals List.
From refattn Require Import LogMetric Sums Growth Roundoff Extended ExtendedGradients.
From refattn Require GrowthRational ExtendedGradientsRational.
Import ListNotations.
Open Scope R_scope.

(** * ExtendedGradients.v *)

Theorem share_error_bounded :
  forall p q L M l d weight_error lost last : R,
    0 < l ->
    lost < 1 ->
    last < 1 ->
    rerr weight_error L M ->
    Rabs (M - l) <= lost * l ->
    rerr weight_error p q ->
    Rabs d <= last -> rerr (2 * weight_error + log_error lost + log_error last) (p / L) (q / l * (1 + d)).
Proof. exact (@ExtendedGradients.share_error_bounded). Qed.

Theorem slope_radius_bounded :
  forall (C : Type) (cs : list C) (upstream out out' radius : C -> R)
    (keep gain dp dp' dlse slope product words height : R),
    0 <= gain ->
    0 <= keep <= 1 ->
    Rabs (dp' - dp) <= product ->
    (forall c : C, In c cs -> Rabs (out' c - out c) <= radius c) ->
    Rabs (slope - (keep * (gain * dp') - sumf (fun c : C => upstream c * out' c) cs + dlse)) <= words * height ->
    Rabs (slope - (keep * (gain * dp) - sumf (fun c : C => upstream c * out c) cs + dlse)) <=
    gain * product + sumf (fun c : C => Rabs (upstream c) * radius c) cs + words * height.
Proof. exact (@ExtendedGradients.slope_radius_bounded). Qed.

Theorem score_gradient_radius_bounded :
  forall share product slope hidden weight weight' x gradient : R,
    0 <= weight ->
    0 <= weight' ->
    0 <= share ->
    0 <= slope ->
    0 <= hidden ->
    product < 1 ->
    (exists d x' : R,
       Rabs d <= product /\
       Rabs (x' - x) <= slope /\ rerr share weight weight' /\ gradient = weight' * x' * (1 + d)) \/
    weight' = 0 /\ gradient = 0 /\ Rabs (weight * x) <= hidden ->
    Rabs (gradient - weight * x) <=
    growth (share + log_error product) * Rabs gradient + (1 + growth share) * weight' * slope + hidden.
Proof. exact (@ExtendedGradients.score_gradient_radius_bounded). Qed.

Theorem query_gradient_radius_bounded :
  forall (I : Type) (keys : list I) (weight weight' x gradient k : I -> R)
    (share product slope nothing moved hidden size left_out computed : R),
    (forall j : I, In j keys -> 0 <= weight j) ->
    sumf weight keys <= 1 ->
    0 <= slope ->
    0 <= nothing ->
    product < 1 ->
    0 <= share + log_error product ->
    (forall j : I,
     In j keys -> gradient_close share product slope nothing (weight j) (weight' j) (x j) (gradient j)) ->
    (forall j : I, In j keys -> Rabs (k j) <= size) ->
    0 <= size ->
    sumf (fun j : I => Rabs (gradient j * k j)) keys <= moved ->
    INR (length keys) * nothing <= hidden ->
    Rabs (computed - sumf (fun j : I => gradient j * k j) keys) <= left_out ->
    Rabs (computed - sumf (fun j : I => weight j * x j * k j) keys) <=
    growth (share + log_error product) * moved + (slope + hidden) * size + left_out.
Proof. exact (@ExtendedGradients.query_gradient_radius_bounded). Qed.

Theorem value_weight_radius_bounded :
  forall share product hidden weight weight' gain d kept : R,
    0 <= hidden ->
    product < 1 ->
    0 <= share + log_error product ->
    rerr share weight weight' /\ Rabs d <= product /\ kept = weight' * gain * (1 + d) \/
    kept = 0 /\ Rabs (weight * gain) <= hidden ->
    Rabs (kept - weight * gain) <= growth (share + log_error product) * Rabs kept + hidden.
Proof. exact (@ExtendedGradients.value_weight_radius_bounded). Qed.

Theorem gathered_radius_bounded :
  forall (I : Type) (queries : list I) (exact found radius b : I -> R) (total size left_out computed : R),
    (forall i : I, In i queries -> Rabs (found i - exact i) <= radius i) ->
    (forall i : I, In i queries -> Rabs (b i) <= size) ->
    sumf radius queries <= total ->
    0 <= size ->
    Rabs (computed - sumf (fun i : I => found i * b i) queries) <= left_out ->
    Rabs (computed - sumf (fun i : I => exact i * b i) queries) <= total * size + left_out.
Proof. exact (@ExtendedGradients.gathered_radius_bounded). Qed.

Theorem scaled_radius_bounded :
  forall (I : Type) (blocks : list I) (exact found radius : I -> R) (factor words last computed result : R),
    (forall i : I, In i blocks -> Rabs (found i - exact i) <= radius i) ->
    Rabs (computed - sumf found blocks) <= words ->
    Rabs (result - factor * computed) <= last ->
    Rabs (result - factor * sumf exact blocks) <= Rabs factor * (sumf radius blocks + words) + last.
Proof. exact (@ExtendedGradients.scaled_radius_bounded). Qed.

(** * ExtendedGradientsRational.v *)

Theorem share_error_dominates :
  forall weight_error lost last : Q,
    Q2R lost < 1 ->
    Q2R last < 1 ->
    share_error (Q2R weight_error) (Q2R lost) (Q2R last) <=
    Q2R (ExtendedGradientsRational.share_error weight_error lost last).
Proof. exact (@ExtendedGradientsRational.share_error_dominates). Qed.

Theorem slope_radius_dominates :
  forall gain product delta words height : Q,
    slope_radius (Q2R gain) (Q2R product) (Q2R delta) (Q2R words) (Q2R height) <=
    Q2R (ExtendedGradientsRational.slope_radius gain product delta words height).
Proof. exact (@ExtendedGradientsRational.slope_radius_dominates). Qed.

Theorem score_gradient_radius_dominates :
  forall share product gradient weight slope hidden : Q,
    0 <= Q2R share < 2 ->
    0 <= Q2R product < 1 ->
    Q2R (share + GrowthRational.log_error product) < 2 ->
    0 <= Q2R gradient ->
    0 <= Q2R weight ->
    0 <= Q2R slope ->
    score_gradient_radius (Q2R share) (Q2R product) (Q2R gradient) (Q2R weight) (Q2R slope) (Q2R hidden) <=
    Q2R (ExtendedGradientsRational.score_gradient_radius share product gradient weight slope hidden).
Proof. exact (@ExtendedGradientsRational.score_gradient_radius_dominates). Qed.

Theorem query_gradient_radius_dominates :
  forall share product moved slope hidden size left_out : Q,
    0 <= Q2R share ->
    0 <= Q2R product < 1 ->
    Q2R (share + GrowthRational.log_error product) < 2 ->
    0 <= Q2R moved ->
    query_gradient_radius (Q2R share) (Q2R product) (Q2R moved) (Q2R slope) (Q2R hidden) (Q2R size) (Q2R left_out) <=
    Q2R (ExtendedGradientsRational.query_gradient_radius share product moved slope hidden size left_out).
Proof. exact (@ExtendedGradientsRational.query_gradient_radius_dominates). Qed.

Theorem value_weight_radius_dominates :
  forall share product weight hidden : Q,
    0 <= Q2R share ->
    0 <= Q2R product < 1 ->
    Q2R (share + GrowthRational.log_error product) < 2 ->
    0 <= Q2R weight ->
    value_weight_radius (Q2R share) (Q2R product) (Q2R weight) (Q2R hidden) <=
    Q2R (ExtendedGradientsRational.value_weight_radius share product weight hidden).
Proof. exact (@ExtendedGradientsRational.value_weight_radius_dominates). Qed.

Theorem gathered_radius_dominates :
  forall total size left_out : Q,
    gathered_radius (Q2R total) (Q2R size) (Q2R left_out) <=
    Q2R (ExtendedGradientsRational.gathered_radius total size left_out).
Proof. exact (@ExtendedGradientsRational.gathered_radius_dominates). Qed.

Theorem scaled_radius_dominates :
  forall radius factor last : Q,
    scaled_radius (Q2R radius) (Q2R factor) (Q2R last) <=
    Q2R (ExtendedGradientsRational.scaled_radius radius factor last).
Proof. exact (@ExtendedGradientsRational.scaled_radius_dominates). Qed.
