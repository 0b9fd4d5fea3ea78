(** Softmax over blocks of keys: block i's own softmax times a_i = exp(LSE_i - LSE), and what other scales a_i' do.

    A kernel may learn, quantise or predict the a_i.  All that its output can be off by for that is in the numbers
    a_i' - a_i, exactly. *)
From Coq Require Import Reals List Lra.
From refattn Require Import Sums LogMetric.
Import ListNotations.
Open Scope R_scope.

(** ** The exact scales *)
Section Exact.
Context {I : Type} (score : I -> R).

Definition normaliser (xs : list I) : R := sumf (fun i => exp (score i)) xs.
Definition softmax (xs : list I) (i : I) : R := exp (score i) / normaliser xs.
Definition scale (blocks : list (list I)) (b : list I) : R := normaliser b / normaliser (concat blocks).

Lemma normaliser_pos xs : xs <> [] -> 0 < normaliser xs.
Proof. intros H. apply sumf_pos; [exact H|]. intros; apply exp_pos. Qed.

Lemma normaliser_concat blocks : normaliser (concat blocks) = sumf normaliser blocks.
Proof. induction blocks as [|b bs IH]; simpl; [reflexivity|]. unfold normaliser in *. now rewrite sumf_app, IH. Qed.

Theorem softmax_of_blocks blocks b i : b <> [] -> concat blocks <> [] ->
  softmax (concat blocks) i = scale blocks b * softmax b i.
Proof.
  intros Hb H. pose proof (normaliser_pos _ Hb). pose proof (normaliser_pos _ H).
  unfold softmax, scale. field. split; lra.
Qed.

Theorem scale_log_sum_exp blocks b : b <> [] -> concat blocks <> [] ->
  scale blocks b = exp (ln (normaliser b) - ln (normaliser (concat blocks))).
Proof.
  intros Hb H. pose proof (normaliser_pos _ Hb). pose proof (normaliser_pos _ H).
  unfold scale, Rminus, Rdiv. now rewrite exp_plus, exp_Ropp, !exp_ln.
Qed.

(** Invisible keys are in no list: a block without a visible key has a scale of exactly 0. *)
Theorem scale_of_invisible_block blocks : scale blocks [] = 0.
Proof. unfold scale, normaliser. simpl. unfold Rdiv. ring. Qed.

Theorem scales_sum_to_1 blocks : concat blocks <> [] -> sumf (scale blocks) blocks = 1.
Proof.
  intros H. pose proof (normaliser_pos _ H). unfold scale, Rdiv. rewrite sumf_scal, <- normaliser_concat.
  field. lra.
Qed.

Theorem softmax_sums_to_1 b : b <> [] -> sumf (softmax b) b = 1.
Proof.
  intros H. pose proof (normaliser_pos _ H). unfold softmax, Rdiv. rewrite sumf_scal.
  unfold normaliser in *. field. lra.
Qed.
End Exact.

(** ** Other scales *)
Definition block_scale_distance (differences : list R) : R := sumf Rabs differences.

(** Pairs of a difference and of the block's largest |v|. *)
Definition block_scale_output_error (blocks : list (R * R)) : R := sumf (fun b => Rabs (fst b) * snd b) blocks.

Definition block_scale_row_sum (differences : list R) : R := Rabs (sumf (fun d => d) differences).

Section Other.
Context {I : Type}.

(** A block: its keys, its own softmax q over them, its exact scale and another.  Where no key of the block is visible,
    the exact scale is 0 and q is whatever the kernel makes of such a block. *)
Record block := { keys : list I; q : I -> R; exact : R; used : R }.
Definition proper (b : block) : Prop := (forall i, In i (keys b) -> 0 <= q b i) /\ sumf (q b) (keys b) = 1.

Definition difference (b : block) : R := used b - exact b.
Definition row (a : block -> R) (f : block -> I -> R) (bs : list block) : R :=
  sumf (fun b => sumf (fun i => f b i * (a b * q b i)) (keys b)) bs.
Definition weights_distance (bs : list block) : R :=
  sumf (fun b => sumf (fun i => Rabs (used b * q b i - exact b * q b i)) (keys b)) bs.

Theorem distance_exact bs : (forall b, In b bs -> proper b) ->
  weights_distance bs = block_scale_distance (map difference bs).
Proof.
  intros H. unfold weights_distance, block_scale_distance. rewrite sumf_map. apply sumf_ext. intros b Hb.
  destruct (H b Hb) as (P & S). transitivity (sumf (fun i => q b i * Rabs (difference b)) (keys b)).
  - apply sumf_ext. intros i Hi. unfold difference.
    replace (used b * q b i - exact b * q b i) with (q b i * (used b - exact b)) by ring.
    rewrite Rabs_mult, Rabs_pos_eq; auto.
  - rewrite sumf_scal, S. ring.
Qed.

(** Mass on a block that no query of the row may see: all of its scale. *)
Theorem leaked_mass b : proper b -> exact b = 0 -> sumf (fun i => Rabs (used b * q b i)) (keys b) = Rabs (used b).
Proof.
  intros H E. pose proof (distance_exact [b]) as D. unfold weights_distance, block_scale_distance, difference in D.
  simpl in D. rewrite E in D. rewrite Rminus_0_r, !Rplus_0_r in D. rewrite <- D.
  - apply sumf_ext. intros i _. f_equal. ring.
  - now intros c [<-|[]].
Qed.

Theorem row_sum_error bs : (forall b, In b bs -> proper b) -> sumf exact bs = 1 ->
  Rabs (row used (fun _ _ => 1) bs - 1) = block_scale_row_sum (map difference bs).
Proof.
  intros H S. unfold block_scale_row_sum. rewrite sumf_map. f_equal.
  assert (E : row used (fun _ _ => 1) bs = sumf used bs).
  { apply sumf_ext. intros b Hb. destruct (H b Hb) as (_ & U).
    transitivity (used b * sumf (q b) (keys b)); [|rewrite U; ring].
    rewrite <- sumf_scal_l. apply sumf_ext. intros; ring. }
  rewrite E, <- S, <- sumf_minus. reflexivity.
Qed.

Theorem output_error bs (v : block -> I -> R) (largest : block -> R) : (forall b, In b bs -> proper b) ->
  (forall b i, In b bs -> In i (keys b) -> Rabs (v b i) <= largest b) ->
  Rabs (row used v bs - row exact v bs) <= block_scale_output_error (map (fun b => (difference b, largest b)) bs).
Proof.
  intros H V. unfold row, block_scale_output_error. rewrite sumf_map, <- sumf_minus.
  eapply Rle_trans; [apply sumf_abs|]. apply sumf_le. intros b Hb. destruct (H b Hb) as (P & S). simpl.
  rewrite <- sumf_minus.
  eapply Rle_trans; [apply sumf_abs|].
  apply Rle_trans with (sumf (fun i => q b i * (Rabs (difference b) * largest b)) (keys b)).
  - apply sumf_le. intros i Hi. unfold difference.
    replace (v b i * (used b * q b i) - v b i * (exact b * q b i)) with (q b i * ((used b - exact b) * v b i)) by ring.
    rewrite !Rabs_mult, (Rabs_pos_eq (q b i)) by auto. apply Rmult_le_compat_l; [auto|].
    apply Rmult_le_compat_l; [apply Rabs_pos|auto].
  - rewrite sumf_scal, S. lra.
Qed.

(** Coarser: the largest |v| of all times the distance. *)
Theorem output_error_coarse (bs : list block) (largest : block -> R) top :
  (forall b, In b bs -> largest b <= top) ->
  block_scale_output_error (map (fun b => (difference b, largest b)) bs) <=
  top * block_scale_distance (map difference bs).
Proof.
  intros H. unfold block_scale_output_error, block_scale_distance. rewrite !sumf_map, <- sumf_scal_l.
  apply sumf_le. intros b Hb. simpl. specialize (H b Hb). pose proof (Rabs_pos (difference b)). nra.
Qed.

(** Values of the differences' signs reach the bound: nothing smaller holds for all values of such sizes. *)
Theorem output_error_reached bs (largest : block -> R) : (forall b, In b bs -> proper b) ->
  let v := fun b (_ : I) => if Rle_dec 0 (difference b) then largest b else - largest b in
  row used v bs - row exact v bs = block_scale_output_error (map (fun b => (difference b, largest b)) bs).
Proof.
  intros H v. unfold row, block_scale_output_error. rewrite sumf_map, <- sumf_minus. apply sumf_ext. intros b Hb.
  destruct (H b Hb) as (_ & S). simpl. rewrite <- sumf_minus.
  transitivity (sumf (fun i => q b i * (Rabs (difference b) * largest b)) (keys b)); [|rewrite sumf_scal, S; ring].
  apply sumf_ext. intros i _. unfold v. destruct (Rle_dec 0 (difference b)) as [L|L]; unfold difference in *.
  - rewrite Rabs_pos_eq by lra. ring.
  - rewrite Rabs_left1 by lra. ring.
Qed.
End Other.
