(** The public theorems of the gradients,
    stated in full a second time; see StatementsRoundoff.v. *)
From Coq Require Import ZArith QArith Qreals Reals List.
From refattn Require Import LogMetric Sums Growth Perturbed Roundoff Rationals GradientRounding GradientSum
  GradientTotals GradientWeights GradientSoftcap GradientScores GradientEndToEnd.
From refattn Require GrowthRational GradientRational.
Import ListNotations.
Open Scope R_scope.

(** * GradientRounding.v *)

Theorem rounds_rounded :
  forall u eta x y a e : R,
    0 <= u -> Rabs (x - a) <= e -> rounds u eta x y -> Rabs (y - a) <= e + u * (Rabs a + e) + eta.
Proof. exact (@GradientRounding.rounds_rounded). Qed.

(** * GradientSum.v *)

Theorem computed_sum_perturbed :
  forall (I J : Type) (u eta v lost : R),
    0 <= u ->
    0 <= v ->
    0 <= eta ->
    0 <= lost ->
    forall (f : I -> list J) (a T : J -> R) (H : I -> R) (leaf : I -> R -> Prop) (xs : list I) (m : nat) (r : R),
    (forall (i : I) (x : R), In i xs -> leaf i x -> perturbed (f i) a T (H i) x) ->
    (forall i : I, In i xs -> 0 <= H i) ->
    computed_sum u eta v lost leaf xs m r ->
    perturbed (flat_map f xs) a (fun j : J => T j + sum_cost u v (length xs) m)
     ((sumf H xs + sum_lost eta lost (length xs) m) * exp (sum_cost u v (length xs) m)) r.
Proof. exact (@GradientSum.computed_sum_perturbed). Qed.

(** * GradientTotals.v *)

Theorem gathered_perturbed :
  forall (I G : Type) (u eta v lost w zeta cost loss scale n k : R),
    0 <= u ->
    0 <= v ->
    0 <= w ->
    0 <= eta ->
    0 <= lost ->
    0 <= zeta ->
    0 <= cost ->
    0 <= loss ->
    forall (y b : I -> R) (pairs : G -> list I) (gs : list G) (total : R),
    gathered u eta v lost w zeta cost loss scale n k y b pairs gs total ->
    let additions := n * u + cost + k * v + INR (length gs) * w in
    let lost_all := INR (length gs) * (Rabs scale * (2 * n * eta + k * lost) + loss + 2 * zeta) in
    perturbed (flat_map pairs gs) (fun i : I => y i * b i * scale) (fun _ : I => additions)
     (lost_all * exp additions) total.
Proof. exact (@GradientTotals.gathered_perturbed). Qed.

Theorem gradient_sum_error :
  forall (I G : Type) (u eta v lost w zeta cost loss scale n k : R),
    0 <= u ->
    0 <= v ->
    0 <= w ->
    0 <= eta ->
    0 <= lost ->
    0 <= zeta ->
    0 <= cost ->
    0 <= loss ->
    forall (y b a E : I -> R) (pairs : G -> list I) (gs : list G) (total : R),
    (forall i : I, In i (flat_map pairs gs) -> Rabs (y i - a i) <= E i) ->
    gathered u eta v lost w zeta cost loss scale n k y b pairs gs total ->
    let all := flat_map pairs gs in
    Rabs (total - sumf (fun i : I => a i * b i * scale) all) <=
    sumf (fun i : I => E i * (Rabs (b i) * Rabs scale)) all +
    (exp (n * u + cost + k * v + INR (length gs) * w) - 1) *
    (sumf (fun i : I => Rabs (a i) * (Rabs (b i) * Rabs scale)) all +
    sumf (fun i : I => E i * (Rabs (b i) * Rabs scale)) all) +
    INR (length gs) * (Rabs scale * (2 * n * eta + k * lost) + loss + 2 * zeta) *
    (1 + (exp (n * u + cost + k * v + INR (length gs) * w) - 1)).
Proof. exact (@GradientTotals.gradient_sum_error). Qed.

(** * GradientWeights.v *)

Theorem p_recompute_error :
  forall s s' l l' z t h p score lse argument exponential lost : R,
    Rabs (s' - s) <= score ->
    Rabs (l' - l) <= lse ->
    Rabs (z - (s' - l')) <= argument ->
    Rabs t <= exponential ->
    Rabs h <= lost ->
    p = exp z * exp t + h -> recomputed (score + lse + argument + exponential) lost (exp (s - l)) p.
Proof. exact (@GradientWeights.p_recompute_error). Qed.

Theorem value_weight_error_bound :
  forall T lost w p kept gain gain_lost g cast cast_lost c grown : R,
    0 <= w ->
    0 <= kept ->
    0 <= cast ->
    0 <= gain ->
    recomputed T lost w p ->
    multiplied gain gain_lost kept p g ->
    rounds cast cast_lost g c ->
    w * (exp (T + (gain + cast)) - 1) <= grown ->
    Rabs (c - w * kept) <=
    kept * (grown + lost * (1 + (exp (gain + cast) - 1))) + gain_lost * (1 + (exp cast - 1)) + cast_lost.
Proof. exact (@GradientWeights.value_weight_error_bound). Qed.

(** * GradientSoftcap.v *)

Theorem sech2_lipschitz :
  forall a b : R, Rabs (1 - tanh a * tanh a - (1 - tanh b * tanh b)) <= 77 / 100 * Rabs (a - b).
Proof. exact (@GradientSoftcap.sech2_lipschitz). Qed.

Theorem softcap_gradient_bound :
  forall a e constant u eta cap held capped x xx f : R,
    0 < cap ->
    0 <= constant ->
    0 <= u ->
    0 <= eta ->
    0 <= e ->
    Rabs (capped - cap * tanh a) <= cap * e ->
    rounds constant 0 cap held /\ rounds u eta (capped / held) x \/ Rabs (x - tanh a) <= e ->
    rounds u eta (x * x) xx ->
    rounds u eta (1 - xx) f ->
    Rabs (f - (1 - tanh a * tanh a)) <=
    (let off := e + (exp (constant + u) - 1) * (Rabs (tanh a) + e) + eta in
    let square :=
      off * (2 * Rabs (tanh a) + off) + u * (Rabs (tanh a) * Rabs (tanh a) + off * (2 * Rabs (tanh a) + off)) + eta
      in
    square + u * (1 - Rabs (tanh a) * Rabs (tanh a) + square) + eta).
Proof. exact (@GradientSoftcap.softcap_gradient_bound). Qed.

Theorem through_softcap_bound :
  forall ds a e f factor ef u eta x : R,
    0 <= u ->
    0 <= factor ->
    Rabs (ds - a) <= e ->
    Rabs (f - factor) <= ef ->
    rounds u eta (ds * f) x ->
    Rabs (x - a * factor) <=
    e * factor + (Rabs a + e) * ef + u * (Rabs a * factor + (e * factor + (Rabs a + e) * ef)) + eta.
Proof. exact (@GradientSoftcap.through_softcap_bound). Qed.

(** * GradientScores.v *)

Theorem probability_gradient_error_bound :
  forall (C : Type) (u eta n : R),
    0 <= u ->
    0 <= eta ->
    forall (dO v : C -> R) (cs : list C) (r kept gain gain_lost dp : R),
    0 <= kept ->
    0 <= gain ->
    0 <= gain_lost ->
    INR (length cs) <= n ->
    added u eta 0 0 dO v cs 0 r ->
    multiplied gain gain_lost kept r dp ->
    Rabs (dp - kept * sumf (fun c : C => dO c * v c) cs) <=
    0 + (exp (n * u + gain) - 1) * (kept * sumf (fun c : C => Rabs (dO c * v c)) cs + 0) +
    (kept * (2 * n * eta) + gain_lost) * (1 + (exp (n * u + gain) - 1)).
Proof. exact (@GradientScores.probability_gradient_error_bound). Qed.

Theorem delta_error_bound :
  forall (C : Type) (u eta n : R),
    0 <= u ->
    0 <= eta ->
    forall (dO o o' E : C -> R) (cs : list C) (r : R),
    (forall c : C, In c cs -> Rabs (o' c - o c) <= E c) ->
    INR (length cs) <= n ->
    added u eta 0 0 o' dO cs 0 r ->
    Rabs (r - sumf (fun c : C => dO c * o c) cs) <=
    sumf (fun c : C => Rabs (dO c) * E c) cs +
    (exp (n * u) - 1) * (sumf (fun c : C => Rabs (dO c * o c)) cs + sumf (fun c : C => Rabs (dO c) * E c) cs) +
    2 * n * eta * (1 + (exp (n * u) - 1)).
Proof. exact (@GradientScores.delta_error_bound). Qed.

Theorem slope_error_bound :
  forall inner u eta dP dp ep delta delta' ed dl s : R,
    0 <= inner ->
    0 <= u ->
    0 <= eta ->
    Rabs (dp - dP) <= ep ->
    Rabs (delta' - delta) <= ed ->
    differences inner u eta dp delta' dl s ->
    exists x t : R,
     Rabs t <= u /\
     s = x * exp t /\
     Rabs (x - (dP - delta + dl)) <=
     ep + ed + (exp inner - 1) * (Rabs dP + ep + (Rabs delta + ed) + Rabs dl) + 2 * eta * (1 + (exp u - 1)).
Proof. exact (@GradientScores.slope_error_bound). Qed.

Theorem score_gradient_error_bound :
  forall T lost w p g x t s e u eta ds grown : R,
    0 <= w ->
    0 <= u ->
    recomputed T lost w p ->
    Rabs t <= u ->
    s = x * exp t ->
    Rabs (x - g) <= e ->
    rounds u eta (p * s) ds ->
    w * (exp (T + 2 * u) - 1) <= grown ->
    Rabs (ds - w * g) <=
    (grown + lost * (1 + (exp (2 * u) - 1))) * Rabs g + (w + (grown + lost * (1 + (exp (2 * u) - 1)))) * e + eta.
Proof. exact (@GradientScores.score_gradient_error_bound). Qed.

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
    Q2R product_error + Q2R delta_error + (exp (Q2R inner) - 1) * Q2R height +
    2 * Q2R lost * (1 + (exp (Q2R unit) - 1)) <=
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
