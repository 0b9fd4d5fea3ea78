"""Error of a log-sum-exp m + log l (proofs/log_sum_exp.md; theory LogSumExp)."""

from __future__ import annotations

from typing import Any

from refattn.numbers.roundoff import log_growth, rounded


def lse_error(
    relative: Any, doubt: Any, height: Any, logarithm: Any, size: Any, turn: Any, log: Any, unit: Any, lost: Any
) -> Any:
    """Error of a log-sum-exp whose normaliser is off by `relative` (theorem lse_bounded).

    height, logarithm and size are |m|, |log L| and |m + log L|, doubt the distance of the computed reference from m;
    turn and log are the relative errors of the added reference and of the logarithm, unit and lost the errors of a
    rounding.
    """
    spread = log_growth(relative)
    terms = (turn * (height + doubt) + lost) + (log * (logarithm + spread + doubt) + lost)
    return rounded(spread + terms, size, unit, lost)
