"""What it costs to combine parts of the keys through their outputs and log-sum-exps.

May import: numpy, refattn.arithmetic, refattn.bounds.stages, refattn.roundoff.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from refattn.arithmetic import Arithmetic
from refattn.bounds.stages import exp_log_error
from refattn.roundoff import compound, gamma

Array = NDArray[np.float64]


def split_error(scores: Array, maximum: Array, doubt: Array, keys: int, arithmetic: Arithmetic) -> Array:
    """Log-error that combining splits adds to a weight: its part's log-sum-exp's, exp(lse_part - lse)'s, products'.

    The log-sum-exp of the part that a key of score s belongs to lies between s and m + ln n, its logarithm between 0
    and ln n; `doubt` is how much more either can be off for errors made before.
    """
    if arithmetic.splits == 1:
        return np.zeros_like(scores)
    unit = arithmetic.lse.unit
    most = np.log(keys + 1.0) + doubt + gamma(keys, arithmetic.normaliser.unit)
    top = np.abs(maximum)[:, None]
    own = compound(arithmetic.log_error, unit) * most
    own = own + unit * (np.maximum(np.abs(scores), top) + most + own)
    if arithmetic.exponent == "fma":
        # The maximum of a kernel that folds its scale is scaled only here.
        own = own + compound(unit, unit) * (np.maximum(np.abs(scores), top) + most)
    gap = maximum[:, None] - scores + 2 * (most + own)
    return np.asarray(
        2 * own + arithmetic.scores.unit * gap + exp_log_error(arithmetic) + 4 * arithmetic.accumulator.unit
    )
