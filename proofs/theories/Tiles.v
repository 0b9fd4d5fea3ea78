(** Tiled attention as a schedule: tiles of keys, each added up at the reference that it finds or sets, and a partial
    sum that is rescaled when the reference moves.  One tile is safe softmax, tiles of one key are online softmax.

    The program is written with the operations of an accumulator; how leaves and rescaling factors are computed is left
    open, as is the reference: [next m t] is what follows m when a tile's largest score is t. *)
From Coq Require Import Reals List Lra Lia.
From refattn Require Import Sums LogMetric Growth Perturbed Arithmetic AlgebraMaximum Schedule ScheduleCost.
Import ListNotations.
Open Scope R_scope.

Definition tile (I : Type) := (I * list I)%type.
Definition keys_of {I} (t : tile I) : list I := fst t :: snd t.
Definition all_keys {I} (ts : list (tile I)) : list I := concat (map keys_of ts).

Section Program.
Context {I : Type} (x : I -> R) (A : arith) (leaf : R -> I -> R) (factor : R -> R -> R) (next : R -> R -> R).

Definition tile_max (t : tile I) : R := largest (x (fst t)) (map x (snd t)).

Definition tile_sum (m : R) (t : tile I) : R := fold_left (fun a i => fadd A a (leaf m i)) (snd t) (leaf m (fst t)).

Definition absorb (state : R * R) (t : tile I) : R * R :=
  let (m, a) := state in
  let m' := next m (tile_max t) in (m', fadd A (fmul A a (factor m m')) (tile_sum m' t)).

Definition absorb_all (state : R * R) (ts : list (tile I)) : R * R := fold_left absorb ts state.

(** A row starts with its first tile, or with a sink: a key whose weight is 1 at its own reference. *)
Definition tiled (t : tile I) (ts : list (tile I)) : R * R := absorb_all (tile_max t, tile_sum (tile_max t) t) ts.
Definition tiled_from_sink (sink one : R) (ts : list (tile I)) : R * R := absorb_all (sink, one) ts.

(** The same as schedules. *)
Definition tile_schedule (m : R) (t : tile I) : schedule I :=
  fold_left (fun s i => Add s (Leaf i m)) (snd t) (Leaf (fst t) m).

Definition absorb_schedule (s : schedule I) (t : tile I) : schedule I :=
  let m' := next (shift s) (tile_max t) in Add (Rescale s m') (tile_schedule m' t).

Definition schedule_all (s : schedule I) (ts : list (tile I)) : schedule I := fold_left absorb_schedule ts s.

(** How often the reference moves. *)
Fixpoint moved (m : R) (ts : list (tile I)) : nat :=
  match ts with
  | [] => 0%nat
  | t :: r => let m' := next m (tile_max t) in ((if Req_EM_T m' m then 0 else 1) + moved m' r)%nat
  end.

Lemma moved_at_most ts : forall m, (moved m ts <= length ts)%nat.
Proof.
  induction ts as [|t ts IH]; intros m; simpl; [lia|].
  specialize (IH (next m (tile_max t))). destruct Req_EM_T; lia.
Qed.

Lemma adds_shape m is : forall s : schedule I, shift s = m ->
  let s' := fold_left (fun s i => Add s (Leaf i m)) is s in shift s' = m /\ leaves s' = leaves s ++ is.
Proof.
  induction is as [|i is IH]; intros s S; simpl; [now rewrite app_nil_r|].
  destruct (IH (Add s (Leaf i m)) S) as [H1 H2]. split; [exact H1|].
  rewrite H2. simpl. now rewrite <- app_assoc.
Qed.

Lemma tile_schedule_shape m t : shift (tile_schedule m t) = m /\ leaves (tile_schedule m t) = keys_of t.
Proof. exact (adds_shape m (snd t) (Leaf (fst t) m) eq_refl). Qed.

Lemma schedule_all_leaves ts : forall s, leaves (schedule_all s ts) = leaves s ++ all_keys ts.
Proof.
  induction ts as [|t ts IH]; intros s; [symmetry; apply app_nil_r|].
  change (leaves (schedule_all (absorb_schedule s t) ts) = leaves s ++ all_keys (t :: ts)).
  rewrite IH. unfold absorb_schedule, all_keys. simpl.
  rewrite (proj2 (tile_schedule_shape _ t)), <- app_assoc. reflexivity.
Qed.

Lemma tile_max_ge t i : In i (keys_of t) -> x i <= tile_max t.
Proof.
  intros H. apply largest_ge. change (x (fst t) :: map x (snd t)) with (map x (keys_of t)). now apply in_map.
Qed.

Lemma tile_max_in t : exists i, In i (keys_of t) /\ x i = tile_max t.
Proof.
  pose proof (largest_in (map x (snd t)) (x (fst t))) as H.
  change (x (fst t) :: map x (snd t)) with (map x (keys_of t)) in H.
  apply in_map_iff in H. destruct H as (i & E & Hi). now exists i.
Qed.

(** References only grow, and are never more than tau below a score. *)
Section Wellformed.
Variable tau : R.
Hypothesis next_grows : forall m t, m <= next m t.
Hypothesis next_covers : forall m t, t <= next m t + tau.
Hypothesis tau_nonneg : 0 <= tau.

Lemma adds_wf m is : forall s, shift s = m -> wf x tau s -> (forall i, In i is -> x i <= m + tau) ->
  wf x tau (fold_left (fun s i => Add s (Leaf i m)) is s).
Proof.
  induction is as [|i is IH]; intros s S W H; simpl; [exact W|].
  apply IH; [exact S| |intros; apply H; now right]. simpl. repeat split; auto. apply H. now left.
Qed.

Lemma tile_schedule_wf m t : tile_max t <= m + tau -> wf x tau (tile_schedule m t).
Proof.
  intros H. apply adds_wf; [reflexivity| |].
  - simpl. eapply Rle_trans; [|exact H]. apply tile_max_ge. now left.
  - intros i Hi. eapply Rle_trans; [|exact H]. apply tile_max_ge. now right.
Qed.

Lemma schedule_all_wf ts : forall s, wf x tau s -> wf x tau (schedule_all s ts).
Proof.
  induction ts as [|t ts IH]; intros s W; simpl; [exact W|]. apply IH. unfold absorb_schedule. simpl.
  split; [|split].
  - now rewrite (proj1 (tile_schedule_shape _ t)).
  - split; [apply next_grows|exact W].
  - apply tile_schedule_wf. apply next_covers.
Qed.
End Wellformed.

(** With the running maximum as reference, the last reference is the row's largest score. *)
Lemma schedule_all_attains ts : (forall m t, next m t = Rmax m t) ->
  forall s, (exists i, In i (leaves s) /\ x i = shift s) ->
  exists i, In i (leaves (schedule_all s ts)) /\ x i = shift (schedule_all s ts).
Proof.
  intros N. induction ts as [|t ts IH]; intros s (i & Hi & Ei); simpl; [now exists i|].
  apply IH. unfold absorb_schedule. cbn [leaves shift]. rewrite N, (proj2 (tile_schedule_shape _ t)).
  unfold Rmax. destruct Rle_dec.
  - destruct (tile_max_in t) as (j & Hj & Ej). exists j. split; [apply in_or_app; now right|exact Ej].
  - exists i. split; [apply in_or_app; now left|exact Ei].
Qed.
End Program.
