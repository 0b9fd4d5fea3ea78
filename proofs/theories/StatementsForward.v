(** The public theorems of the normaliser, the output and the log-sum-exp,
    stated in full a second time; see StatementsRoundoff.v. *)
From Coq Require Import ZArith QArith Qreals Reals List.
From refattn Require Import LogMetric Sums Growth Perturbed Schedule ScheduleCost ScheduleAnyOrder Roundoff Rationals
  Splits Normaliser LogSumExp Output OutputCast Hull HullSum.
From refattn Require GrowthRational ForwardRational.
Import ListNotations.
Open Scope R_scope.

(** * Normaliser.v *)

Theorem common_excess_exact :
  forall (I : Type) (xs : list I) (a T : I -> R) (b : R),
    sumf (fun i : I => a i * (exp (T i + b) - 1)) xs =
    sumf (fun i : I => a i * (exp (T i) - 1)) xs +
    (exp b - 1) * (sumf (fun i : I => a i * (exp (T i) - 1)) xs + sumf a xs).
Proof. exact (@Normaliser.common_excess_exact). Qed.

Theorem normaliser_between :
  forall (I : Type) (xs : list I) (p T : I -> R) (H r : R),
    (forall i : I, In i xs -> 0 <= p i) ->
    (forall i : I, In i xs -> 0 <= T i) ->
    0 < sumf p xs ->
    0 <= H ->
    perturbed xs p T H r ->
    let L := sumf p xs in
    let X := excess xs p T in
    let D := (1 + X) / (1 - H / L * (1 + X)) - 1 in H / L * (1 + X) < 1 -> 0 <= D /\ L / (1 + D) <= r <= L * (1 + D).
Proof. exact (@Normaliser.normaliser_between). Qed.

Theorem normaliser_relative :
  forall (I : Type) (xs : list I) (p T : I -> R) (H r : R),
    (forall i : I, In i xs -> 0 <= p i) ->
    (forall i : I, In i xs -> 0 <= T i) ->
    0 < sumf p xs ->
    0 <= H ->
    perturbed xs p T H r ->
    let L := sumf p xs in
    let D := (1 + excess xs p T) / (1 - H / L * (1 + excess xs p T)) - 1 in
    H / L * (1 + excess xs p T) < 1 -> 0 < r /\ Rabs (r - L) <= D * L /\ Rabs (r - L) <= D * r.
Proof. exact (@Normaliser.normaliser_relative). Qed.

(** * LogSumExp.v *)

Theorem log_excess :
  forall (I : Type) (xs : list I) (p T : I -> R) (most : R),
    (forall i : I, In i xs -> 0 <= p i) ->
    0 < sumf p xs -> (forall i : I, In i xs -> T i <= most) -> ln (1 + excess xs p T) <= most.
Proof. exact (@LogSumExp.log_excess). Qed.

Theorem lse_bounded :
  forall m M L l D doubt turned logarithm result turn log unit lost : R,
    0 < L ->
    0 < l ->
    0 <= D ->
    0 <= turn ->
    0 <= log ->
    0 <= unit ->
    Rabs (M - m) <= doubt ->
    L / (1 + D) <= l / exp (m - M) <= L * (1 + D) ->
    Rabs (turned - M) <= turn * Rabs M + lost ->
    Rabs (logarithm - ln l) <= log * Rabs (ln l) + lost ->
    Rabs (result - (turned + logarithm)) <= unit * Rabs (turned + logarithm) + lost ->
    Rabs (result - (m + ln L)) <=
    (let spread := ln (1 + D) in
    spread + (turn * (Rabs m + doubt) + lost + (log * (Rabs (ln L) + spread + doubt) + lost)) +
    unit *
    (Rabs (m + ln L) + (spread + (turn * (Rabs m + doubt) + lost + (log * (Rabs (ln L) + spread + doubt) + lost)))) +
    lost).
Proof. exact (@LogSumExp.lse_bounded). Qed.

(** * Output.v *)

Theorem quotient_bounded :
  forall N n L l E D : R,
    0 < L ->
    0 < l ->
    0 <= E ->
    0 <= D ->
    Rabs (n - N) <= E * L -> Rabs (l - L) <= D * l -> Rabs (n / l - N / L) <= E * (1 + D) + Rabs (N / L) * D.
Proof. exact (@Output.quotient_bounded). Qed.

Theorem output_bounded :
  forall O q y result quotient dividing lost unit lost_out t h : R,
    Rabs (q - O) <= quotient ->
    0 <= dividing ->
    0 <= unit ->
    Rabs t <= dividing ->
    Rabs h <= lost ->
    y = q * exp t + h ->
    Rabs (result - y) <= unit * Rabs y + lost_out ->
    Rabs (result - O) <=
    quotient + (exp dividing - 1) * (Rabs O + quotient) + lost +
    unit * (Rabs O + (quotient + (exp dividing - 1) * (Rabs O + quotient) + lost)) + lost_out.
Proof. exact (@Output.output_bounded). Qed.

Theorem weighted_mean_error :
  forall (I : Type) (xs : list I) (p v Tn Tl : I -> R) (Hl : R),
    (forall i : I, In i xs -> 0 <= p i) ->
    (forall i : I, In i xs -> 0 <= Tn i) ->
    (forall i : I, In i xs -> 0 <= Tl i) ->
    0 <= Hl ->
    0 < sumf p xs ->
    Hl / sumf p xs * (1 + excess xs p Tl) < 1 ->
    forall H n l : R,
    0 <= H ->
    perturbed xs (fun i : I => p i * v i) Tn H n ->
    perturbed xs p Tl Hl l ->
    0 < l /\
    Rabs (n / l - sumf (fun i : I => p i * v i) xs / sumf p xs) <=
    (sumf (fun i : I => p i * Rabs (v i) * (exp (Tn i) - 1)) xs / sumf p xs + H / sumf p xs) *
    (1 + ((1 + excess xs p Tl) / (1 - Hl / sumf p xs * (1 + excess xs p Tl)) - 1)) +
    Rabs (sumf (fun i : I => p i * v i) xs / sumf p xs) *
    ((1 + excess xs p Tl) / (1 - Hl / sumf p xs * (1 + excess xs p Tl)) - 1).
Proof. exact (@Output.weighted_mean_error). Qed.

Theorem normalised_mean_error :
  forall (I : Type) (xs : list I) (p v Tn Tl : I -> R) (Hl : R),
    (forall i : I, In i xs -> 0 <= p i) ->
    (forall i : I, In i xs -> 0 <= Tn i) ->
    (forall i : I, In i xs -> 0 <= Tl i) ->
    0 <= Hl ->
    0 < sumf p xs ->
    Hl / sumf p xs * (1 + excess xs p Tl) < 1 ->
    forall H lost n l : R,
    0 <= H ->
    0 <= lost ->
    0 < l ->
    perturbed xs (fun i : I => p i * v i) Tn (H + lost * l) (n * l) ->
    perturbed xs p Tl Hl l ->
    Rabs (n - sumf (fun i : I => p i * v i) xs / sumf p xs) <=
    (sumf (fun i : I => p i * Rabs (v i) * (exp (Tn i) - 1)) xs / sumf p xs + H / sumf p xs) *
    (1 + ((1 + excess xs p Tl) / (1 - Hl / sumf p xs * (1 + excess xs p Tl)) - 1)) +
    Rabs (sumf (fun i : I => p i * v i) xs / sumf p xs) *
    ((1 + excess xs p Tl) / (1 - Hl / sumf p xs * (1 + excess xs p Tl)) - 1) + lost.
Proof. exact (@Output.normalised_mean_error). Qed.

(** * OutputCast.v *)

Theorem lost_any_order_cast :
  forall (I : Type) (w : I -> nat) (v : I -> R) (G : argument I) (E : Schedule.operations I)
     (eps unit cast eta_weight eta_cast eta_sum : R),
    cast_within w v G E eps unit cast eta_weight eta_cast eta_sum ->
    forall (keys changes : nat) (s : schedule I) (bound total_seen : R),
    (forall i : I, In i (leaves s) -> (w i <= 1)%nat) ->
    counted w keys changes s ->
    cost E s <= bound ->
    seen v G s <= total_seen ->
    lost v G E s <=
    ((1 + INR changes) * total_seen * eta_weight + (2 * INR keys + 1 + INR changes) * eta_sum) *
    (1 + (exp (bound + (1 + INR changes) * eta_weight) - 1)) +
    total_seen * eta_cast * (1 + (exp (bound + (1 + INR changes) * eta_weight) - 1)).
Proof. exact (@OutputCast.lost_any_order_cast). Qed.

(** * Hull.v *)

Theorem hull_distance :
  forall lo hi x O e : R, lo <= O <= hi -> outside lo hi x <= e -> Rabs (x - O) <= Rmax (hi - O) (O - lo) + e.
Proof. exact (@Hull.hull_distance). Qed.

Theorem hull :
  forall (I : Type) (xs : list I) (P v Y X : I -> R) (lo hi size apart Hn Hl n l least : R),
    (forall i : I, In i xs -> 0 <= P i) ->
    (forall i : I, In i xs -> lo <= v i <= hi /\ Rabs (v i) <= size) ->
    (forall i : I, In i xs -> Y i + X i <= apart) ->
    0 <= size ->
    0 <= apart ->
    perturbed xs (fun i : I => P i * v i) Y Hn n ->
    perturbed xs P X Hl l ->
    0 < least ->
    least <= l ->
    (exists i : I, In i xs /\ 0 < P i) ->
    outside lo hi (n / l) <= (exp apart - 1) * size + ((1 + (exp apart - 1)) * size * Hl + Hn) / least.
Proof. exact (@Hull.hull). Qed.

Theorem normaliser_at_least :
  forall (I : Type) (xs : list I) (p T : I -> R) (Hl l : R) (top : I),
    (forall i : I, In i xs -> 0 <= p i) ->
    perturbed xs p T Hl l -> In top xs -> 1 <= p top -> / (1 + (exp (T top) - 1)) - Hl <= l.
Proof. exact (@Hull.normaliser_at_least). Qed.

Theorem hull_of_parts :
  forall first second size : R,
    (exp second - 1) * ((1 + (exp first - 1)) * size) + (exp first - 1) * size = (exp (first + second) - 1) * size.
Proof. exact (@Hull.hull_of_parts). Qed.

Theorem sink_in_hull : forall lo hi : R, Rmin 0 lo <= 0 <= Rmax 0 hi.
Proof. exact (@Hull.sink_in_hull). Qed.

(** * HullSum.v *)

Theorem added_perturbed :
  forall (I : Type) (P v lost : I -> R) (leaf unit above eta : R),
    0 <= unit ->
    0 <= above ->
    0 <= eta ->
    (forall i : I, 0 <= lost i) ->
    forall (s : tree I) (r : R),
    factors_ok above s ->
    added P v lost leaf unit eta s r ->
    perturbed (terms s) (fun q : I * R => weight_of P q * value_of v q) (fun _ : I * R => tree_cost leaf unit s)
     (tree_lost lost unit above eta s) r.
Proof. exact (@HullSum.added_perturbed). Qed.

Theorem hull_any_order :
  forall (I : Type) (P v lost_n lost_l : I -> R) (sn sl : tree I)
     (leaf_n leaf_l unit_n unit_l above eta_n eta_l lo hi size least n l : R),
    0 <= unit_n ->
    0 <= unit_l ->
    0 <= above ->
    0 <= eta_n ->
    0 <= eta_l ->
    0 <= leaf_n ->
    0 <= leaf_l ->
    (forall i : I, 0 <= lost_n i) ->
    (forall i : I, 0 <= lost_l i) ->
    (forall i : I, 0 <= P i) ->
    0 <= size ->
    factors_ok above sn ->
    factors_ok above sl ->
    Permutation.Permutation (terms sn) (terms sl) ->
    (forall q : I * R, In q (terms sl) -> 0 <= snd q /\ lo <= v (fst q) <= hi /\ Rabs (v (fst q)) <= size) ->
    (exists q : I * R, In q (terms sl) /\ 0 < P (fst q) * snd q) ->
    added P v lost_n leaf_n unit_n eta_n sn n ->
    added P (fun _ : I => 1) lost_l leaf_l unit_l eta_l sl l ->
    0 < least <= l ->
    outside lo hi (n / l) <=
    (exp (tree_cost leaf_n unit_n sn + tree_cost leaf_l unit_l sl) - 1) * size +
    ((1 + (exp (tree_cost leaf_n unit_n sn + tree_cost leaf_l unit_l sl) - 1)) * size *
    tree_lost lost_l unit_l above eta_l sl + tree_lost lost_n unit_n above eta_n sn) / least.
Proof. exact (@HullSum.hull_any_order). Qed.

(** * ForwardRational.v *)

Theorem common_excess_dominates :
  forall excess weight common : Q,
    0 <= Q2R common < 2 ->
    0 <= Q2R excess ->
    0 <= Q2R weight ->
    Q2R excess + (exp (Q2R common) - 1) * (Q2R excess + Q2R weight) <=
    Q2R (ForwardRational.common_excess excess weight common).
Proof. exact (@ForwardRational.common_excess_dominates). Qed.

Theorem normaliser_error_dominates :
  forall excess lost : Q,
    Q2R lost * (1 + Q2R excess) < 1 ->
    (1 + Q2R excess) / (1 - Q2R lost * (1 + Q2R excess)) - 1 <= Q2R (ForwardRational.normaliser_error excess lost).
Proof. exact (@ForwardRational.normaliser_error_dominates). Qed.

Theorem least_normaliser_dominates :
  forall cost lost : Q,
    0 <= Q2R cost < 2 -> Q2R (ForwardRational.least_normaliser cost lost) <= / (1 + (exp (Q2R cost) - 1)) - Q2R lost.
Proof. exact (@ForwardRational.least_normaliser_dominates). Qed.

Theorem quotient_error_dominates :
  forall error relative size : Q,
    Q2R error * (1 + Q2R relative) + Q2R size * Q2R relative <=
    Q2R (ForwardRational.quotient_error error relative size).
Proof. exact (@ForwardRational.quotient_error_dominates). Qed.

Theorem hull_error_dominates :
  forall apart size lost lost_sum least : Q,
    0 <= Q2R apart < 2 ->
    0 <= Q2R size ->
    0 <= Q2R lost_sum ->
    0 < Q2R least ->
    (exp (Q2R apart) - 1) * Q2R size +
    ((1 + (exp (Q2R apart) - 1)) * Q2R size * Q2R lost_sum + Q2R lost) / Q2R least <=
    Q2R (ForwardRational.hull_error apart size lost lost_sum least).
Proof. exact (@ForwardRational.hull_error_dominates). Qed.

Theorem cast_underflow_dominates :
  forall changes seen eta_cast eta_weight cost : Q,
    0 <= Q2R cost + (1 + Q2R changes) * Q2R eta_weight < 2 ->
    0 <= Q2R seen ->
    0 <= Q2R eta_cast ->
    Q2R seen * Q2R eta_cast * (1 + (exp (Q2R cost + (1 + Q2R changes) * Q2R eta_weight) - 1)) <=
    Q2R (ForwardRational.cast_underflow changes seen eta_cast eta_weight cost).
Proof. exact (@ForwardRational.cast_underflow_dominates). Qed.

Theorem output_error_dominates :
  forall quotient size dividing lost unit lost_out : Q,
    0 <= Q2R dividing < 2 ->
    0 <= Q2R quotient ->
    0 <= Q2R size ->
    0 <= Q2R lost ->
    0 <= Q2R unit ->
    Q2R quotient + (exp (Q2R dividing) - 1) * (Q2R size + Q2R quotient) + Q2R lost +
    Q2R unit * (Q2R size + (Q2R quotient + (exp (Q2R dividing) - 1) * (Q2R size + Q2R quotient) + Q2R lost)) +
    Q2R lost_out <= Q2R (ForwardRational.output_error quotient size dividing lost unit lost_out).
Proof. exact (@ForwardRational.output_error_dominates). Qed.

Theorem lse_error_dominates :
  forall relative doubt height logarithm size turn log unit lost : Q,
    0 <= Q2R relative ->
    0 <= Q2R doubt ->
    0 <= Q2R height ->
    0 <= Q2R logarithm ->
    0 <= Q2R size ->
    0 <= Q2R turn ->
    0 <= Q2R log ->
    0 <= Q2R unit ->
    0 <= Q2R lost ->
    (let spread := ln (1 + Q2R relative) in
    spread +
    (Q2R turn * (Q2R height + Q2R doubt) + Q2R lost + (Q2R log * (Q2R logarithm + spread + Q2R doubt) + Q2R lost)) +
    Q2R unit *
    (Q2R size +
     (spread +
      (Q2R turn * (Q2R height + Q2R doubt) + Q2R lost + (Q2R log * (Q2R logarithm + spread + Q2R doubt) + Q2R lost)))) +
    Q2R lost) <= Q2R (ForwardRational.lse_error relative doubt height logarithm size turn log unit lost).
Proof. exact (@ForwardRational.lse_error_dominates). Qed.
