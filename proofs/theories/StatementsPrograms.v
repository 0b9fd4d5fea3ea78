(** The public theorems of safe, online and tiled softmax,
    stated in full a second time; see StatementsRoundoff.v. *)
From Coq Require Import ZArith QArith Qreals Reals List.
From refattn Require Import LogMetric Sums Growth Perturbed Arithmetic Schedule ScheduleCost ScheduleSubtract
  ScheduleAnyOrder ScheduleArithmetic AlgebraMaximum Tiles TilesComputed TilesCost TilesRow Gibbs GibbsNormaliser
  ConditionalRescale Safe Online.
Import ListNotations.
Open Scope R_scope.

(** * TilesComputed.v *)

Theorem absorb_all_computed :
  forall (I : Type) (x v : I -> R) (tau : R) (G : argument I) (E : operations I) (A : arith)
     (ok : R -> Prop) (keyed : I -> Prop) (leaf : R -> I -> R) (factor next : R -> R -> R),
    kernel_ok x v tau G E A ok keyed leaf factor next ->
    forall ts : list (tile I),
    (forall i : I, In i (all_keys ts) -> keyed i) ->
    forall (s : schedule I) (a : R),
    ok (shift s) ->
    F A a ->
    computed x v G E s a ->
    let result := absorb_all x A leaf factor next (shift s, a) ts in
    let s' := schedule_all x next s ts in
    computed x v G E s' (snd result) /\ fst result = shift s' /\ F A (snd result) /\ ok (shift s').
Proof. exact (@TilesComputed.absorb_all_computed). Qed.

Theorem tiled_computed :
  forall (I : Type) (x v : I -> R) (tau : R) (G : argument I) (E : operations I) (A : arith)
     (ok : R -> Prop) (keyed : I -> Prop) (leaf : R -> I -> R) (factor next : R -> R -> R),
    kernel_ok x v tau G E A ok keyed leaf factor next ->
    forall (t : tile I) (ts : list (tile I)),
    (forall i : I, In i (all_keys (t :: ts)) -> keyed i) ->
    let result := tiled x A leaf factor next t ts in
    let s := schedule_all x next (tile_schedule (tile_max x t) t) ts in
    computed x v G E s (snd result) /\ fst result = shift s /\ wf x tau s /\ leaves s = all_keys (t :: ts).
Proof. exact (@TilesComputed.tiled_computed). Qed.

Theorem tiled_from_sink_computed :
  forall (I : Type) (x v : I -> R) (tau : R) (G : argument I) (E : operations I) (A : arith)
     (ok : R -> Prop) (keyed : I -> Prop) (leaf : R -> I -> R) (factor next : R -> R -> R),
    kernel_ok x v tau G E A ok keyed leaf factor next ->
    forall (sink : I) (one : R) (ts : list (tile I)),
    (forall i : I, In i (all_keys ts) -> keyed i) ->
    F A one ->
    computed x v G E (Leaf sink (x sink)) one ->
    let result := tiled_from_sink x A leaf factor next (x sink) one ts in
    let s := schedule_all x next (Leaf sink (x sink)) ts in
    computed x v G E s (snd result) /\ fst result = shift s /\ wf x tau s /\ leaves s = sink :: all_keys ts.
Proof. exact (@TilesComputed.tiled_from_sink_computed). Qed.

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

(** * TilesRow.v *)

Theorem tiled_normaliser :
  forall (S0 A : arith) (cast : R -> R) (narrow eta_cast : R),
    arith_ok S0 ->
    arith_ok A ->
    (forall p : R, F S0 p -> F A p) ->
    conversion S0 A cast narrow eta_cast ->
    forall (I : Type) (x : I -> R) (w : I -> nat) (tau : R) (next : R -> R -> R),
    reference_rule S0 tau next ->
    (forall i : I, F S0 (x i)) ->
    u S0 <= 1 ->
    forall eta_sum : R,
    eta_add A <= eta_sum ->
    eta_mul A <= eta_sum ->
    (forall i : I, (w i <= 1)%nat) ->
    forall (t : tile I) (ts : list (tile I)),
    (forall i : I, In i (all_keys (t :: ts)) -> w i = 1%nat) ->
    let
    '(m, l) := tiled x A (weight_leaf S0 cast x) (weight S0) next t ts in
    perturbed (all_keys (t :: ts)) (weighted x one m)
      (row_log_error S0 A narrow x tau (length (all_keys (t :: ts))) (moved x next (tile_max x t) ts) m)
      (row_lost S0 A narrow eta_cast tau eta_sum (length (all_keys (t :: ts))) (moved x next (tile_max x t) ts)
         (INR (length (all_keys (t :: ts))))) l.
Proof. exact (@TilesRow.tiled_normaliser). Qed.

Theorem tiled_output :
  forall (S0 A : arith) (cast : R -> R) (narrow eta_cast : R),
    arith_ok S0 ->
    arith_ok A ->
    (forall p : R, F S0 p -> F A p) ->
    conversion S0 A cast narrow eta_cast ->
    forall (I : Type) (x v : I -> R) (w : I -> nat) (tau : R) (next : R -> R -> R),
    reference_rule S0 tau next ->
    (forall i : I, F S0 (x i)) ->
    (forall i : I, F A (v i)) ->
    u S0 <= 1 ->
    forall eta_sum : R,
    eta_add A <= eta_sum ->
    eta_mul A <= eta_sum ->
    (forall i : I, (w i <= 1)%nat) ->
    forall (t : tile I) (ts : list (tile I)),
    (forall i : I, In i (all_keys (t :: ts)) -> w i = 1%nat) ->
    let
    '(m, o) := tiled x A (value_leaf S0 A cast x v) (weight S0) next t ts in
    perturbed (all_keys (t :: ts)) (weighted x v m)
      (row_log_error S0 A narrow x tau (length (all_keys (t :: ts))) (moved x next (tile_max x t) ts) m)
      (row_lost S0 A narrow eta_cast tau eta_sum (length (all_keys (t :: ts))) (moved x next (tile_max x t) ts)
         (sumf (fun i : I => Rabs (v i)) (all_keys (t :: ts)))) o.
Proof. exact (@TilesRow.tiled_output). Qed.

Theorem sink_normaliser :
  forall (S0 A : arith) (cast : R -> R) (narrow eta_cast : R),
    arith_ok S0 ->
    arith_ok A ->
    (forall p : R, F S0 p -> F A p) ->
    conversion S0 A cast narrow eta_cast ->
    forall (I : Type) (x : I -> R) (w : I -> nat) (tau : R) (next : R -> R -> R),
    reference_rule S0 tau next ->
    (forall i : I, F S0 (x i)) ->
    u S0 <= 1 ->
    forall eta_sum : R,
    eta_add A <= eta_sum ->
    eta_mul A <= eta_sum ->
    (forall i : I, (w i <= 1)%nat) ->
    forall (sink : I) (ts : list (tile I)),
    w sink = 0%nat ->
    ts <> [] ->
    (forall i : I, In i (all_keys ts) -> w i = 1%nat) ->
    let
    '(m, l) := tiled_from_sink x A (weight_leaf S0 cast x) (weight S0) next (x sink) 1 ts in
    perturbed (sink :: all_keys ts) (weighted x one m)
      (row_log_error S0 A narrow x tau (length (all_keys ts)) (length ts - 1) m)
      (row_lost S0 A narrow eta_cast tau eta_sum (length (all_keys ts)) (length ts - 1)
         (INR (length (all_keys ts)) + 1)) l.
Proof. exact (@TilesRow.sink_normaliser). Qed.

Theorem sink_output :
  forall (S0 A : arith) (cast : R -> R) (narrow eta_cast : R),
    arith_ok S0 ->
    arith_ok A ->
    (forall p : R, F S0 p -> F A p) ->
    conversion S0 A cast narrow eta_cast ->
    forall (I : Type) (x v : I -> R) (w : I -> nat) (tau : R) (next : R -> R -> R),
    reference_rule S0 tau next ->
    (forall i : I, F S0 (x i)) ->
    (forall i : I, F A (v i)) ->
    u S0 <= 1 ->
    forall eta_sum : R,
    eta_add A <= eta_sum ->
    eta_mul A <= eta_sum ->
    (forall i : I, (w i <= 1)%nat) ->
    forall (sink : I) (ts : list (tile I)),
    w sink = 0%nat ->
    v sink = 0 ->
    ts <> [] ->
    (forall i : I, In i (all_keys ts) -> w i = 1%nat) ->
    let
    '(m, o) := tiled_from_sink x A (value_leaf S0 A cast x v) (weight S0) next (x sink) 0 ts in
    perturbed (sink :: all_keys ts) (weighted x v m)
      (row_log_error S0 A narrow x tau (length (all_keys ts)) (length ts - 1) m)
      (row_lost S0 A narrow eta_cast tau eta_sum (length (all_keys ts)) (length ts - 1)
         (sumf (fun i : I => Rabs (v i)) (all_keys ts))) o.
Proof. exact (@TilesRow.sink_output). Qed.

(** * ConditionalRescale.v *)

Theorem running_maximum : forall S : arith, reference_rule S 0 Rmax.
Proof. exact (@ConditionalRescale.running_maximum). Qed.

Theorem conditional_rule : forall (S : arith) (tau : R), 0 <= tau -> reference_rule S tau (conditional tau).
Proof. exact (@ConditionalRescale.conditional_rule). Qed.

Theorem last_reference_is_maximum :
  forall (I : Type) (x : I -> R) (s : schedule I) (ts : list (tile I)) (m : R),
    wf x 0 s ->
    (exists i : I, In i (leaves s) /\ x i = shift s) ->
    m = shift (schedule_all x Rmax s ts) ->
    (exists i : I, In i (leaves s ++ all_keys ts) /\ x i = m) /\
    (forall i : I, In i (leaves s ++ all_keys ts) -> x i <= m).
Proof. exact (@ConditionalRescale.last_reference_is_maximum). Qed.

Theorem last_reference_is_near :
  forall (I : Type) (x : I -> R) (tau : R) (s : schedule I) (ts : list (tile I)) (top : R),
    0 <= tau ->
    wf x tau s ->
    shift s <= top ->
    (exists i : I, In i (leaves s ++ all_keys ts) /\ x i = top) ->
    (forall i : I, In i (all_keys ts) -> x i <= top) ->
    top - tau <= shift (schedule_all x (conditional tau) s ts) <= top.
Proof. exact (@ConditionalRescale.last_reference_is_near). Qed.

(** * Safe.v *)

Theorem safe_bound :
  forall A : arith,
    arith_ok A ->
    forall (x : number A) (xs : list (number A)),
    let n := length (x :: xs) in
    let m := largest (value x) (map value xs) in
    perturbed (x :: xs) (weighted value one m)
     (fun i : number A => path_cost n 0 (exponential A) (u A) 0 + u A * (m - value i))
     (((1 + 0) * INR n * eta_exp A + (2 * INR n + 1 + 0) * eta A) *
      (1 + (exp (path_cost n 0 (exponential A) (u A) 0 + (1 + 0) * eta_exp A) - 1))) (safe_normaliser A x xs).
Proof. exact (@Safe.safe_bound). Qed.

(** * Online.v *)

Theorem online_bound :
  forall A : arith,
    arith_ok A ->
    forall (x : number A) (xs : list (number A)),
    let n := length (x :: xs) in
    let k := records A (value x) xs in
    let
    '(m, l) := online A (value x) 1 xs in
    perturbed (x :: xs) (weighted value one m)
      (fun i : number A => path_cost n k (exponential A) (u A) 0 + u A * (m - value i))
      (((1 + INR k) * INR n * eta_exp A + (2 * INR n + 1 + INR k) * eta A) *
       (1 + (exp (path_cost n k (exponential A) (u A) 0 + (1 + INR k) * eta_exp A) - 1))) l.
Proof. exact (@Online.online_bound). Qed.

Theorem online_range_free :
  forall A : arith,
    arith_ok A ->
    forall (x : number A) (xs : list (number A)) (nats : R),
    let n := length (x :: xs) in
    let k := records A (value x) xs in
    u A < 1 ->
    ln (INR n) <= nats ->
    u A * nats / (1 - u A) < 1 ->
    let
    '(m, l) := online A (value x) 1 xs in
    let exact := sumf (weighted value one m) (x :: xs) in
    m = largest (value x) (map value xs) /\
    1 <= exact /\
    Rabs (l - exact) <=
    (let cost := (1 + INR k) * exponential A + (INR n + 1 + INR k) * u A in
     (1 + (exp cost - 1)) / (1 - u A * nats / (1 - u A)) - 1 +
     ((1 + INR k) * (INR n + 1) * eta_exp A + (2 * INR n + 1 + INR k) * eta A) *
     (1 + (exp (cost + (1 + INR k) * eta_exp A) - 1))) * exact.
Proof. exact (@Online.online_range_free). Qed.
