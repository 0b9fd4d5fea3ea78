"""Errors of the backward pass, one step after the other (proofs/gradients.md; theories GradientWeights, GradientScores,
GradientSoftcap, GradientTotals, composed in GradientEndToEnd).
"""

from __future__ import annotations

from typing import Any

from refattn.numbers.roundoff import growth, rounded


def p_recompute(score: Any, lse: Any, argument: Any, exponential: Any) -> Any:
    """Log-error of P = exp(s - LSE) where s, the stored LSE and the argument are off, in nats, and the exponential errs
    by a factor of at most e^exponential (theorem p_recompute_error).
    """
    return score + lse + argument + exponential


def gradient_sum(magnitude: Any, error: Any, additions: Any, lost: Any) -> Any:
    """Error of a sum whose terms are off by `error` altogether and of total size `magnitude` (theorem
    gradient_sum_error).

    additions bounds the sum of the log-errors of the roundings that a term passes, lost the whole underflow.
    """
    return error + growth(additions) * (magnitude + error) + lost * (1 + growth(additions))


def gradient_additions(
    terms: Any, unit: Any, scaling: Any, roundings: Any, again: Any, group: Any, group_unit: Any
) -> Any:
    """Log-error of a gradient's summation: each term passes at most `terms` roundings as a product and in additions,
    `scaling`, at most `roundings` into a second format, and `group` over heads (theorem gathered_perturbed).
    """
    return terms * unit + scaling + roundings * again + group * group_unit


def gradient_underflow(
    terms: Any,
    lost: Any,
    scale: Any,
    scaling_lost: Any,
    roundings: Any,
    again_lost: Any,
    group: Any,
    group_lost: Any,
) -> Any:
    """Underflow of the same roundings altogether; scale is |scale| (theorem gathered_perturbed)."""
    return group * (scale * (2 * terms * lost + roundings * again_lost) + scaling_lost + 2 * group_lost)


def probability_gradient_error(
    width: Any, unit: Any, reach: Any, lost: Any, kept: Any, gain: Any, gain_lost: Any
) -> Any:
    """Error of dP = kept sum_c dO_c V_c, kept being keep / (1 - p) held and multiplied at a log-error `gain` (theorem
    probability_gradient_error_bound). reach is the sum of the products' magnitudes, over `width` columns.
    """
    return gradient_sum(kept * reach, 0, width * unit + gain, kept * (2 * width * lost) + gain_lost)


def delta_error(width: Any, unit: Any, products: Any, doubt: Any, lost: Any) -> Any:
    """Error of Delta = rowsum(dO O), products being rowsum(|dO| |O|) and doubt rowsum(|dO| e) for an output that is off
    by e (theorem delta_error_bound).
    """
    return gradient_sum(products, doubt, width * unit, 2 * width * lost)


def slope_error(product_error: Any, delta_error: Any, height: Any, inner: Any, unit: Any, lost: Any) -> Any:
    """Error of dP - Delta + dLSE but for the factor of its last rounding, which dS takes with P's own (theorem
    slope_error_bound).

    height is |dP| + |Delta| + |dLSE| as they are computed, inner the unit of the first of two differences: 0 where
    there is one.
    """
    return product_error + delta_error + growth(inner) * height + lost * (2 + growth(unit))


def weight_error(grown: Any, roundings: Any, lost: Any) -> Any:
    """Error of P times its factor after more roundings, of log-error `roundings` altogether (theorems
    score_gradient_error_bound, value_weight_error_bound). grown is P (e^(t + roundings) - 1) for the log-error t of P.
    """
    return grown + lost * (1 + growth(roundings))


def score_gradient_error(weight: Any, weight_error: Any, slope: Any, slope_error: Any, lost: Any) -> Any:
    """Error of dS = P (dP - Delta + dLSE), of which `slope` is the magnitude of the second factor (theorem
    score_gradient_error_bound). weight_error counts two roundings after P: the last difference's, and the product's.
    """
    return weight_error * slope + (weight + weight_error) * slope_error + lost


def softcap_gradient(tanh: Any, error: Any, unit: Any, constant: Any, lost: Any) -> Any:
    """Error of the softcap's slope 1 - x^2, x being a capped score divided by the cap, which is off by `error` from
    tanh = |tanh| (theorem softcap_gradient_bound).
    """
    off = rounded(error, tanh, growth(constant + unit), lost)
    square = rounded(off * (2 * tanh + off), tanh * tanh, unit, lost)
    return rounded(square, 1 - tanh * tanh, unit, lost)


def through_softcap(error: Any, size: Any, factor: Any, factor_error: Any, unit: Any, lost: Any) -> Any:
    """Error of dS, of size `size`, after it is multiplied by a slope that is off (theorem through_softcap_bound)."""
    return rounded(error * factor + (size + error) * factor_error, size * factor, unit, lost)


def value_weight_error(weight_error: Any, kept: Any, cast: Any, gain_lost: Any, cast_lost: Any) -> Any:
    """Error of the operand P keep / (1 - p) of dV once it is cast (theorem value_weight_error_bound). weight_error
    counts the roundings of keep / (1 - p), of its product and of the cast.
    """
    return kept * weight_error + gain_lost * (1 + growth(cast)) + cast_lost
