"""Errors of scores, step by step (proofs/scores.md; theory Scores).

In all of them `constant` is the relative error of a number that the kernel stores (scale, cap, slope, bias), unit that
of one rounding, lost the loss of a result that underflows or is flushed to zero; sizes are those of exact numbers.
"""

from __future__ import annotations

from typing import Any

from refattn.bounds.theorems.dot import dot_any_order
from refattn.numbers.roundoff import compound, rounded


def scaled_score(dot: Any, size: Any, scale: Any, stored: Any, unit: Any, constant: Any, lost: Any) -> Any:
    """Error of a score whose dot product is off by `dot`, stored, then multiplied by the scale (theorem
    scaled_score_error). scale is |scale|, stored the relative error of storing.
    """
    return rounded(rounded(scale * dot, size, stored, scale * lost), size, compound(unit, constant), lost)


def scaled_query(
    magnitude: Any, keys: Any, wide: Any, constant: Any, wide_lost: Any, narrow: Any, narrow_lost: Any
) -> Any:
    """sum_c |k_c| times the error of q_c * scale, computed in a wide format and rounded to a narrow one (theorem
    scaled_query_error). magnitude is sum_c |scale q_c k_c|, keys is sum_c |k_c|.
    """
    return rounded(compound(wide, constant) * magnitude + keys * wide_lost, magnitude, narrow, keys * narrow_lost)


def scaled_query_score(
    query: Any, terms: Any, dot_unit: Any, magnitude: Any, dot_lost: Any, size: Any, stored: Any, lost: Any
) -> Any:
    """Error of a score, the product of a scaled query (off by `query` = scaled_query) and a key, stored (theorem
    scaled_query_score_error).
    """
    return rounded(query + dot_any_order(terms, dot_unit, magnitude + query, dot_lost), size, stored, lost)


def divided_score(error: Any, size: Any, cap: Any, unit: Any, constant: Any, lost: Any) -> Any:
    """Error of s / cap, times cap, for a score that is off by `error` (theorem divided_score_error)."""
    return rounded(error, size, compound(unit, constant), cap * lost)


def capped_score(error: Any, slope: Any, size: Any, cap: Any, tanh: Any, unit: Any, constant: Any, lost: Any) -> Any:
    """Error of cap * tanh(s / cap) for a quotient that is off by error / cap (theorem capped_score_error).

    slope is sech^2 where the quotient can be nearest to 0, size the exact result's, tanh the function's relative error.
    """
    return rounded(rounded(error * slope, size, tanh, cap * lost), size, compound(unit, constant), lost)


def biased_score(error: Any, size: Any, bias: Any, unit: Any, constant: Any, lost: Any) -> Any:
    """Error of s + bias, of size `size`, for a score that is off by `error` (theorem biased_score_error)."""
    return rounded(error + constant * bias, size, unit, lost)


def alibi_score(error: Any, size: Any, alibi: Any, unit: Any, constant: Any, lost: Any) -> Any:
    """Error of s + slope * distance, of size `size`; alibi is |slope * distance| (theorem alibi_score_error)."""
    return rounded(error + rounded(constant * alibi, alibi, unit, lost), size, unit, lost)


def biased_alibi_score(error: Any, size: Any, additive: Any, unit: Any, constant: Any, lost: Any) -> Any:
    """Error of s + bias + slope * distance, size being that of s and additive |bias| + |slope * distance| (theorem
    biased_alibi_score_error).
    """
    return rounded(error, size + additive, compound(unit, unit, constant), (3 + 2 * unit) * lost)
