"""What it costs to combine parts of the keys through their outputs and log-sum-exps.

May import: numpy, refattn.arithmetic, refattn.bounds.stages, refattn.bounds.theorems, refattn.roundoff.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from refattn.arithmetic import Arithmetic
from refattn.bounds.stages import constant_unit, exp_log_error, rescales, underflow_unit
from refattn.bounds.theorems import splits as theorems
from refattn.bounds.theorems.schedule import additions
from refattn.roundoff import compound, log_error

Array = NDArray[np.float64]


def split_error(scores: Array, maximum: Array, doubt: Array, keys: int, arithmetic: Arithmetic) -> Array:
    """Log-error that combining splits adds to a weight, (r, n) (theorems split_error, split_output_error).

    The log-sum-exp of the part that a key of score s belongs to lies between s and m + ln n, its logarithm between 0
    and ln n; `doubt` is how much more either can be off for errors made before. A kernel may divide by the sum of its
    weights exp(lse_part - largest), or take exp(lse_part - lse) and not divide: both are within this.
    """
    if arithmetic.splits == 1:
        return np.zeros_like(scores)
    stage = arithmetic.lse
    log_relative = compound(arithmetic.log_error, stage.unit)
    lost = underflow_unit(stage, arithmetic.flush_to_zero)
    kept = log_error(arithmetic.row_sum_error)
    slack = doubt + additions(keys, rescales(keys, arithmetic), arithmetic.normaliser.unit) + kept
    if arithmetic.sum_of_cast:
        slack = slack + arithmetic.probabilities.unit
    top = np.abs(maximum)[:, None]
    most = math.log(keys + 1.0)
    reference = np.maximum(np.abs(scores), top) + slack
    own = theorems.split_lse_rounding(
        reference, most + slack, stage.unit, log_relative, reference_turn(arithmetic), lost
    )
    gap = theorems.split_gap(maximum[:, None] - scores, most, slack, own)
    # The combined log-sum-exp: the largest of the parts', and the logarithm of at most that many weights.
    parts = math.log(min(arithmetic.splits, keys + 1))
    combined = theorems.split_lse_rounding(top + most + slack + own, parts + slack, stage.unit, log_relative, 0.0, lost)
    shared = theorems.split_error(own, gap, _turned(arithmetic), exp_log_error(arithmetic), kept)
    return np.asarray(shared + theorems.split_output_error(combined, arithmetic.accumulator.unit))


def reference_turn(arithmetic: Arithmetic) -> float:
    """Relative error of the reference as it is added to the logarithm: a kernel that folds its scale into the exponent
    scales it only there; a narrower format rounds it.
    """
    if arithmetic.exponent == "fma":
        return float(compound(arithmetic.lse.unit, constant_unit(arithmetic)))
    return arithmetic.lse.unit if arithmetic.lse.unit > arithmetic.scores.unit else 0.0


def _turned(arithmetic: Arithmetic) -> float:
    """Relative error of the argument lse_part - reference, times log2(e) in kernels that take powers of two."""
    unit = arithmetic.scores.unit
    return unit if arithmetic.exponent == "subtract" else float(compound(unit, unit, constant_unit(arithmetic)))
