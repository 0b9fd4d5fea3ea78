"""Errors of softmax, log-softmax and log-sum-exp along an axis (proofs/softmax.md; theory Softmax)."""

from __future__ import annotations

from typing import Any

from refattn.bounds.theorems.lse import lse_error
from refattn.numbers.roundoff import growth, log_growth, rounded


def softmax_error(
    weight: Any, log_error: Any, relative: Any, dividing: Any, lost: Any, lost_quotient: Any, unit: Any, lost_out: Any
) -> Any:
    """Error of a weight p / L, p being off by e^log_error and by `lost` L, L by `relative` (theorem softmax_bounded).

    dividing and lost_quotient are the division's errors, unit and lost_out those of the last rounding.
    """
    together = log_growth(relative) + dividing
    quotient = weight * growth(log_error + together) + lost * (1 + growth(together)) + lost_quotient
    return rounded(quotient, weight, unit, lost_out)


def log_softmax_error(
    relative: Any,
    distance: Any,
    logarithm: Any,
    shift: Any,
    log: Any,
    lost: Any,
    unit: Any,
    unit_out: Any,
    lost_out: Any,
) -> Any:
    """Error of (x - m) - log L, distance = m - x, logarithm = log L >= 0 (theorem log_softmax_bounded).

    shift and log are the relative errors of the two, unit that of their difference, unit_out the last rounding's.
    """
    spread = log_growth(relative)
    size = distance + logarithm
    terms = (shift * distance + lost) + (log * (logarithm + spread) + lost)
    return rounded(rounded(spread + terms, size, unit, lost), size, unit_out, lost_out)


def log_sum_exp_error(
    relative: Any,
    height: Any,
    logarithm: Any,
    size: Any,
    turn: Any,
    log: Any,
    unit: Any,
    lost: Any,
    unit_out: Any,
    lost_out: Any,
) -> Any:
    """Error of m + log L with an exact m, and a last rounding (theorem log_sum_exp_bounded)."""
    stored = lse_error(relative, 0, height, logarithm, size, turn, log, unit, lost)
    return rounded(stored, size, unit_out, lost_out)
