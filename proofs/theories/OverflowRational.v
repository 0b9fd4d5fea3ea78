(** Rational twins of the sizes that partial results stay below, and the grid that Python is compared with. *)
From Coq Require Import Reals QArith Qreals Lra List String ZArith.
From refattn Require Import LogMetric Growth Rationals Roundoff GrowthRational Overflow OverflowScore.
Import ListNotations.
Open Scope Q_scope.

Definition largest_sum (magnitude log_error lost : Q) : Q := magnitude * (1 + growth log_error) + lost.
Definition largest_score (magnitude width casting unit lost : Q) : Q :=
  largest_sum magnitude (casting + width * unit) (2 * width * lost * (1 + growth (width * unit))).
Definition largest_numerator (seen lag cost lost : Q) : Q := largest_sum seen (lag + cost) lost.
Definition largest_normaliser (keys lag cost lost : Q) : Q := largest_numerator (keys + 1) lag cost lost.
(** Of a maximum that is not negative, as its absolute value is meant. *)
Definition largest_reference (maximum logarithm excess : Q) : Q := maximum + logarithm + log_growth excess.

Open Scope R_scope.

Theorem largest_sum_dominates (magnitude log_error lost : Q) : 0 <= Q2R magnitude -> 0 <= Q2R log_error < 2 ->
  Overflow.largest_sum (Q2R magnitude) (Q2R log_error) (Q2R lost) <= Q2R (largest_sum magnitude log_error lost).
Proof.
  intros M T. unfold largest_sum, Overflow.largest_sum. rewrite Q2R_plus, Q2R_mult, Q2R_plus, Q2R_1.
  pose proof (growth_dominates log_error T). apply Rplus_le_compat_r, Rmult_le_compat_l; lra.
Qed.

Theorem largest_numerator_dominates (seen lag cost lost : Q) : 0 <= Q2R seen -> 0 <= Q2R lag + Q2R cost < 2 ->
  Overflow.largest_numerator (Q2R seen) (Q2R lag) (Q2R cost) (Q2R lost) <= Q2R (largest_numerator seen lag cost lost).
Proof.
  intros S T. unfold Overflow.largest_numerator. rewrite <- Q2R_plus in T |- *. now apply largest_sum_dominates.
Qed.

Theorem largest_normaliser_dominates (keys lag cost lost : Q) : 0 <= Q2R keys -> 0 <= Q2R lag + Q2R cost < 2 ->
  Overflow.largest_normaliser (Q2R keys) (Q2R lag) (Q2R cost) (Q2R lost) <= Q2R (largest_normaliser keys lag cost lost).
Proof.
  intros K T. unfold Overflow.largest_normaliser. rewrite <- Q2R_1, <- Q2R_plus.
  apply largest_numerator_dominates; [rewrite Q2R_plus, Q2R_1; lra|exact T].
Qed.

Theorem largest_score_dominates (magnitude width casting unit lost : Q) :
  0 <= Q2R magnitude -> 0 <= Q2R width -> 0 <= Q2R casting -> 0 <= Q2R unit -> 0 <= Q2R lost ->
  Q2R casting + Q2R width * Q2R unit < 2 ->
  Overflow.largest_score (Q2R magnitude) (Q2R width) (Q2R casting) (Q2R unit) (Q2R lost)
    <= Q2R (largest_score magnitude width casting unit lost).
Proof.
  intros M W C U L T. assert (P : 0 <= Q2R width * Q2R unit) by now apply Rmult_le_pos.
  pose proof (growth_dominates (width * unit)%Q ltac:(rewrite Q2R_mult; lra)) as G. rewrite Q2R_mult in G.
  assert (S : 0 <= Q2R (casting + width * unit) < 2) by (rewrite Q2R_plus, Q2R_mult; lra).
  unfold largest_score, Overflow.largest_score.
  eapply Rle_trans; [|exact (largest_sum_dominates _ _ _ M S)].
  unfold Overflow.largest_sum. rewrite Q2R_plus, (Q2R_mult width unit). apply Rplus_le_compat_l.
  rewrite Q2R_mult, Q2R_plus, Q2R_1, !Q2R_mult, Q2R_2.
  apply Rmult_le_compat_l; [|lra]. apply Rmult_le_pos; lra.
Qed.

Theorem largest_reference_dominates (maximum logarithm excess : Q) : 0 <= Q2R maximum -> 0 <= Q2R excess ->
  OverflowScore.largest_reference (Q2R maximum) (Q2R logarithm) (Q2R excess)
    <= Q2R (largest_reference maximum logarithm excess).
Proof.
  intros M E. unfold largest_reference, OverflowScore.largest_reference. rewrite !Q2R_plus, Rabs_pos_eq by exact M.
  pose proof (log_growth_dominates excess E). lra.
Qed.

Open Scope Q_scope.

(** Realistic sums and odd ones: every argument varies with the others fixed. *)
Definition magnitudes : list Q := [0; 1; 1 # 3; 448; 65504; 1000003 # 17; 2 ^ 127].
Definition log_errors : list Q := [0; 1 # 2 ^ 24; 1 # 2 ^ 8; 131072 # 2 ^ 24; 7 # 1000003; 13 # 17; 3 # 2].
Definition losts : list Q := [0; 1 # 2 ^ 149; 5 # 99991].
Definition triples (xs ys zs : list Q) : list (Q * Q * Q) := list_prod (list_prod xs ys) zs.

Definition grid_overflow :=
  map (fun '(m, t, h) => line "largest_sum" [m; t; h] (largest_sum m t h)) (triples magnitudes log_errors losts) ++
  flat_map (fun '(m, t, h) =>
    [line "largest_numerator" [m; 3 # 101; t / 3; h] (largest_numerator m (3 # 101) (t / 3) h);
     line "largest_numerator" [m; t; 1 # 2 ^ 11; h] (largest_numerator m t (1 # 2 ^ 11) h)])
    (triples [1; 131072; 22 # 7] log_errors losts) ++
  flat_map (fun '(n, t, h) =>
    [line "largest_normaliser" [n; 0; t; h] (largest_normaliser n 0 t h);
     line "largest_normaliser" [n; 1 # 7; t / 2; h] (largest_normaliser n (1 # 7) (t / 2) h)])
    (triples [0; 1; 4096; 131072] log_errors losts) ++
  flat_map (fun '(m, c, h) =>
    [line "largest_score" [m; 128; c / 2; 1 # 2 ^ 24; h] (largest_score m 128 (c / 2) (1 # 2 ^ 24) h);
     line "largest_score" [m; 7; c / 5; 1 # 293; h] (largest_score m 7 (c / 5) (1 # 293) h)])
    (triples magnitudes log_errors losts) ++
  map (fun '(m, l, x) => line "largest_reference" [m; l; x] (largest_reference m l x))
    (triples magnitudes [0; 7 # 10; 49 # 17] log_errors).
