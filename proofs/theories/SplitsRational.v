(** Rational twins of the bounds of splits (refattn/bounds/theorems/splits.py), and their grid. *)
From Coq Require Import Reals QArith Qreals Lra List String ZArith.
From refattn Require Import LogMetric Growth Rationals Roundoff.
From refattn Require GrowthRational SplitsRounding SplitsHull.
Import ListNotations.
Open Scope Q_scope.

Definition split_lse_rounding (reference logarithm unit log_relative scaled lost : Q) : Q :=
  GrowthRational.rounded (log_relative * logarithm + scaled * reference + 2 * lost) (reference + logarithm) unit lost.

Definition split_gap (distance logarithm slack own : Q) : Q := distance + 2 * logarithm + 3 * (slack + own).

Definition split_error (own gap turned exponential kept : Q) : Q := own + turned * gap + exponential + kept.

Definition split_output_error (rounding unit : Q) : Q := rounding + 2 * unit.

Definition split_lost (parts values eta_weight eta_sum cost : Q) : Q :=
  (eta_weight * values + 2 * parts * eta_sum) * (1 + growthQ cost).

Definition split_apart (weight rounding : Q) : Q := 2 * weight + rounding.

Open Scope R_scope.

Lemma Q2R_3 : Q2R 3 = 3.
Proof. unfold Q2R; simpl; lra. Qed.

Theorem split_lse_rounding_dominates (reference logarithm unit log_relative scaled lost : Q) :
  SplitsRounding.split_lse_rounding (Q2R reference) (Q2R logarithm) (Q2R unit) (Q2R log_relative) (Q2R scaled)
    (Q2R lost) <= Q2R (split_lse_rounding reference logarithm unit log_relative scaled lost).
Proof.
  right. unfold split_lse_rounding, SplitsRounding.split_lse_rounding, GrowthRational.rounded, rounded.
  now rewrite ?Q2R_plus, ?Q2R_mult, ?Q2R_plus, ?Q2R_mult, ?Q2R_plus, ?Q2R_mult, ?Q2R_2.
Qed.

Theorem split_gap_dominates (distance logarithm slack own : Q) :
  SplitsRounding.split_gap (Q2R distance) (Q2R logarithm) (Q2R slack) (Q2R own) <=
  Q2R (split_gap distance logarithm slack own).
Proof. right. unfold split_gap, SplitsRounding.split_gap. now rewrite !Q2R_plus, !Q2R_mult, Q2R_plus, Q2R_2, Q2R_3. Qed.

Theorem split_error_dominates (own gap turned exponential kept : Q) :
  SplitsRounding.split_error (Q2R own) (Q2R gap) (Q2R turned) (Q2R exponential) (Q2R kept) <=
  Q2R (split_error own gap turned exponential kept).
Proof. right. unfold split_error, SplitsRounding.split_error. now rewrite !Q2R_plus, Q2R_mult. Qed.

Theorem split_output_error_dominates (rounding unit : Q) :
  SplitsRounding.split_output_error (Q2R rounding) (Q2R unit) <= Q2R (split_output_error rounding unit).
Proof. right. unfold split_output_error, SplitsRounding.split_output_error. now rewrite Q2R_plus, Q2R_mult, Q2R_2. Qed.

Theorem split_lost_dominates (parts values eta_weight eta_sum cost : Q) :
  0 <= Q2R parts -> 0 <= Q2R values -> 0 <= Q2R eta_weight -> 0 <= Q2R eta_sum -> 0 <= Q2R cost < 2 ->
  SplitsRounding.split_lost (Q2R parts) (Q2R values) (Q2R eta_weight) (Q2R eta_sum) (Q2R cost) <=
  Q2R (split_lost parts values eta_weight eta_sum cost).
Proof.
  intros P V W S C. unfold split_lost, SplitsRounding.split_lost.
  pose proof (growthQ_dominates cost C) as D.
  rewrite Q2R_mult, !Q2R_plus, !Q2R_mult, Q2R_1, Q2R_2.
  apply Rmult_le_compat_l; [|lra].
  apply Rplus_le_le_0_compat; apply Rmult_le_pos; try lra.
Qed.

Theorem split_apart_dominates (weight rounding : Q) :
  SplitsHull.split_apart (Q2R weight) (Q2R rounding) <= Q2R (split_apart weight rounding).
Proof. right. unfold split_apart, SplitsHull.split_apart. now rewrite Q2R_plus, Q2R_mult, Q2R_2. Qed.

Open Scope Q_scope.

(** Units of fp32, of narrow formats, and odd ones. *)
Definition units : list Q := [1 # 2 ^ 24; 1 # 2 ^ 8; 1 # 2 ^ 11; 3 # 1000003; 1 # 2 ^ 53].
Definition sizes : list (Q * Q) :=
  [(0, 0); (1, 7 # 10); (8, 6931 # 1000); (12345 # 97, 8317 # 1000); (1 # 1000003, 11784 # 1000); (65504, 3 # 7);
   (1009 # 11, 17 # 13)].

Definition grid_splits : list (string * list (Z * Z) * (Z * Z)) :=
  flat_map (fun u => flat_map (fun '(m, l) =>
    [line "split_lse_rounding" [m; l; u; 5 * u; 0; 0] (split_lse_rounding m l u (5 * u) 0 0);
     line "split_lse_rounding" [m; l; u; 7 # 999983; 11 # 1000003; 1 # 999979]
       (split_lse_rounding m l u (7 # 999983) (11 # 1000003) (1 # 999979));
     line "split_gap" [m; l; 3 # 1009; u] (split_gap m l (3 # 1009) u);
     line "split_gap" [l; m; 7 * u; 1 # 1000003] (split_gap l m (7 * u) (1 # 1000003));
     line "split_error" [u; m; l / 1000; 2 * u; 0] (split_error u m (l / 1000) (2 * u) 0);
     line "split_error" [3 # 999983; l; 3 * u; 5 # 1000003; 1 # 999979]
       (split_error (3 # 999983) l (3 * u) (5 # 1000003) (1 # 999979));
     line "split_output_error" [m; u] (split_output_error m u);
     line "split_apart" [m; u] (split_apart m u);
     line "split_lost" [1 + l; m; u; u / 3; l / 10] (split_lost (1 + l) m u (u / 3) (l / 10));
     line "split_lost" [7; 1 + m; 1 # 2 ^ 150; 1 # 2 ^ 149; u] (split_lost 7 (1 + m) (1 # 2 ^ 150) (1 # 2 ^ 149) u)])
    sizes) units.
