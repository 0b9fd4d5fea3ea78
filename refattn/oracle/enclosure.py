"""An array of exact values, each known to a certified radius.

May import: numpy, mpmath, refattn.formats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from mpmath import mpf
from numpy.typing import NDArray

from refattn.formats import Format, fp64

Array = NDArray[np.float64]


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
            inside[index] = _inside(values[index], self.mid[index], tail[index], self.rad[index])
        return inside

    def distance(self, x: Array) -> Array:
        """How far float64 values x lie from the midpoint, |x - mid - low|, rounded up a little; 0 where both are the same
        infinity or both NaN, inf where just one is not finite.
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
        tail = self.tail()
        if format.precision == fp64.precision:
            below, above = _float64_ends(self.mid, tail, self.rad)
        else:
            below = format.round_sum(*_two_sum(self.mid, tail, -self.rad))
            above = format.round_sum(*_two_sum(self.mid, tail, self.rad))
        special = ~np.isfinite(self.mid)
        values = np.where(special, format.round(self.mid), below)
        return values, special | ((below == above) & np.isfinite(self.rad))

    def __getitem__(self, index: Any) -> Enclosure:
        low = None if self.low is None else self.low[index]
        return Enclosure(self.mid[index], self.rad[index], low)


def _inside(value: Any, mid: float, low: float, rad: float) -> bool:
    if np.isnan(mid) or np.isinf(mid):
        number = float(value)
        return number == mid or (np.isnan(mid) and np.isnan(number))
    if np.isinf(rad):
        return True
    exact = value if isinstance(value, mpf) else mpf(float(value))
    # Fractions of the binary numbers: no working precision can spoil the comparison.
    gap = _fraction(exact) - _fraction(mpf(float(mid))) - _fraction(mpf(float(low)))
    return abs(gap) <= _fraction(mpf(float(rad)))


def _fraction(x: mpf) -> Any:
    from fractions import Fraction

    sign, man, exp, _ = x._mpf_
    signed = -int(man) if sign else int(man)
    return Fraction(signed) * (Fraction(2) ** int(exp))


def _two_sum(high: Array, low: Array, shift: Array) -> tuple[Array, Array]:
    """High + low + shift as head and tail, the tail pushed outwards by its own rounding error."""
    with np.errstate(invalid="ignore", over="ignore"):
        small = low + shift
        small = np.where(
            shift > 0, np.nextafter(small, np.inf), np.where(shift < 0, np.nextafter(small, -np.inf), small)
        )
        head = high + small
        back = head - high
        tail = (high - (head - back)) + (small - back)
    return head, np.where(np.isfinite(head), tail, 0.0)


def _float64_ends(mid: Array, tail: Array, rad: Array) -> tuple[Array, Array]:
    return _two_sum(mid, tail, -rad)[0], _two_sum(mid, tail, rad)[0]
