(** Rational twins of the radii of rung 2, and the grid that Python is compared with. *)
From Coq Require Import Reals QArith Qreals Lra List String ZArith.
From refattn Require Import LogMetric Growth Rationals Roundoff GrowthRational Extended.
Import ListNotations.
Open Scope Q_scope.

Definition weight_radius (score exponential : Q) : Q := score + log_error exponential.
Definition output_radius (weight_error lost mean left_out last : Q) : Q :=
  let grown := growth weight_error in
  let doubt := compound [grown; lost] in
  (mean * (grown + doubt) + left_out * (1 + doubt)) / (1 - doubt) + last.
Definition lse_radius (weight_error lost logarithm last : Q) : Q :=
  weight_error + log_error lost + logarithm + last.
Definition share_radius (weight_error lost share last nothing : Q) : Q :=
  growth (2 * weight_error + log_error lost) * (share + last) + last + nothing.

Open Scope R_scope.

Theorem weight_radius_dominates (score exponential : Q) : Q2R exponential < 1 ->
  Extended.weight_radius (Q2R score) (Q2R exponential) <= Q2R (weight_radius score exponential).
Proof.
  intros H. unfold weight_radius, Extended.weight_radius. rewrite Q2R_plus.
  pose proof (log_error_dominates exponential H). lra.
Qed.

Lemma doubt_twin (grown lost : Q) :
  Q2R (compound [grown; lost]) = Q2R grown + Q2R lost + Q2R grown * Q2R lost.
Proof. unfold compound. cbn [fold_left]. rewrite !Q2R_plus, !Q2R_mult, !Q2R_plus, !Q2R_mult, Q2R_0. ring. Qed.

Theorem output_radius_dominates (weight_error lost mean left_out last : Q) :
  0 <= Q2R weight_error < 2 -> 0 <= Q2R lost -> 0 <= Q2R mean -> 0 <= Q2R left_out ->
  Q2R (compound [growth weight_error; lost]) < 1 ->
  Extended.output_radius (Q2R weight_error) (Q2R lost) (Q2R mean) (Q2R left_out) (Q2R last)
    <= Q2R (output_radius weight_error lost mean left_out last).
Proof.
  intros E L M O D. pose proof (growth_dominates weight_error E) as G. pose proof (growth_nonneg _ (proj1 E)) as G0.
  assert (T : Q2R (1 - compound [growth weight_error; lost])%Q = 1 - Q2R (compound [growth weight_error; lost]))
    by now rewrite Q2R_minus, Q2R_1.
  unfold output_radius, Extended.output_radius, normaliser_doubt, Roundoff.compound. cbv zeta. cbn [fold_left].
  rewrite Q2R_plus. apply Rplus_le_compat_r. rewrite Q2R_over by (rewrite T; lra).
  rewrite T, Q2R_plus, !Q2R_mult, !Q2R_plus, Q2R_1. rewrite doubt_twin in *.
  set (g := Growth.growth (Q2R weight_error)) in *. set (h := Q2R (growth weight_error)) in *. set (l := Q2R lost) in *.
  replace (0 + g + 0 * g + l + (0 + g + 0 * g) * l) with (g + l + g * l) by ring.
  assert (A : g * l <= h * l) by (apply Rmult_le_compat_r; lra).
  assert (B : 0 <= g * l) by (apply Rmult_le_pos; lra).
  unfold Rdiv. apply Rmult_le_compat.
  - apply Rplus_le_le_0_compat; apply Rmult_le_pos; lra.
  - left. apply Rinv_0_lt_compat. lra.
  - apply Rplus_le_compat; apply Rmult_le_compat_l; lra.
  - apply Rinv_le_contravar; lra.
Qed.

Theorem lse_radius_dominates (weight_error lost logarithm last : Q) : Q2R lost < 1 ->
  Extended.lse_radius (Q2R weight_error) (Q2R lost) (Q2R logarithm) (Q2R last)
    <= Q2R (lse_radius weight_error lost logarithm last).
Proof.
  intros H. unfold lse_radius, Extended.lse_radius. rewrite !Q2R_plus. pose proof (log_error_dominates lost H). lra.
Qed.

Theorem share_radius_dominates (weight_error lost share last nothing : Q) :
  0 <= Q2R weight_error -> 0 <= Q2R lost < 1 -> 0 <= Q2R share + Q2R last ->
  Q2R (2 * weight_error + log_error lost) < 2 ->
  Extended.share_radius (Q2R weight_error) (Q2R lost) (Q2R share) (Q2R last) (Q2R nothing)
    <= Q2R (share_radius weight_error lost share last nothing).
Proof.
  intros E L S T. unfold share_radius, Extended.share_radius. rewrite !Q2R_plus, Q2R_mult, (Q2R_plus share).
  apply Rplus_le_compat_r, Rplus_le_compat_r, Rmult_le_compat_r; [exact S|].
  pose proof (log_error_dominates lost ltac:(lra)) as D.
  assert (L0 : 0 <= Roundoff.log_error (Q2R lost)).
  { unfold Roundoff.log_error, Rdiv. apply Rmult_le_pos; [lra|left; apply Rinv_0_lt_compat; lra]. }
  assert (U : Q2R (2 * weight_error + log_error lost)%Q = 2 * Q2R weight_error + Q2R (log_error lost))
    by now rewrite Q2R_plus, Q2R_mult, Q2R_2.
  eapply Rle_trans; [|apply growth_dominates; rewrite U in *; lra]. apply growth_mono. rewrite U. lra.
Qed.

Open Scope Q_scope.

(** As the oracle has them, and large ones, in which no factor is nearly 1. *)
Definition weight_errors : list Q := [0; 1 # 2 ^ 103; 1 # 2 ^ 60; 7 # 1000003; 1 # 11].
Definition losts : list Q := [0; 1 # 2 ^ 96; 5 # 99991; 3 # 17].
Definition sizes : list Q := [0; 1 # 3; 1; 77 # 13].
Definition lasts : list Q := [0; 1 # 2 ^ 105; 3 # 101].
Definition quadruples : list (Q * Q * Q * Q) :=
  list_prod (list_prod (list_prod weight_errors losts) sizes) lasts.

Definition grid_extended :=
  map (fun '(s, e) => line "weight_radius" [s; e] (weight_radius s e))
    (list_prod (weight_errors ++ sizes) (weight_errors ++ losts)) ++
  flat_map (fun '(e, l, m, r) =>
    [line "output_radius" [e; l; m; r; 1 # 2 ^ 105] (output_radius e l m r (1 # 2 ^ 105));
     line "output_radius" [e; l; m; 2 # 7; r] (output_radius e l m (2 # 7) r);
     line "lse_radius" [e; l; r; m] (lse_radius e l r m);
     line "share_radius" [e; l; m; r; 1 # 2 ^ 200] (share_radius e l m r (1 # 2 ^ 200));
     line "share_radius" [e; l; m; 1 # 19; r] (share_radius e l m (1 # 19) r)]) quadruples.
