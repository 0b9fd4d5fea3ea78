(** The largest of a non-empty list of scores. *)
From Coq Require Import Reals List Lra.
Import ListNotations.
Open Scope R_scope.

Fixpoint largest (x : R) (xs : list R) : R :=
  match xs with [] => x | y :: r => largest (Rmax x y) r end.

Lemma largest_ge_head xs : forall x, x <= largest x xs.
Proof.
  induction xs as [|y xs IH]; simpl; intros x; [lra|].
  eapply Rle_trans; [apply Rmax_l|apply IH].
Qed.

Lemma largest_ge xs : forall x y, In y (x :: xs) -> y <= largest x xs.
Proof.
  induction xs as [|z xs IH]; intros x y.
  - intros [->|[]]; simpl; lra.
  - intros [->|[->|H]]; simpl.
    + eapply Rle_trans; [apply Rmax_l|apply largest_ge_head].
    + eapply Rle_trans; [apply Rmax_r|apply largest_ge_head].
    + apply IH; right; exact H.
Qed.

Lemma largest_in xs : forall x, In (largest x xs) (x :: xs).
Proof.
  induction xs as [|y xs IH]; intros x; simpl; [auto|].
  destruct (IH (Rmax x y)) as [H|H]; [|auto].
  rewrite <- H. destruct (Rle_dec x y).
  - rewrite Rmax_right; auto.
  - rewrite Rmax_left; auto; lra.
Qed.

Lemma largest_app xs ys : forall x, largest x (xs ++ ys) = largest (largest x xs) ys.
Proof. induction xs; simpl; auto. Qed.

Lemma largest_Rmax ys : forall a b, largest (Rmax a b) ys = Rmax a (largest b ys).
Proof. induction ys as [|y ys IH]; simpl; intros; auto. rewrite <- Rmax_assoc; apply IH. Qed.

Lemma largest_le xs x bound : (forall y, In y (x :: xs) -> y <= bound) -> largest x xs <= bound.
Proof. intros H. apply H, largest_in. Qed.
