"""The loops of rung 2 over scores, weights and their sums, in two or three words, compiled by Numba.

Every function releases the interpreter's lock, so that blocks of rows run side by side.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from refattn.oracle.extended.words import (
    LOWEST_ARGUMENT,
    exponential,
    multiply,
    ordered_sum,
    power_of_two,
    three_sum,
    two_product,
    two_sum,
)

compiled = njit(nogil=True, cache=True, error_model="numpy")
ROUNDER = 1.5 * 2.0**52
# A guess of a logarithm errs by at most this, so that terms from the cube on are 2^-108.
LARGEST_REMAINDER = 2.0**-37


@compiled
def score_words(
    levels: Any,
    start: int,
    scale: Any,
    bias: Any,
    slope: Any,
    distance: Any,
    visible: Any,
    high: Any,
    middle: Any,
    low: Any,
) -> None:
    """Words of scale * the sum of levels (t, r, c) + bias - slope * distance, in columns `start` on of arrays (r, n).

    -inf where not visible. scale holds three words; bias, distance and visible are (r, n) or None. All are contiguous
    (theorem sliced_score_near).
    """
    number, rows, keys = levels.shape
    first = np.empty(keys)
    second = np.empty(keys)
    third = np.empty(keys)
    for i in range(rows):
        for j in range(keys):
            first[j] = levels[number - 1, i, j]
            second[j] = 0.0
            third[j] = 0.0
        for t in range(number - 2, -1, -1):
            for j in range(keys):
                first[j], rest = two_sum(levels[t, i, j], first[j])
                second[j], rest = two_sum(rest, second[j])
                third[j] += rest
        for j in range(keys):
            a, b, c = three_sum(first[j], second[j], third[j])
            product, x = two_product(a, scale[0])
            y, rest = two_product(a, scale[1])
            z, more = two_product(b, scale[0])
            x, error = two_sum(x, y)
            x, final = two_sum(x, z)
            small = a * scale[2] + b * scale[1] + c * scale[0] + rest + more + error + final
            first[j], second[j], third[j] = three_sum(product, x, small)
        if bias is not None:
            for j in range(keys):
                a, rest = two_sum(first[j], bias[i, start + j])
                b, rest = two_sum(second[j], rest)
                first[j], second[j], third[j] = three_sum(a, b, third[j] + rest)
        if distance is not None:
            for j in range(keys):
                product, error = two_product(-slope, float(distance[i, start + j]))
                a, rest = two_sum(first[j], product)
                b, rest = two_sum(second[j], rest)
                b, more = two_sum(b, error)
                first[j], second[j], third[j] = three_sum(a, b, third[j] + (rest + more))
        if visible is not None:
            for j in range(keys):
                if not visible[i, start + j]:
                    first[j] = -np.inf
        for j in range(keys):
            high[i, start + j] = first[j]
            middle[i, start + j] = second[j]
            low[i, start + j] = third[j]


@compiled
def slice_words(one: Any, two: Any, start: int, exponent: int, bits: int, parts: Any) -> None:
    """Slices (count, r, c) of the columns `start` on of numbers of two words (r, n) below 2^exponent.

    Slice a holds multiples of 2^(exponent - bits (a + 1)) (theorem cut_near). All arrays are contiguous.
    """
    count, rows, keys = parts.shape
    rest = np.empty(keys)
    tail = np.empty(keys)
    for i in range(rows):
        for j in range(keys):
            rest[j] = one[i, start + j]
            tail[j] = two[i, start + j]
        for a in range(count):
            rounder = ROUNDER * 2.0 ** (exponent - bits * (a + 1))
            for j in range(keys):
                part = (rest[j] + rounder) - rounder
                parts[a, i, j] = part
                rest[j], tail[j] = two_sum(rest[j] - part, tail[j])


@njit(inline="always")
def weight(high: float, middle: float, low: float, shift: float) -> tuple[float, float]:
    """exp(high + middle + low - shift) as two words (theorem weight_near); 0 below exp(LOWEST_ARGUMENT)."""
    a, rest = two_sum(high, -shift)
    b, rest = two_sum(rest, middle)
    c = rest + low
    there = a >= LOWEST_ARGUMENT
    # Selections, not branches: the loop is to be vectorised.
    one, two, exponent = exponential(a if there else 0.0, b if there else 0.0, c if there else 0.0)
    factor = power_of_two(exponent)
    factor = factor if there else 0.0
    return one * factor, two * factor


@compiled
def weight_words(high: Any, middle: Any, low: Any, shift: Any, one: Any, two: Any) -> None:
    """exp(score - shift) as two words (r, n)."""
    rows, keys = high.shape
    for i in range(rows):
        for j in range(keys):
            one[i, j], two[i, j] = weight(high[i, j], middle[i, j], low[i, j], shift[i])


@compiled
def add_exactly(terms: Any, totals: Any, rests: Any) -> None:
    """totals + rests += terms, all (r, m): exact for up to 2^25 terms of at most 2^53 of one unit (theorem
    add_exactly_exact).
    """
    rows, columns = terms.shape
    for i in range(rows):
        for c in range(columns):
            totals[i, c], rest = two_sum(totals[i, c], terms[i, c])
            rests[i, c] += rest


@compiled
def add_words(terms: Any, high: Any, middle: Any, low: Any) -> None:
    """high + middle + low += terms, all (r, m), any sizes (theorem add_words_error)."""
    rows, columns = terms.shape
    for i in range(rows):
        for c in range(columns):
            a, rest = two_sum(high[i, c], terms[i, c])
            b, rest = two_sum(middle[i, c], rest)
            high[i, c], middle[i, c], low[i, c] = three_sum(a, b, low[i, c] + rest)


@compiled
def products(x: Any, factor: float, one: Any, two: Any) -> None:
    """x (r, m) times a factor, exactly: the rounded products and their errors."""
    rows, columns = x.shape
    for i in range(rows):
        for c in range(columns):
            one[i, c], two[i, c] = two_product(x[i, c], factor)


@compiled
def quotients(high: Any, middle: Any, low: Any, totals: Any, one: Any, two: Any) -> None:
    """Words (r, m) divided by the rows' totals (r, 3), as two words (theorem quotient_near)."""
    rows, columns = high.shape
    for i in range(rows):
        t, t_middle, t_low = totals[i, 0], totals[i, 1], totals[i, 2]
        for c in range(columns):
            a, b, d = high[i, c], middle[i, c], low[i, c]
            first = a / t
            a, b, d = minus_product(a, b, d, first, t, t_middle, t_low)
            second = a / t
            a, b, d = minus_product(a, b, d, second, t, t_middle, t_low)
            first, second = ordered_sum(first, second)
            one[i, c], two[i, c] = ordered_sum(first, second + a / t)


@njit(inline="always")
def minus_product(
    a: float, b: float, c: float, factor: float, t: float, t_middle: float, t_low: float
) -> tuple[float, float, float]:
    """a + b + c - factor (t + t_middle + t_low), whose first words cancel."""
    product, error = two_product(-factor, t)
    second, more = two_product(-factor, t_middle)
    a, x = two_sum(a, product)
    b, y = two_sum(b, error)
    b, z = two_sum(b, second)
    return three_words(a, x, b, c + (y + z + more - factor * t_low))


@njit(inline="always")
def three_words(a: float, b: float, c: float, d: float) -> tuple[float, float, float]:
    """Four words as three."""
    b, rest = two_sum(b, c)
    return three_sum(a, b, rest + d)


@compiled
def logarithms(totals: Any, guesses: Any, shift: Any, one: Any, two: Any) -> None:
    """shift + log of totals (r, 3), as two words, from float64 guesses of the logarithms: one Newton step (theorem
    logarithm_near). NaN where a guess is further off than float64's logarithms are.
    """
    for i in range(len(shift)):
        if not -0.5 <= guesses[i] <= -LOWEST_ARGUMENT:
            one[i], two[i] = np.nan, np.nan
            continue
        a, b, exponent = exponential(-guesses[i], 0.0, 0.0)
        factor = power_of_two(exponent)
        a, b = multiply(a * factor, b * factor, totals[i, 0], totals[i, 1])
        z, small = two_sum(a - 1.0, b)
        if not abs(z) <= LARGEST_REMAINDER:
            one[i], two[i] = np.nan, np.nan
            continue
        # Where shift and guess cancel, z is not small beside their sum: it is not rounded.
        first, rest = two_sum(shift[i], guesses[i])
        second, more = two_sum(rest, z)
        first, second = two_sum(first, second)
        one[i], two[i] = two_sum(first, second + (more + (small - 0.5 * z * z)))


@compiled
def differences(x: Any, y: Any, y_low: Any, one: Any, two: Any) -> None:
    """x (r, n) less the rows' y + y_low, as two words (theorem difference_near)."""
    rows, columns = x.shape
    for i in range(rows):
        for j in range(columns):
            total, rest = two_sum(x[i, j], -y[i])
            one[i, j], two[i, j] = two_sum(total, rest - y_low[i])


@compiled
def row_dots(x: Any, y: Any, y_low: Any, words: Any) -> None:
    """Sums along rows of x (y + y_low), all (r, m), in words (r, 3)."""
    rows, columns = x.shape
    for i in range(rows):
        a, b, c = 0.0, 0.0, 0.0
        for j in range(columns):
            for factor in (y[i, j], y_low[i, j]):
                product, error = two_product(x[i, j], factor)
                a, rest = two_sum(a, product)
                b, more = two_sum(b, rest)
                b, last = two_sum(b, error)
                c += more + last
        words[i, 0], words[i, 1], words[i, 2] = three_sum(a, b, c)


@compiled
def score_gradients(
    weight: Any, weight_low: Any, high: Any, middle: Any, low: Any, keep: Any, gain: Any, less: Any, one: Any, two: Any
) -> None:
    """weight (keep gain dP - less) as two words (r, n), of weights in two words, and of dP, gain and `less` (r, 3) in
    three; keep is None or (r, n).
    """
    rows, keys = weight.shape
    for i in range(rows):
        for j in range(keys):
            a, b, c = high[i, j], middle[i, j], low[i, j]
            if keep is not None:
                product, x = two_product(a, gain[0])
                y, rest = two_product(a, gain[1])
                z, more = two_product(b, gain[0])
                x, error = two_sum(x, y)
                x, final = two_sum(x, z)
                small = a * gain[2] + b * gain[1] + c * gain[0] + rest + more + error + final
                kept = 1.0 if keep[i, j] else 0.0
                a, b, c = product * kept, x * kept, small * kept
            a, x = two_sum(a, -less[i, 0])
            b, y = two_sum(b, -less[i, 1])
            b, z = two_sum(b, x)
            a, b, c = three_sum(a, b, c + (y + z - less[i, 2]))
            one[i, j], two[i, j] = multiply(a, b + c, weight[i, j], weight_low[i, j])


@compiled
def times(one: Any, two: Any, factor: Any, keep: Any) -> None:
    """Two words (r, n) times the first two words of a factor and keep (r, n), in place."""
    rows, keys = one.shape
    for i in range(rows):
        for j in range(keys):
            a, b = multiply(one[i, j], two[i, j], factor[0], factor[1])
            kept = 1.0 if keep[i, j] else 0.0
            one[i, j], two[i, j] = a * kept, b * kept


@compiled
def row_products(x: Any, factor: Any, one: Any, two: Any) -> None:
    """x (r, m) times the rows' factors, exactly: the rounded products and their errors."""
    rows, columns = x.shape
    for i in range(rows):
        for c in range(columns):
            one[i, c], two[i, c] = two_product(x[i, c], factor[i])


@compiled
def add_all(x: Any, high: Any, middle: Any, low: Any) -> None:
    """high + middle + low, (1, 1) each, += all elements of x (r, m)."""
    rows, columns = x.shape
    a, b, c = high[0, 0], middle[0, 0], low[0, 0]
    for i in range(rows):
        for j in range(columns):
            a, rest = two_sum(a, x[i, j])
            b, rest = two_sum(b, rest)
            c += rest
    high[0, 0], middle[0, 0], low[0, 0] = three_sum(a, b, c)
