(** Nothing overflows in the row of Binary32Attention.v: every score, every partial sum of normaliser and numerator, and
    what is returned stay within the largest finite numbers, so that the limits of the formats are not felt. *)
From Coq Require Import Reals List Lra Lia ZArith.
From Flocq Require Import Core.
From refattn Require Import Sums LogMetric Growth Roundoff Perturbed Arithmetic Dot Scores Schedule ScheduleSubtract.
From refattn Require Import ScheduleCost ScheduleAnyOrder ScheduleArithmetic Tiles TilesComputed TilesCost TilesRow.
From refattn Require Import Normaliser Formats FormatsProduct Cast Binary32 Binary32Scores Binary32Attention Overflow.
From refattn Require OverflowScore OverflowSchedule.
Import ListNotations.
Open Scope R_scope.

(** Partial sums of a dot product, whatever their order. *)
Theorem dot32_in_range first rest s r : OverflowScore.part s (dot_tree first rest) -> Dot.computed unit32 lost32 s r ->
  largest_score (sumf (fun q => Rabs (Dot.value q)) (first :: rest)) (INR (length (first :: rest))) 0 unit32 lost32
    <= max_finite fp32 -> Rabs r <= max_finite fp32.
Proof.
  intros P C B. pose proof units_positive as [U L].
  assert (T : terms (dot_tree first rest) = first :: rest).
  { unfold dot_tree. rewrite dot_tree_terms. destruct first. reflexivity. }
  eapply OverflowScore.score_in_range; [| |exact P|exact C| | | |exact B]; try lra.
  - unfold count. rewrite T. lra.
  - unfold OverflowScore.size. rewrite T, growth_0. lra.
  - apply sumf_nonneg. intros. apply Rabs_pos.
Qed.

(** The score itself, by its error. *)
Corollary score32_in_range scale first rest :
  Rabs (scale * sumf Dot.value (first :: rest)) + doubt32 scale (first :: rest) <= max_finite fp32 ->
  Rabs (score32 scale first rest) <= max_finite fp32.
Proof.
  intros H. exact (proj1 (output_in_range fp32 ZnearestE _ _ _ fp32_valid (score32_error scale first rest) H)).
Qed.

Section Row.
Context {I : Type} (first : I -> R * R) (rest : I -> list (R * R)) (value_of : I -> R) (scale : R).
Variables (t : tile I) (ts : list (tile I)).
Hypothesis values_held : forall i, holds bf16 (value_of i).

Notation x := (score first rest scale).
Let keys := all_keys (t :: ts).
Let n := length keys.
Let k := moved x Rmax (tile_max x t) ts.
Let row := schedule_all x Rmax (tile_schedule (tile_max x t) t) ts.
Let G := subtract x (u binary32) 0.

Definition lost_in_row (seen narrow eta_cast : R) : R :=
  underflow (INR n) (INR k) seen (lost32 + eta_cast) lost32 (path first rest scale t ts narrow).

Lemma row_shape : wf x 0 row /\ leaves row = keys.
Proof.
  pose proof (normaliser_kernel binary32 binary32 (fun q => q) 0 0 binary32_ok binary32_ok (fun _ H => H)
    identity_conversion x (fun _ => 1%nat) 0 Rmax maximum_rule (score_held first rest scale)) as K.
  destruct (tiled_computed _ _ _ _ _ _ _ _ _ _ _ K t ts (fun _ _ => eq_refl)) as (_ & _ & W & L). now split.
Qed.

Lemma row_counted : counted (fun _ => 1%nat) n k row.
Proof. apply (tiled_counted x (fun _ => 1%nat) Rmax (fun _ => le_n 1)). Qed.

Lemma argument32 : argument_ok x 0 G.
Proof. exact (subtract_in binary32 binary32_ok x 0 Rmax maximum_rule unit_below_1). Qed.

Lemma no_lag i : peak G i <= 0.
Proof. simpl. rewrite Rmult_0_r. lra. Qed.

Lemma seen_now (f : I -> R) : seen f G row = sumf (fun i => Rabs (f i)) keys.
Proof.
  unfold seen. rewrite (proj2 row_shape). apply sumf_ext. intros i _. simpl. rewrite Rmult_0_r, exp_0. ring.
Qed.

(** What both sums cost and lose is within what Python computes for them. *)
Lemma row_within (f : I -> R) E narrow eta_cast :
  operations_within (fun _ => 1%nat) f G E (exponential binary32) (u binary32) narrow (eta_weight binary32 eta_cast)
    lost32 ->
  operations_ok E /\ cost E row <= path first rest scale t ts narrow /\
  Schedule.lost f G E row <= lost_in_row (sumf (fun i => Rabs (f i)) keys) narrow eta_cast.
Proof.
  rewrite exponential32. unfold eta_weight. destruct binary32_constants as (-> & _ & _ & _ & ->). intros W.
  split; [apply (within_ok _ _ _ _ _ _ _ _ _ W)|]. split.
  - exact (cost_within _ _ _ _ _ _ _ _ _ n k W row row_counted).
  - apply (lost_within _ _ _ _ _ _ _ _ _ n k W row _ row_counted). rewrite seen_now. lra.
Qed.

Theorem normaliser32_in_range s r : OverflowSchedule.part s row ->
  computed x one G (normaliser_operations binary32 binary32 0 0 (fun _ => 1%nat)) s r ->
  largest_normaliser (INR n) 0 (path first rest scale t ts 0) (lost_in_row (INR n) 0 0) <= max_finite fp32 ->
  Rabs r <= max_finite fp32.
Proof.
  intros P C B. destruct row_shape as [W L].
  destruct (row_within one _ 0 0 (normaliser_within binary32 binary32 (fun q => q) 0 0 binary32_ok binary32_ok
    identity_conversion x (fun _ => 1%nat) 0 (fun _ => le_n 1) (Rle_refl 0) lost32 eta_sum_add eta_sum_mul))
    as (ok & K & H).
  apply (OverflowSchedule.normaliser_in_range x 0 G _ s row r (INR n) 0 (path first rest scale t ts 0)
    (lost_in_row (INR n) 0 0) (max_finite fp32) argument32 ok P W C); auto.
  - intros i _. apply no_lag.
  - rewrite L. fold n. lra.
  - eapply Rle_trans; [exact H|]. right. f_equal. unfold one. rewrite Rabs_R1, sumf_const. fold n. ring.
Qed.

Theorem numerator32_in_range s r : OverflowSchedule.part s row ->
  computed x value_of G (output_operations binary32 binary32 unit16 lost16 value_of (fun _ => 1%nat)) s r ->
  let seen := sumf (fun i => Rabs (value_of i)) keys in
  largest_numerator seen 0 (path first rest scale t ts unit16) (lost_in_row seen unit16 lost16) <= max_finite fp32 ->
  Rabs r <= max_finite fp32.
Proof.
  intros P C seen B. destruct row_shape as [W L].
  destruct (row_within value_of _ unit16 lost16 (output_within binary32 binary32 cast_bf16 unit16 lost16 binary32_ok
    binary32_ok bf16_conversion x value_of (fun _ => 1%nat) 0 (fun _ => le_n 1) (Rle_refl 0) lost32 eta_sum_add
    eta_sum_mul)) as (ok & K & H).
  apply (OverflowSchedule.numerator_in_range x value_of 0 G _ argument32 ok s row r 0
    (path first rest scale t ts unit16) (lost_in_row seen unit16 lost16) (max_finite fp32) P W C); auto.
  - intros i _. apply no_lag.
  - rewrite L. exact B.
Qed.

(** The two sums of the kernel are results of that row. *)
Theorem row_computed :
  computed x one G (normaliser_operations binary32 binary32 0 0 (fun _ => 1%nat)) row
    (snd (normaliser32 first rest scale t ts)) /\
  computed x value_of G (output_operations binary32 binary32 unit16 lost16 value_of (fun _ => 1%nat)) row
    (snd (numerator32 first rest value_of scale t ts)).
Proof.
  split.
  - pose proof (normaliser_kernel binary32 binary32 (fun q => q) 0 0 binary32_ok binary32_ok (fun _ H => H)
      identity_conversion x (fun _ => 1%nat) 0 Rmax maximum_rule (score_held first rest scale)) as K.
    exact (proj1 (tiled_computed _ _ _ _ _ _ _ _ _ _ _ K t ts (fun _ _ => eq_refl))).
  - pose proof (output_kernel binary32 binary32 cast_bf16 unit16 lost16 binary32_ok binary32_ok (fun _ H => H)
      bf16_conversion x value_of (fun _ => 1%nat) 0 Rmax maximum_rule (score_held first rest scale)
      (value_held first rest value_of scale t ts values_held)) as K.
    exact (proj1 (tiled_computed _ _ _ _ _ _ _ _ _ _ _ K t ts (fun _ _ => eq_refl))).
Qed.

(** What is returned: bfloat16's limit is not felt either. *)
Theorem output32_in_range m most :
  (forall i, In i keys -> exact_score first rest scale i <= m) ->
  (forall i, In i keys -> doubt32 scale (pairs first rest i) <= most) ->
  lost first rest scale t ts most (INR n) 0 0 / total first rest scale t ts m
    * (1 + excess keys (p first rest scale m) (term_error first rest scale t ts m most 0)) < 1 ->
  Rabs (exact_output first rest value_of scale t ts m) + output_bound32 first rest value_of scale t ts m most
    <= max_finite bf16 ->
  Rabs (output32 first rest value_of scale t ts) <= max_finite bf16.
Proof.
  intros A D C B. pose proof (binary32_attention first rest value_of scale t ts values_held m most A D C) as E.
  set (O := exact_output first rest value_of scale t ts m) in *.
  set (y := output32 first rest value_of scale t ts) in *.
  replace y with (O + (y - O)) by ring. eapply Rle_trans; [apply Rabs_triang|]. lra.
Qed.
End Row.
