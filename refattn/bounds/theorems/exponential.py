"""Errors of the exponential and of its argument (proofs/exponential.md, exp2_polynomials.md; theories Argument,
ArgumentSchedule, Exponential).

Arguments' errors are in nats, and cover the rescales after a key's own exponential. distance is m - s for the last
reference m, plus twice the references' lag, plus twice the error of scores and reference; shift is the larger of |s|
and |m|, plus lag and error once each.
"""

from __future__ import annotations

from typing import Any

from refattn.numbers.roundoff import compound, growth, log_error


def argument_subtract(distance: Any, unit: Any) -> Any:
    """Error of fl(s - m) (theorems argument_subtract_error, by_subtract_ok)."""
    return unit * distance


def argument_subtract_exp2(distance: Any, unit: Any, constant: Any) -> Any:
    """Error of fl(fl(s - m) log2(e)), in nats (theorems argument_subtract_exp2_error, by_subtract_exp2_ok)."""
    return compound(unit, unit, constant) * distance


def argument_fma(distance: Any, shift: Any, unit: Any, constant: Any) -> Any:
    """Error of fma(s, c, -fl(m c)), in nats (theorems argument_fma_error, by_fma_ok)."""
    return compound(unit, unit, constant) * distance + (unit + unit * compound(unit, constant)) * shift


def argument_lost(scale: Any, unit: Any, constant: Any, lost: Any) -> Any:
    """Underflow in an argument's error, in nats, if every operation loses at most `lost` there (theorems
    argument_subtract_exp2_error, argument_fma_error). scale is nats per unit of the scores that are subtracted where
    the scale is folded into the exponent, and at least 1.
    """
    return (1 + scale * (1 + compound(unit, constant))) * lost


def exponential_error(relative: Any, lost: Any) -> Any:
    """Log-error of an exponential of relative error `relative` < 1 whose argument loses `lost` to underflow (theorem
    exponential_of_argument).
    """
    return log_error(relative) + lost


def polynomial_exp2(polynomial: Any, evaluation: Any, reduction: Any) -> Any:
    """Relative error of 2^x by a polynomial that is within `polynomial` of 2^f on [0, 1], computed to within
    `evaluation` of itself, at an argument reduced to within `reduction` nats (theorem polynomial_exp2_error).
    """
    return compound(polynomial, evaluation, growth(reduction))
