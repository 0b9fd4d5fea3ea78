"""Errors of a weighted mean that is computed as a quotient (proofs/output.md; theories Output*, Hull*)."""

from __future__ import annotations

from typing import Any

from refattn.numbers.roundoff import growth, rounded


def quotient_error(error: Any, relative: Any, size: Any) -> Any:
    """Error of N^ / L^, of size |N / L|, where |N^ - N| <= error L and |L^ - L| <= relative L^ (theorem
    quotient_bounded).
    """
    return error * (1 + relative) + size * relative


def cast_underflow(changes: Any, seen: Any, eta_cast: Any, eta_weight: Any, cost: Any) -> Any:
    """Absolute part of casting P, over values whose magnitudes add up to `seen` (theorem lost_any_order_cast).

    Every weight loses eta_cast once; this loss grows by the path's cost and by the factors' losses, eta_weight each.
    """
    return seen * eta_cast * (1 + growth(cost + (1 + changes) * eta_weight))


def hull_error(apart: Any, size: Any, lost: Any, lost_sum: Any, least: Any) -> Any:
    """How far the quotient of two sums with the same non-negative weights can lie outside the hull of the values
    (theorem hull).

    apart is the log-error of the steps that the two sums do not share, size the largest |v|, lost and lost_sum their
    absolute errors, least a positive lower bound of the computed normaliser.
    """
    grown = growth(apart)
    return grown * size + ((1 + grown) * size * lost_sum + lost) / least


def output_error(quotient: Any, size: Any, dividing: Any, lost: Any, unit: Any, lost_out: Any) -> Any:
    """Error of an output of size `size` whose exact quotient is off by `quotient` (theorem output_bounded).

    dividing is the log-error of the division (one rounding, or a reciprocal and a product), lost its underflow; unit
    and lost_out are those of the rounding into the output's format.
    """
    return rounded(rounded(quotient, size, growth(dividing), lost), size, unit, lost_out)
