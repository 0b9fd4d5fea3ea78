(** THEOREMS on a tiled row in floating point: its normaliser and a column of its output are perturbed sums, with the
    costs of [any_order], with and without a sink. *)
From Coq Require Import Reals List Lra Lia.
From refattn Require Import Sums LogMetric Growth Perturbed Arithmetic Schedule ScheduleCost ScheduleSubtract
  ScheduleAnyOrder ScheduleArithmetic Tiles TilesComputed TilesCost.
Import ListNotations.
Open Scope R_scope.

(** References that a kernel may take: numbers of the format, never smaller than before, at most tau below a score. *)
Definition reference_rule (S : arith) (tau : R) (next : R -> R -> R) : Prop :=
  0 <= tau /\ (forall m t, F S m -> F S t -> F S (next m t)) /\
  (forall m t, m <= next m t) /\ (forall m t, t <= next m t + tau).

Section Row.
Variables (S A : arith) (cast : R -> R) (narrow eta_cast : R).
Hypothesis SOK : arith_ok S.
Hypothesis AOK : arith_ok A.
Hypothesis wider : forall p, F S p -> F A p.
Hypothesis casts : conversion S A cast narrow eta_cast.
Context {I : Type} (x v : I -> R) (w : I -> nat) (tau : R) (next : R -> R -> R).
Hypothesis rule : reference_rule S tau next.
Hypothesis scores_in : forall i, F S (x i).
Hypothesis values_in : forall i, F A (v i).
Hypothesis argument_unit : u S <= 1.
Variable eta_sum : R.
Hypothesis eta_sum_add : Arithmetic.eta_add A <= eta_sum.
Hypothesis eta_sum_mul : Arithmetic.eta_mul A <= eta_sum.

Let G := subtract x (u S) tau.
Let keyed (i : I) := w i = 1%nat.
Let normaliser := normaliser_operations S A narrow eta_cast w.
Let output := output_operations S A narrow eta_cast v w.
Let weights := weight_leaf S cast x.
Let values := value_leaf S A cast x v.

Lemma factor_computed m m' : F S m -> F S m' -> m <= m' -> exists t h,
  Rabs t <= exponential S + of_rescale G m m' /\ Rabs h <= Arithmetic.eta_exp S /\
  weight S m m' = exp (m - m') * exp t + h.
Proof.
  intros Fm Fm' L. destruct (weight_computed S SOK m m' Fm Fm') as (t & h & Ht & Hh & E).
  exists t, h. split; [|now split]. change (of_rescale G m m') with (u S * (m' - m)).
  rewrite Rabs_minus_sym, (Rabs_pos_eq (m' - m)) in Ht; lra.
Qed.

Lemma normaliser_kernel : kernel_ok x one tau G normaliser A (F S) keyed weights (weight S) next.
Proof.
  destruct rule as (T & N1 & N2 & N3). constructor; auto; try (simpl; apply Rle_refl).
  - intros m i _. unfold weights, weight_leaf. destruct casts as (_ & _ & C). apply C. now apply A_Fexp.
  - intros m i K Fm _. now apply weight_leaf_computed.
  - intros m m'. apply wider. now apply A_Fexp.
  - intros m Fm. now apply weight_still.
  - apply factor_computed.
Qed.

Lemma output_kernel : kernel_ok x v tau G output A (F S) keyed values (weight S) next.
Proof.
  destruct rule as (T & N1 & N2 & N3). constructor; auto; try (simpl; apply Rle_refl).
  - intros m i _. now apply A_Fmul.
  - intros m i K Fm _. now apply value_leaf_computed.
  - intros m m'. apply wider. now apply A_Fexp.
  - intros m Fm. now apply weight_still.
  - apply factor_computed.
Qed.

Hypothesis one_each : forall i, (w i <= 1)%nat.
Let eta := eta_weight S eta_cast.
Let stale := exp ((1 + u S) * tau).

Definition row_log_error (keys changes : nat) (m : R) (i : I) : R :=
  path_cost keys changes (exponential S) (u A) narrow + u S * (m - x i + 2 * tau).
Definition row_lost (keys changes : nat) (seen : R) : R :=
  underflow (INR keys) (INR changes) (seen * stale) eta eta_sum (path_cost keys changes (exponential S) (u A) narrow).

Lemma seen_stale (f : I -> R) s : seen f G s = sumf (fun i => Rabs (f i)) (leaves s) * stale.
Proof. unfold seen, G, stale. simpl. apply sumf_scal. Qed.

Lemma subtract_in : argument_ok x tau G.
Proof. apply subtract_ok; [|apply rule]. pose proof (A_u S SOK). lra. Qed.

(** A row that starts with its first tile. *)
Section FromTile.
Variables (t : tile I) (ts : list (tile I)).
Hypothesis all_keyed : forall i, In i (all_keys (t :: ts)) -> w i = 1%nat.
Let keys := all_keys (t :: ts).
Let n := length keys.
Let k := moved x next (tile_max x t) ts.

Theorem tiled_normaliser :
  let '(m, l) := tiled x A weights (weight S) next t ts in
  perturbed keys (weighted x one m) (row_log_error n k m) (row_lost n k (INR n)) l.
Proof.
  destruct (tiled_computed _ _ _ _ _ _ _ _ _ _ _ normaliser_kernel t ts all_keyed) as (C & M & W & L).
  destruct (tiled _ _ _ _ _ _ _) as [m l]. cbn [fst snd] in C, M. subst m.
  pose proof (normaliser_within S A cast narrow eta_cast SOK AOK casts x w tau one_each (proj1 rule) eta_sum
    eta_sum_add eta_sum_mul) as B.
  set (s := schedule_all _ _ _ _) in *. unfold keys. rewrite <- L.
  eapply (any_order w x one tau G normaliser);
    [exact subtract_in|exact B|exact W|exact C|apply tiled_counted; exact one_each|].
  rewrite seen_stale. unfold one. rewrite Rabs_R1, sumf_const, L, Rmult_1_r. apply Rle_refl.
Qed.

Theorem tiled_output :
  let '(m, o) := tiled x A values (weight S) next t ts in
  perturbed keys (weighted x v m) (row_log_error n k m) (row_lost n k (sumf (fun i => Rabs (v i)) keys)) o.
Proof.
  destruct (tiled_computed _ _ _ _ _ _ _ _ _ _ _ output_kernel t ts all_keyed) as (C & M & W & L).
  destruct (tiled _ _ _ _ _ _ _) as [m o]. cbn [fst snd] in C, M. subst m.
  pose proof (output_within S A cast narrow eta_cast SOK AOK casts x v w tau one_each (proj1 rule) eta_sum
    eta_sum_add eta_sum_mul) as B.
  set (s := schedule_all _ _ _ _) in *. unfold keys. rewrite <- L.
  eapply (any_order w x v tau G output);
    [exact subtract_in|exact B|exact W|exact C|apply tiled_counted; exact one_each|].
  rewrite seen_stale, L. apply Rle_refl.
Qed.
End FromTile.

(** A row that starts with a sink: a key with value 0, and weight 1 at its own reference. *)
Section FromSink.
Variables (sink : I) (ts : list (tile I)).
Hypothesis sink_own : w sink = 0%nat.
Hypothesis sink_value : v sink = 0.
Hypothesis some_tile : ts <> [].
Hypothesis all_keyed : forall i, In i (all_keys ts) -> w i = 1%nat.
Let keys := all_keys ts.
Let n := length keys.
Let k := (length ts - 1)%nat.

Lemma sink_computed (f : I -> R) E : leaf_cost E sink = 0 -> leaf_lost E sink = 0 ->
  computed x f G E (Leaf sink (x sink)) (f sink).
Proof.
  intros C L. replace (f sink) with (weighted x f (x sink) sink * exp 0 + 0) at 1.
  2:{ unfold weighted. rewrite Rminus_diag_eq, exp_0 by reflexivity. ring. }
  apply computed_leaf; rewrite Rabs_R0, ?L; [|lra].
  rewrite C. simpl. rewrite Rminus_diag_eq, Rabs_R0 by reflexivity. lra.
Qed.

Theorem sink_normaliser :
  let '(m, l) := tiled_from_sink x A weights (weight S) next (x sink) 1 ts in
  perturbed (sink :: keys) (weighted x one m) (row_log_error n k m) (row_lost n k (INR n + 1)) l.
Proof.
  assert (C1 : computed x one G normaliser (Leaf sink (x sink)) 1).
  { apply (sink_computed one); simpl; rewrite sink_own; simpl; ring. }
  destruct (tiled_from_sink_computed _ _ _ _ _ _ _ _ _ _ _ normaliser_kernel sink 1 ts all_keyed (A_F1 A AOK) C1)
    as (C & M & W & L).
  destruct (tiled_from_sink _ _ _ _ _ _ _) as [m l]. cbn [fst snd] in C, M. subst m.
  pose proof (normaliser_within S A cast narrow eta_cast SOK AOK casts x w tau one_each (proj1 rule) eta_sum
    eta_sum_add eta_sum_mul) as B.
  set (s := schedule_all _ _ _ _) in *. unfold keys. rewrite <- L.
  eapply (any_order w x one tau G normaliser);
    [exact subtract_in|exact B|exact W|exact C|now apply sink_counted|].
  rewrite seen_stale. unfold one. rewrite Rabs_R1, sumf_const, L, Rmult_1_r. cbn [length]. rewrite S_INR.
  apply Rle_refl.
Qed.

Theorem sink_output :
  let '(m, o) := tiled_from_sink x A values (weight S) next (x sink) 0 ts in
  perturbed (sink :: keys) (weighted x v m) (row_log_error n k m) (row_lost n k (sumf (fun i => Rabs (v i)) keys)) o.
Proof.
  assert (C1 : computed x v G output (Leaf sink (x sink)) 0).
  { rewrite <- sink_value. apply (sink_computed v); simpl; rewrite sink_own; simpl; ring. }
  destruct (tiled_from_sink_computed _ _ _ _ _ _ _ _ _ _ _ output_kernel sink 0 ts all_keyed (A_F0 A AOK) C1)
    as (C & M & W & L).
  destruct (tiled_from_sink _ _ _ _ _ _ _) as [m o]. cbn [fst snd] in C, M. subst m.
  pose proof (output_within S A cast narrow eta_cast SOK AOK casts x v w tau one_each (proj1 rule) eta_sum
    eta_sum_add eta_sum_mul) as B.
  set (s := schedule_all _ _ _ _) in *. unfold keys. rewrite <- L.
  eapply (any_order w x v tau G output);
    [exact subtract_in|exact B|exact W|exact C|now apply sink_counted|].
  rewrite seen_stale, L. simpl sumf. rewrite sink_value, Rabs_R0, Rplus_0_l. apply Rle_refl.
Qed.
End FromSink.
End Row.
