(** Softmax, log-softmax and log-sum-exp along an axis, whose scores are the inputs themselves: no score errs. *)
From Coq Require Import Reals List Lra.
From refattn Require Import Sums LogMetric Growth Roundoff Perturbed Normaliser LogSumExp.
Open Scope R_scope.

(** weight: p / L; log_error: of the computed p; relative: the normaliser's error; dividing: log-error of the division;
    lost: absolute error of p, relative to L; lost_quotient: of the division; unit, lost_out: of the last rounding. *)
Definition softmax_error (weight log_error relative dividing lost lost_quotient unit lost_out : R) : R :=
  let together := log_growth relative + dividing in
  rounded (weight * growth (log_error + together) + lost * (1 + growth together) + lost_quotient) weight unit lost_out.

(** distance: m - x; logarithm: log L; shift, log: relative errors of the two; unit: of their difference. *)
Definition log_softmax_error (relative distance logarithm shift log lost unit unit_out lost_out : R) : R :=
  let spread := log_growth relative in
  let size := distance + logarithm in
  rounded (rounded (spread + ((shift * distance + lost) + (log * (logarithm + spread) + lost))) size unit lost)
    size unit_out lost_out.

Definition log_sum_exp_error (relative height logarithm size turn log unit lost unit_out lost_out : R) : R :=
  rounded (lse_error relative 0 height logarithm size turn log unit lost) size unit_out lost_out.

Theorem softmax_bounded p L l D T dividing eta q result unit lost_quotient lost_out t h s k :
  0 <= p -> 0 < L -> 0 <= D -> 0 <= eta -> 0 <= unit -> L / (1 + D) <= l <= L * (1 + D) ->
  Rabs t <= T -> Rabs h <= eta -> Rabs s <= dividing -> Rabs k <= lost_quotient ->
  q = (p * exp t + h) / l * exp s + k ->
  Rabs (result - q) <= unit * Rabs q + lost_out ->
  Rabs (result - p / L) <= softmax_error (p / L) T D dividing (eta / L) lost_quotient unit lost_out.
Proof.
  intros Hp HL HD He Hu B Ht Hh Hs Hk -> Hr. unfold softmax_error.
  destruct (log_of_between L l D HL HD B) as (l0 & S). set (spread := log_growth D) in *.
  assert (W : 0 <= p / L) by (apply Rmult_le_pos; [exact Hp|left; now apply Rinv_0_lt_compat]).
  apply rounded_error with (computed := (p * exp t + h) / l * exp s + k);
    [exact Hu|rewrite Rabs_pos_eq by exact W; lra| |exact Hr].
  set (r := ln L - ln l). assert (Rr : Rabs r <= spread) by (unfold r; rewrite Rabs_minus_sym; exact S).
  assert (Er : / l = exp r / L).
  { unfold r, Rminus. rewrite exp_plus, exp_Ropp, !exp_ln by assumption. field. lra. }
  replace ((p * exp t + h) / l * exp s + k - p / L) with
    (p / L * (exp (t + (r + s)) - 1) + h / L * exp (r + s) + k).
  2:{ unfold Rdiv at 3. rewrite Er, !exp_plus. field. lra. }
  assert (Rs : Rabs (r + s) <= spread + dividing) by (eapply Rle_trans; [apply Rabs_triang|lra]).
  eapply Rle_trans; [apply Rabs_triang|]. apply Rplus_le_compat; [|exact Hk].
  eapply Rle_trans; [apply Rabs_triang|]. apply Rplus_le_compat.
  - rewrite Rabs_mult, (Rabs_pos_eq (p / L)) by exact W. apply Rmult_le_compat_l; [exact W|].
    unfold growth. apply abs_expm1. eapply Rle_trans; [apply Rabs_triang|lra].
  - rewrite Rabs_mult. apply Rmult_le_compat; try apply Rabs_pos.
    + unfold Rdiv. rewrite Rabs_mult, (Rabs_pos_eq (/ L)) by (left; now apply Rinv_0_lt_compat).
      apply Rmult_le_compat_r; [left; now apply Rinv_0_lt_compat|exact Hh].
    + rewrite Rabs_pos_eq by (left; apply exp_pos). unfold growth.
      replace (1 + (exp (spread + dividing) - 1)) with (exp (spread + dividing)) by ring.
      apply exp_le. apply Rabs_le_inv in Rs. lra.
Qed.

Theorem log_softmax_bounded x m L l D shifted logarithm difference result shift log lost unit unit_out lost_out :
  x <= m -> 1 <= L -> 0 <= D -> 0 <= shift -> 0 <= log -> 0 <= unit -> 0 <= unit_out ->
  L / (1 + D) <= l <= L * (1 + D) ->
  Rabs (shifted - (x - m)) <= shift * Rabs (x - m) + lost ->
  Rabs (logarithm - ln l) <= log * Rabs (ln l) + lost ->
  Rabs (difference - (shifted - logarithm)) <= unit * Rabs (shifted - logarithm) + lost ->
  Rabs (result - difference) <= unit_out * Rabs difference + lost_out ->
  Rabs (result - (x - m - ln L)) <= log_softmax_error D (m - x) (ln L) shift log lost unit unit_out lost_out.
Proof.
  intros Hx HL HD Hsh Hlog Hu Huo B Hs Hg Hd Hr. unfold log_softmax_error.
  destruct (log_of_between L l D ltac:(lra) HD B) as (l0 & S). set (spread := log_growth D) in *.
  assert (L0 : 0 <= ln L).
  { rewrite <- ln_1. destruct HL as [HL|<-]; [left; apply ln_increasing; lra|lra]. }
  assert (Z : Rabs (x - m - ln L) <= m - x + ln L) by (apply Rabs_le; lra).
  apply rounded_error with (computed := difference); [exact Huo|exact Z| |exact Hr].
  apply rounded_error with (computed := shifted - logarithm); [exact Hu|exact Z| |exact Hd].
  assert (A1 : Rabs (x - m) = m - x) by (rewrite Rabs_minus_sym; apply Rabs_pos_eq; lra). rewrite A1 in Hs.
  assert (A2 : Rabs (ln l) <= ln L + spread).
  { replace (ln l) with (ln L + (ln l - ln L)) by ring. eapply Rle_trans; [apply Rabs_triang|].
    rewrite (Rabs_pos_eq (ln L)) by exact L0. lra. }
  assert (A3 : log * Rabs (ln l) <= log * (ln L + spread)) by (now apply Rmult_le_compat_l).
  replace (shifted - logarithm - (x - m - ln L)) with
    (- (ln l - ln L) + (shifted - (x - m)) + - (logarithm - ln l)) by ring.
  pose proof (Rabs_triang (- (ln l - ln L) + (shifted - (x - m))) (- (logarithm - ln l))) as T1.
  pose proof (Rabs_triang (- (ln l - ln L)) (shifted - (x - m))) as T2. rewrite !Rabs_Ropp in T1, T2. lra.
Qed.

Theorem log_sum_exp_bounded m L l D turned logarithm stored result turn log unit lost unit_out lost_out :
  0 < L -> 0 <= D -> 0 <= turn -> 0 <= log -> 0 <= unit -> 0 <= unit_out ->
  L / (1 + D) <= l <= L * (1 + D) ->
  Rabs (turned - m) <= turn * Rabs m + lost ->
  Rabs (logarithm - ln l) <= log * Rabs (ln l) + lost ->
  Rabs (stored - (turned + logarithm)) <= unit * Rabs (turned + logarithm) + lost ->
  Rabs (result - stored) <= unit_out * Rabs stored + lost_out ->
  Rabs (result - (m + ln L)) <=
    log_sum_exp_error D (Rabs m) (Rabs (ln L)) (Rabs (m + ln L)) turn log unit lost unit_out lost_out.
Proof.
  intros HL HD Htu Hlog Hu Huo B Ht Hg Hs Hr. unfold log_sum_exp_error.
  destruct (log_of_between L l D HL HD B) as (l0 & _).
  apply rounded_error with (computed := stored); [exact Huo|lra| |exact Hr].
  apply lse_bounded with (M := m) (l := l) (turned := turned) (logarithm := logarithm); auto.
  - rewrite Rminus_diag_eq by reflexivity. rewrite Rabs_R0. lra.
  - replace (l / exp (m - m)) with l; [exact B|]. rewrite Rminus_diag_eq, exp_0 by reflexivity. field.
Qed.
