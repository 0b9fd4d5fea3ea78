(** Scores, the row's reference and what is between them stay in range. *)
From Coq Require Import Reals List Lra Lia.
From refattn Require Import Sums LogMetric Growth Roundoff Perturbed Dot Formats Overflow.
Import ListNotations.
Open Scope R_scope.

(** The results on the way to a dot product. *)
Inductive part : tree -> tree -> Prop :=
| part_whole s : part s s
| part_one s a b : part s a -> part s (Plus a b)
| part_other s a b : part s b -> part s (Plus a b)
| part_rest s x y a : part s a -> part s (Fused x y a).

Definition size (s : tree) : R := sumf (fun p => Rabs (value p)) (terms s).

Lemma size_nonneg s : 0 <= size s.
Proof. apply sumf_nonneg. intros. apply Rabs_pos. Qed.

Lemma part_smaller s t : part s t -> count s <= count t /\ size s <= size t.
Proof.
  induction 1 as [s|s a b _ [C S]|s a b _ [C S]|s x y a _ [C S]].
  - lra.
  - rewrite count_plus. pose proof (count_ge_1 b). pose proof (size_nonneg b).
    unfold size in *. simpl. rewrite sumf_app. lra.
  - rewrite count_plus. pose proof (count_ge_1 a). pose proof (size_nonneg a).
    unfold size in *. simpl. rewrite sumf_app. lra.
  - rewrite count_fused. pose proof (Rabs_pos (value (x, y))). unfold size in *. simpl. lra.
Qed.

(** Every partial sum of a dot product of [width] terms, in any order, fused or not.  [casting]: the log-error of the
    factors themselves (a query that was scaled and rounded), whose exact products add up to [magnitude]. *)
Theorem score_in_range unit lost s t r magnitude casting width limit :
  0 <= unit -> 0 <= lost -> part s t -> computed unit lost s r -> count t <= width ->
  size t <= magnitude * (1 + growth casting) -> 0 <= magnitude ->
  largest_score magnitude width casting unit lost <= limit -> Rabs r <= limit.
Proof.
  intros U L P C W S M B. destruct (part_smaller _ _ P) as [Ps Pc].
  pose proof (count_ge_1 s). assert (Wu : count s * unit <= width * unit) by (apply Rmult_le_compat_r; lra).
  pose proof (computed_form unit lost s r U L C) as F.
  eapply Rle_trans; [apply (perturbed_size _ _ _ _ _ (count s * unit) F); intros; lra|].
  eapply Rle_trans; [|exact B]. fold (size s). unfold largest_score, largest_sum, growth in *.
  pose proof (exp_le _ _ Wu) as E. pose proof (exp_pos (count s * unit)). pose proof (size_nonneg s).
  replace (1 + (exp casting - 1)) with (exp casting) in S by ring.
  replace (1 + (exp (width * unit) - 1)) with (exp (width * unit)) by ring.
  replace (1 + (exp (casting + width * unit) - 1)) with (exp casting * exp (width * unit)) by (rewrite exp_plus; ring).
  replace (1 + (exp (count s * unit) - 1)) with (exp (count s * unit)) by ring.
  apply Rplus_le_compat.
  - rewrite <- Rmult_assoc. apply Rmult_le_compat; lra.
  - apply Rmult_le_compat; try lra; [apply Rmult_le_pos; lra|]. apply Rmult_le_compat_r; lra.
Qed.

(** The computed maximum is no further from the exact one than the logarithm of the normaliser, grown by the scores'
    errors: |m^ - m| <= ln sum_j e^(s_j - m + T_j). *)
Definition largest_reference (maximum logarithm excess : R) : R := Rabs maximum + logarithm + log_growth excess.

Theorem reference_in_range {I} (xs : list I) (exact computed doubt : I -> R) top best m m' :
  In top xs -> m = exact top -> In best xs -> m' = computed best ->
  (forall i, In i xs -> computed i <= m') -> (forall i, In i xs -> Rabs (computed i - exact i) <= doubt i) ->
  (forall i, In i xs -> 0 <= doubt i) ->
  Rabs (m' - m) <= ln (sumf (fun i => exp (exact i - m) * exp (doubt i)) xs).
Proof.
  intros It -> Ib -> Hc Hd H0. set (w := fun i => exp (exact i - exact top) * exp (doubt i)).
  assert (P : forall i, In i xs -> w i <= sumf w xs).
  { intros i Hi. apply sumf_in_le; [|exact Hi]. intros. left. apply Rmult_lt_0_compat; apply exp_pos. }
  assert (Q : forall i, In i xs -> exact i - exact top + doubt i <= ln (sumf w xs)).
  { intros i Hi. rewrite <- (ln_exp (exact i - exact top + doubt i)), exp_plus. fold (w i).
    assert (0 < w i) by (apply Rmult_lt_0_compat; apply exp_pos). destruct (P i Hi) as [L|E].
    - left. apply ln_increasing; lra.
    - right. now rewrite E. }
  pose proof (Q best Ib) as Qb. pose proof (Q top It) as Qt. pose proof (Hc top It).
  pose proof (LogMetric.Rabs_le_inv _ _ (Hd best Ib)). pose proof (LogMetric.Rabs_le_inv _ _ (Hd top It)).
  apply Rabs_le. split; lra.
Qed.

(** In the terms of the normaliser's bound: L = sum_j e^(s_j - m), excess = sum_j (e^(s_j - m) / L) (e^(T_j) - 1). *)
Corollary reference_size {I} (xs : list I) (exact computed doubt : I -> R) top best m m' :
  let L := sumf (fun i => exp (exact i - m)) xs in
  In top xs -> m = exact top -> In best xs -> m' = computed best ->
  (forall i, In i xs -> computed i <= m') -> (forall i, In i xs -> Rabs (computed i - exact i) <= doubt i) ->
  (forall i, In i xs -> 0 <= doubt i) ->
  Rabs m' <= largest_reference m (ln L) (sumf (fun i => exp (exact i - m) / L * growth (doubt i)) xs).
Proof.
  intros L It Em Ib Eb Hc Hd H0.
  assert (PL : 0 < L).
  { apply sumf_pos; [intros ->; exact It|]. intros. apply exp_pos. }
  set (X := sumf _ xs). assert (E : sumf (fun i => exp (exact i - m) * exp (doubt i)) xs = L * (1 + X)).
  { unfold X. rewrite Rmult_plus_distr_l, Rmult_1_r, <- sumf_scal_l. unfold L at 1. rewrite <- sumf_plus.
    apply sumf_ext. intros i _. unfold growth. field. lra. }
  assert (PX : 0 <= X).
  { apply sumf_nonneg. intros i Hi. apply Rmult_le_pos; [|now apply growth_nonneg, H0].
    apply Rmult_le_pos; [left; apply exp_pos|left; now apply Rinv_0_lt_compat]. }
  pose proof (reference_in_range xs exact computed doubt top best m m' It Em Ib Eb Hc Hd H0) as B.
  rewrite E, ln_mult in B by lra. unfold largest_reference, log_growth.
  replace m' with (m + (m' - m)) by ring. eapply Rle_trans; [apply Rabs_triang|]. lra.
Qed.
