(** The public theorems of softmax, log-softmax and log-sum-exp along an axis,
    stated in full a second time; see StatementsRoundoff.v. *)
From Coq Require Import ZArith QArith Qreals Reals List.
From refattn Require Import LogMetric Sums Growth Perturbed Schedule ScheduleCost ScheduleAnyOrder Roundoff Rationals
  Normaliser LogSumExp Output OutputCast Hull Softmax.
From refattn Require GrowthRational ForwardRational SoftmaxRational.
Import ListNotations.
Open Scope R_scope.

(** * Softmax.v *)

Theorem softmax_bounded :
  forall p L l D T dividing eta q result unit lost_quotient lost_out t h s k : R,
    0 <= p ->
    0 < L ->
    0 <= D ->
    0 <= eta ->
    0 <= unit ->
    L / (1 + D) <= l <= L * (1 + D) ->
    Rabs t <= T ->
    Rabs h <= eta ->
    Rabs s <= dividing ->
    Rabs k <= lost_quotient ->
    q = (p * exp t + h) / l * exp s + k ->
    Rabs (result - q) <= unit * Rabs q + lost_out ->
    Rabs (result - p / L) <=
    (let together := ln (1 + D) + dividing in
    p / L * (exp (T + together) - 1) + eta / L * (1 + (exp together - 1)) + lost_quotient +
    unit * (p / L + (p / L * (exp (T + together) - 1) + eta / L * (1 + (exp together - 1)) + lost_quotient)) +
    lost_out).
Proof. exact (@Softmax.softmax_bounded). Qed.

Theorem log_softmax_bounded :
  forall x m L l D shifted logarithm difference result shift log lost unit unit_out lost_out : R,
    x <= m ->
    1 <= L ->
    0 <= D ->
    0 <= shift ->
    0 <= log ->
    0 <= unit ->
    0 <= unit_out ->
    L / (1 + D) <= l <= L * (1 + D) ->
    Rabs (shifted - (x - m)) <= shift * Rabs (x - m) + lost ->
    Rabs (logarithm - ln l) <= log * Rabs (ln l) + lost ->
    Rabs (difference - (shifted - logarithm)) <= unit * Rabs (shifted - logarithm) + lost ->
    Rabs (result - difference) <= unit_out * Rabs difference + lost_out ->
    Rabs (result - (x - m - ln L)) <= log_softmax_error D (m - x) (ln L) shift log lost unit unit_out lost_out.
Proof. exact (@Softmax.log_softmax_bounded). Qed.

Theorem log_sum_exp_bounded :
  forall m L l D turned logarithm stored result turn log unit lost unit_out lost_out : R,
    0 < L ->
    0 <= D ->
    0 <= turn ->
    0 <= log ->
    0 <= unit ->
    0 <= unit_out ->
    L / (1 + D) <= l <= L * (1 + D) ->
    Rabs (turned - m) <= turn * Rabs m + lost ->
    Rabs (logarithm - ln l) <= log * Rabs (ln l) + lost ->
    Rabs (stored - (turned + logarithm)) <= unit * Rabs (turned + logarithm) + lost ->
    Rabs (result - stored) <= unit_out * Rabs stored + lost_out ->
    Rabs (result - (m + ln L)) <=
    log_sum_exp_error D (Rabs m) (Rabs (ln L)) (Rabs (m + ln L)) turn log unit lost unit_out lost_out.
Proof. exact (@Softmax.log_sum_exp_bounded). Qed.

(** * SoftmaxRational.v *)

Theorem softmax_error_dominates :
  forall weight log_error relative dividing lost lost_quotient unit lost_out : Q,
    0 <= Q2R weight ->
    0 <= Q2R log_error ->
    0 <= Q2R relative ->
    0 <= Q2R dividing ->
    Q2R log_error + Q2R relative + Q2R dividing < 2 ->
    0 <= Q2R lost ->
    0 <= Q2R lost_quotient ->
    0 <= Q2R unit ->
    (let together := ln (1 + Q2R relative) + Q2R dividing in
    Q2R weight * (exp (Q2R log_error + together) - 1) + Q2R lost * (1 + (exp together - 1)) + Q2R lost_quotient +
    Q2R unit *
    (Q2R weight +
     (Q2R weight * (exp (Q2R log_error + together) - 1) + Q2R lost * (1 + (exp together - 1)) + Q2R lost_quotient)) +
    Q2R lost_out) <=
    Q2R (SoftmaxRational.softmax_error weight log_error relative dividing lost lost_quotient unit lost_out).
Proof. exact (@SoftmaxRational.softmax_error_dominates). Qed.

Theorem log_softmax_error_dominates :
  forall relative distance logarithm shift log lost unit unit_out lost_out : Q,
    0 <= Q2R relative ->
    0 <= Q2R distance ->
    0 <= Q2R logarithm ->
    0 <= Q2R shift ->
    0 <= Q2R log ->
    0 <= Q2R lost ->
    0 <= Q2R unit ->
    0 <= Q2R unit_out ->
    log_softmax_error (Q2R relative) (Q2R distance) (Q2R logarithm) (Q2R shift) (Q2R log)
     (Q2R lost) (Q2R unit) (Q2R unit_out) (Q2R lost_out) <=
    Q2R (SoftmaxRational.log_softmax_error relative distance logarithm shift log lost unit unit_out lost_out).
Proof. exact (@SoftmaxRational.log_softmax_error_dominates). Qed.

Theorem log_sum_exp_error_dominates :
  forall relative height logarithm size turn log unit lost unit_out lost_out : Q,
    0 <= Q2R relative ->
    0 <= Q2R height ->
    0 <= Q2R logarithm ->
    0 <= Q2R size ->
    0 <= Q2R turn ->
    0 <= Q2R log ->
    0 <= Q2R unit ->
    0 <= Q2R lost ->
    0 <= Q2R unit_out ->
    log_sum_exp_error (Q2R relative) (Q2R height) (Q2R logarithm) (Q2R size) (Q2R turn)
     (Q2R log) (Q2R unit) (Q2R lost) (Q2R unit_out) (Q2R lost_out) <=
    Q2R (SoftmaxRational.log_sum_exp_error relative height logarithm size turn log unit lost unit_out lost_out).
Proof. exact (@SoftmaxRational.log_sum_exp_error_dominates). Qed.
