"""The largest partial results on the way to a bounded one (proofs/overflow.md; theories Overflow, OverflowScore,
OverflowSchedule). Below a format's largest number nothing overflows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from refattn.numbers.roundoff import growth, log_growth


def largest_sum(magnitude: Any, log_error: Any, lost: Any) -> Any:
    """Any partial sum, in any order, of terms whose magnitudes add up to `magnitude`, each off by a factor of at most
    e^log_error, with an absolute part of `lost` (theorem partial_sum_in_range).
    """
    return magnitude * (1 + growth(log_error)) + lost


def largest_score(magnitude: Any, width: Any, casting: Any, unit: Any, lost: Any) -> Any:
    """Any partial sum of a dot product of `width` terms, in any order, fused or not (theorem score_in_range).

    `magnitude` is sum |q| |k| of the exact factors, `casting` the log-error of a query that was scaled and rounded;
    every operation errs by `unit` and by `lost` where it underflows.
    """
    absolute = 2 * width * lost * (1 + growth(width * unit))
    return largest_sum(magnitude, casting + width * unit, absolute)


def largest_numerator(seen: Any, lag: Any, cost: Any, lost: Any) -> Any:
    """Any partial sum of a column of P V, whatever the schedule (theorem numerator_in_range).

    `seen` is sum |v_j| over the visible keys, without their weights: a tile is added up relative to the reference of
    its time, at which its weights may be 1 however small they are at the end. `lag` is the logarithm of the largest
    weight: 0, or the lag of a stale reference.
    """
    return largest_sum(seen, lag + cost, lost)


def largest_normaliser(keys: Any, lag: Any, cost: Any, lost: Any) -> Any:
    """Any partial sum of the weights of `keys` keys and a sink (theorem normaliser_in_range)."""
    return largest_numerator(keys + 1, lag, cost, lost)


def largest_reference(maximum: Any, logarithm: Any, excess: Any) -> Any:
    """Bound of the computed maximum of scores whose errors add `excess` to a normaliser of this logarithm (theorem
    reference_size): it errs by at most the logarithm of the grown normaliser.
    """
    return abs(maximum) + logarithm + log_growth(excess)


def claimed_in_range(bound: Any, size: Any, limit: Any) -> NDArray[np.float64]:
    """The bound where `size` is at most `limit`; inf elsewhere and where the size is NaN."""
    return np.where(np.asarray(size) <= limit, bound, np.inf)
