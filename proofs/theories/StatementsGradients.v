(** The public theorems of the gradients,
    stated in full a second time; see StatementsRoundoff.v. *)
From Coq Require Import ZArith QArith Qreals Reals List.
From refattn Require Import LogMetric Sums Growth Perturbed Roundoff GradientRounding GradientSum GradientTotals
  GradientWeights GradientScores GradientSoftcap.
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
     ep + ed + (exp inner - 1) * (Rabs dP + ep + (Rabs delta + ed) + Rabs dl) + eta * (2 + (exp u - 1)).
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
