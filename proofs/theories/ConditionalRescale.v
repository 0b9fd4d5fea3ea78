(** The reference of a tiled kernel: the running maximum, or one that stays while the maximum has grown by at most
    tau. *)
From Coq Require Import Reals List Lra Lia.
From refattn Require Import Sums Arithmetic AlgebraMaximum Schedule Tiles TilesRow.
Import ListNotations.
Open Scope R_scope.

(** The running maximum: never stale. *)
Theorem running_maximum S : reference_rule S 0 Rmax.
Proof.
  split; [lra|]. split; [|split].
  - intros m t Hm Ht. unfold Rmax. now destruct Rle_dec.
  - apply Rmax_l.
  - intros m t. pose proof (Rmax_r m t). lra.
Qed.

(** Conditional rescale: a growth of at most tau leaves the reference. *)
Definition conditional (tau m t : R) : R := if Rle_dec (Rmax m t - m) tau then m else Rmax m t.

Lemma conditional_grows tau m t : m <= conditional tau m t.
Proof. unfold conditional. destruct Rle_dec; [apply Rle_refl|apply Rmax_l]. Qed.

Lemma conditional_covers tau m t : 0 <= tau -> t <= conditional tau m t + tau.
Proof. intros T. unfold conditional. pose proof (Rmax_r m t). destruct Rle_dec; lra. Qed.

Theorem conditional_rule S tau : 0 <= tau -> reference_rule S tau (conditional tau).
Proof.
  intros T. split; [exact T|]. split; [|split].
  - intros m t Hm Ht. unfold conditional, Rmax. destruct Rle_dec; [exact Hm|]. now destruct Rle_dec.
  - intros. apply conditional_grows.
  - intros. now apply conditional_covers.
Qed.

Section Largest.
Context {I : Type} (x : I -> R).

(** With the running maximum the last reference is the largest score of the row. *)
Theorem last_reference_is_maximum s ts m : wf x 0 s -> (exists i, In i (leaves s) /\ x i = shift s) ->
  m = shift (schedule_all x Rmax s ts) ->
  (exists i, In i (leaves s ++ all_keys ts) /\ x i = m) /\ (forall i, In i (leaves s ++ all_keys ts) -> x i <= m).
Proof.
  intros W H ->. rewrite <- (schedule_all_leaves x Rmax). split.
  - apply schedule_all_attains; auto.
  - intros i Hi. rewrite <- (Rplus_0_r (shift _)). apply wf_below; [|exact Hi].
    apply schedule_all_wf; [apply Rmax_l| |exact W]. intros m t. pose proof (Rmax_r m t). lra.
Qed.

(** A stale one lies at most tau below it, and never above it. *)
Lemma reference_at_most_maximum tau ts : 0 <= tau -> forall s top, shift s <= top ->
  (forall i, In i (all_keys ts) -> x i <= top) -> shift (schedule_all x (conditional tau) s ts) <= top.
Proof.
  intros T. induction ts as [|t ts IH]; intros s top H B; [exact H|].
  change (schedule_all x (conditional tau) s (t :: ts))
    with (schedule_all x (conditional tau) (absorb_schedule x (conditional tau) s t) ts).
  apply IH; [|intros i Hi; apply B; apply in_or_app; now right].
  simpl. destruct (tile_max_in x t) as (i & Hi & E).
  assert (M : tile_max x t <= top) by (rewrite <- E; apply B; apply in_or_app; now left).
  unfold conditional. destruct Rle_dec; [exact H|]. now apply Rmax_lub.
Qed.

Theorem last_reference_is_near tau s ts top : 0 <= tau -> wf x tau s -> shift s <= top ->
  (exists i, In i (leaves s ++ all_keys ts) /\ x i = top) -> (forall i, In i (all_keys ts) -> x i <= top) ->
  top - tau <= shift (schedule_all x (conditional tau) s ts) <= top.
Proof.
  intros T W H (i & Hi & E) B. split; [|now apply reference_at_most_maximum].
  assert (x i <= shift (schedule_all x (conditional tau) s ts) + tau); [|lra].
  apply wf_below; [|now rewrite schedule_all_leaves].
  apply schedule_all_wf; [apply conditional_grows|intros; now apply conditional_covers|exact W].
Qed.
End Largest.
