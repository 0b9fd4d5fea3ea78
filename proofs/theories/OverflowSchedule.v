(** Weights, normalisers and numerators stay in range, whatever the schedule.

    A tile is added up relative to the reference of its time, which may lie far below the last one: its values count in
    full then, however small their last weights are.  So the bound takes sum |v_j|, not sum p_j |v_j|. *)
From Coq Require Import Reals List Lra Lia.
From refattn Require Import Sums LogMetric Growth Perturbed Schedule Formats Overflow.
Import ListNotations.
Open Scope R_scope.

(** The results on the way to a schedule's. *)
Inductive part {I} : schedule I -> schedule I -> Prop :=
| part_whole s : part s s
| part_one s a b : part s a -> part s (Add a b)
| part_other s a b : part s b -> part s (Add a b)
| part_before s a m : part s a -> part s (Rescale a m).

Section Schedules.
Context {I : Type} (x v : I -> R) (tau : R) (G : argument I) (E : operations I).
Hypothesis GOK : argument_ok x tau G.
Hypothesis EOK : operations_ok E.

Lemma seen_add a b : seen v G (Add a b) = seen v G a + seen v G b.
Proof. unfold seen. simpl. apply sumf_app. Qed.

Lemma lost_add_ge a b : lost v G E a <= lost v G E (Add a b) /\ lost v G E b <= lost v G E (Add a b).
Proof.
  destruct EOK. simpl. assert (1 <= exp (add_cost E)) by now apply exp_ge_1.
  assert (0 <= lost v G E a) by now apply lost_nonneg. assert (0 <= lost v G E b) by now apply lost_nonneg.
  split; nra.
Qed.

Lemma lost_rescale_ge a m : lost v G E a <= lost v G E (Rescale a m).
Proof.
  destruct EOK. simpl. destruct Req_EM_T; [lra|].
  assert (0 <= lost v G E a) by now apply lost_nonneg. assert (0 <= seen v G a) by apply seen_nonneg.
  assert (1 <= exp (factor_cost E + product_cost E)) by (apply exp_ge_1; lra).
  pose proof (exp_pos (cost E a)). pose proof (exp_pos (product_cost E)).
  assert (0 <= (seen v G a * exp (cost E a) + lost v G E a) * factor_lost E) by (apply Rmult_le_pos; nra).
  nra.
Qed.

Lemma part_smaller s t : part s t ->
  seen v G s <= seen v G t /\ cost E s <= cost E t /\ lost v G E s <= lost v G E t.
Proof.
  induction 1 as [s|s a b _ (S & C & L)|s a b _ (S & C & L)|s a m _ (S & C & L)].
  - lra.
  - rewrite seen_add. pose proof (seen_nonneg v G b). pose proof (lost_add_ge a b).
    simpl cost. pose proof (Rmax_l (cost E a) (cost E b)). destruct EOK. lra.
  - rewrite seen_add. pose proof (seen_nonneg v G a). pose proof (lost_add_ge a b).
    simpl cost. pose proof (Rmax_r (cost E a) (cost E b)). destruct EOK. lra.
  - pose proof (lost_rescale_ge a m). change (seen v G (Rescale a m)) with (seen v G a).
    simpl cost. destruct EOK. destruct Req_EM_T; lra.
Qed.

Lemma part_wf s t : part s t -> wf x tau t -> wf x tau s.
Proof. induction 1; simpl; tauto. Qed.

(** Every partial result is at most what all the values can add up to. *)
Theorem schedule_in_range s t r limit : part s t -> wf x tau t -> computed x v G E s r ->
  seen v G t * exp (cost E t) + lost v G E t <= limit -> Rabs r <= limit.
Proof.
  intros P W C B. destruct (part_smaller s t P) as (S & K & L). pose proof (part_wf s t P W) as Ws.
  eapply Rle_trans; [exact (computed_size x v tau G E GOK s r Ws (any_schedule x v tau G E GOK EOK s r Ws C))|].
  eapply Rle_trans; [|exact B]. apply Rplus_le_compat; [|exact L].
  apply Rmult_le_compat; [apply seen_nonneg|left; apply exp_pos|exact S|now apply exp_le].
Qed.

Lemma seen_below_lag lag s : (forall i, In i (leaves s) -> peak G i <= lag) ->
  seen v G s <= sumf (fun i => Rabs (v i)) (leaves s) * exp lag.
Proof.
  intros H. unfold seen. rewrite <- sumf_scal. apply sumf_le. intros i Hi.
  apply Rmult_le_compat_l; [apply Rabs_pos|]. now apply exp_le, H.
Qed.

(** [lag]: the logarithm of the largest weight: 0, or what a stale reference leaves above it. *)
Theorem numerator_in_range s t r lag total_cost total_lost limit :
  part s t -> wf x tau t -> computed x v G E s r -> (forall i, In i (leaves t) -> peak G i <= lag) ->
  cost E t <= total_cost -> lost v G E t <= total_lost ->
  largest_numerator (sumf (fun i => Rabs (v i)) (leaves t)) lag total_cost total_lost <= limit -> Rabs r <= limit.
Proof.
  intros P W C HL HC HH B. apply (schedule_in_range s t r limit P W C). eapply Rle_trans; [|exact B].
  unfold largest_numerator, largest_sum, growth.
  replace (1 + (exp (lag + total_cost) - 1)) with (exp lag * exp total_cost) by (rewrite exp_plus; ring).
  apply Rplus_le_compat; [|exact HH]. rewrite <- Rmult_assoc.
  apply Rmult_le_compat; [apply seen_nonneg|left; apply exp_pos|now apply seen_below_lag|now apply exp_le].
Qed.

(** One computed weight, as it is cast: the leaf of value 1 alone. *)
Theorem weight_in_range i m r lag limit : v i = 1 -> x i <= m + tau -> computed x v G E (Leaf i m) r ->
  peak G i <= lag -> largest_numerator 1 lag (leaf_cost E i) (leaf_lost E i) <= limit -> Rabs r <= limit.
Proof.
  intros Hv W C HL B.
  apply (numerator_in_range (Leaf i m) (Leaf i m) r lag (leaf_cost E i) (leaf_lost E i) limit); auto.
  - apply part_whole.
  - simpl. intros j [<-|[]]. exact HL.
  - simpl. lra.
  - simpl. lra.
  - cbn [leaves sumf]. rewrite Hv, Rabs_R1, Rplus_0_r. exact B.
Qed.
End Schedules.

(** The normaliser: values 1, at most one leaf a key and one for a sink. *)
Theorem normaliser_in_range {I} (x : I -> R) tau (G : argument I) (E : operations I) s t r
  keys lag total_cost total_lost limit : argument_ok x tau G -> operations_ok E ->
  part s t -> wf x tau t -> computed x (fun _ => 1) G E s r -> (forall i, In i (leaves t) -> peak G i <= lag) ->
  INR (length (leaves t)) <= keys + 1 -> cost E t <= total_cost -> lost (fun _ => 1) G E t <= total_lost ->
  largest_normaliser keys lag total_cost total_lost <= limit -> Rabs r <= limit.
Proof.
  intros GOK EOK P W C HL HN HC HH B.
  apply (numerator_in_range x (fun _ => 1) tau G E GOK EOK s t r lag total_cost total_lost limit); auto.
  eapply Rle_trans; [|exact B]. unfold largest_normaliser, largest_numerator.
  rewrite Rabs_R1, sumf_const, Rmult_1_r. apply largest_sum_mono; try lra. apply pos_INR.
Qed.
