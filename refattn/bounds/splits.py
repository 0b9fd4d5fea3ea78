"""Errors of combining parts of the keys through their outputs and log-sum-exps.

A kernel may divide by the sum of its weights exp(lse_part - largest), or take exp(lse_part - lse) and not divide: every
bound here holds for both.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from refattn.bounds.stages import constant_unit, exp_log_error, exponential_lost, rescales, underflow_unit
from refattn.bounds.theorems import splits as theorems
from refattn.bounds.theorems.schedule import additions
from refattn.contract.arithmetic import Arithmetic
from refattn.numbers.roundoff import compound, log_error

Array = NDArray[np.float64]


class _Combination(NamedTuple):
    """Errors of one combination of parts.

    own (r, n): rounding of the log-sum-exp of a key's part; gap (r, n): distance of that from the reference of the
    weights; combined (r, n): rounding of the combined log-sum-exp; kept: log-error of storing a finished sum of
    weights.
    """

    own: Array
    gap: Array
    combined: Array
    kept: float


def _combination(scores: Array, maximum: Array, doubt: Array, keys: int, arithmetic: Arithmetic) -> _Combination:
    """The log-sum-exp of the part of a key with score s lies between s and m + ln n, its logarithm between 0 and ln n;
    earlier errors move either by at most `doubt`. A stale reference makes the logarithm larger by its lag (theorem
    added_scaled).
    """
    stage = arithmetic.lse
    log_relative = compound(arithmetic.log_error, stage.unit)
    lost = underflow_unit(stage, arithmetic.flush_to_zero)
    kept = log_error(arithmetic.row_sum_error)
    slack = doubt + additions(keys, rescales(keys, arithmetic), arithmetic.normaliser.unit) + kept
    if arithmetic.sum_of_cast:
        slack = slack + arithmetic.probabilities.unit
    top = np.abs(maximum)[:, None]
    most = math.log(keys + 1.0)
    reference = np.maximum(np.abs(scores), top) + slack + arithmetic.lag
    turn = reference_turn(arithmetic)
    logarithm = most + slack + arithmetic.lag
    own = theorems.split_lse_rounding(reference, logarithm, stage.unit, log_relative, turn, lost)
    gap = theorems.split_gap(maximum[:, None] - scores, most, slack, own)
    # The combined log-sum-exp: the largest of the parts', and the logarithm of at most that many weights.
    parts = math.log(min(arithmetic.splits, keys + 1))
    combined = theorems.split_lse_rounding(top + most + slack + own, parts + slack, stage.unit, log_relative, 0.0, lost)
    return _Combination(own, gap, combined, kept)


def split_error(scores: Array, maximum: Array, doubt: Array, keys: int, arithmetic: Arithmetic) -> Array:
    """Log-error that combining splits adds to a weight, (r, n), in outputs and normaliser (theorems split_error,
    split_output_error). maximum (r,); doubt (r, n) is the log-error of earlier stages.
    """
    if arithmetic.splits == 1:
        return np.zeros_like(scores)
    combination = _combination(scores, maximum, doubt, keys, arithmetic)
    exponential = exp_log_error(arithmetic)
    shared = theorems.split_error(combination.own, combination.gap, _turned(arithmetic), exponential, combination.kept)
    return _claimed(shared + theorems.split_output_error(combination.combined, arithmetic.accumulator.unit))


def split_apart(lowest: Array, maximum: Array, doubt: Array, keys: int, arithmetic: Arithmetic) -> Array:
    """Log-error that outputs and normaliser do not share, (r,), beside sums and the last quotient (theorem
    log_sum_exp_products). lowest (r,) is the smallest visible score, doubt (r,) the log-error of earlier stages.
    """
    if arithmetic.splits == 1:
        return np.zeros_like(lowest)
    combination = _combination(lowest[:, None], maximum, doubt[:, None], keys, arithmetic)
    weight = theorems.split_error(0.0, combination.gap, _turned(arithmetic), exp_log_error(arithmetic), 0.0)
    outputs = theorems.split_output_error(combination.combined, arithmetic.accumulator.unit)
    return _claimed(theorems.split_apart(weight, outputs))[:, 0]


def split_lost(values: Array | float, cost: Array | float, keys: int, arithmetic: Arithmetic) -> Array:
    """Underflow of the combination in a mean of values of at most `values`, or in the normaliser relative to itself,
    values = 1 (theorem split_lost). 0 without splits.

    cost is log(1 + X), X the excess of the row sum's terms (theorem reference_size); for outputs it includes the factor
    by which a part's output can exceed its values.
    """
    if arithmetic.splits == 1:
        return np.zeros_like(values)
    parts = min(arithmetic.splits, keys + 1)
    stages = (arithmetic.accumulator, arithmetic.normaliser)
    eta_sum = max(underflow_unit(stage, arithmetic.flush_to_zero) for stage in stages)
    rounding = (parts + 1) * max(stage.unit for stage in stages)
    return np.asarray(
        theorems.split_lost(parts, parts * values, exponential_lost(arithmetic), eta_sum, cost + rounding)
    )


def _claimed(error: Array) -> Array:
    """inf for NaN, which is 0 times an infinite doubt."""
    return np.where(np.isnan(error), np.inf, error)


def reference_turn(arithmetic: Arithmetic) -> float:
    """Relative error of the reference that is added to the logarithm: a kernel that folds its scale into the exponent
    scales it only here; a narrower format rounds it.
    """
    if arithmetic.exponent == "fma":
        return float(compound(arithmetic.lse.unit, constant_unit(arithmetic)))
    return arithmetic.lse.unit if arithmetic.lse.unit > arithmetic.scores.unit else 0.0


def _turned(arithmetic: Arithmetic) -> float:
    """Relative error of the argument lse_part - reference, times log2(e) in kernels that take powers of two."""
    unit = arithmetic.scores.unit
    return unit if arithmetic.exponent == "subtract" else float(compound(unit, unit, constant_unit(arithmetic)))
