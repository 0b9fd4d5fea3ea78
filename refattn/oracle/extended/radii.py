"""The radii of rung 2's results, in floats, arrays or exact Fractions (proofs/extended_precision.md; theories Extended
and ExtendedGradients).
"""

from __future__ import annotations

from typing import Any

from refattn.numbers.roundoff import compound, growth, log_error


def weight_radius(score: Any, exponential: Any) -> Any:
    """Log-error of the exponential of a score that is off by `score`, computed to a relative error of `exponential`
    (theorem weight_radius_bounded).
    """
    return score + log_error(exponential)


def output_radius(weight_error: Any, lost: Any, mean: Any, left_out: Any, last: Any) -> Any:
    """Error of an output (theorem output_radius_bounded), infinite or not positive where nothing is proved.

    weight_error is the weights' log-error. Relative to the computed normaliser, lost is its error beyond that, mean the
    sum of |weight v|, and left_out the error of the sum of weights times values. last is the error of the quotient.
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

    last is the error of the quotient, nothing the bound of a weight that is taken for 0.
    """
    return growth(2 * weight_error + log_error(lost)) * (share + last) + last + nothing


def share_error(weight_error: Any, lost: Any, last: Any) -> Any:
    """Log-error of a weight divided by the normaliser, by a quotient with relative error `last` (theorem
    share_error_bounded): `share` of the functions below.
    """
    return 2 * weight_error + log_error(lost) + log_error(last)


def slope_radius(gain: Any, product: Any, delta: Any, words: Any, height: Any) -> Any:
    """Error of D dP - Delta + dLSE (theorem slope_radius_bounded): dP errs by `product`, Delta by `delta`, and the
    words by `words` relative to `height`, the sum of all sizes; gain is the largest D.
    """
    return gain * product + delta + words * height


def score_gradient_radius(share: Any, product: Any, gradient: Any, weight: Any, slope: Any, hidden: Any) -> Any:
    """Error of an element of dS (theorem score_gradient_radius_bounded), of a weight times a number that is off by
    `slope`.

    product is the product's relative error, gradient the size of dS as computed, hidden its bound where the weight is
    taken for 0.
    """
    return growth(share + log_error(product)) * gradient + (1 + growth(share)) * weight * slope + hidden


def query_gradient_radius(
    share: Any, product: Any, moved: Any, slope: Any, hidden: Any, size: Any, left_out: Any
) -> Any:
    """Error of a sum of elements of dS times k over the keys of a query (theorem query_gradient_radius_bounded).

    moved is the sum of |dS k|, size the largest |k|, left_out the error of the sum; hidden counts for all keys.
    """
    return growth(share + log_error(product)) * moved + (slope + hidden) * size + left_out


def value_weight_radius(share: Any, product: Any, weight: Any, hidden: Any) -> Any:
    """Error of a weight, `weight` as computed, times dropout's factor (theorem value_weight_radius_bounded)."""
    return growth(share + log_error(product)) * weight + hidden


def gathered_radius(total: Any, size: Any, left_out: Any) -> Any:
    """Error of a sum over queries of numbers that are off by `total` together, times numbers of at most `size` (theorem
    gathered_radius_bounded); the sum errs by `left_out`.
    """
    return total * size + left_out


def scaled_radius(radius: Any, factor: Any, last: Any) -> Any:
    """Error of a sum times a factor (theorem scaled_radius_bounded); last is the error of the product."""
    return factor * radius + last
