"""Numbers man * 2**exp in Python's integers, and their exact rounding to a format."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refattn.numbers.formats import Format

# An interval around a midpoint that is relatively narrower than 2**-TIE_BITS is taken for an exact tie.
TIE_BITS = 1000


class Dyadic(NamedTuple):
    """The number man * 2**exp."""

    man: int
    exp: int

    @classmethod
    def of(cls, x: float) -> Dyadic:
        """A finite float64 number."""
        numerator, denominator = float(x).as_integer_ratio()
        return cls(numerator, 1 - denominator.bit_length())

    def plus(self, other: Dyadic) -> Dyadic:
        """The exact sum; meant for exponents that lie near each other."""
        low = min(self.exp, other.exp)
        return Dyadic((self.man << (self.exp - low)) + (other.man << (other.exp - low)), low)

    def magnitude(self) -> int:
        """e with 2**(e - 1) <= |x| < 2**e, for x not 0."""
        return self.man.bit_length() + self.exp


def round_nearest(x: Dyadic, format: Format) -> float:
    """x rounded to the nearest number of the format, ties to even; overflow gives inf, or NaN where there is none."""
    sign = -1.0 if x.man < 0 else 1.0
    exponent = x.magnitude() - 1
    if x.man == 0 or exponent < format.emin - format.precision:
        return sign * 0.0
    if exponent > format.emax:
        return sign * _overflow(format)
    quantum = max(exponent, format.emin) - format.precision + 1
    shift = quantum - x.exp
    man = abs(x.man)
    if shift <= 0:
        whole = man << -shift
    else:
        whole, rest = man >> shift, man & ((1 << shift) - 1)
        half = 1 << (shift - 1)
        whole += rest > half or (rest == half and whole & 1 == 1)
    if Dyadic(whole, quantum).magnitude() - 1 > format.emax:
        return sign * _overflow(format)
    rounded = math.ldexp(whole, quantum)
    return sign * (_overflow(format) if rounded > format.max_finite else rounded)


def round_interval(low: Dyadic, high: Dyadic, format: Format) -> tuple[float, bool, bool]:
    """Any number of [low, high] rounded to nearest, whether that is decided, and if not, whether it is a tie.

    A tie is a midpoint of the format inside an interval that is relatively narrower than 2**-TIE_BITS; it goes to even.
    """
    below, above = round_nearest(low, format), round_nearest(high, format)
    if below == above or (math.isnan(below) and math.isnan(above) and (low.man < 0) == (high.man < 0)):
        return below, True, False
    far_apart = low.man * high.man <= 0 or high.magnitude() != low.magnitude()
    if far_apart or high.plus(Dyadic(-low.man, low.exp)).magnitude() > low.magnitude() - TIE_BITS:
        return below, False, False
    if not (math.isfinite(below) and math.isfinite(above)):
        return (above if math.isfinite(below) else below), False, True
    middle = Dyadic.of(below).plus(Dyadic.of(above))
    return round_nearest(Dyadic(middle.man, middle.exp - 1), format), False, True


def round_intervals(
    low: NDArray[np.object_], high: NDArray[np.object_], format: Format
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
    """round_interval, element by element; None as an end is an unknown number, which decides nothing."""
    values, decided, ties = np.zeros(low.shape), np.zeros(low.shape, np.bool_), np.zeros(low.shape, np.bool_)
    for index in np.ndindex(low.shape):
        ends: tuple[Any, Any] = (low[index], high[index])
        if None not in ends:
            values[index], decided[index], ties[index] = round_interval(*ends, format)
    return values, decided, ties


def _overflow(format: Format) -> float:
    return math.inf if format.has_infinity else math.nan
