(** What the tiled program computes is a possible result of its schedule. *)
From Coq Require Import Reals List Lra Lia.
From refattn Require Import Sums LogMetric Growth Perturbed Arithmetic AlgebraMaximum Schedule Tiles.
Import ListNotations.
Open Scope R_scope.

(** A kernel whose leaves, factors and sums stay within the errors that a schedule is given; [ok] are the numbers that
    a reference can be, [keyed] the leaves that are keys and not sinks. *)
Record kernel_ok {I} (x v : I -> R) (tau : R) (G : argument I) (E : operations I) (A : arith) (ok : R -> Prop)
  (keyed : I -> Prop) (leaf : R -> I -> R) (factor next : R -> R -> R) : Prop := {
  kernel_arith : arith_ok A;
  score_is_reference : forall i, ok (x i);
  next_is_reference : forall m t, ok m -> ok t -> ok (next m t);
  next_grows : forall m t, m <= next m t;
  next_covers : forall m t, t <= next m t + tau;
  tau_nonneg : 0 <= tau;
  leaf_is_number : forall m i, keyed i -> F A (leaf m i);
  leaf_is_computed : forall m i, keyed i -> ok m -> x i <= m + tau -> computed x v G E (Leaf i m) (leaf m i);
  factor_is_number : forall m m', F A (factor m m');
  factor_still : forall m, ok m -> factor m m = 1;
  factor_is_computed : forall m m', ok m -> ok m' -> m <= m' -> exists t h,
    Rabs t <= factor_cost E + of_rescale G m m' /\ Rabs h <= factor_lost E /\ factor m m' = exp (m - m') * exp t + h;
  add_unit : u A <= add_cost E;
  add_eta : Arithmetic.eta_add A <= add_lost E;
  product_unit : u A <= product_cost E;
  product_eta : Arithmetic.eta_mul A <= product_lost E }.

Section Computed.
Context {I : Type} (x v : I -> R) (tau : R) (G : argument I) (E : operations I) (A : arith) (ok : R -> Prop)
  (keyed : I -> Prop) (leaf : R -> I -> R) (factor next : R -> R -> R).
Hypothesis K : kernel_ok x v tau G E A ok keyed leaf factor next.
Let computed := computed x v G E.

Lemma add_computed a b ra rb : F A ra -> F A rb -> computed a ra -> computed b rb ->
  computed (Add a b) (fadd A ra rb).
Proof.
  intros Fa Fb Ca Cb. destruct (A_add A (kernel_arith _ _ _ _ _ _ _ _ _ _ _ K) ra rb Fa Fb) as (t & h & Ht & Hh & ->).
  pose proof (add_unit _ _ _ _ _ _ _ _ _ _ _ K). pose proof (add_eta _ _ _ _ _ _ _ _ _ _ _ K).
  apply computed_add; auto; lra.
Qed.

Lemma rescale_computed s m a : ok (shift s) -> ok m -> shift s <= m -> F A a -> computed s a ->
  computed (Rescale s m) (fmul A a (factor (shift s) m)).
Proof.
  intros Os Om L Fa C. pose proof (kernel_arith _ _ _ _ _ _ _ _ _ _ _ K) as AOK.
  destruct (Req_EM_T m (shift s)) as [->|N].
  - rewrite (factor_still _ _ _ _ _ _ _ _ _ _ _ K) by exact Os. rewrite (proj1 (A_mul_1 A AOK a Fa)).
    now apply computed_still.
  - destruct (factor_is_computed _ _ _ _ _ _ _ _ _ _ _ K (shift s) m Os Om L) as (tf & hf & Htf & Hhf & Ef).
    pose proof (factor_is_number _ _ _ _ _ _ _ _ _ _ _ K (shift s) m) as Ff.
    destruct (A_mul A AOK a (factor (shift s) m) Fa Ff) as (t & h & Ht & Hh & ->). rewrite Ef.
    pose proof (product_unit _ _ _ _ _ _ _ _ _ _ _ K). pose proof (product_eta _ _ _ _ _ _ _ _ _ _ _ K).
    apply computed_rescale; auto; lra.
Qed.

Lemma adds_computed m is : ok m -> (forall i, In i is -> keyed i /\ x i <= m + tau) ->
  forall s a, F A a -> computed s a ->
  let s' := fold_left (fun s i => Add s (Leaf i m)) is s in
  let a' := fold_left (fun a i => fadd A a (leaf m i)) is a in computed s' a' /\ F A a'.
Proof.
  intros Om. induction is as [|i is IH]; intros H s a Fa C; simpl; [auto|].
  pose proof (kernel_arith _ _ _ _ _ _ _ _ _ _ _ K) as AOK.
  destruct (H i (or_introl eq_refl)) as [Ki Xi].
  apply IH; [intros; apply H; now right|now apply A_Fadd|].
  apply add_computed; auto; [now apply (leaf_is_number _ _ _ _ _ _ _ _ _ _ _ K)|].
  now apply (leaf_is_computed _ _ _ _ _ _ _ _ _ _ _ K).
Qed.

Lemma tile_computed m t : ok m -> (forall i, In i (keys_of t) -> keyed i) -> tile_max x t <= m + tau ->
  computed (tile_schedule m t) (tile_sum A leaf m t) /\ F A (tile_sum A leaf m t).
Proof.
  intros Om Ks H. assert (B : forall i, In i (keys_of t) -> keyed i /\ x i <= m + tau).
  { intros i Hi. pose proof (tile_max_ge x t i Hi). split; [now apply Ks|lra]. }
  destruct (B (fst t) (or_introl eq_refl)) as [K0 X0].
  apply (adds_computed m (snd t) Om).
  - intros i Hi. apply B. now right.
  - now apply (leaf_is_number _ _ _ _ _ _ _ _ _ _ _ K).
  - now apply (leaf_is_computed _ _ _ _ _ _ _ _ _ _ _ K).
Qed.

Lemma tile_max_is_reference t : ok (tile_max x t).
Proof.
  destruct (tile_max_in x t) as (i & _ & <-). apply (score_is_reference _ _ _ _ _ _ _ _ _ _ _ K).
Qed.

Lemma keyed_head (t : tile I) ts : (forall i, In i (all_keys (t :: ts)) -> keyed i) ->
  (forall i, In i (keys_of t) -> keyed i) /\ (forall i, In i (all_keys ts) -> keyed i).
Proof. intros H. split; intros i Hi; apply H; apply in_or_app; auto. Qed.

Theorem absorb_all_computed ts : (forall i, In i (all_keys ts) -> keyed i) ->
  forall s a, ok (shift s) -> F A a -> computed s a ->
  let result := absorb_all x A leaf factor next (shift s, a) ts in
  let s' := schedule_all x next s ts in
  computed s' (snd result) /\ fst result = shift s' /\ F A (snd result) /\ ok (shift s').
Proof.
  induction ts as [|t ts IH]; intros Ks s a Os Fa C; [simpl; auto|]. destruct (keyed_head t ts Ks) as [Kt Kr].
  pose proof (kernel_arith _ _ _ _ _ _ _ _ _ _ _ K) as AOK.
  set (m' := next (shift s) (tile_max x t)).
  assert (Om : ok m').
  { apply (next_is_reference _ _ _ _ _ _ _ _ _ _ _ K); [exact Os|apply tile_max_is_reference]. }
  destruct (tile_computed m' t Om Kt (next_covers _ _ _ _ _ _ _ _ _ _ _ K _ _)) as [Ct Ft].
  assert (S : shift (absorb_schedule x next s t) = m') by reflexivity.
  cbv zeta. change (schedule_all x next s (t :: ts)) with (schedule_all x next (absorb_schedule x next s t) ts).
  change (absorb_all x A leaf factor next (shift s, a) (t :: ts))
    with (absorb_all x A leaf factor next
            (shift (absorb_schedule x next s t), fadd A (fmul A a (factor (shift s) m')) (tile_sum A leaf m' t)) ts).
  apply IH; [exact Kr|now rewrite S|now apply A_Fadd|].
  apply add_computed; [now apply A_Fmul|exact Ft| |exact Ct].
  apply rescale_computed; auto. apply (next_grows _ _ _ _ _ _ _ _ _ _ _ K).
Qed.

(** THEOREM.  The first tile and all that follow, as one schedule. *)
Theorem tiled_computed t ts : (forall i, In i (all_keys (t :: ts)) -> keyed i) ->
  let result := tiled x A leaf factor next t ts in
  let s := schedule_all x next (tile_schedule (tile_max x t) t) ts in
  computed s (snd result) /\ fst result = shift s /\ wf x tau s /\ leaves s = all_keys (t :: ts).
Proof.
  intros Ks. destruct (keyed_head t ts Ks) as [Kt Kr]. pose proof (tile_max_is_reference t) as Om.
  pose proof (tau_nonneg _ _ _ _ _ _ _ _ _ _ _ K) as T.
  destruct (tile_computed (tile_max x t) t Om Kt ltac:(lra)) as [Ct Ft].
  destruct (tile_schedule_shape (tile_max x t) t) as [S L].
  destruct (absorb_all_computed ts Kr (tile_schedule (tile_max x t) t) (tile_sum A leaf (tile_max x t) t))
    as (H1 & H2 & _); [now rewrite S|exact Ft|exact Ct|]. rewrite S in H1, H2.
  split; [exact H1|]. split; [exact H2|]. split.
  - apply schedule_all_wf; [apply (next_grows _ _ _ _ _ _ _ _ _ _ _ K)|apply (next_covers _ _ _ _ _ _ _ _ _ _ _ K)|].
    apply tile_schedule_wf. lra.
  - rewrite schedule_all_leaves, L. reflexivity.
Qed.

(** The same from a sink, whose partial sum [one] is computed without error: 1 in the normaliser, 0 in the output. *)
Theorem tiled_from_sink_computed sink one ts : (forall i, In i (all_keys ts) -> keyed i) ->
  F A one -> computed (Leaf sink (x sink)) one ->
  let result := tiled_from_sink x A leaf factor next (x sink) one ts in
  let s := schedule_all x next (Leaf sink (x sink)) ts in
  computed s (snd result) /\ fst result = shift s /\ wf x tau s /\ leaves s = sink :: all_keys ts.
Proof.
  intros Ks F1 C. pose proof (tau_nonneg _ _ _ _ _ _ _ _ _ _ _ K) as T.
  pose proof (score_is_reference _ _ _ _ _ _ _ _ _ _ _ K sink) as O.
  destruct (absorb_all_computed ts Ks (Leaf sink (x sink)) one O F1 C) as (H1 & H2 & _).
  split; [exact H1|]. split; [exact H2|]. split.
  - apply schedule_all_wf; [apply (next_grows _ _ _ _ _ _ _ _ _ _ _ K)|apply (next_covers _ _ _ _ _ _ _ _ _ _ _ K)|].
    simpl. lra.
  - now rewrite schedule_all_leaves.
Qed.
End Computed.
