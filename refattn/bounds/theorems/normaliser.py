"""The normaliser's relative error (proofs/softmax.md; theories Normaliser, Hull)."""

from __future__ import annotations

from typing import Any

from refattn.numbers.roundoff import growth


def common_excess(excess: Any, weight: Any, common: Any) -> Any:
    """Excess of terms of total weight `weight` after a further log-error common to all (theorem common_excess_exact).

    The excess of terms w_j, each off by a factor of at most e^(t_j), is sum_j w_j (e^(t_j) - 1).
    """
    return excess + growth(common) * (excess + weight)


def normaliser_error(excess: Any, lost: Any) -> Any:
    """D with |L^ - L| <= D L and <= D L^, of positive terms with an excess, both relative to L; `lost` is the absolute
    part (theorem normaliser_relative). Holds while lost (1 + excess) < 1; equals (1 + X) / (1 - lost (1 + X)) - 1.
    """
    gone = lost * (1 + excess)
    return (excess + gone) / (1 - gone)


def least_normaliser(cost: Any, lost: Any) -> Any:
    """Lower bound of the computed normaliser in the kernel's own coordinates, where one key has weight 1 to within
    e^cost (theorem normaliser_at_least).
    """
    return 1 / (1 + growth(cost)) - lost
