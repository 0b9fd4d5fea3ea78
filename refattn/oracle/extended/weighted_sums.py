"""Sums of weights times values without an error: float64 adds up the products of their slices exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refattn.oracle.extended import loops
from refattn.oracle.extended.slices import PRECISION, exponents, leading, significant_bits

Array = NDArray[np.float64]

# Keys whose products are added up in float64; these sums are then added in two words.
CHUNK = 512
# Bits of a weight's slice and a value's together (theorem chunk_enough).
PRODUCT_BITS = PRECISION - (CHUNK - 1).bit_length()
FEWEST_BITS = 10
# The second word of a weight makes its slices, and the rest, larger than half of a unit (theorem cut_near, for slices
# of FEWEST_BITS to PRODUCT_BITS - FEWEST_BITS).
SECOND_WORD = 1.0 + 2.0**-16


@dataclass(frozen=True, eq=False)
class Values:
    """The values (n, Dv) of one head, in slices.

    matrix        1, slice 0, slice 1, ... and |slice 0|, side by side
    size          (Dv,): |v| is below it; a power of two
    bits          of a slice of the values; weight_bits: of the weights
    pairs         slice a of the weights is multiplied by the first pairs[a] slices of the values
    left_out      bound of the rest of a weight of at most 1 times a value, relative to `size`
    lost          bound of the rest of a weight of at most 1
    """

    matrix: Array
    size: Array
    bits: int
    weight_bits: int
    pairs: tuple[int, ...]
    left_out: float
    lost: float

    @property
    def columns(self) -> int:
        """Dv."""
        return len(self.size)

    @classmethod
    def of(cls, value: Array, wanted: int) -> Values:
        """The slices that need the fewest products for an error of 2^-wanted of the largest weight and value."""
        exponent = exponents(value.T)
        needed = min(significant_bits(value.T), wanted + 1)
        choices = range(FEWEST_BITS, PRODUCT_BITS - FEWEST_BITS + 1)
        bits = min(choices, key=lambda bits: (sum(pairs_of(bits, needed, wanted)), bits))
        pairs = pairs_of(bits, needed, wanted)
        rest, parts = value, []
        for place in range(max(pairs)):
            parts.append(leading(rest, exponent[None, :] - bits * (place + 1)))
            rest = rest - parts[-1]
        weight_bits = PRODUCT_BITS - bits
        lost = SECOND_WORD * math.ldexp(1.0, -weight_bits * len(pairs) - 1)
        # Theorem slices_left_out.
        left_out = lost + SECOND_WORD * (math.ldexp(1.0, -bits * len(parts) - 1) if rest.any() else 0.0)
        left_out += SECOND_WORD * sum(
            math.ldexp(1.0, -weight_bits * a - bits * b - (a > 0) - (b > 0))
            for a, number in enumerate(pairs)
            for b in range(number, len(parts))
        )
        matrix = np.concatenate([np.ones((len(value), 1)), *parts, np.abs(parts[0])], axis=1)
        size = np.where(value.any(axis=0), np.ldexp(1.0, exponent), 0.0)
        return cls(matrix, size, bits, weight_bits, pairs, left_out, lost)


def pairs_of(bits: int, needed: int, wanted: int) -> tuple[int, ...]:
    """The number of value slices that each weight slice is multiplied by."""
    weight_bits = PRODUCT_BITS - bits
    parts = -(-needed // bits)
    weights = -(-wanted // weight_bits)
    return tuple(min(parts, max(1, -(-(wanted - weight_bits * a) // bits))) for a in range(weights))


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums of a block of weights over keys, in words.

    total (r, 3): of the weights; values (3, r, Dv): of weights times values; sizes (r, Dv): at least the sum of
    |weight v|.
    """

    total: Array
    values: Array
    sizes: Array


def sums_over_keys(
    weights: tuple[Array, Array], values: Values, keys: Any, *, exponent: int = 0, keep: Any = None
) -> Sums:
    """Sums of weights of two words (r, n), of at most 2^exponent, times the values of `keys`.

    keep (r, n), if given, says which weights count in all but the total.
    """
    rows, n = weights[0].shape
    columns, count = values.columns, len(values.pairs)
    widths = [1 + number * columns for number in values.pairs]
    totals, rests = np.zeros((count, rows, max(widths))), np.zeros((count, rows, max(widths)))
    sizes = np.zeros((rows, columns))
    matrix = values.matrix[keys]
    for start in range(0, n, CHUNK):
        chunk = slice(start, min(start + CHUNK, n))
        parts = np.empty((count, rows, chunk.stop - start))
        loops.slice_words(*weights, start, exponent, values.weight_bits, parts)
        whole = parts.sum(axis=2)
        if keep is not None:
            parts *= keep[:, chunk]
        for a, width in enumerate(widths):
            products = parts[a] @ matrix[chunk, :width]
            products[:, 0] = whole[a]
            loops.add_exactly(products, totals[a, :, :width], rests[a, :, :width])
        sizes += np.abs(parts[0]) @ matrix[chunk, -columns:]
    high, middle, low = (np.zeros((rows, 1 + columns)) for _ in range(3))
    for a in reversed(range(count)):
        for source in (rests, totals):
            for b in reversed(range(values.pairs[a])):
                place = slice(1 + b * columns, 1 + (b + 1) * columns)
                loops.add_words(source[a, :, place], high[:, 1:], middle[:, 1:], low[:, 1:])
            loops.add_words(source[a, :, :1], high[:, :1], middle[:, :1], low[:, :1])
    total = np.stack([word[:, 0] for word in (high, middle, low)], axis=1)
    # `sizes` lacks the rest that the first slices leave of weights and values.
    first = SECOND_WORD * math.ldexp(n, exponent - values.weight_bits - 1)
    first = first + math.ldexp(1.0, -values.bits - 1) * np.abs(weights[0]).sum(axis=1) * (1.0 + 2.0**-30)
    return Sums(total, np.stack([word[:, 1:] for word in (high, middle, low)]), sizes + first[:, None] * values.size)


def sums_over_rows(
    weights: tuple[Array, Array], values: Values, rows: Any, *, exponent: int = 0
) -> tuple[Array, Array, Array]:
    """Sums of the transposed weights times the values of at most CHUNK `rows`: (n, Dv), in three words."""
    count, columns = len(values.pairs), values.columns
    parts = np.empty((count, *weights[0].shape))
    loops.slice_words(*weights, 0, exponent, values.weight_bits, parts)
    matrix = values.matrix[rows]
    high, middle, low = (np.zeros((weights[0].shape[1], columns)) for _ in range(3))
    for a in reversed(range(count)):
        products = parts[a].T @ matrix[:, 1 : 1 + values.pairs[a] * columns]
        for b in reversed(range(values.pairs[a])):
            loops.add_words(products[:, b * columns : (b + 1) * columns], high, middle, low)
    return high, middle, low
