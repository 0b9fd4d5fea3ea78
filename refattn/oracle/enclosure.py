"""An array of exact values, each known to a certified radius."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from mpmath import mp, mpf
from numpy.typing import NDArray

from refattn.numbers.formats import Format

Array = NDArray[np.float64]

# A sum of a few float64 numbers is a multiple of 2**-1074 below 2**1030: of a number beyond 2**+-FAR only the sign
# matters.
FAR = 1100


@dataclass(frozen=True, eq=False)
class Enclosure:
    """Proved: |exact - (mid + low)| <= rad, element by element.

    `low` holds the bits of the midpoint beyond float64 (None is zero). Where the exact value is an infinity or NaN, mid
    is that value and rad is 0; where nothing is known rad is inf.
    """

    mid: Array
    rad: Array
    low: Array | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self.mid.shape

    def tail(self) -> Array:
        """`low`, as an array."""
        return np.zeros_like(self.mid) if self.low is None else self.low

    def contains(self, x: Any) -> NDArray[np.bool_]:
        """True where x, floating-point numbers or mpmath's, lies inside; exact, for any x."""
        values = np.broadcast_to(np.asarray(x, dtype=object), self.mid.shape)
        inside = np.empty(self.mid.shape, dtype=np.bool_)
        tail = self.tail()
        for index in np.ndindex(self.mid.shape):
            mid, low, rad = (float(x[index]) for x in (self.mid, tail, self.rad))
            inside[index] = _inside(values[index], mid, low, rad)
        return inside

    def distance(self, x: Array) -> Array:
        """Distance of float64 values x from the midpoint: |x - mid - low|, rounded up a little.

        0 where both are the same infinity or both NaN, inf where just one is not finite.
        """
        with np.errstate(invalid="ignore", over="ignore"):
            gap = np.abs((x - self.mid) - self.tail())
            # x - mid errs by half an ulp of itself; the last subtraction likewise.
            gap = gap * (1 + 2.0**-50)
        same = (x == self.mid) | (np.isnan(x) & np.isnan(self.mid))
        finite = np.isfinite(x) & np.isfinite(self.mid)
        return np.where(finite, gap, np.where(same, 0.0, np.inf))

    def correctly_rounded(self, format: Format) -> tuple[Array, NDArray[np.bool_]]:
        """The exact values rounded to nearest in `format`, and where the enclosure is narrow enough to decide them."""
        low, high = (_two_sum(self.mid, self.tail(), shift) for shift in (-self.rad, self.rad))
        below, above = format.round_sum(*low), format.round_sum(*high)
        # A format without infinity overflows to NaN on both sides of zero.
        overflow = np.isnan(below) & np.isnan(above) & (np.sign(low[0]) == np.sign(high[0]))
        special = ~np.isfinite(self.mid)
        values = np.where(special, format.round(self.mid), below)
        return values, special | (((below == above) | overflow) & np.isfinite(self.rad))

    def __getitem__(self, index: Any) -> Enclosure:
        low = None if self.low is None else self.low[index]
        return Enclosure(self.mid[index], self.rad[index], low)


def _inside(value: Any, mid: float, low: float, rad: float) -> bool:
    exact = value if isinstance(value, mpf) else float(value)
    if math.isinf(rad):
        return True
    if not math.isfinite(mid):
        return bool(mp.isnan(exact)) if math.isnan(mid) else bool(exact == mid)
    if not mp.isfinite(exact):
        return False
    # Fractions of the binary numbers: no working precision can spoil the comparison.
    number = _fraction(exact) if isinstance(exact, mpf) else Fraction(exact)
    return abs(number - Fraction(mid) - Fraction(low)) <= Fraction(rad)


def _fraction(x: mpf) -> Fraction:
    """x, or a number that compares with every float64 number as x does where x's exponent is far beyond theirs."""
    man, exp = (int(part) for part in x.man_exp)
    magnitude = man.bit_length() + exp
    if man == 0 or abs(magnitude) <= FAR:
        return (-1 if x < 0 else 1) * Fraction(abs(man)) * Fraction(2) ** exp
    return (-1 if x < 0 else 1) * Fraction(2) ** (FAR if magnitude > 0 else -FAR)


def _two_sum(high: Array, low: Array, shift: Array) -> tuple[Array, Array]:
    """high + low + shift as head and tail, the tail pushed outwards by its own rounding error."""
    with np.errstate(invalid="ignore", over="ignore"):
        small = low + shift
        small = np.where(
            shift > 0, np.nextafter(small, np.inf), np.where(shift < 0, np.nextafter(small, -np.inf), small)
        )
        head = high + small
        back = head - high
        tail = (high - (head - back)) + (small - back)
    return head, np.where(np.isfinite(head), tail, 0.0)
