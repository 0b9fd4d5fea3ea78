"""Radii of what rung 2 computes, of floats, arrays and exact Fractions (proofs/extended_precision.md; theory Extended).

May import: refattn.roundoff.
"""

from __future__ import annotations

from typing import Any

from refattn.roundoff import compound, growth, log_error


def weight_radius(score: Any, exponential: Any) -> Any:
    """Log-error of the exponential of a score that is off by `score`, computed to a relative error of `exponential`
    (theorem weight_radius_bounded).
    """
    return score + log_error(exponential)


def output_radius(weight_error: Any, lost: Any, mean: Any, left_out: Any, last: Any) -> Any:
    """Error of an output (theorem output_radius_bounded), infinite or not positive where nothing is proved.

    weight_error is the weights' log-error; relative to the normaliser l as computed, lost is what it errs by beyond
    that, mean the sum of |weight v|, and left_out what the sum of weights times values errs by; last is the error of
    the quotient.
    """
    grown = growth(weight_error)
    doubt = compound(grown, lost)
    return (mean * (grown + doubt) + left_out * (1 + doubt)) / (1 - doubt) + last


def lse_radius(weight_error: Any, lost: Any, logarithm: Any, last: Any) -> Any:
    """Error of a log-sum-exp whose logarithm errs by `logarithm` before its last roundings (theorem
    lse_radius_bounded).
    """
    return weight_error + log_error(lost) + logarithm + last


def share_radius(weight_error: Any, lost: Any, share: Any, last: Any, nothing: Any) -> Any:
    """Error of a weight divided by the normaliser, `share` as computed (theorem share_radius_bounded).

    last is the error of the quotient, nothing what a weight that is taken for 0 is at most.
    """
    return growth(2 * weight_error + log_error(lost)) * (share + last) + last + nothing
