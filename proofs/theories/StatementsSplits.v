(** The public theorems of combining split keys,
    stated in full a second time; see StatementsRoundoff.v. *)
From Coq Require Import ZArith QArith Qreals Reals List.
From refattn Require Import LogMetric Sums Growth Perturbed Roundoff Rationals Splits SplitsTree SplitsRounding
  SplitsHull SplitsPerturbation Normaliser SplitsLost.
From refattn Require GrowthRational SplitsRational.
Import ListNotations.
Open Scope R_scope.

(** * Splits.v *)

Theorem combine_by_quotient :
  forall (I K : Type) (part_of : K -> part I) (p v Tn Td : I -> R) (Hn Hd rho weight : K -> R)
     (shared : I -> R) (unit eta unit_total eta_total kept eta_weight : R),
    0 <= unit ->
    0 <= eta ->
    0 <= unit_total ->
    0 <= eta_total ->
    0 <= eta_weight ->
    (forall k : K, 0 <= Hn k) ->
    (forall k : K, 0 <= Hd k) ->
    (forall (k : K) (i : I), In i (keys (part_of k)) -> rho k + weight k <= shared i) ->
    forall (W Y : K -> R) (reference : R) (ks : list K) (L0 L N o' s' rho' t h : R),
    (forall k : K,
    In k ks ->
    known part_of p v Tn Td Hn Hd rho k /\
    weighs part_of weight eta_weight W reference k /\ multiplies part_of unit eta Y W k) ->
    added unit_total eta_total W ks L0 ->
    rerr kept L L0 ->
    added unit eta Y ks N ->
    0 < L ->
    Rabs t <= unit ->
    Rabs h <= eta ->
    o' = N / L * exp t + h ->
    Rabs (s' - (reference + ln L)) <= rho' ->
    stands {| keys := flat_map (fun k : K => keys (part_of k)) ks; out := o'; lse := s' |} p v
     (fun i : I => Tn i + (shared i + unit) + (INR (length ks) - 1) * unit + unit)
     (fun i : I => Td i + shared i + (INR (length ks) - 1) * unit_total + kept)
     (weighted_lost part_of Hn rho weight unit eta eta_weight reference ks * exp unit + eta * (L * exp reference))
     (total_lost Hd rho weight unit_total eta_total kept eta_weight reference ks) rho'.
Proof. exact (@Splits.combine_by_quotient). Qed.

Theorem combine_by_log_sum_exp :
  forall (I K : Type) (part_of : K -> part I) (p v Tn Td : I -> R) (Hn Hd rho weight : K -> R)
     (shared : I -> R) (unit eta unit_total eta_total kept eta_weight : R),
    0 <= unit ->
    0 <= eta ->
    0 <= unit_total ->
    0 <= eta_total ->
    0 <= eta_weight ->
    (forall k : K, 0 <= Hn k) ->
    (forall k : K, 0 <= Hd k) ->
    (forall (k : K) (i : I), In i (keys (part_of k)) -> rho k + weight k <= shared i) ->
    forall (W W' Y : K -> R) (reference : R) (ks : list K) (L0 L o' s' rho' : R),
    (forall k : K, In k ks -> known part_of p v Tn Td Hn Hd rho k /\ weighs part_of weight eta_weight W reference k) ->
    (forall k : K, In k ks -> weighs part_of weight eta_weight W' s' k /\ multiplies part_of unit eta Y W' k) ->
    added unit_total eta_total W ks L0 ->
    rerr kept L L0 ->
    added unit eta Y ks o' ->
    0 < L ->
    Rabs (s' - (reference + ln L)) <= rho' ->
    stands {| keys := flat_map (fun k : K => keys (part_of k)) ks; out := o'; lse := s' |} p v
     (fun i : I => Tn i + (shared i + unit) + (INR (length ks) - 1) * unit + rho')
     (fun i : I => Td i + shared i + (INR (length ks) - 1) * unit_total + kept)
     (weighted_lost part_of Hn rho weight unit eta eta_weight s' ks * exp rho' + 0)
     (total_lost Hd rho weight unit_total eta_total kept eta_weight reference ks) rho'.
Proof. exact (@Splits.combine_by_log_sum_exp). Qed.

(** * SplitsTree.v *)

Theorem tree_stands :
  forall (I : Type) (p v Tn Td : I -> R) (rho weight unit unit_total kept : R),
    0 <= rho ->
    0 <= weight ->
    0 <= unit ->
    0 <= unit_total ->
    0 <= kept ->
    forall (depth parts : nat) (q : part I),
    tree p v Tn Td rho weight unit unit_total kept depth parts q ->
    stands q p v (fun i : I => Tn i + INR depth * level rho weight unit + (INR parts - 1) * unit)
     (fun i : I => Td i + INR depth * (rho + weight + kept) + (INR parts - 1) * unit_total) 0 0 rho.
Proof. exact (@SplitsTree.tree_stands). Qed.

(** * SplitsRounding.v *)

Theorem split_lse_rounding_error :
  forall m held l logged s reference logarithm unit log_relative scaled lost : R,
    0 <= unit ->
    0 <= log_relative ->
    0 <= scaled ->
    Rabs m <= reference ->
    Rabs (ln l) <= logarithm ->
    Rabs (held - m) <= scaled * Rabs m + lost ->
    Rabs (logged - ln l) <= log_relative * Rabs (ln l) + lost ->
    Rabs (s - (held + logged)) <= unit * Rabs (held + logged) + lost ->
    Rabs (s - (m + ln l)) <=
    log_relative * logarithm + scaled * reference + 2 * lost +
    unit * (reference + logarithm + (log_relative * logarithm + scaled * reference + 2 * lost)) + lost.
Proof. exact (@SplitsRounding.split_lse_rounding_error). Qed.

Theorem part_logarithm :
  forall (K : Type) (p : K -> R) (slack unit : R) (ks : list K) (l : R) (k : K),
    added unit 0 p ks l ->
    (forall i : K, In i ks -> 0 <= p i <= exp slack) ->
    In k ks ->
    exp (- slack) <= p k ->
    0 <= slack ->
    0 < l /\
    - (slack + (INR (length ks) - 1) * unit) <= ln l <=
    ln (INR (length ks)) + (slack + (INR (length ks) - 1) * unit).
Proof. exact (@SplitsRounding.part_logarithm). Qed.

Theorem added_scaled :
  forall (K : Type) (p : K -> R) (unit : R) (ks : list K) (l c : R),
    added unit 0 p ks l -> added unit 0 (fun k : K => p k * c) ks (l * c).
Proof. exact (@SplitsRounding.added_scaled). Qed.

Theorem split_gap_of_largest :
  forall score m m1 l1 m2 l2 s R0 distance logarithm slack doubt own : R,
    0 <= logarithm ->
    0 <= doubt ->
    doubt <= slack ->
    0 <= own ->
    m - score <= distance ->
    score <= m1 + doubt ->
    m2 <= m + doubt ->
    - (slack - doubt) <= ln l1 ->
    ln l2 <= logarithm + (slack - doubt) ->
    Rabs (s - (m1 + ln l1)) <= own ->
    Rabs (R0 - (m2 + ln l2)) <= own -> s <= R0 -> Rabs (s - R0) <= distance + 2 * logarithm + 3 * (slack + own).
Proof. exact (@SplitsRounding.split_gap_of_largest). Qed.

Theorem split_gap_of_combined :
  forall score m m1 l1 m2 l2 s M L R0 distance logarithm slack doubt own : R,
    0 <= logarithm ->
    0 <= doubt ->
    doubt <= slack ->
    0 <= own ->
    m - score <= distance ->
    score <= m1 + doubt ->
    m2 <= m + doubt ->
    - (slack - doubt) <= ln l1 ->
    ln l2 <= logarithm + (slack - doubt) ->
    Rabs (s - (m1 + ln l1)) <= own ->
    Rabs (M - (m2 + ln l2)) <= own ->
    s <= M ->
    - slack <= ln L <= logarithm + slack ->
    Rabs (R0 - (M + ln L)) <= own -> 0 <= distance -> Rabs (s - R0) <= distance + 2 * logarithm + 3 * (slack + own).
Proof. exact (@SplitsRounding.split_gap_of_combined). Qed.

Theorem split_weight_error :
  forall s R0 z W t h gap turned argument_lost exponential eta : R,
    0 <= turned ->
    Rabs (s - R0) <= gap ->
    Rabs (z - (s - R0)) <= turned * Rabs (s - R0) + argument_lost ->
    Rabs t + argument_lost <= exponential ->
    Rabs h <= eta ->
    W = exp z * exp t + h ->
    exists t' h' : R, Rabs t' <= turned * gap + exponential /\ Rabs h' <= eta /\ W = exp (s - R0) * exp t' + h'.
Proof. exact (@SplitsRounding.split_weight_error). Qed.

(** * SplitsHull.v *)

Theorem log_sum_exp_products :
  forall (I K : Type) (part_of : K -> part I) (weight unit eta eta_weight : R),
    0 <= unit ->
    0 <= eta ->
    0 <= eta_weight ->
    forall (W W' Y : K -> R) (reference : R) (ks : list K) (L o' s' rho' : R),
    0 < L ->
    Rabs (s' - (reference + ln L)) <= rho' ->
    (forall k : K,
    In k ks ->
    weighs part_of (fun _ : K => weight) eta_weight W reference k /\
    weighs part_of (fun _ : K => weight) eta_weight W' s' k /\ multiplies part_of unit eta Y W' k) ->
    added unit eta Y ks o' ->
    perturbed ks (fun k : K => W k * out (part_of k))
     (fun _ : K => 2 * weight + rho' + unit + (INR (length ks) - 1) * unit)
     (added_lost unit eta (apart_lost part_of weight unit eta eta_weight rho' L) L ks)
     (o' * L).
Proof. exact (@SplitsHull.log_sum_exp_products). Qed.

(** * SplitsPerturbation.v *)

Theorem softmax_distance_bounds :
  forall (I : Type) (xs : list I) (w d : I -> R) (lo hi : R),
    (forall i : I, In i xs -> 0 <= w i) ->
    sumf w xs = 1 ->
    (forall i : I, In i xs -> lo <= d i <= hi) ->
    sumf (fun i : I => Rabs (moved_weight xs w d i - w i)) xs <=
    2 * (exp ((hi - lo) / 2) - 1) / (exp ((hi - lo) / 2) - 1 + 2).
Proof. exact (@SplitsPerturbation.softmax_distance_bounds). Qed.

(** * SplitsLost.v *)

Theorem reference_size :
  forall (I : Type) (q : part I) (rest : list I) (p v Tn Td : I -> R) (Hn Hd rho : R),
    stands q p v Tn Td Hn Hd rho ->
    (forall i : I, In i (keys q ++ rest) -> 0 <= p i) ->
    let all := keys q ++ rest in
    0 < sumf p all -> exp (lse q) <= (sumf p all * (1 + excess all p Td) + Hd) * exp rho.
Proof. exact (@SplitsLost.reference_size). Qed.

Theorem weighted_lost_bound :
  forall (I K : Type) (part_of : K -> part I) (Hn rho weight : K -> R) (unit eta eta_weight : R),
    0 <= unit ->
    0 <= eta ->
    forall (reference : R) (ks : list K),
    0 <= INR (length ks) - 1 ->
    weighted_lost part_of Hn rho weight unit eta eta_weight reference ks <=
    sumf (fun k : K => Hn k * exp (rho k + weight k + unit)) ks * exp ((INR (length ks) - 1) * unit) +
    exp reference *
    ((eta_weight * sumf (fun k : K => Rabs (out (part_of k))) ks + 2 * INR (length ks) * eta) *
    (1 + (exp ((INR (length ks) - 1 + 1) * unit) - 1))).
Proof. exact (@SplitsLost.weighted_lost_bound). Qed.

Theorem total_lost_bound :
  forall (K : Type) (Hd rho weight : K -> R) (unit_total eta_total kept eta_weight : R),
    0 <= eta_total ->
    forall (reference : R) (ks : list K),
    0 <= INR (length ks) - 1 ->
    total_lost Hd rho weight unit_total eta_total kept eta_weight reference ks <=
    sumf (fun k : K => Hd k * exp (rho k + weight k)) ks * exp ((INR (length ks) - 1) * unit_total + kept) +
    exp reference *
    ((eta_weight * INR (length ks) + 2 * INR (length ks) * eta_total) *
    (1 + (exp ((INR (length ks) - 1) * unit_total + kept) - 1))).
Proof. exact (@SplitsLost.total_lost_bound). Qed.

(** * SplitsRational.v *)

Theorem split_lse_rounding_dominates :
  forall reference logarithm unit log_relative scaled lost : Q,
    Q2R log_relative * Q2R logarithm + Q2R scaled * Q2R reference + 2 * Q2R lost +
    Q2R unit *
    (Q2R reference + Q2R logarithm + (Q2R log_relative * Q2R logarithm + Q2R scaled * Q2R reference + 2 * Q2R lost)) +
    Q2R lost <= Q2R (SplitsRational.split_lse_rounding reference logarithm unit log_relative scaled lost).
Proof. exact (@SplitsRational.split_lse_rounding_dominates). Qed.

Theorem split_gap_dominates :
  forall distance logarithm slack own : Q,
    Q2R distance + 2 * Q2R logarithm + 3 * (Q2R slack + Q2R own) <=
    Q2R (SplitsRational.split_gap distance logarithm slack own).
Proof. exact (@SplitsRational.split_gap_dominates). Qed.

Theorem split_error_dominates :
  forall own gap turned exponential kept : Q,
    Q2R own + Q2R turned * Q2R gap + Q2R exponential + Q2R kept <=
    Q2R (SplitsRational.split_error own gap turned exponential kept).
Proof. exact (@SplitsRational.split_error_dominates). Qed.

Theorem split_output_error_dominates :
  forall rounding unit : Q, Q2R rounding + 2 * Q2R unit <= Q2R (SplitsRational.split_output_error rounding unit).
Proof. exact (@SplitsRational.split_output_error_dominates). Qed.

Theorem split_lost_dominates :
  forall parts values eta_weight eta_sum cost : Q,
    0 <= Q2R parts ->
    0 <= Q2R values ->
    0 <= Q2R eta_weight ->
    0 <= Q2R eta_sum ->
    0 <= Q2R cost < 2 ->
    (Q2R eta_weight * Q2R values + 2 * Q2R parts * Q2R eta_sum) * (1 + (exp (Q2R cost) - 1)) <=
    Q2R (SplitsRational.split_lost parts values eta_weight eta_sum cost).
Proof. exact (@SplitsRational.split_lost_dominates). Qed.

Theorem split_apart_dominates :
  forall weight rounding : Q, 2 * Q2R weight + Q2R rounding <= Q2R (SplitsRational.split_apart weight rounding).
Proof. exact (@SplitsRational.split_apart_dominates). Qed.
