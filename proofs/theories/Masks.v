(** Keys that a row does not see contribute nothing: exactly in the algebra, and to the last bit in a kernel that gives
    them the weight 0. A row that sees no key is the identity. *)
From Coq Require Import Reals List Lra.
From refattn Require Import Sums Algebra Arithmetic.
Import ListNotations.
Open Scope R_scope.

(** A key and whether the row sees it. *)
Definition flagged := (key * bool)%type.
Definition visible (ks : list flagged) : list key := map fst (filter snd ks).

Definition masked_spec (ks : list flagged) : state := spec (visible ks).

(** One key of a masked row: exp (-oo - m) = 0 is added for a key that is not seen, and the maximum stays. *)
Definition masked_step (s : state) (k : flagged) : state := if snd k then step s (fst k) else s.
Definition masked_online (ks : list flagged) : state := fold_left masked_step ks None.

Lemma visible_app ks js : visible (ks ++ js) = visible ks ++ visible js.
Proof. unfold visible. now rewrite filter_app, map_app. Qed.

Theorem masked_online_spec ks : masked_online ks = masked_spec ks.
Proof.
  unfold masked_spec. rewrite <- online_spec. unfold masked_online, online. generalize (None : state).
  induction ks as [|[k [|]] ks IH]; intros s; simpl; [reflexivity|apply IH|apply IH].
Qed.

Theorem masked_spec_app ks js : masked_spec (ks ++ js) = merge (masked_spec ks) (masked_spec js).
Proof. unfold masked_spec. now rewrite visible_app, spec_app. Qed.

(** A part without a visible key is the identity of [merge], wherever it stands. *)
Theorem nothing_visible ks : (forall k, In k ks -> snd k = false) -> masked_spec ks = None.
Proof.
  intros H. unfold masked_spec, visible. replace (filter snd ks) with (@nil flagged); [reflexivity|].
  induction ks as [|k ks IH]; [reflexivity|]. simpl. rewrite (H k (or_introl eq_refl)). apply IH. auto with datatypes.
Qed.

Theorem invisible_part ks hidden js : (forall k, In k hidden -> snd k = false) ->
  masked_spec (ks ++ hidden ++ js) = masked_spec (ks ++ js).
Proof. intros H. now rewrite !masked_spec_app, (nothing_visible hidden H). Qed.

(** What an invisible key holds does not matter. *)
Theorem invisible_contents ks k other js :
  masked_spec (ks ++ (k, false) :: js) = masked_spec (ks ++ (other, false) :: js).
Proof. unfold masked_spec. now rewrite !visible_app. Qed.

(** In floating point: adding the weight 0 of an invisible key changes no bit of a partial sum. *)
Section Kernel.
Variable A : arith.
Hypothesis OK : arith_ok A.
Context {I : Type} (leaf : I -> R) (sees : I -> bool).

Definition masked_leaf (i : I) : R := if sees i then leaf i else 0.
Definition added (f : I -> R) (total : R) (is : list I) : R := fold_left (fun a i => fadd A a (f i)) is total.

Theorem masked_sum is : forall total, F A total -> added masked_leaf total is = added leaf total (filter sees is).
Proof.
  induction is as [|i is IH]; intros total H; [reflexivity|]. unfold masked_leaf at 1. simpl.
  destruct (sees i) eqn:S; simpl; rewrite ?S.
  - unfold added in IH |- *. simpl. apply IH. now apply A_Fadd.
  - rewrite (proj1 (A_add_0 A OK total H)). now apply IH.
Qed.
End Kernel.
