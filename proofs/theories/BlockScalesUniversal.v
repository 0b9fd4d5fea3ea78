(** No fixed scales fit all scores: some row is off by nearly 2 (1 - 1/N).

    The exact scales of a row whose block k outweighs all others by enough are as close to (0, .., 1, .., 0) as one
    likes, for every k. *)
From Coq Require Import Reals List Lra Lia.
From refattn Require Import Sums LogMetric BlockScales.
Import ListNotations.
Open Scope R_scope.

Definition least_scale_distance (blocks : R) : R := 2 * (1 - 1 / blocks).

(** Distance of scales a, block by block, from the row that gives everything to block k. *)
Definition vertex (k i : nat) : R := if Nat.eq_dec i k then 1 else 0.
Definition distance_from_vertex (a : nat -> R) (n k : nat) : R :=
  block_scale_distance (map (fun i => a i - vertex k i) (seq 0 n)).

Lemma sumf_vertex k xs : NoDup xs -> In k xs -> sumf (vertex k) xs = 1.
Proof.
  intros N. induction N as [|x xs Hx N IH]; intros [].
  - subst x. simpl. unfold vertex at 1. destruct (Nat.eq_dec k k); [|congruence].
    replace (sumf (vertex k) xs) with 0; [ring|]. symmetry. transitivity (sumf (fun _ : nat => 0) xs).
    + apply sumf_ext. intros i Hi. unfold vertex. destruct (Nat.eq_dec i k); [subst; contradiction|reflexivity].
    + rewrite sumf_const. ring.
  - simpl. rewrite IH by assumption. unfold vertex at 1. destruct (Nat.eq_dec x k); [subst; contradiction|ring].
Qed.

Lemma some_at_most_mean (a : nat -> R) xs : xs <> [] -> exists k, In k xs /\ a k <= sumf a xs / INR (length xs).
Proof.
  intros H. set (c := sumf a xs / INR (length xs)).
  destruct (Exists_dec (fun k => a k <= c) xs (fun k => Rle_dec (a k) c)) as [E|E].
  { apply Exists_exists in E. exact E. }
  exfalso. assert (P : 0 < INR (length xs)) by (destruct xs; [congruence|apply lt_0_INR; simpl; lia]).
  assert (L : 0 < sumf (fun k => a k - c) xs).
  { apply sumf_pos; [exact H|]. intros k Hk. destruct (Rle_lt_dec (a k) c) as [L|L]; [|lra].
    exfalso. apply E. apply Exists_exists. now exists k. }
  rewrite sumf_minus, sumf_const in L. unfold c in L.
  replace (INR (length xs) * (sumf a xs / INR (length xs))) with (sumf a xs) in L by (field; lra). lra.
Qed.

Theorem no_scales_for_all_rows (a : nat -> R) n : (0 < n)%nat -> sumf a (seq 0 n) = 1 ->
  exists k, (k < n)%nat /\ least_scale_distance (INR n) <= distance_from_vertex a n k.
Proof.
  intros Hn S. destruct (some_at_most_mean a (seq 0 n)) as (k & Hk & L).
  { destruct n; [lia|discriminate]. }
  rewrite seq_length, S in L. exists k. split; [apply in_seq in Hk; lia|].
  unfold distance_from_vertex, block_scale_distance, least_scale_distance. rewrite sumf_map.
  assert (V : sumf (vertex k) (seq 0 n) = 1) by (apply sumf_vertex; [apply seq_NoDup|exact Hk]).
  assert (B : forall i, a i - vertex k i + 2 * (1 - a k) * vertex k i <= Rabs (a i - vertex k i)).
  { intros i. unfold vertex. destruct (Nat.eq_dec i k) as [->|].
    - replace (a k - 1 + 2 * (1 - a k) * 1) with (- (a k - 1)) by ring. rewrite <- Rabs_Ropp. apply Rle_abs.
    - rewrite Rmult_0_r, Rplus_0_r. apply Rle_abs. }
  eapply Rle_trans; [|apply sumf_le; intros i _; apply B].
  rewrite sumf_plus, sumf_minus, sumf_scal_l, V, S. lra.
Qed.
