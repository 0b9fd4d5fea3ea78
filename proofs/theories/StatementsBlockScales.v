(** The public theorems of scales of blocks of keys,
    stated in full a second time; see StatementsRoundoff.v. *)
From Coq Require Import ZArith QArith Qreals Reals List.
From refattn Require Import LogMetric Sums Growth Rationals SplitsPerturbation BlockScales BlockScalesUniversal.
From refattn Require BlockScalesRational.
Import ListNotations.
Open Scope R_scope.

(** * BlockScales.v *)

Theorem softmax_of_blocks :
  forall (I : Type) (score : I -> R) (blocks : list (list I)) (b : list I) (i : I),
    b <> [] -> concat blocks <> [] -> softmax score (concat blocks) i = scale score blocks b * softmax score b i.
Proof. exact (@BlockScales.softmax_of_blocks). Qed.

Theorem scale_log_sum_exp :
  forall (I : Type) (score : I -> R) (blocks : list (list I)) (b : list I),
    b <> [] ->
    concat blocks <> [] ->
    scale score blocks b = exp (ln (normaliser score b) - ln (normaliser score (concat blocks))).
Proof. exact (@BlockScales.scale_log_sum_exp). Qed.

Theorem scale_of_invisible_block :
  forall (I : Type) (score : I -> R) (blocks : list (list I)), scale score blocks [] = 0.
Proof. exact (@BlockScales.scale_of_invisible_block). Qed.

Theorem scales_sum_to_1 :
  forall (I : Type) (score : I -> R) (blocks : list (list I)),
    concat blocks <> [] -> sumf (scale score blocks) blocks = 1.
Proof. exact (@BlockScales.scales_sum_to_1). Qed.

Theorem softmax_sums_to_1 : forall (I : Type) (score : I -> R) (b : list I), b <> [] -> sumf (softmax score b) b = 1.
Proof. exact (@BlockScales.softmax_sums_to_1). Qed.

Theorem distance_exact :
  forall (I : Type) (bs : list (@block I)),
    (forall b : @block I, @In (@block I) b bs -> @proper I b) ->
    @weights_distance I bs = @sumf R Rabs (@map (@block I) R (@difference I) bs).
Proof. exact (@BlockScales.distance_exact). Qed.

Theorem leaked_mass :
  forall (I : Type) (b : block),
    proper b -> exact b = 0 -> sumf (fun i : I => Rabs (used b * q b i)) (keys b) = Rabs (used b).
Proof. exact (@BlockScales.leaked_mass). Qed.

Theorem row_sum_error :
  forall (I : Type) (bs : list block),
    (forall b : block, In b bs -> proper b) ->
    sumf exact bs = 1 ->
    Rabs (row used (fun (_ : block) (_ : I) => 1) bs - 1) = Rabs (sumf (fun d : R => d) (map difference bs)).
Proof. exact (@BlockScales.row_sum_error). Qed.

Theorem output_error :
  forall (I : Type) (bs : list block) (v : block -> I -> R) (largest : block -> R),
    (forall b : block, In b bs -> proper b) ->
    (forall (b : block) (i : I), In b bs -> In i (keys b) -> Rabs (v b i) <= largest b) ->
    Rabs (row used v bs - row exact v bs) <=
    sumf (fun b : R * R => Rabs (fst b) * snd b) (map (fun b : block => (difference b, largest b)) bs).
Proof. exact (@BlockScales.output_error). Qed.

Theorem output_error_coarse :
  forall (I : Type) (bs : list (@block I)) (largest : @block I -> R) (top : R),
    (forall b : @block I, @In (@block I) b bs -> largest b <= top) ->
    @sumf (R * R) (fun b : R * R => Rabs (@fst R R b) * @snd R R b)
     (@map (@block I) (R * R) (fun b : @block I => (@difference I b, largest b)) bs) <=
    top * @sumf R Rabs (@map (@block I) R (@difference I) bs).
Proof. exact (@BlockScales.output_error_coarse). Qed.

Theorem output_error_reached :
  forall (I : Type) (bs : list block) (largest : block -> R),
    (forall b : block, In b bs -> proper b) ->
    let v := fun (b : block) (_ : I) => if Rle_dec 0 (difference b) then largest b else - largest b in
    row used v bs - row exact v bs =
    sumf (fun b : R * R => Rabs (fst b) * snd b) (map (fun b : block => (difference b, largest b)) bs).
Proof. exact (@BlockScales.output_error_reached). Qed.

(** * BlockScalesUniversal.v *)

Theorem no_scales_for_all_rows :
  forall (a : nat -> R) (n : nat),
    (0 < n)%nat ->
    sumf a (seq 0 n) = 1 -> exists k : nat, (k < n)%nat /\ 2 * (1 - 1 / INR n) <= distance_from_vertex a n k.
Proof. exact (@BlockScalesUniversal.no_scales_for_all_rows). Qed.

(** * BlockScalesRational.v *)

Theorem block_scale_distance_dominates :
  forall differences : list Q,
    sumf Rabs (map Q2R differences) <= Q2R (BlockScalesRational.block_scale_distance differences).
Proof. exact (@BlockScalesRational.block_scale_distance_dominates). Qed.

Theorem block_scale_output_error_dominates :
  forall blocks : list (Q * Q),
    sumf (fun b : R * R => Rabs (fst b) * snd b) (map (fun b : Q * Q => (Q2R (fst b), Q2R (snd b))) blocks) <=
    Q2R (BlockScalesRational.block_scale_output_error blocks).
Proof. exact (@BlockScalesRational.block_scale_output_error_dominates). Qed.

Theorem block_scale_row_sum_dominates :
  forall differences : list Q,
    Rabs (sumf (fun d : R => d) (map Q2R differences)) <= Q2R (BlockScalesRational.block_scale_row_sum differences).
Proof. exact (@BlockScalesRational.block_scale_row_sum_dominates). Qed.

Theorem least_scale_distance_dominates :
  forall blocks : Q,
    Q2R blocks <> 0 -> 2 * (1 - 1 / Q2R blocks) <= Q2R (BlockScalesRational.least_scale_distance blocks).
Proof. exact (@BlockScalesRational.least_scale_distance_dominates). Qed.

Theorem softmax_distance_dominates :
  forall spread : Q,
    0 <= Q2R spread < 4 ->
    2 * (exp (Q2R spread / 2) - 1) / (exp (Q2R spread / 2) - 1 + 2) <=
    Q2R (BlockScalesRational.softmax_distance spread).
Proof. exact (@BlockScalesRational.softmax_distance_dominates). Qed.
