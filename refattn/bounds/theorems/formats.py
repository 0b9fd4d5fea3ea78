"""Constants of binary formats, and errors of casts (proofs/formats.md, proofs/casts.md; theories Formats, Cast)."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from refattn.numbers import formats
from refattn.numbers.roundoff import growth


def _power_of_two(exponent: Any) -> Any:
    return (Fraction(2) if isinstance(exponent, Fraction) else 2.0) ** exponent


def format_unit(precision: Any) -> Any:
    """Relative error of rounding to nearest in the normal range, 2^-precision (theorem nearest_relative)."""
    return _power_of_two(-precision)


def format_truncation_unit(precision: Any) -> Any:
    """Relative error of rounding towards zero in the normal range, 2^(1 - precision) (theorem truncated_relative)."""
    return 2 * _power_of_two(-precision)


def format_smallest_normal(emin: Any) -> Any:
    """2^emin: the absolute error of a result that is flushed to zero (theorem flush_ok)."""
    return _power_of_two(emin)


def format_smallest_subnormal(precision: Any, emin: Any) -> Any:
    """Spacing below the normal range: the absolute error of truncation there, twice that of rounding to nearest
    (theorems truncated_absolute, nearest_absolute).
    """
    return _power_of_two(emin - precision + 1)


def format_max_finite(top: Any, top_exponent: Any) -> Any:
    """top 2^top_exponent, by the largest significand as an integer (theorem round_in_range)."""
    return top * _power_of_two(top_exponent)


def max_finite_of(precision: Any, emin: Any) -> Any:
    """The largest finite number of the format in refattn/numbers/formats.py of this precision and smallest exponent."""
    (format,) = (f for f in formats.ALL if (f.precision, f.emin) == (precision, emin))
    return Fraction(format.max_finite) if isinstance(precision, Fraction) else format.max_finite


def cast_lost(before: Any, unit: Any, lost: Any) -> Any:
    """Absolute error after a cast into a format that errs by `unit`, and by `lost` where it underflows; it was `before`
    (theorem cast_error). The log-errors add up.
    """
    return before * (1 + growth(unit)) + lost


def weight_lost(ulps: Any, own: Any, subnormal: Any, normal: Any) -> Any:
    """Absolute error of an exponential below the normal range, within `ulps` ulps and a relative error `own` on top
    (theorem declared_exponential): an ulp is the smallest subnormal number there, and results are below `normal`.
    """
    return ulps * subnormal + own * normal


def flushed_weight_lost(relative: Any, normal: Any) -> Any:
    """weight_lost where subnormal results are flushed (theorem flushed_declared_exponential): the exact result may
    exceed
    the smallest normal number by the exponential's relative error.
    """
    return normal / (1 - relative)
