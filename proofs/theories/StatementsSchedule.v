(** The public theorems of sums of exponentials, in every order of summation,
    stated in full a second time; see StatementsRoundoff.v. *)
From Coq Require Import ZArith QArith Qreals Reals List.
From refattn Require Import LogMetric Sums Growth Perturbed Arithmetic Schedule ScheduleCost ScheduleSubtract
  ScheduleAnyOrder ScheduleArithmetic AlgebraMaximum Tiles TilesComputed Rationals Gibbs GibbsNormaliser
  ScheduleMerge.
From refattn Require ScheduleRational.
Import ListNotations.
Open Scope R_scope.

(** * Schedule.v *)

Theorem exact_sum :
  forall (I : Type) (x v : I -> R) (tau : R) (s : schedule I),
    wf x tau s -> exact x v s = sumf (weighted x v (shift s)) (leaves s).
Proof. exact (@Schedule.exact_sum). Qed.

Theorem any_schedule :
  forall (I : Type) (x v : I -> R) (tau : R) (G : argument I) (E : operations I),
    argument_ok x tau G ->
    operations_ok E ->
    forall (s : schedule I) (r : R),
    wf x tau s ->
    computed x v G E s r ->
    perturbed (leaves s) (weighted x v (shift s)) (fun i : I => cost E s + total G i (shift s)) (lost v G E s) r.
Proof. exact (@Schedule.any_schedule). Qed.

Theorem any_schedule_scores :
  forall (I : Type) (x v : I -> R) (tau : R) (G : argument I) (E : operations I),
    argument_ok x tau G ->
    operations_ok E ->
    forall (score doubt : I -> R) (m : R) (s : schedule I) (r : R),
    (forall i : I, In i (leaves s) -> Rabs (x i - score i) <= doubt i) ->
    wf x tau s ->
    computed x v G E s r ->
    let c := exp (m - shift s) in
    perturbed (leaves s) (weighted score v m) (fun i : I => cost E s + total G i (shift s) + doubt i)
     (lost v G E s / c) (r / c).
Proof. exact (@Schedule.any_schedule_scores). Qed.

(** * ScheduleCost.v *)

Theorem cost_any_order :
  forall (I : Type) (w : I -> nat) (E : operations I) (eps unit cast : R),
    operations_ok E ->
    0 <= eps ->
    0 <= unit ->
    (forall i : I, leaf_cost E i <= INR (w i) * (eps + unit) + cast) ->
    add_cost E <= unit ->
    factor_cost E <= eps ->
    product_cost E <= unit ->
    forall (keys changes : nat) (s : schedule I),
    (length (leaves s) <= keys + 1)%nat ->
    (depth w s <= 1 + changes)%nat ->
    cost E s <= (1 + INR changes) * eps + cast + (INR keys + 1 + INR changes) * unit.
Proof. exact (@ScheduleCost.cost_any_order). Qed.

Theorem lost_any_order :
  forall (I : Type) (w : I -> nat) (v : I -> R) (G : argument I) (E : operations I) (eta_weight eta_sum : R),
    operations_ok E ->
    (forall i : I,
    leaf_lost E i <= INR (w i) * (Rabs (v i) * exp (peak G i) * eta_weight + eta_sum) * exp (leaf_cost E i)) ->
    add_lost E <= eta_sum ->
    factor_lost E <= eta_weight ->
    product_lost E <= eta_sum ->
    forall (keys changes : nat) (s : schedule I) (bound total_seen : R),
    (length (leaves s) <= keys + 1)%nat ->
    (depth w s <= 1 + changes)%nat ->
    (products w s <= keys + 1 + changes)%nat ->
    cost E s <= bound ->
    seen v G s <= total_seen ->
    lost v G E s <=
    ((1 + INR changes) * total_seen * eta_weight + (2 * INR keys + 1 + INR changes) * eta_sum) *
    (1 + (exp (bound + (1 + INR changes) * eta_weight) - 1)).
Proof. exact (@ScheduleCost.lost_any_order). Qed.

(** * ScheduleSubtract.v *)

Theorem subtract_ok :
  forall (I : Type) (x : I -> R) (u tau : R), 0 <= u <= 1 -> 0 <= tau -> argument_ok x tau (subtract x u tau).
Proof. exact (@ScheduleSubtract.subtract_ok). Qed.

Theorem any_schedule_subtract :
  forall (I : Type) (x v : I -> R) (u : R) (E : operations I) (s : schedule I) (r : R),
    0 <= u <= 1 ->
    operations_ok E ->
    wf x 0 s ->
    computed x v (subtract x u 0) E s r ->
    perturbed (leaves s) (weighted x v (shift s)) (fun i : I => cost E s + u * (shift s - x i))
     (lost v (subtract x u 0) E s) r.
Proof. exact (@ScheduleSubtract.any_schedule_subtract). Qed.

(** * ScheduleAnyOrder.v *)

Theorem any_order :
  forall (I : Type) (w : I -> nat) (x v : I -> R) (tau : R) (G : argument I) (E : operations I)
     (eps unit cast eta_weight eta_sum : R) (keys changes : nat),
    argument_ok x tau G ->
    operations_within w v G E eps unit cast eta_weight eta_sum ->
    forall (s : schedule I) (r S : R),
    wf x tau s ->
    computed x v G E s r ->
    counted w keys changes s ->
    seen v G s <= S ->
    perturbed (leaves s) (weighted x v (shift s))
     (fun i : I => path_cost keys changes eps unit cast + total G i (shift s))
     (((1 + INR changes) * S * eta_weight + (2 * INR keys + 1 + INR changes) * eta_sum) *
      (1 + (exp (path_cost keys changes eps unit cast + (1 + INR changes) * eta_weight) - 1))) r.
Proof. exact (@ScheduleAnyOrder.any_order). Qed.

Theorem any_order_scores :
  forall (I : Type) (w : I -> nat) (x v : I -> R) (tau : R) (G : argument I) (E : operations I)
     (eps unit cast eta_weight eta_sum : R) (keys changes : nat),
    argument_ok x tau G ->
    operations_within w v G E eps unit cast eta_weight eta_sum ->
    forall (score doubt : I -> R) (m : R) (s : schedule I) (r S : R),
    (forall i : I, In i (leaves s) -> Rabs (x i - score i) <= doubt i) ->
    wf x tau s ->
    computed x v G E s r ->
    counted w keys changes s ->
    seen v G s <= S ->
    let c := exp (m - shift s) in
    perturbed (leaves s) (weighted score v m)
     (fun i : I => path_cost keys changes eps unit cast + total G i (shift s) + doubt i)
     (((1 + INR changes) * S * eta_weight + (2 * INR keys + 1 + INR changes) * eta_sum) *
      (1 + (exp (path_cost keys changes eps unit cast + (1 + INR changes) * eta_weight) - 1)) / c)
     (r / c).
Proof. exact (@ScheduleAnyOrder.any_order_scores). Qed.

(** * ScheduleArithmetic.v *)

Theorem normaliser_within :
  forall (S0 A : arith) (cast : R -> R) (narrow eta_cast : R),
    arith_ok S0 ->
    arith_ok A ->
    conversion S0 A cast narrow eta_cast ->
    forall (I : Type) (x : I -> R) (w : I -> nat) (tau : R),
    (forall i : I, (w i <= 1)%nat) ->
    0 <= tau ->
    forall eta_sum : R,
    eta_add A <= eta_sum ->
    eta_mul A <= eta_sum ->
    operations_within w one (subtract x (u S0) tau) (normaliser_operations S0 A narrow eta_cast w)
     (exponential S0) (u A) narrow (eta_weight S0 eta_cast) eta_sum.
Proof. exact (@ScheduleArithmetic.normaliser_within). Qed.

Theorem output_within :
  forall (S0 A : arith) (cast : R -> R) (narrow eta_cast : R),
    arith_ok S0 ->
    arith_ok A ->
    conversion S0 A cast narrow eta_cast ->
    forall (I : Type) (x v : I -> R) (w : I -> nat) (tau : R),
    (forall i : I, (w i <= 1)%nat) ->
    0 <= tau ->
    forall eta_sum : R,
    eta_add A <= eta_sum ->
    eta_mul A <= eta_sum ->
    operations_within w v (subtract x (u S0) tau) (output_operations S0 A narrow eta_cast v w)
     (exponential S0) (u A) narrow (eta_weight S0 eta_cast) eta_sum.
Proof. exact (@ScheduleArithmetic.output_within). Qed.

(** * Gibbs.v *)

Theorem gibbs :
  forall (I : Type) (d : I -> R) (xs : list I),
    xs <> [] ->
    sumf (fun i : I => exp (- d i) * d i) xs <= total_weight d xs * ln (INR (length xs) / total_weight d xs).
Proof. exact (@Gibbs.gibbs). Qed.

Theorem weights_with_rounded_arguments :
  forall (I : Type) (d : I -> R) (xs : list I) (u K : R),
    xs <> [] ->
    (forall i : I, In i xs -> 0 <= d i) ->
    1 <= total_weight d xs ->
    0 <= u < 1 ->
    ln (INR (length xs)) <= K ->
    u * K / (1 - u) < 1 ->
    sumf (fun i : I => exp (- d i) * exp (u * d i)) xs <= total_weight d xs / (1 - u * K / (1 - u)).
Proof. exact (@Gibbs.weights_with_rounded_arguments). Qed.

(** * GibbsNormaliser.v *)

Theorem perturbed_range_free :
  forall (I : Type) (x : I -> R) (xs : list I) (m : R) (top : I) (cost argument_unit nats H r : R),
    perturbed xs (weighted x (fun _ : I => 1) m) (fun i : I => cost + argument_unit * (m - x i)) H r ->
    (forall i : I, In i xs -> x i <= m) ->
    In top xs ->
    x top = m ->
    0 <= argument_unit < 1 ->
    0 <= H ->
    ln (INR (length xs)) <= nats ->
    argument_unit * nats / (1 - argument_unit) < 1 ->
    let l := sumf (weighted x (fun _ : I => 1) m) xs in
    1 <= l /\ Rabs (r - l) <= ((1 + (exp cost - 1)) / (1 - argument_unit * nats / (1 - argument_unit)) - 1 + H) * l.
Proof. exact (@GibbsNormaliser.perturbed_range_free). Qed.

Theorem normaliser_range_free :
  forall (I : Type) (w : I -> nat) (x : I -> R) (E : operations I)
     (argument_unit eps unit eta_weight eta_sum nats : R) (keys changes : nat) (s : schedule I)
     (r : R) (top : I),
    operations_within w (fun _ : I => 1) (subtract x argument_unit 0) E eps unit 0 eta_weight eta_sum ->
    0 <= argument_unit < 1 ->
    wf x 0 s ->
    computed x (fun _ : I => 1) (subtract x argument_unit 0) E s r ->
    counted w keys changes s ->
    In top (leaves s) ->
    x top = shift s ->
    ln (INR (length (leaves s))) <= nats ->
    argument_unit * nats / (1 - argument_unit) < 1 ->
    let l := sumf (weighted x (fun _ : I => 1) (shift s)) (leaves s) in
    Rabs (r - l) <=
    (let cost := (1 + INR changes) * eps + (INR keys + 1 + INR changes) * unit in
    (1 + (exp cost - 1)) / (1 - argument_unit * nats / (1 - argument_unit)) - 1 +
    ((1 + INR changes) * (INR keys + 1) * eta_weight + (2 * INR keys + 1 + INR changes) * eta_sum) *
    (1 + (exp (cost + (1 + INR changes) * eta_weight) - 1))) * l.
Proof. exact (@GibbsNormaliser.normaliser_range_free). Qed.

(** * ScheduleMerge.v *)

Theorem merge_computed :
  forall (I : Type) (x v : I -> R) (tau : R) (G : argument I) (E : operations I) (A : arith)
     (ok : R -> Prop) (keyed : I -> Prop) (leaf : R -> I -> R) (factor next : R -> R -> R),
    kernel_ok x v tau G E A ok keyed leaf factor next ->
    forall (s1 s2 : schedule I) (a1 a2 : R),
    ok (shift s1) ->
    ok (shift s2) ->
    F A a1 ->
    F A a2 ->
    wf x tau s1 ->
    wf x tau s2 ->
    computed x v G E s1 a1 ->
    computed x v G E s2 a2 ->
    let s := merge_schedule s1 s2 in
    let result := merge A factor (shift s1, a1) (shift s2, a2) in
    computed x v G E s (snd result) /\ shift s = fst result /\ wf x tau s /\ leaves s = leaves s1 ++ leaves s2.
Proof. exact (@ScheduleMerge.merge_computed). Qed.

Theorem merge_cost :
  forall (I : Type) (E : operations I) (s1 s2 : schedule I),
    operations_ok E ->
    cost E (merge_schedule s1 s2) <= Rmax (cost E s1) (cost E s2) + (factor_cost E + product_cost E) + add_cost E.
Proof. exact (@ScheduleMerge.merge_cost). Qed.

(** * ScheduleRational.v *)

Theorem additions_dominates :
  forall keys changes unit : Q,
    (Q2R keys + 1 + Q2R changes) * Q2R unit <= Q2R (ScheduleRational.additions keys changes unit).
Proof. exact (@ScheduleRational.additions_dominates). Qed.

Theorem underflow_dominates :
  forall keys changes seen eta_weight eta_sum cost : Q,
    0 <= Q2R keys ->
    0 <= Q2R changes ->
    0 <= Q2R seen ->
    0 <= Q2R eta_weight ->
    0 <= Q2R eta_sum ->
    0 <= Q2R cost ->
    Q2R cost + (1 + Q2R changes) * Q2R eta_weight < 2 ->
    ((1 + Q2R changes) * Q2R seen * Q2R eta_weight + (2 * Q2R keys + 1 + Q2R changes) * Q2R eta_sum) *
    (1 + (exp (Q2R cost + (1 + Q2R changes) * Q2R eta_weight) - 1)) <=
    Q2R (ScheduleRational.underflow keys changes seen eta_weight eta_sum cost).
Proof. exact (@ScheduleRational.underflow_dominates). Qed.

Theorem log_at_most_bounds :
  forall n : nat, (1 <= n)%nat -> ln (INR n) <= Q2R (ScheduleRational.log_at_most (inject_Z (Z.of_nat n))).
Proof. exact (@ScheduleRational.log_at_most_bounds). Qed.

Theorem gibbs_normaliser_dominates :
  forall keys changes nats argument_unit unit exponential eta_weight eta_sum : Q,
    let cost := (1 + Q2R changes) * Q2R exponential + (Q2R keys + 1 + Q2R changes) * Q2R unit in
    0 <= Q2R keys ->
    0 <= Q2R changes ->
    0 <= Q2R unit ->
    0 <= Q2R exponential ->
    0 <= Q2R eta_weight ->
    0 <= Q2R eta_sum ->
    Q2R argument_unit < 1 ->
    Q2R argument_unit * Q2R nats / (1 - Q2R argument_unit) < 1 ->
    cost + (1 + Q2R changes) * Q2R eta_weight < 2 ->
    (let cost0 := (1 + Q2R changes) * Q2R exponential + (Q2R keys + 1 + Q2R changes) * Q2R unit in
    (1 + (exp cost0 - 1)) / (1 - Q2R argument_unit * Q2R nats / (1 - Q2R argument_unit)) - 1 +
    ((1 + Q2R changes) * (Q2R keys + 1) * Q2R eta_weight + (2 * Q2R keys + 1 + Q2R changes) * Q2R eta_sum) *
    (1 + (exp (cost0 + (1 + Q2R changes) * Q2R eta_weight) - 1))) <=
    Q2R (ScheduleRational.gibbs_normaliser keys changes nats argument_unit unit exponential eta_weight eta_sum).
Proof. exact (@ScheduleRational.gibbs_normaliser_dominates). Qed.
