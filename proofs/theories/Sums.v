(** Finite sums of reals over lists. *)
From Coq Require Import Reals List Lra Lia.
Import ListNotations.
Open Scope R_scope.

Fixpoint sumf {A} (f : A -> R) (xs : list A) : R :=
  match xs with [] => 0 | x :: r => f x + sumf f r end.

Lemma sumf_app A (f : A -> R) xs ys : sumf f (xs ++ ys) = sumf f xs + sumf f ys.
Proof. induction xs as [|x xs IH]; simpl; [|rewrite IH]; ring. Qed.

Lemma sumf_ext A (f g : A -> R) xs :
  (forall x, In x xs -> f x = g x) -> sumf f xs = sumf g xs.
Proof.
  induction xs as [|x xs IH]; simpl; intros H; [reflexivity|].
  rewrite H, IH; auto.
Qed.

Lemma sumf_scal A (f : A -> R) c xs : sumf (fun x => f x * c) xs = sumf f xs * c.
Proof. induction xs as [|x xs IH]; simpl; [|rewrite IH]; ring. Qed.

Lemma sumf_le A (f g : A -> R) xs :
  (forall x, In x xs -> f x <= g x) -> sumf f xs <= sumf g xs.
Proof.
  induction xs as [|x xs IH]; simpl; intros H; [lra|].
  apply Rplus_le_compat; auto.
Qed.

Lemma sumf_nonneg A (f : A -> R) xs :
  (forall x, In x xs -> 0 <= f x) -> 0 <= sumf f xs.
Proof.
  intros H. replace 0 with (sumf (fun _ : A => 0) xs).
  - now apply sumf_le.
  - clear H; induction xs as [|x xs IH]; simpl; [|rewrite IH]; ring.
Qed.

Lemma sumf_plus A (f g : A -> R) xs :
  sumf (fun x => f x + g x) xs = sumf f xs + sumf g xs.
Proof. induction xs as [|x xs IH]; simpl; [|rewrite IH]; ring. Qed.

Lemma sumf_map A B (f : B -> R) (g : A -> B) xs :
  sumf f (map g xs) = sumf (fun x => f (g x)) xs.
Proof. induction xs as [|x xs IH]; simpl; [|rewrite IH]; ring. Qed.

Lemma sumf_abs A (f : A -> R) xs : Rabs (sumf f xs) <= sumf (fun x => Rabs (f x)) xs.
Proof.
  induction xs as [|x xs IH]; simpl.
  - rewrite Rabs_R0; lra.
  - eapply Rle_trans; [apply Rabs_triang|lra].
Qed.


Lemma sumf_minus A (f g : A -> R) xs :
  sumf (fun x => f x - g x) xs = sumf f xs - sumf g xs.
Proof. induction xs as [|x xs IH]; simpl; [|rewrite IH]; ring. Qed.

Lemma sumf_const A (c : R) (xs : list A) : sumf (fun _ => c) xs = INR (length xs) * c.
Proof.
  induction xs as [|x xs IH]; [simpl; ring|].
  cbn [sumf length]. rewrite IH, S_INR. ring.
Qed.

Lemma sumf_scal_l A (f : A -> R) c xs : sumf (fun x => c * f x) xs = c * sumf f xs.
Proof. induction xs as [|x xs IH]; simpl; [|rewrite IH]; ring. Qed.

Lemma sumf_pos A (f : A -> R) xs :
  xs <> [] -> (forall x, In x xs -> 0 < f x) -> 0 < sumf f xs.
Proof.
  destruct xs as [|x xs]; [congruence|]. intros _ H. simpl.
  assert (0 <= sumf f xs) by (apply sumf_nonneg; intros; left; apply H; now right).
  specialize (H x (or_introl eq_refl)). lra.
Qed.

Lemma sumf_in_le A (f : A -> R) xs x :
  (forall y, In y xs -> 0 <= f y) -> In x xs -> f x <= sumf f xs.
Proof.
  induction xs as [|y xs IH]; simpl; [intros _ []|]. intros H [->|Hx].
  - assert (0 <= sumf f xs) by (apply sumf_nonneg; auto). lra.
  - assert (0 <= f y) by auto. assert (f x <= sumf f xs) by (apply IH; auto). lra.
Qed.
