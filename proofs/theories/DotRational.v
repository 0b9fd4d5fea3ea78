(** Rational twin of the dot product's error. *)
From Coq Require Import Reals QArith Qreals Lra List String ZArith.
From refattn Require Import Growth Rationals GrowthRational.
From refattn Require Dot.
Import ListNotations.
Open Scope Q_scope.

Definition dot_any_order (terms unit magnitude lost : Q) : Q :=
  growth (terms * unit) * magnitude + 2 * terms * lost * (1 + growth (terms * unit)).

Open Scope R_scope.

Theorem dot_any_order_dominates (terms unit magnitude lost : Q) :
  0 <= Q2R terms -> 0 <= Q2R magnitude -> 0 <= Q2R lost -> 0 <= Q2R terms * Q2R unit < 2 ->
  Dot.dot_any_order (Q2R terms) (Q2R unit) (Q2R magnitude) (Q2R lost) <=
    Q2R (dot_any_order terms unit magnitude lost).
Proof.
  intros Ht Hm Hl Hu. unfold dot_any_order, Dot.dot_any_order. rewrite <- Q2R_mult in Hu.
  pose proof (growth_dominates (terms * unit) Hu) as G. rewrite Q2R_mult in G. set (g := growth (terms * unit)) in *.
  rewrite Q2R_plus, !Q2R_mult, Q2R_plus, Q2R_1, Q2R_2. apply Rplus_le_compat.
  - now apply Rmult_le_compat_r.
  - apply Rmult_le_compat_l; [|lra]. apply Rmult_le_pos; [apply Rmult_le_pos|]; lra.
Qed.

Open Scope Q_scope.

Definition shapes : list (Q * Q) :=
  [(1, 1 # 2 ^ 24); (16, 1 # 2 ^ 24); (64, 1 # 2 ^ 24); (128, 1 # 2 ^ 24); (256, 1 # 2 ^ 23); (131072, 1 # 2 ^ 24);
   (64, 1 # 2 ^ 53); (8, 1 # 2 ^ 8); (128, 1 # 2 ^ 8); (64, 1 # 2 ^ 11); (3, 1 # 7);
   (17, 1 # 1000003); (101, 3 # 7919)].
Definition scales_of_a_sum : list (Q * Q) := [(7 # 3, 1 # 2 ^ 149); (1000, 1 # 1009); (0, 3 # 2 ^ 14); (1 # 999983, 0)].

Definition grid_dot :=
  flat_map (fun '(n, u) => map (fun '(m, h) => line "dot_any_order" [n; u; m; h] (dot_any_order n u m h))
    scales_of_a_sum) shapes.
