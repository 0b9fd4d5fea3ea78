"""Errors of combining parts of the keys by their log-sum-exps (proofs/splits.md; theories Splits, SplitsRounding,
SplitsLost).

A part returns its output and s = m + ln l. Its normaliser's own error cancels between the two; the rounding of s and
the error of the weight exp(s - reference) remain.
"""

from __future__ import annotations

from typing import Any

from refattn.numbers.roundoff import growth, rounded


def split_lse_rounding(reference: Any, logarithm: Any, unit: Any, log_relative: Any, scaled: Any, lost: Any) -> Any:
    """Distance of s from m + ln l, for |m| <= reference and |ln l| <= logarithm (theorem split_lse_rounding_error).

    log_relative is the logarithm's relative error, scaled that of a reference that is scaled or rounded only here, unit
    that of a rounding of s, lost the underflow of each of the three.
    """
    terms = log_relative * logarithm + scaled * reference + 2 * lost
    return rounded(terms, reference + logarithm, unit, lost)


def split_gap(distance: Any, logarithm: Any, slack: Any, own: Any) -> Any:
    """Distance of s from the reference of the weights, the largest s of all parts or the combined one (theorems
    split_gap_of_largest, split_gap_of_combined).

    distance is m - score of a key of the part, logarithm ln of the number of keys, slack the earlier error of
    references and logarithms, own the rounding of each s.
    """
    return distance + 2 * logarithm + 3 * (slack + own)


def split_error(own: Any, gap: Any, turned: Any, exponential: Any, kept: Any) -> Any:
    """Log-error of a part's weight, in the sum of weights and in that of outputs (theorems split_weight_error,
    combine_by_quotient, combine_by_log_sum_exp).

    turned is the relative error of the argument, exponential the function's log-error, kept that of keeping a finished
    sum of weights.
    """
    return own + turned * gap + exponential + kept


def split_output_error(rounding: Any, unit: Any) -> Any:
    """Log-error of the outputs alone: the part's own quotient, its product with the weight, and the rounding of the
    combined log-sum-exp where weights are taken relative to that (theorem combine_by_log_sum_exp).
    """
    return rounding + 2 * unit


def split_lost(parts: Any, values: Any, eta_weight: Any, eta_sum: Any, cost: Any) -> Any:
    """Underflow of the combination in a sum of weighted values, relative to a largest weight of 1 (theorems
    weighted_lost_bound, total_lost_bound).

    values is the sum of the parts' |output|, or their number for the sum of weights; exponentials lose eta_weight,
    products, sums and the parts' quotients eta_sum each; cost is the log-error of the later steps.
    """
    return (eta_weight * values + 2 * parts * eta_sum) * (1 + growth(cost))


def split_apart(weight: Any, rounding: Any) -> Any:
    """Log-error by which products and sum of weights differ where the products' weights are taken relative to the
    combined log-sum-exp: each exponential twice, and that log-sum-exp's rounding (theorem log_sum_exp_products).
    """
    return 2 * weight + rounding
