"""Matrices as sums of slices of few bits, whose products float64 adds up exactly (Ozaki, Ogita, Oishi, Rump 2012).

Row i is sum_a slices[a][i] + rest[i]; slice a holds multiples of 2^(exponent - bits (a + 1)), of size at most
2^(exponent - bits a). A BLAS may add up products of slices in any order, fused or not: every partial sum is a multiple
of one power of two and at most 2^53 of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

PRECISION = 53
MOST_SLICES = 6


@dataclass(frozen=True, eq=False)
class Sliced:
    """Rows (n, d) in slices.

    forward   (n, count d): the slices side by side; backward (n, count d): in the opposite order
    exponent  (n,): |row| is below 2^exponent
    bits      of a slice
    exact     True if the slices leave no rest; otherwise it is at most 2^(exponent - bits count - 1)
    """

    forward: Array
    backward: Array
    exponent: NDArray[np.int64]
    columns: int
    bits: int
    exact: bool

    @property
    def count(self) -> int:
        """The number of slices."""
        return int(self.forward.shape[1]) // max(1, self.columns)

    def __getitem__(self, rows: Any) -> Sliced:
        return Sliced(self.forward[rows], self.backward[rows], self.exponent[rows], self.columns, self.bits, self.exact)

    @classmethod
    def of(cls, rows: Array, bits: int) -> Sliced:
        """The fewest slices that leave nothing, or MOST_SLICES of them."""
        exponent = exponents(rows)
        rest, slices = rows, []
        for place in range(MOST_SLICES):
            part = leading(rest, exponent[:, None] - bits * (place + 1))
            slices.append(part)
            rest = rest - part
            if not rest.any():
                break
        exact = not rest.any()
        return cls(
            np.concatenate(slices, axis=1), np.concatenate(slices[::-1], axis=1), exponent, rows.shape[1], bits, exact
        )


def exponents(rows: Array) -> NDArray[np.int64]:
    """e with |row| < 2^e, of each row; 0 of a row of zeros."""
    return np.asarray(np.frexp(np.abs(rows).max(axis=1, initial=0.0))[1], np.int64)


def leading(x: Array, unit: NDArray[np.int64]) -> Array:
    """x rounded to nearest multiples of 2^unit, for |x| below 2^(unit + 51); the difference is exact too (theorem
    leading_exact).
    """
    rounder = np.ldexp(1.5, PRECISION - 1 + unit)
    return np.asarray((x + rounder) - rounder)


def bits_for(terms: int) -> int:
    """Bits of the slices of two matrices such that sums of `terms` products are exact, whatever pairs are added up.

    Of the at most MOST_SLICES pairs (a, b) with a + b = t > 0, a product is at most a quarter of 2^(-bits t), or a half
    where one of them is the first slice: all together are at most 1 + (MOST_SLICES - 2) / 4 = 2 times the first pair's
    (theorem bits_for_enough).
    """
    return (PRECISION - 1 - (terms - 1).bit_length()) // 2


def levels(a: Sliced, b: Sliced, out: Array) -> None:
    """out[t] = sum over i + j = t of a_i b_j^T, exactly, for rows a (r, d) and b (n, d) in slices of equal bits."""
    d = a.columns
    for t in range(len(out)):
        first, last = max(0, t - b.count + 1), min(t, a.count - 1)
        left = a.forward[:, first * d : (last + 1) * d]
        start = b.count - 1 - (t - first)
        right = b.backward[:, start * d : (start + last - first + 1) * d]
        np.matmul(left, right.T, out=out[t])


def dropped(a: Sliced, b: Sliced, number: int) -> float:
    """Bound of the part of a product of two rows that `number` levels leave out, in units of d 2^(their exponents)
    (theorems sliced_exact, slices_left_out).
    """
    pairs = sum(
        math.ldexp(1.0, -a.bits * (i + j) - (i > 0) - (j > 0))
        for i in range(a.count)
        for j in range(b.count)
        if i + j >= number
    )
    # The rest of one side, times at most the whole of the other.
    return pairs + sum(math.ldexp(1.0, -side.bits * side.count) for side in (a, b) if not side.exact)


def enough_levels(a: Sliced, b: Sliced, error: float) -> int:
    """The fewest levels that leave out at most `error`; all of them if none do."""
    whole = a.count + b.count - 1
    return next((number for number in range(1, whole) if dropped(a, b, number) <= error), whole)


def significant_bits(rows: Array) -> int:
    """The most bits from a row's exponent down to the last bit set of a number in it."""
    mantissa, exponent = np.frexp(rows)
    whole = np.ldexp(mantissa, PRECISION).astype(np.int64)
    trailing = np.frexp((whole & -whole).astype(np.float64))[1] - 1
    last = exponent - PRECISION + trailing
    depth = np.where(whole == 0, 0, exponents(rows)[:, None] - last)
    return max(1, int(depth.max(initial=0)))
