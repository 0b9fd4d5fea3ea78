(** Rational twins of the radii of rung 2's gradients, and the grid that Python is compared with. *)
From Coq Require Import Reals QArith Qreals Lra List String ZArith.
From refattn Require Import LogMetric Growth Rationals Roundoff GrowthRational ExtendedGradients.
Import ListNotations.
Open Scope Q_scope.

Definition share_error (weight_error lost last : Q) : Q := 2 * weight_error + log_error lost + log_error last.
Definition slope_radius (gain product delta words height : Q) : Q := gain * product + delta + words * height.
Definition score_gradient_radius (share product gradient weight slope hidden : Q) : Q :=
  growth (share + log_error product) * gradient + (1 + growth share) * weight * slope + hidden.
Definition query_gradient_radius (share product moved slope hidden size left_out : Q) : Q :=
  growth (share + log_error product) * moved + (slope + hidden) * size + left_out.
Definition value_weight_radius (share product weight hidden : Q) : Q :=
  growth (share + log_error product) * weight + hidden.
Definition gathered_radius (total size left_out : Q) : Q := total * size + left_out.
Definition scaled_radius (radius factor last : Q) : Q := factor * radius + last.

Open Scope R_scope.

Theorem share_error_dominates (weight_error lost last : Q) : Q2R lost < 1 -> Q2R last < 1 ->
  ExtendedGradients.share_error (Q2R weight_error) (Q2R lost) (Q2R last) <= Q2R (share_error weight_error lost last).
Proof.
  intros H K. unfold share_error, ExtendedGradients.share_error. rewrite !Q2R_plus, Q2R_mult, Q2R_2.
  pose proof (log_error_dominates lost H). pose proof (log_error_dominates last K). lra.
Qed.

Theorem slope_radius_dominates (gain product delta words height : Q) :
  ExtendedGradients.slope_radius (Q2R gain) (Q2R product) (Q2R delta) (Q2R words) (Q2R height)
    <= Q2R (slope_radius gain product delta words height).
Proof. right. unfold slope_radius, ExtendedGradients.slope_radius. now rewrite !Q2R_plus, !Q2R_mult. Qed.

Lemma product_growth (share product : Q) : 0 <= Q2R share -> 0 <= Q2R product < 1 ->
  Q2R (share + log_error product) < 2 ->
  Growth.growth (Q2R share + Roundoff.log_error (Q2R product)) <= Q2R (growth (share + log_error product)).
Proof.
  intros S P T. pose proof (log_error_dominates product (proj2 P)) as D.
  assert (0 <= Roundoff.log_error (Q2R product)).
  { unfold Roundoff.log_error, Rdiv. apply Rmult_le_pos; [lra|left; apply Rinv_0_lt_compat; lra]. }
  eapply Rle_trans; [|apply growth_dominates; rewrite Q2R_plus in *; lra].
  apply growth_mono. rewrite Q2R_plus. lra.
Qed.

Theorem score_gradient_radius_dominates (share product gradient weight slope hidden : Q) :
  0 <= Q2R share < 2 -> 0 <= Q2R product < 1 -> Q2R (share + log_error product) < 2 ->
  0 <= Q2R gradient -> 0 <= Q2R weight -> 0 <= Q2R slope ->
  ExtendedGradients.score_gradient_radius (Q2R share) (Q2R product) (Q2R gradient) (Q2R weight) (Q2R slope) (Q2R hidden)
    <= Q2R (score_gradient_radius share product gradient weight slope hidden).
Proof.
  intros S P T G W X. unfold score_gradient_radius, ExtendedGradients.score_gradient_radius.
  rewrite !Q2R_plus, !Q2R_mult, Q2R_plus, Q2R_1.
  apply Rplus_le_compat_r, Rplus_le_compat; apply Rmult_le_compat_r; try assumption.
  - apply product_growth; lra.
  - apply Rmult_le_compat_r; [assumption|]. pose proof (growth_dominates share S). lra.
Qed.

Theorem query_gradient_radius_dominates (share product moved slope hidden size left_out : Q) :
  0 <= Q2R share -> 0 <= Q2R product < 1 -> Q2R (share + log_error product) < 2 -> 0 <= Q2R moved ->
  ExtendedGradients.query_gradient_radius (Q2R share) (Q2R product) (Q2R moved) (Q2R slope) (Q2R hidden) (Q2R size)
      (Q2R left_out)
    <= Q2R (query_gradient_radius share product moved slope hidden size left_out).
Proof.
  intros S P T M. unfold query_gradient_radius, ExtendedGradients.query_gradient_radius.
  rewrite !Q2R_plus, !Q2R_mult, Q2R_plus. do 2 apply Rplus_le_compat_r. apply Rmult_le_compat_r; [assumption|].
  now apply product_growth.
Qed.

Theorem value_weight_radius_dominates (share product weight hidden : Q) :
  0 <= Q2R share -> 0 <= Q2R product < 1 -> Q2R (share + log_error product) < 2 -> 0 <= Q2R weight ->
  ExtendedGradients.value_weight_radius (Q2R share) (Q2R product) (Q2R weight) (Q2R hidden)
    <= Q2R (value_weight_radius share product weight hidden).
Proof.
  intros S P T W. unfold value_weight_radius, ExtendedGradients.value_weight_radius. rewrite Q2R_plus, Q2R_mult.
  apply Rplus_le_compat_r, Rmult_le_compat_r; [assumption|]. now apply product_growth.
Qed.

Theorem gathered_radius_dominates (total size left_out : Q) :
  ExtendedGradients.gathered_radius (Q2R total) (Q2R size) (Q2R left_out) <= Q2R (gathered_radius total size left_out).
Proof. right. unfold gathered_radius, ExtendedGradients.gathered_radius. now rewrite Q2R_plus, Q2R_mult. Qed.

Theorem scaled_radius_dominates (radius factor last : Q) :
  ExtendedGradients.scaled_radius (Q2R radius) (Q2R factor) (Q2R last) <= Q2R (scaled_radius radius factor last).
Proof. right. unfold scaled_radius, ExtendedGradients.scaled_radius. now rewrite Q2R_plus, Q2R_mult. Qed.

Open Scope Q_scope.

(** As the oracle has them, and large ones, in which no factor is nearly 1. *)
Definition errors : list Q := [0; 1 # 2 ^ 103; 7 # 1000003; 1 # 11].
Definition products : list Q := [0; 1 # 2 ^ 103; 5 # 99991; 3 # 17].
Definition sizes : list Q := [0; 1 # 3; 77 # 13].
Definition triples : list (Q * Q * Q) := list_prod (list_prod errors products) sizes.

Definition grid_extended_gradients :=
  flat_map (fun '(e, p, s) =>
    [line "share_error" [e; p; s / 10] (share_error e p (s / 10));
     line "slope_radius" [1 + s; e; p; e / 7; s + (1 # 2)] (slope_radius (1 + s) e p (e / 7) (s + (1 # 2)));
     line "score_gradient_radius" [e; p; s; 2 # 7; 1 # 19; 0] (score_gradient_radius e p s (2 # 7) (1 # 19) 0);
     line "score_gradient_radius" [e; p; 1 # 5; 2 # 3; s; p] (score_gradient_radius e p (1 # 5) (2 # 3) s p);
     line "query_gradient_radius" [e; p; s; 1 # 23; 1 # 29; 5 # 3; 0]
       (query_gradient_radius e p s (1 # 23) (1 # 29) (5 # 3) 0);
     line "query_gradient_radius" [e; p; 1 # 5; s; e; 7 # 9; p]
       (query_gradient_radius e p (1 # 5) s e (7 # 9) p);
     line "value_weight_radius" [e; p; s; 1 # 31] (value_weight_radius e p s (1 # 31));
     line "gathered_radius" [e; s; p] (gathered_radius e s p);
     line "scaled_radius" [e; s; p] (scaled_radius e s p)]) triples.
