(** Rational twins of the bounds along an axis, and the grid that Python is compared with. *)
From Coq Require Import Reals QArith Qreals Lra List String ZArith.
From refattn Require Import LogMetric Growth Rationals Roundoff GrowthRational LogSumExp ForwardRational Softmax.
Import ListNotations.
Open Scope Q_scope.

Definition softmax_error (weight log_error relative dividing lost lost_quotient unit lost_out : Q) : Q :=
  let together := log_growth relative + dividing in
  rounded (weight * growth (log_error + together) + lost * (1 + growth together) + lost_quotient) weight unit lost_out.

Definition log_softmax_error (relative distance logarithm shift log lost unit unit_out lost_out : Q) : Q :=
  let spread := log_growth relative in
  let size := distance + logarithm in
  rounded (rounded (spread + ((shift * distance + lost) + (log * (logarithm + spread) + lost))) size unit lost)
    size unit_out lost_out.

Definition log_sum_exp_error (relative height logarithm size turn log unit lost unit_out lost_out : Q) : Q :=
  rounded (lse_error relative 0 height logarithm size turn log unit lost) size unit_out lost_out.

Open Scope R_scope.

Lemma log_growth_nonneg d : 0 <= d -> 0 <= Roundoff.log_growth d.
Proof.
  intros H. unfold Roundoff.log_growth. rewrite <- ln_1.
  destruct H as [H|<-]; [left; apply ln_increasing; lra|rewrite Rplus_0_r; lra].
Qed.

Lemma rounded_nonneg error size relative lost : 0 <= error -> 0 <= size -> 0 <= relative -> 0 <= lost ->
  0 <= Roundoff.rounded error size relative lost.
Proof.
  intros. unfold Roundoff.rounded. assert (0 <= relative * (size + error)) by (apply Rmult_le_pos; lra). lra.
Qed.

Theorem softmax_error_dominates (weight log_error relative dividing lost lost_quotient unit lost_out : Q) :
  0 <= Q2R weight -> 0 <= Q2R log_error -> 0 <= Q2R relative -> 0 <= Q2R dividing ->
  Q2R log_error + Q2R relative + Q2R dividing < 2 ->
  0 <= Q2R lost -> 0 <= Q2R lost_quotient -> 0 <= Q2R unit ->
  Softmax.softmax_error (Q2R weight) (Q2R log_error) (Q2R relative) (Q2R dividing) (Q2R lost) (Q2R lost_quotient)
    (Q2R unit) (Q2R lost_out)
  <= Q2R (softmax_error weight log_error relative dividing lost lost_quotient unit lost_out).
Proof.
  intros Hw Ht Hr Hd H2 Hl Hq Hu. unfold softmax_error, Softmax.softmax_error. cbv zeta. rewrite Q2R_rounded.
  rewrite !Q2R_plus, !Q2R_mult, Q2R_plus, Q2R_1.
  pose proof (log_growth_nonneg _ Hr) as L0. pose proof (log_growth_dominates relative Hr) as L1.
  unfold log_growth in *. set (s := Roundoff.log_growth (Q2R relative)) in *.
  assert (E1 : Q2R (log_error + (relative + dividing)) = Q2R log_error + (Q2R relative + Q2R dividing))
    by now rewrite !Q2R_plus.
  assert (E2 : Q2R (relative + dividing) = Q2R relative + Q2R dividing) by now rewrite Q2R_plus.
  assert (G1 : Growth.growth (Q2R log_error + (s + Q2R dividing)) <= Q2R (growth (log_error + (relative + dividing)))).
  { eapply Rle_trans; [|apply growth_dominates; rewrite E1; lra]. rewrite E1. apply growth_mono. lra. }
  assert (G2 : Growth.growth (s + Q2R dividing) <= Q2R (growth (relative + dividing))).
  { eapply Rle_trans; [|apply growth_dominates; rewrite E2; lra]. rewrite E2. apply growth_mono. lra. }
  pose proof (growth_nonneg (Q2R log_error + (s + Q2R dividing)) ltac:(lra)) as P1.
  pose proof (growth_nonneg (s + Q2R dividing) ltac:(lra)) as P2.
  apply rounded_mono; [|lra|].
  - apply Rplus_le_compat_r. apply Rplus_le_compat; apply Rmult_le_compat_l; lra.
  - assert (0 <= Q2R weight * Growth.growth (Q2R log_error + (s + Q2R dividing))) by (now apply Rmult_le_pos).
    assert (0 <= Q2R lost * (1 + Growth.growth (s + Q2R dividing))) by (apply Rmult_le_pos; lra). lra.
Qed.

Theorem log_softmax_error_dominates (relative distance logarithm shift log lost unit unit_out lost_out : Q) :
  0 <= Q2R relative -> 0 <= Q2R distance -> 0 <= Q2R logarithm -> 0 <= Q2R shift -> 0 <= Q2R log -> 0 <= Q2R lost ->
  0 <= Q2R unit -> 0 <= Q2R unit_out ->
  Softmax.log_softmax_error (Q2R relative) (Q2R distance) (Q2R logarithm) (Q2R shift) (Q2R log) (Q2R lost) (Q2R unit)
    (Q2R unit_out) (Q2R lost_out)
  <= Q2R (log_softmax_error relative distance logarithm shift log lost unit unit_out lost_out).
Proof.
  intros Hr Hd Hg Hs Hl Ho Hu Hv. unfold log_softmax_error, Softmax.log_softmax_error. cbv zeta.
  rewrite !Q2R_rounded, !Q2R_plus, !Q2R_mult, !Q2R_plus.
  pose proof (log_growth_nonneg _ Hr) as L0. pose proof (log_growth_dominates relative Hr) as L1.
  unfold log_growth in *. set (s := Roundoff.log_growth (Q2R relative)) in *.
  assert (0 <= Q2R shift * Q2R distance) by now apply Rmult_le_pos.
  assert (0 <= Q2R log * (Q2R logarithm + s)) by (apply Rmult_le_pos; lra).
  assert (Q2R log * (Q2R logarithm + s) <= Q2R log * (Q2R logarithm + Q2R relative)) by (apply Rmult_le_compat_l; lra).
  apply rounded_mono; [|lra|].
  - apply rounded_mono; lra.
  - assert (0 <= Roundoff.rounded
      (s + (Q2R shift * Q2R distance + Q2R lost + (Q2R log * (Q2R logarithm + s) + Q2R lost)))
      (Q2R distance + Q2R logarithm) (Q2R unit) (Q2R lost)) by (apply rounded_nonneg; lra). lra.
Qed.

Theorem log_sum_exp_error_dominates (relative height logarithm size turn log unit lost unit_out lost_out : Q) :
  0 <= Q2R relative -> 0 <= Q2R height -> 0 <= Q2R logarithm -> 0 <= Q2R size -> 0 <= Q2R turn -> 0 <= Q2R log ->
  0 <= Q2R unit -> 0 <= Q2R lost -> 0 <= Q2R unit_out ->
  Softmax.log_sum_exp_error (Q2R relative) (Q2R height) (Q2R logarithm) (Q2R size) (Q2R turn) (Q2R log) (Q2R unit)
    (Q2R lost) (Q2R unit_out) (Q2R lost_out)
  <= Q2R (log_sum_exp_error relative height logarithm size turn log unit lost unit_out lost_out).
Proof.
  intros Hr Hh Hg Hs Ht Hl Hu Ho Hv. unfold log_sum_exp_error, Softmax.log_sum_exp_error. rewrite Q2R_rounded.
  pose proof (lse_error_dominates relative 0 height logarithm size turn log unit lost Hr) as D.
  rewrite Q2R_0 in D. specialize (D (Rle_refl 0) Hh Hg Hs Ht Hl Hu Ho).
  pose proof (log_growth_nonneg _ Hr).
  apply rounded_mono; [exact D|lra|].
  assert (0 <= LogSumExp.lse_error (Q2R relative) 0 (Q2R height) (Q2R logarithm) (Q2R size) (Q2R turn) (Q2R log)
    (Q2R unit) (Q2R lost)); [|lra].
  unfold LogSumExp.lse_error. cbv zeta. apply rounded_nonneg; try lra.
  assert (0 <= Q2R turn * (Q2R height + 0)) by (apply Rmult_le_pos; lra).
  assert (0 <= Q2R log * (Q2R logarithm + Roundoff.log_growth (Q2R relative) + 0)) by (apply Rmult_le_pos; lra). lra.
Qed.

Open Scope Q_scope.

Definition weights : list Q := [1; 1 # 131072; 5 # 7; 1 # 1000003; 0].

Definition grid_softmax :=
  map (fun '(w, t) => line "softmax_error" [w; t; 3 # 1000003; 2 # 2 ^ 24; 1 # 999983; 1 # 7919; 1 # 2 ^ 8; 1 # 2 ^ 134]
    (softmax_error w t (3 # 1000003) (2 # 2 ^ 24) (1 # 999983) (1 # 7919) (1 # 2 ^ 8) (1 # 2 ^ 134)))
    (pairs weights (small ++ plenty)) ++
  map (fun '(d, c) => line "softmax_error" [3 # 11; 1 # 101; d; c; 22 # 7919; 5 # 99991; 1 # 257; 1 # 2003]
    (softmax_error (3 # 11) (1 # 101) d c (22 # 7919) (5 # 99991) (1 # 257) (1 # 2003))) (pairs small small) ++
  map (fun '(r, x) => line "log_softmax_error"
    [r; x; 9 # 2; 1 # 2 ^ 24; 4 # 2 ^ 24; 1 # 999983; 1 # 2 ^ 24; 1 # 2 ^ 8; 1 # 2 ^ 134]
    (log_softmax_error r x (9 # 2) (1 # 2 ^ 24) (4 # 2 ^ 24) (1 # 999983) (1 # 2 ^ 24) (1 # 2 ^ 8) (1 # 2 ^ 134)))
    (pairs small amounts) ++
  map (fun '(s, g) => line "log_softmax_error" [2 # 11; 5 # 2; 11 # 3; s; g; 1 # 7919; 1 # 101; 1 # 257; 1 # 2003]
    (log_softmax_error (2 # 11) (5 # 2) (11 # 3) s g (1 # 7919) (1 # 101) (1 # 257) (1 # 2003))) (pairs small small) ++
  map (fun '(r, x) => line "log_sum_exp_error"
    [r; x; 9 # 2; 77 # 13; 3 # 2 ^ 24; 4 # 2 ^ 24; 1 # 2 ^ 24; 1 # 999983; 1 # 2 ^ 8; 1 # 2 ^ 134]
    (log_sum_exp_error r x (9 # 2) (77 # 13) (3 # 2 ^ 24) (4 # 2 ^ 24) (1 # 2 ^ 24) (1 # 999983) (1 # 2 ^ 8)
      (1 # 2 ^ 134)))
    (pairs small amounts) ++
  map (fun '(t, g) => line "log_sum_exp_error"
    [2 # 11; 5 # 2; 11 # 3; 7 # 5; t; g; 1 # 101; 1 # 7919; 1 # 257; 1 # 2003]
    (log_sum_exp_error (2 # 11) (5 # 2) (11 # 3) (7 # 5) t g (1 # 101) (1 # 7919) (1 # 257) (1 # 2003)))
    (pairs small small).
