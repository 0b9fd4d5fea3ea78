(** The public theorems of softmax, log-softmax and log-sum-exp along an axis,
    stated in full a second time; see StatementsRoundoff.v. *)
From Coq Require Import ZArith QArith Qreals Reals List.
From refattn Require Import LogMetric Sums Growth Perturbed Roundoff Rationals Normaliser LogSumExp Output Hull
  Softmax.
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
    Rabs (result - (x - m - ln L)) <=
    (let spread := ln (1 + D) in
    let size := m - x + ln L in
    spread + (shift * (m - x) + lost + (log * (ln L + spread) + lost)) +
    unit * (size + (spread + (shift * (m - x) + lost + (log * (ln L + spread) + lost)))) + lost +
    unit_out *
    (size +
     (spread + (shift * (m - x) + lost + (log * (ln L + spread) + lost)) +
      unit * (size + (spread + (shift * (m - x) + lost + (log * (ln L + spread) + lost)))) + lost)) + lost_out).
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
    (let spread := ln (1 + D) in
    spread + (turn * (Rabs m + 0) + lost + (log * (Rabs (ln L) + spread + 0) + lost)) +
    unit * (Rabs (m + ln L) + (spread + (turn * (Rabs m + 0) + lost + (log * (Rabs (ln L) + spread + 0) + lost)))) +
    lost) +
    unit_out *
    (Rabs (m + ln L) +
    (let spread := ln (1 + D) in
     spread + (turn * (Rabs m + 0) + lost + (log * (Rabs (ln L) + spread + 0) + lost)) +
     unit * (Rabs (m + ln L) + (spread + (turn * (Rabs m + 0) + lost + (log * (Rabs (ln L) + spread + 0) + lost)))) +
     lost)) + lost_out.
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
    (let spread := ln (1 + Q2R relative) in
    let size := Q2R distance + Q2R logarithm in
    spread + (Q2R shift * Q2R distance + Q2R lost + (Q2R log * (Q2R logarithm + spread) + Q2R lost)) +
    Q2R unit *
    (size + (spread + (Q2R shift * Q2R distance + Q2R lost + (Q2R log * (Q2R logarithm + spread) + Q2R lost)))) +
    Q2R lost +
    Q2R unit_out *
    (size +
     (spread + (Q2R shift * Q2R distance + Q2R lost + (Q2R log * (Q2R logarithm + spread) + Q2R lost)) +
      Q2R unit *
      (size + (spread + (Q2R shift * Q2R distance + Q2R lost + (Q2R log * (Q2R logarithm + spread) + Q2R lost)))) +
      Q2R lost)) + Q2R lost_out) <=
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
    (let spread := ln (1 + Q2R relative) in
    spread + (Q2R turn * (Q2R height + 0) + Q2R lost + (Q2R log * (Q2R logarithm + spread + 0) + Q2R lost)) +
    Q2R unit *
    (Q2R size +
     (spread + (Q2R turn * (Q2R height + 0) + Q2R lost + (Q2R log * (Q2R logarithm + spread + 0) + Q2R lost)))) +
    Q2R lost) +
    Q2R unit_out *
    (Q2R size +
    (let spread := ln (1 + Q2R relative) in
     spread + (Q2R turn * (Q2R height + 0) + Q2R lost + (Q2R log * (Q2R logarithm + spread + 0) + Q2R lost)) +
     Q2R unit *
     (Q2R size +
      (spread + (Q2R turn * (Q2R height + 0) + Q2R lost + (Q2R log * (Q2R logarithm + spread + 0) + Q2R lost)))) +
     Q2R lost)) + Q2R lost_out <=
    Q2R (SoftmaxRational.log_sum_exp_error relative height logarithm size turn log unit lost unit_out lost_out).
Proof. exact (@SoftmaxRational.log_sum_exp_error_dominates). Qed.
