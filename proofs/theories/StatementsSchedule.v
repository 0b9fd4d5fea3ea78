(** The public theorems of sums of exponentials, in every order of summation,
    stated in full a second time; see StatementsRoundoff.v. *)
From Coq Require Import ZArith QArith Qreals Reals List.
From refattn Require Import LogMetric Sums Growth Perturbed Schedule ScheduleCost ScheduleAnyOrder Arithmetic
  AlgebraMaximum Tiles TilesCost TilesComputed Rationals ScheduleSubtract Gibbs GibbsNormaliser Algebra Masks.
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

(** * TilesCost.v *)

Theorem tiled_counted :
  forall (I : Type) (x : I -> R) (w : I -> nat) (next : R -> R -> R),
    (forall i : I, (w i <= 1)%nat) ->
    forall (t : tile I) (ts : list (tile I)),
    counted w (length (all_keys (t :: ts))) (moved x next (tile_max x t) ts)
     (schedule_all x next (tile_schedule (tile_max x t) t) ts).
Proof. exact (@TilesCost.tiled_counted). Qed.

Theorem sink_counted :
  forall (I : Type) (x : I -> R) (w : I -> nat) (next : R -> R -> R),
    (forall i : I, (w i <= 1)%nat) ->
    forall (sink : I) (ts : list (tile I)),
    w sink = 0%nat ->
    ts <> [] -> counted w (length (all_keys ts)) (length ts - 1) (schedule_all x next (Leaf sink (x sink)) ts).
Proof. exact (@TilesCost.sink_counted). Qed.

Theorem tiled_cost :
  forall (I : Type) (x : I -> R) (next : R -> R -> R) (E : operations I) (b : nat),
    operations_ok E ->
    forall own : R,
    (forall i : I, leaf_cost E i <= own) ->
    forall (t : tile I) (ts : list (tile I)),
    (forall t' : tile I, In t' (t :: ts) -> (length (keys_of t') <= b)%nat) ->
    cost E (schedule_all x next (tile_schedule (tile_max x t) t) ts) <=
    own + (INR (b - 1) + INR (length ts)) * add_cost E +
    INR (moved x next (tile_max x t) ts) * (factor_cost E + product_cost E).
Proof. exact (@TilesCost.tiled_cost). Qed.

(** * TilesComputed.v *)

Theorem absorb_all_computed :
  forall (I : Type) (x v : I -> R) (tau : R) (G : argument I) (E : operations I) (A : arith)
     (ok : R -> Prop) (leaf : R -> I -> R) (factor next : R -> R -> R),
    kernel_ok x v tau G E A ok leaf factor next ->
    forall (ts : list (tile I)) (s : schedule I) (a : R),
    ok (shift s) ->
    F A a ->
    computed x v G E s a ->
    let result := absorb_all x A leaf factor next (shift s, a) ts in
    let s' := schedule_all x next s ts in
    computed x v G E s' (snd result) /\ fst result = shift s' /\ F A (snd result) /\ ok (shift s').
Proof. exact (@TilesComputed.absorb_all_computed). Qed.

Theorem tiled_computed :
  forall (I : Type) (x v : I -> R) (tau : R) (G : argument I) (E : operations I) (A : arith)
     (ok : R -> Prop) (leaf : R -> I -> R) (factor next : R -> R -> R),
    kernel_ok x v tau G E A ok leaf factor next ->
    forall (t : tile I) (ts : list (tile I)),
    let result := tiled x A leaf factor next t ts in
    let s := schedule_all x next (tile_schedule (tile_max x t) t) ts in
    computed x v G E s (snd result) /\ fst result = shift s /\ wf x tau s /\ leaves s = all_keys (t :: ts).
Proof. exact (@TilesComputed.tiled_computed). Qed.

Theorem tiled_from_sink_computed :
  forall (I : Type) (x v : I -> R) (tau : R) (G : argument I) (E : operations I) (A : arith)
     (ok : R -> Prop) (leaf : R -> I -> R) (factor next : R -> R -> R),
    kernel_ok x v tau G E A ok leaf factor next ->
    forall (sink : I) (one : R) (ts : list (tile I)),
    F A one ->
    computed x v G E (Leaf sink (x sink)) one ->
    let result := tiled_from_sink x A leaf factor next (x sink) one ts in
    let s := schedule_all x next (Leaf sink (x sink)) ts in
    computed x v G E s (snd result) /\ fst result = shift s /\ wf x tau s /\ leaves s = sink :: all_keys ts.
Proof. exact (@TilesComputed.tiled_from_sink_computed). Qed.

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

Theorem normaliser_range_free :
  forall (I : Type) (w : I -> nat) (x : I -> R) (E : operations I)
     (argument_unit eps unit eta_weight eta_sum nats : R) (keys changes : nat),
    operations_within w (fun _ : I => 1) (subtract x argument_unit 0) E eps unit 0 eta_weight eta_sum ->
    0 <= argument_unit < 1 ->
    forall (s : schedule I) (r : R) (top : I),
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

(** * Algebra.v *)

Theorem merge_comm : forall s t : state, merge s t = merge t s.
Proof. exact (@Algebra.merge_comm). Qed.

Theorem merge_assoc : forall r s t : state, merge r (merge s t) = merge (merge r s) t.
Proof. exact (@Algebra.merge_assoc). Qed.

Theorem spec_app : forall es fs : list key, spec (es ++ fs) = merge (spec es) (spec fs).
Proof. exact (@Algebra.spec_app). Qed.

Theorem online_spec : forall es : list key, online es = spec es.
Proof. exact (@Algebra.online_spec). Qed.

Theorem tree_state_spec : forall t : merge_tree, tree_state t = spec (tree_keys t).
Proof. exact (@Algebra.tree_state_spec). Qed.

Theorem output_is_weighted_mean :
  forall (es : list key) (m l o : R),
    spec es = Some (m, l, o) ->
    o / l = sumf (fun e : R * R => exp (fst e) * snd e) es / sumf (fun e : R * R => exp (fst e)) es.
Proof. exact (@Algebra.output_is_weighted_mean). Qed.

(** * Masks.v *)

Theorem masked_online_spec : forall ks : list flagged, masked_online ks = masked_spec ks.
Proof. exact (@Masks.masked_online_spec). Qed.

Theorem masked_spec_app :
  forall ks js : list flagged, masked_spec (ks ++ js) = merge (masked_spec ks) (masked_spec js).
Proof. exact (@Masks.masked_spec_app). Qed.

Theorem nothing_visible :
  forall ks : list (key * bool), (forall k : key * bool, In k ks -> snd k = false) -> masked_spec ks = None.
Proof. exact (@Masks.nothing_visible). Qed.

Theorem invisible_part :
  forall ks hidden js : list (key * bool),
    (forall k : key * bool, In k hidden -> snd k = false) ->
    masked_spec (ks ++ hidden ++ js) = masked_spec (ks ++ js).
Proof. exact (@Masks.invisible_part). Qed.

Theorem invisible_contents :
  forall (ks : list (key * bool)) (k other : key) (js : list (key * bool)),
    masked_spec (ks ++ (k, false) :: js) = masked_spec (ks ++ (other, false) :: js).
Proof. exact (@Masks.invisible_contents). Qed.

Theorem masked_sum :
  forall A : arith,
    arith_ok A ->
    forall (I : Type) (leaf : I -> R) (sees : I -> bool) (is : list I) (total : R),
    F A total -> added A (masked_leaf leaf sees) total is = added A leaf total (filter sees is).
Proof. exact (@Masks.masked_sum). Qed.

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
