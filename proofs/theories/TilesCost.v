(** What the tiled program costs: counts for the bound in any order, and a bound of its own in which a tile's keys count
    once, not once for every tile. *)
From Coq Require Import Reals List Lra Lia.
From refattn Require Import Sums LogMetric Growth Schedule ScheduleCost ScheduleAnyOrder Tiles.
Import ListNotations.
Open Scope R_scope.

Section Cost.
Context {I : Type} (x : I -> R) (w : I -> nat) (next : R -> R -> R).
Hypothesis one_each : forall i, (w i <= 1)%nat.

Lemma adds_counts m is : forall s : schedule I,
  let s' := fold_left (fun s i => Add s (Leaf i m)) is s in
  (depth w s' <= Nat.max (depth w s) 1)%nat /\ (products w s' <= products w s + length is)%nat.
Proof.
  induction is as [|i is IH]; intros s; simpl; [lia|].
  destruct (IH (Add s (Leaf i m))) as [H1 H2]. simpl in H1, H2. specialize (one_each i). lia.
Qed.

Lemma tile_counts m (t : tile I) :
  (depth w (tile_schedule m t) <= 1)%nat /\ (products w (tile_schedule m t) <= length (keys_of t))%nat.
Proof.
  destruct (adds_counts m (snd t) (Leaf (fst t) m)) as [H1 H2]. simpl in H1, H2. specialize (one_each (fst t)).
  unfold tile_schedule, keys_of. cbn [length]. lia.
Qed.

Lemma all_keys_cons (t : tile I) ts : length (all_keys (t :: ts)) = (length (keys_of t) + length (all_keys ts))%nat.
Proof. unfold all_keys. cbn [map concat]. apply app_length. Qed.

Lemma schedule_counts ts : forall s,
  let s' := schedule_all x next s ts in
  let k := moved x next (shift s) ts in
  (depth w s' <= Nat.max (depth w s) 1 + k)%nat /\
  (depth w s' <= Nat.max (depth w s + length ts) (length ts))%nat /\
  (products w s' <= products w s + length (all_keys ts) + k)%nat.
Proof.
  induction ts as [|t ts IH]; intros s; [simpl; lia|].
  specialize (IH (absorb_schedule x next s t)). rewrite all_keys_cons.
  change (schedule_all x next s (t :: ts)) with (schedule_all x next (absorb_schedule x next s t) ts).
  set (m' := next (shift s) (tile_max x t)). destruct (tile_counts m' t) as [T1 T2].
  assert (D : depth w (absorb_schedule x next s t)
              = Nat.max (depth w s + moves s m') (depth w (tile_schedule m' t))) by reflexivity.
  assert (P : products w (absorb_schedule x next s t)
              = (products w s + moves s m' + products w (tile_schedule m' t))%nat) by reflexivity.
  assert (M : moved x next (shift s) (t :: ts)
              = (moves s m' + moved x next (shift (absorb_schedule x next s t)) ts)%nat) by reflexivity.
  assert (B : (moves s m' <= 1)%nat) by (unfold moves; destruct Req_EM_T; lia).
  rewrite M. cbn [length]. cbv zeta in IH |- *. lia.
Qed.

(** THEOREM (counts of a tiled row): [moved] changes, at most one for each tile after the first. *)
Theorem tiled_counted t ts :
  counted w (length (all_keys (t :: ts))) (moved x next (tile_max x t) ts)
    (schedule_all x next (tile_schedule (tile_max x t) t) ts).
Proof.
  set (m := tile_max x t). destruct (schedule_counts ts (tile_schedule m t)) as (D & _ & P).
  destruct (tile_counts m t) as [T1 T2]. destruct (tile_schedule_shape m t) as [S L]. rewrite S in D, P.
  unfold counted. rewrite schedule_all_leaves, L, all_keys_cons, app_length. lia.
Qed.

(** From a sink the first tile may move the reference too: a product that the sink has instead of an exponential. *)
Theorem sink_counted sink ts : w sink = 0%nat -> ts <> [] ->
  counted w (length (all_keys ts)) (length ts - 1) (schedule_all x next (Leaf sink (x sink)) ts).
Proof.
  intros W N. destruct (schedule_counts ts (Leaf sink (x sink))) as (_ & D & P). cbn [depth products] in D, P.
  pose proof (moved_at_most x next ts (shift (Leaf sink (x sink)))).
  assert (1 <= length ts)%nat by (destruct ts; [congruence|simpl; lia]).
  unfold counted. rewrite schedule_all_leaves, app_length. simpl (length (leaves _)). rewrite W in D, P. lia.
Qed.

(** Sums of b keys cost b - 1 additions, and every tile one more. *)
Section Path.
Variables (E : operations I) (b : nat).
Hypothesis EOK : operations_ok E.
Variable own : R.
Hypothesis leaf_at_most : forall i, leaf_cost E i <= own.

Lemma adds_cost m is : forall s, cost E (fold_left (fun s i => Add s (Leaf i m)) is s)
  <= Rmax (cost E s) own + INR (length is) * add_cost E.
Proof.
  pose proof (add_cost_nonneg E EOK) as A0.
  induction is as [|i is IH]; intros s; simpl fold_left.
  - simpl. pose proof (Rmax_l (cost E s) own). lra.
  - eapply Rle_trans; [apply IH|]. cbn [cost length]. rewrite S_INR. specialize (leaf_at_most i).
    pose proof (Rmax_l (cost E s) own). pose proof (Rmax_r (cost E s) own). set (M := Rmax (cost E s) own) in *.
    assert (Rmax (Rmax (cost E s) (leaf_cost E i) + add_cost E) own <= M + add_cost E); [|lra].
    apply Rmax_lub; [|lra]. apply Rplus_le_compat_r. apply Rmax_lub; lra.
Qed.

Lemma tile_cost m (t : tile I) : (length (keys_of t) <= b)%nat ->
  cost E (tile_schedule m t) <= own + INR (b - 1) * add_cost E.
Proof.
  intros H. eapply Rle_trans; [apply adds_cost|]. cbn [cost]. rewrite Rmax_right by apply leaf_at_most.
  apply Rplus_le_compat_l. apply Rmult_le_compat_r; [apply (add_cost_nonneg E EOK)|].
  apply le_INR. unfold keys_of in H. simpl in H. lia.
Qed.

Lemma schedule_cost ts : (forall t, In t ts -> (length (keys_of t) <= b)%nat) -> forall s,
  cost E (schedule_all x next s ts) <= Rmax (cost E s) (own + INR (b - 1) * add_cost E)
    + INR (length ts) * add_cost E + INR (moved x next (shift s) ts) * (factor_cost E + product_cost E).
Proof.
  pose proof (add_cost_nonneg E EOK) as A0. pose proof (factor_cost_nonneg E EOK) as F0.
  pose proof (product_cost_nonneg E EOK) as P0. set (L := own + INR (b - 1) * add_cost E).
  induction ts as [|t ts IH]; intros H s.
  - simpl. pose proof (Rmax_l (cost E s) L). lra.
  - eapply Rle_trans; [apply IH; intros; apply H; now right|].
    set (m' := next (shift s) (tile_max x t)).
    assert (T : cost E (tile_schedule m' t) <= L) by (apply tile_cost, H; now left).
    set (step := if Req_EM_T m' (shift s) then 0 else factor_cost E + product_cost E).
    assert (D : cost E (absorb_schedule x next s t)
                = Rmax (cost E s + step) (cost E (tile_schedule m' t)) + add_cost E) by reflexivity.
    assert (N : INR (moved x next (shift s) (t :: ts)) * (factor_cost E + product_cost E)
                = step + INR (moved x next m' ts) * (factor_cost E + product_cost E)).
    { unfold step. cbn [moved]. fold m'. rewrite plus_INR. destruct Req_EM_T; simpl INR; ring. }
    rewrite N, D. cbn [length]. rewrite S_INR. change (shift (absorb_schedule x next s t)) with m'.
    assert (S0 : 0 <= step) by (unfold step; destruct Req_EM_T; lra).
    pose proof (Rmax_l (cost E s) L). pose proof (Rmax_r (cost E s) L). set (M := Rmax (cost E s) L) in *.
    assert (Rmax (Rmax (cost E s + step) (cost E (tile_schedule m' t)) + add_cost E) L <= M + step + add_cost E);
      [|lra].
    apply Rmax_lub; [|lra]. apply Rplus_le_compat_r. apply Rmax_lub; lra.
Qed.

(** THEOREM (tiled path): the number of keys does not matter, only those of a tile and the number of tiles. *)
Theorem tiled_cost t ts : (forall t', In t' (t :: ts) -> (length (keys_of t') <= b)%nat) ->
  cost E (schedule_all x next (tile_schedule (tile_max x t) t) ts) <=
    own + (INR (b - 1) + INR (length ts)) * add_cost E
    + INR (moved x next (tile_max x t) ts) * (factor_cost E + product_cost E).
Proof.
  intros H. eapply Rle_trans; [apply schedule_cost; intros; apply H; now right|].
  rewrite Rmax_right by (apply tile_cost, H; now left).
  rewrite (proj1 (tile_schedule_shape (tile_max x t) t)). lra.
Qed.
End Path.
End Cost.
