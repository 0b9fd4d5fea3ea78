(** Rational twins of the bounds of normaliser, output and log-sum-exp, and the grid that Python is compared with. *)
From Coq Require Import Reals QArith Qreals Lra List String ZArith.
From refattn Require Import LogMetric Growth Rationals Roundoff GrowthRational Normaliser Output OutputCast Hull
  LogSumExp.
Import ListNotations.
Open Scope Q_scope.

Definition common_excess (excess weight common : Q) : Q := excess + growth common * (excess + weight).
Definition normaliser_error (excess lost : Q) : Q := (excess + lost * (1 + excess)) / (1 - lost * (1 + excess)).
Definition least_normaliser (cost lost : Q) : Q := 1 / (1 + growth cost) - lost.
Definition quotient_error (error relative size : Q) : Q := error * (1 + relative) + size * relative.
Definition hull_error (apart size lost lost_sum least : Q) : Q :=
  growth apart * size + ((1 + growth apart) * size * lost_sum + lost) / least.
Definition cast_underflow (changes seen eta_cast eta_weight cost : Q) : Q :=
  seen * eta_cast * (1 + growth (cost + (1 + changes) * eta_weight)).
Definition output_error (quotient size dividing lost unit lost_out : Q) : Q :=
  rounded (rounded quotient size (growth dividing) lost) size unit lost_out.
Definition lse_error (relative doubt height logarithm size turn log unit lost : Q) : Q :=
  let spread := log_growth relative in
  rounded (spread + ((turn * (height + doubt) + lost) + (log * (logarithm + spread + doubt) + lost))) size unit lost.

Open Scope R_scope.

Lemma rounded_mono error error' size relative relative' lost :
  error <= error' -> 0 <= relative <= relative' -> 0 <= size + error ->
  Roundoff.rounded error size relative lost <= Roundoff.rounded error' size relative' lost.
Proof.
  intros He Hr Hs. unfold Roundoff.rounded.
  assert (relative * (size + error) <= relative' * (size + error')) by (apply Rmult_le_compat; lra). lra.
Qed.

Lemma Q2R_rounded error size relative lost :
  Q2R (rounded error size relative lost) = Roundoff.rounded (Q2R error) (Q2R size) (Q2R relative) (Q2R lost).
Proof. unfold rounded, Roundoff.rounded. now rewrite !Q2R_plus, Q2R_mult, Q2R_plus. Qed.

Theorem common_excess_dominates (excess weight common : Q) :
  0 <= Q2R common < 2 -> 0 <= Q2R excess -> 0 <= Q2R weight ->
  Normaliser.common_excess (Q2R excess) (Q2R weight) (Q2R common) <= Q2R (common_excess excess weight common).
Proof.
  intros H He Hw. unfold common_excess, Normaliser.common_excess. rewrite !Q2R_plus, Q2R_mult, Q2R_plus.
  pose proof (growth_dominates common H) as G.
  apply Rplus_le_compat_l, Rmult_le_compat_r; [lra|exact G].
Qed.

Theorem normaliser_error_dominates (excess lost : Q) : Q2R lost * (1 + Q2R excess) < 1 ->
  Normaliser.normaliser_error (Q2R excess) (Q2R lost) <= Q2R (normaliser_error excess lost).
Proof.
  intros H. right. unfold normaliser_error, Normaliser.normaliser_error.
  assert (E : Q2R (1 - lost * (1 + excess))%Q = 1 - Q2R lost * (1 + Q2R excess)).
  { now rewrite Q2R_minus, Q2R_mult, Q2R_plus, Q2R_1. }
  rewrite Q2R_over, E by (rewrite E; lra). rewrite Q2R_plus, Q2R_mult, Q2R_plus, Q2R_1. field. lra.
Qed.

(** Here the smaller number is the safe one. *)
Theorem least_normaliser_dominates (cost lost : Q) : 0 <= Q2R cost < 2 ->
  Q2R (least_normaliser cost lost) <= Hull.least_normaliser (Q2R cost) (Q2R lost).
Proof.
  intros H. unfold least_normaliser, Hull.least_normaliser.
  pose proof (growth_dominates cost H) as G. pose proof (growth_nonneg (Q2R cost) ltac:(lra)).
  assert (E : Q2R (1 + growth cost)%Q = 1 + Q2R (growth cost)) by (now rewrite Q2R_plus, Q2R_1).
  rewrite Q2R_minus, Q2R_over, E, Q2R_1 by (rewrite E; lra). unfold Rdiv. rewrite Rmult_1_l.
  apply Rplus_le_compat_r. apply Rinv_le_contravar; lra.
Qed.

Theorem quotient_error_dominates (error relative size : Q) :
  Output.quotient_error (Q2R error) (Q2R relative) (Q2R size) <= Q2R (quotient_error error relative size).
Proof.
  right. unfold quotient_error, Output.quotient_error. now rewrite Q2R_plus, !Q2R_mult, Q2R_plus, Q2R_1.
Qed.

Theorem hull_error_dominates (apart size lost lost_sum least : Q) :
  0 <= Q2R apart < 2 -> 0 <= Q2R size -> 0 <= Q2R lost_sum -> 0 < Q2R least ->
  Hull.hull_error (Q2R apart) (Q2R size) (Q2R lost) (Q2R lost_sum) (Q2R least)
    <= Q2R (hull_error apart size lost lost_sum least).
Proof.
  intros H Hs Hl Hm. unfold hull_error, Hull.hull_error. pose proof (growth_dominates apart H) as G.
  rewrite Q2R_plus, Q2R_over by lra. rewrite !Q2R_plus, !Q2R_mult, Q2R_plus, Q2R_1.
  apply Rplus_le_compat; [now apply Rmult_le_compat_r|].
  unfold Rdiv. apply Rmult_le_compat_r; [left; now apply Rinv_0_lt_compat|].
  apply Rplus_le_compat_r. apply Rmult_le_compat_r; [exact Hl|]. apply Rmult_le_compat_r; [exact Hs|]. lra.
Qed.

Theorem cast_underflow_dominates (changes seen eta_cast eta_weight cost : Q) :
  0 <= Q2R cost + (1 + Q2R changes) * Q2R eta_weight < 2 -> 0 <= Q2R seen -> 0 <= Q2R eta_cast ->
  OutputCast.cast_underflow (Q2R changes) (Q2R seen) (Q2R eta_cast) (Q2R eta_weight) (Q2R cost)
    <= Q2R (cast_underflow changes seen eta_cast eta_weight cost).
Proof.
  intros H Hs He. unfold cast_underflow, OutputCast.cast_underflow.
  assert (E : Q2R (cost + (1 + changes) * eta_weight) = Q2R cost + (1 + Q2R changes) * Q2R eta_weight)
    by now rewrite Q2R_plus, Q2R_mult, Q2R_plus, Q2R_1.
  rewrite <- E in H |- *. rewrite !Q2R_mult, (Q2R_plus 1), Q2R_1. pose proof (growth_dominates _ H).
  apply Rmult_le_compat_l; [now apply Rmult_le_pos|]. lra.
Qed.

Theorem output_error_dominates (quotient size dividing lost unit lost_out : Q) :
  0 <= Q2R dividing < 2 -> 0 <= Q2R quotient -> 0 <= Q2R size -> 0 <= Q2R lost -> 0 <= Q2R unit ->
  Output.output_error (Q2R quotient) (Q2R size) (Q2R dividing) (Q2R lost) (Q2R unit) (Q2R lost_out)
    <= Q2R (output_error quotient size dividing lost unit lost_out).
Proof.
  intros H Hq Hs Hl Hu. unfold output_error, Output.output_error. rewrite !Q2R_rounded.
  pose proof (growth_dominates dividing H) as G. pose proof (growth_nonneg (Q2R dividing) ltac:(lra)) as G0.
  apply rounded_mono; [|lra|].
  - apply rounded_mono; [lra|lra|lra].
  - unfold Roundoff.rounded. assert (0 <= Growth.growth (Q2R dividing) * (Q2R size + Q2R quotient)) by nra. lra.
Qed.

Theorem lse_error_dominates (relative doubt height logarithm size turn log unit lost : Q) :
  0 <= Q2R relative -> 0 <= Q2R doubt -> 0 <= Q2R height -> 0 <= Q2R logarithm -> 0 <= Q2R size -> 0 <= Q2R turn ->
  0 <= Q2R log -> 0 <= Q2R unit -> 0 <= Q2R lost ->
  LogSumExp.lse_error (Q2R relative) (Q2R doubt) (Q2R height) (Q2R logarithm) (Q2R size) (Q2R turn) (Q2R log)
    (Q2R unit) (Q2R lost) <= Q2R (lse_error relative doubt height logarithm size turn log unit lost).
Proof.
  intros Hr Hd Hh Hg Hs Ht Hl Hu Ho. unfold lse_error, LogSumExp.lse_error. cbv zeta. rewrite Q2R_rounded.
  rewrite !Q2R_plus, !Q2R_mult, !Q2R_plus.
  pose proof (log_growth_dominates relative Hr) as G. set (x := Q2R (log_growth relative)) in *.
  set (y := Roundoff.log_growth (Q2R relative)) in *.
  assert (0 <= y).
  { unfold y, Roundoff.log_growth. rewrite <- ln_1.
    destruct Hr as [Hr|<-]; [left; apply ln_increasing; lra|rewrite Rplus_0_r; lra]. }
  assert (Q2R log * (Q2R logarithm + y + Q2R doubt) <= Q2R log * (Q2R logarithm + x + Q2R doubt))
    by (apply Rmult_le_compat_l; lra).
  apply rounded_mono; [lra|lra|].
  assert (0 <= Q2R turn * (Q2R height + Q2R doubt)) by (apply Rmult_le_pos; lra).
  assert (0 <= Q2R log * (Q2R logarithm + y + Q2R doubt)) by (apply Rmult_le_pos; lra). lra.
Qed.

Open Scope Q_scope.

(** Log-errors and relative errors below 1, from one rounding to 131072 of them, and odd ones. *)
Definition small : list Q :=
  [0; 1 # 2 ^ 53; 1 # 2 ^ 24; 131072 # 2 ^ 24; 1 # 2 ^ 11; 1 # 2 ^ 8; 1 # 2 ^ 4; 3 # 1000003; 7 # 999983; 22 # 7919;
   17 # 293; 2 # 11].
Definition plenty : list Q := [1 # 3; 5 # 7; 1; 19 # 13].
Definition amounts : list Q := [0; 1 # 1000003; 2 # 3; 77 # 13; 65504].
Definition pairs (xs ys : list Q) : list (Q * Q) := flat_map (fun x => map (fun y => (x, y)) ys) xs.

Definition grid_forward :=
  map (fun '(x, c) => line "common_excess" [x; 5 # 7; c] (common_excess x (5 # 7) c))
    (pairs amounts (small ++ plenty)) ++
  map (fun '(x, e) => line "normaliser_error" [x; e] (normaliser_error x e))
    (pairs (small ++ [65504 # 65537]) small) ++
  map (fun '(c, e) => line "least_normaliser" [c; e] (least_normaliser c e))
    (pairs (small ++ plenty) [0; 3 # 1000003; 1 # 5]) ++
  map (fun '(e, d) => line "quotient_error" [e; d; 11 # 17] (quotient_error e d (11 # 17)))
    (pairs amounts (small ++ plenty)) ++
  map (fun '(a, s) => line "hull_error" [a; s; 3 # 1000003; 1 # 999983; 6 # 7]
    (hull_error a s (3 # 1000003) (1 # 999983) (6 # 7))) (pairs (small ++ plenty) amounts) ++
  map (fun '(l, m) => line "hull_error" [1 # 257; 3 # 2; l; m; 5 # 11] (hull_error (1 # 257) (3 # 2) l m (5 # 11)))
    (pairs small small) ++
  map (fun '(s, c) => line "cast_underflow" [63; s; 1 # 1024; 1 # 999983; c]
    (cast_underflow 63 s (1 # 1024) (1 # 999983) c)) (pairs amounts (small ++ plenty)) ++
  map (fun '(n, e) => line "cast_underflow" [n; 3 # 2; e; 1 # 7919; 1 # 101]
    (cast_underflow n (3 # 2) e (1 # 7919) (1 # 101))) (pairs [0; 1; 7; 2047] small) ++
  map (fun '(q, u) => line "output_error" [q; 13 # 7; 2 # 2 ^ 24; 1 # 999983; u; 3 # 1000003]
    (output_error q (13 # 7) (2 # 2 ^ 24) (1 # 999983) u (3 # 1000003))) (pairs amounts small) ++
  map (fun '(s, d) => line "output_error" [1 # 101; s; d; 22 # 7919; 1 # 2 ^ 8; 1 # 2 ^ 126]
    (output_error (1 # 101) s d (22 # 7919) (1 # 2 ^ 8) (1 # 2 ^ 126))) (pairs amounts (small ++ plenty)) ++
  map (fun '(r, x) => line "lse_error"
    [r; x; 65504; 9 # 2; 1000003 # 16; 3 # 2 ^ 24; 4 # 2 ^ 24; 1 # 2 ^ 24; 1 # 2 ^ 150]
    (lse_error r x 65504 (9 # 2) (1000003 # 16) (3 # 2 ^ 24) (4 # 2 ^ 24) (1 # 2 ^ 24) (1 # 2 ^ 150)))
    (pairs small amounts) ++
  map (fun '(t, g) => line "lse_error" [2 # 11; 1 # 7; 11 # 3; 5 # 2; 7 # 5; t; g; 1 # 257; 1 # 999983]
    (lse_error (2 # 11) (1 # 7) (11 # 3) (5 # 2) (7 # 5) t g (1 # 257) (1 # 999983))) (pairs small small).
