(** Partial sums with references of their own, joined at the larger one: what a tree of partial results adds to its
    parts' costs.  (Results that are divided first, and joined by their log-sum-exps, are another matter: Splits.v.) *)
From Coq Require Import Reals List Lra Lia.
From refattn Require Import LogMetric Arithmetic Schedule TilesComputed.
Open Scope R_scope.

Section Merge.
Context {I : Type} (x v : I -> R) (tau : R) (G : argument I) (E : operations I) (A : arith) (ok : R -> Prop)
  (keyed : I -> Prop) (leaf : R -> I -> R) (factor next : R -> R -> R).
Hypothesis K : kernel_ok x v tau G E A ok keyed leaf factor next.

(** The program: (m1, a1) and (m2, a2) to (m, a). *)
Definition merge (first second : R * R) : R * R :=
  let m := Rmax (fst first) (fst second) in
  (m, fadd A (fmul A (snd first) (factor (fst first) m)) (fmul A (snd second) (factor (fst second) m))).

Definition merge_schedule (s1 s2 : schedule I) : schedule I :=
  let m := Rmax (shift s1) (shift s2) in Add (Rescale s1 m) (Rescale s2 m).

Theorem merge_computed s1 s2 a1 a2 :
  ok (shift s1) -> ok (shift s2) -> F A a1 -> F A a2 -> wf x tau s1 -> wf x tau s2 ->
  computed x v G E s1 a1 -> computed x v G E s2 a2 ->
  let s := merge_schedule s1 s2 in
  let result := merge (shift s1, a1) (shift s2, a2) in
  computed x v G E s (snd result) /\ shift s = fst result /\ wf x tau s /\ leaves s = (leaves s1 ++ leaves s2)%list.
Proof.
  intros O1 O2 F1 F2 W1 W2 C1 C2 s result. pose proof (kernel_arith _ _ _ _ _ _ _ _ _ _ _ K) as AOK.
  set (m := Rmax (shift s1) (shift s2)).
  assert (Om : ok m) by (unfold m, Rmax; now destruct Rle_dec).
  assert (L1 : shift s1 <= m) by apply Rmax_l. assert (L2 : shift s2 <= m) by apply Rmax_r.
  split; [|split; [reflexivity|split; [simpl; auto|reflexivity]]].
  apply (add_computed _ _ _ _ _ _ _ _ _ _ _ K); try now apply A_Fmul.
  - now apply (rescale_computed _ _ _ _ _ _ _ _ _ _ _ K).
  - now apply (rescale_computed _ _ _ _ _ _ _ _ _ _ _ K).
Qed.

(** The larger reference's part is not multiplied at all. *)
Theorem merge_cost s1 s2 : operations_ok E ->
  cost E (merge_schedule s1 s2) <= Rmax (cost E s1) (cost E s2) + (factor_cost E + product_cost E) + add_cost E.
Proof.
  intros []. unfold merge_schedule. cbn [cost].
  pose proof (Rmax_l (cost E s1) (cost E s2)). pose proof (Rmax_r (cost E s1) (cost E s2)).
  apply Rplus_le_compat_r. apply Rmax_lub; destruct Req_EM_T; lra.
Qed.
End Merge.
