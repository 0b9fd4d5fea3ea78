(** Rational twins of the theorems on block scales (refattn/bounds/theorems/block_scales.py), and their grid. *)
From Coq Require Import Reals QArith Qabs Qreals Lra Lia List String ZArith.
From refattn Require Import Sums LogMetric Growth Rationals.
From refattn Require BlockScales BlockScalesUniversal SplitsPerturbation.
Import ListNotations.
Open Scope Q_scope.

Definition total (xs : list Q) : Q := fold_right Qplus 0 xs.

Definition block_scale_distance (differences : list Q) : Q := total (map Qabs differences).

Definition block_scale_output_error (blocks : list (Q * Q)) : Q := total (map (fun b => Qabs (fst b) * snd b) blocks).

Definition block_scale_row_sum (differences : list Q) : Q := Qabs (total differences).

Definition least_scale_distance (blocks : Q) : Q := 2 * (1 - 1 / blocks).

Definition softmax_distance (spread : Q) : Q := 2 * growthQ (spread / 2) / (growthQ (spread / 2) + 2).

Open Scope R_scope.

Lemma Q2R_Qabs x : Q2R (Qabs x) = Rabs (Q2R x).
Proof.
  destruct (Qlt_le_dec x 0) as [L|L].
  - rewrite (Qeq_eqR _ _ (Qabs_neg x (Qlt_le_weak _ _ L))), Q2R_opp.
    apply Qlt_Rlt in L. rewrite Q2R_0 in L. rewrite Rabs_left; lra.
  - rewrite (Qeq_eqR _ _ (Qabs_pos x L)). apply Qle_Rle in L. rewrite Q2R_0 in L. rewrite Rabs_pos_eq; lra.
Qed.

Lemma Q2R_total {A} (f : A -> Q) xs : Q2R (total (map f xs)) = sumf (fun x => Q2R (f x)) xs.
Proof. induction xs as [|x xs IH]; simpl; [apply Q2R_0|]. now rewrite Q2R_plus, IH. Qed.

Theorem block_scale_distance_dominates (differences : list Q) :
  BlockScales.block_scale_distance (map Q2R differences) <= Q2R (block_scale_distance differences).
Proof.
  right. unfold block_scale_distance, BlockScales.block_scale_distance. rewrite Q2R_total, sumf_map.
  apply sumf_ext. intros x _. now rewrite Q2R_Qabs.
Qed.

Theorem block_scale_output_error_dominates (blocks : list (Q * Q)) :
  BlockScales.block_scale_output_error (map (fun b => (Q2R (fst b), Q2R (snd b))) blocks) <=
  Q2R (block_scale_output_error blocks).
Proof.
  right. unfold block_scale_output_error, BlockScales.block_scale_output_error. rewrite Q2R_total, sumf_map.
  apply sumf_ext. intros x _. simpl. now rewrite Q2R_mult, Q2R_Qabs.
Qed.

Theorem block_scale_row_sum_dominates (differences : list Q) :
  BlockScales.block_scale_row_sum (map Q2R differences) <= Q2R (block_scale_row_sum differences).
Proof.
  right. unfold block_scale_row_sum, BlockScales.block_scale_row_sum. rewrite Q2R_Qabs, sumf_map. f_equal.
  rewrite <- (map_id differences) at 2. now rewrite Q2R_total.
Qed.

Theorem least_scale_distance_dominates (blocks : Q) : Q2R blocks <> 0 ->
  BlockScalesUniversal.least_scale_distance (Q2R blocks) <= Q2R (least_scale_distance blocks).
Proof.
  intros H. right. unfold least_scale_distance, BlockScalesUniversal.least_scale_distance.
  now rewrite Q2R_mult, Q2R_minus, Q2R_over, Q2R_1, Q2R_2 by exact H.
Qed.

Theorem softmax_distance_dominates (spread : Q) : 0 <= Q2R spread < 4 ->
  SplitsPerturbation.softmax_distance (Q2R spread) <= Q2R (softmax_distance spread).
Proof.
  intros H. unfold softmax_distance, SplitsPerturbation.softmax_distance.
  assert (E : Q2R (spread / 2) = Q2R spread / 2) by (rewrite Q2R_over, Q2R_2 by (rewrite Q2R_2; lra); reflexivity).
  pose proof (growthQ_dominates (spread / 2)%Q) as D. rewrite E in D.
  assert (G : 0 <= growth (Q2R spread / 2)) by (apply growth_nonneg; lra).
  set (g := growth (Q2R spread / 2)) in *. set (h := growthQ (spread / 2)) in *.
  assert (L : g <= Q2R h) by (apply D; lra).
  assert (P : Q2R (h + 2)%Q = Q2R h + 2) by now rewrite Q2R_plus, Q2R_2.
  rewrite Q2R_over, P, Q2R_mult, Q2R_2 by (rewrite P; lra).
  apply Rmult_le_reg_r with (g + 2); [lra|]. unfold Rdiv at 1. rewrite Rmult_assoc, Rinv_l, Rmult_1_r by lra.
  apply Rmult_le_reg_r with (Q2R h + 2); [lra|]. unfold Rdiv.
  replace (2 * Q2R h * / (Q2R h + 2) * (g + 2) * (Q2R h + 2)) with (2 * Q2R h * (g + 2)) by (field; lra). nra.
Qed.

Open Scope Q_scope.

Definition rows : list (list Q) :=
  [[0]; [1; -(1)]; [1 # 2; -(1 # 3); 1 # 7]; [3 # 1000003; -(7 # 999983)]; [1 # 2 ^ 24; 1 # 2 ^ 8; -(1 # 2 ^ 11)];
   [59 # 100; -(1 # 4); -(17 # 50); 0]; [-(1); 1 # 3; 1 # 3; 1 # 3]; [1596 # 1000; -(1)];
   [1 # 10; 2 # 11; 3 # 13; 5 # 17]; [-(1 # 999983); -(3 # 7)];
   [2 # 5; -(22 # 7919); 5 # 1009; 1 # 9]; [-(4 # 13)]].
Definition steps : list Q := [0; 1 # 2; 5 # 1009].
Definition variants : list (list Q) := flat_map (fun step => map (map (fun d => d + step * d * d)) rows) steps.
Definition spreads : list Q :=
  [0; 1 # 2 ^ 24; 3 # 2 ^ 11; 1 # 2 ^ 8; 3 # 1000003; 1 # 1000; 22 # 7919; 1 # 101; 17 # 293; 1 # 10; 1 # 7;
   2 # 11; 3 # 13; 1 # 4; 2 # 7; 1 # 3; 3 # 8; 2 # 5; 1 # 2; 3 # 5; 2 # 3; 3 # 4; 9 # 10; 1; 9 # 8; 4 # 3; 3 # 2;
   7 # 4; 2; 9 # 4; 3; 39 # 10].
Definition counts : list Q := map inject_Z (map Z.of_nat (seq 1 30)) ++ [1024; 65536].

Definition flat (blocks : list (Q * Q)) : list Q := flat_map (fun b => [fst b; snd b]) blocks.
Definition sized (row : list Q) : list (Q * Q) := combine row [1; 3 # 7; 65504; 1 # 1000003].

Definition grid_block_scales : list (string * list (Z * Z) * (Z * Z)) :=
  map (fun row => line "block_scale_distance" row (block_scale_distance row)) variants ++
  map (fun row => line "block_scale_output_error" (flat (sized row)) (block_scale_output_error (sized row))) variants ++
  map (fun row => line "block_scale_row_sum" row (block_scale_row_sum row)) variants ++
  map (fun n => line "least_scale_distance" [n] (least_scale_distance n)) counts ++
  map (fun s => line "softmax_distance" [s] (softmax_distance s)) spreads.
