"""Numbers as unevaluated sums of two or three float64 words, for loops that Numba compiles, and their exponential.

Sums and products of two words are exact (Knuth; Dekker; a fused multiply-add gives a product's error), barring overflow
and underflow, which the callers keep away.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from mpmath import mp, mpf
from numba import njit, types
from numba.extending import intrinsic

# exp(x) = 2^(k / STEPS) exp(r), |r| <= ln 2 / (2 STEPS): fewer powers of r need two words the more steps there are.
STEP_BITS = 9
STEPS = 1 << STEP_BITS
# An exponential is at least 2^-953, so that its second word has all its bits; a smaller one is taken for 0.
LOWEST_ARGUMENT = -660.0
# Added and subtracted, it rounds to an integer.
ROUNDER = 1.5 * 2.0**52
# ln 2 / STEPS in three words: a product of the first with an integer below 2^20 is exact.
FIRST_WORD_BITS = 32
# |computed / exact - 1| of `exponential` (theorem exponential_near). The sum of the last two words errs by u^2 of the
# result and their sum with the rest of the first by 2 u^2; a table entry by u^2; exp(r) - 1 and its product with that
# entry by less than u^2 / 2.
EXPONENTIAL_ERROR = 5 * 2.0**-106
# Relative error of `multiply` (theorem multiply_error): the product of the last words is left out, and two roundings
# are of twice and three times its size.
PRODUCT_ERROR = 8 * 2.0**-106
# Error of a Newton step for a logarithm (theorem logarithm_near): of an exponential, a product, a third word and the
# terms from the cube on.
LOGARITHM_ERROR = EXPONENTIAL_ERROR + PRODUCT_ERROR + 2 * 2.0**-106


def words_of(x: Any, count: int) -> tuple[float, ...]:
    """The first words of an mpmath number: each is the rest rounded to nearest."""
    words = []
    for _ in range(count):
        words.append(float(x))
        x = x - mpf(words[-1])
    return tuple(words)


with mp.workprec(400):
    _STEP = mp.log(2) / STEPS
    _FIRST = float(mp.floor(mp.ldexp(_STEP, FIRST_WORD_BITS + STEP_BITS)) / 2 ** (FIRST_WORD_BITS + STEP_BITS))
    _SECOND, _THIRD = words_of(_STEP - mpf(_FIRST), 2)
    _STEPS_IN_ONE = float(1 / _STEP)
    _TABLE = np.array([words_of(mp.power(2, mpf(i) / STEPS), 2) for i in range(STEPS)])
    _POWERS_HIGH, _POWERS_LOW = np.ascontiguousarray(_TABLE[:, 0]), np.ascontiguousarray(_TABLE[:, 1])
    _THIRD_HIGH, _THIRD_LOW = words_of(mpf(1) / 6, 2)
    _FOURTH_HIGH, _FOURTH_LOW = words_of(mpf(1) / 24, 2)
_FIFTH, _SIXTH, _SEVENTH, _EIGHTH = 1 / 120, 1 / 720, 1 / 5040, 1 / 40320
_SMALLEST_POWER = -1074
_POWERS_OF_TWO = np.ldexp(1.0, np.arange(_SMALLEST_POWER, 2))


@intrinsic
def fused(context: Any, a: Any, b: Any, c: Any) -> Any:
    """a b + c, rounded once: an instruction where the machine has one, else a call of the C library."""
    del context, a, b, c

    def generate(target: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        del target, signature
        return builder.fma(*arguments)

    return types.float64(types.float64, types.float64, types.float64), generate


@njit(inline="always")
def two_sum(a: float, b: float) -> tuple[float, float]:
    """The rounded sum and its error (Knuth): a + b exactly (theorem two_sum_exact)."""
    total = a + b
    back = total - a
    return total, (a - (total - back)) + (b - back)


@njit(inline="always")
def ordered_sum(a: float, b: float) -> tuple[float, float]:
    """two_sum where |b| is at most |a|, or a is 0, or the sum is subnormal (Dekker; theorem ordered_sum_exact)."""
    total = a + b
    return total, b - (total - a)


@njit(inline="always")
def two_product(a: float, b: float) -> tuple[float, float]:
    """The rounded product and its error: a b exactly, but for half the smallest number where it underflows (theorems
    two_product_exact, two_product_lost).
    """
    product = a * b
    return product, fused(a, b, -product)


@njit(inline="always")
def multiply(a: float, a_low: float, b: float, b_low: float) -> tuple[float, float]:
    """The product of two numbers of two words, to a relative error of PRODUCT_ERROR (theorems multiply_error,
    multiply_words).
    """
    product, error = two_product(a, b)
    error = fused(a, b_low, error)
    error = fused(a_low, b, error)
    return ordered_sum(product, error)


@njit(inline="always")
def multiply_add(a: float, a_low: float, b: float, b_low: float, c: float, c_low: float) -> tuple[float, float]:
    """a b + c in two words, where |c| is at least 32 |a b|: to an error of 4 u^2 |c| (theorem multiply_add_error)."""
    product, error = two_product(a, b)
    error = fused(a, b_low, error)
    error = fused(a_low, b, error)
    total, rest = ordered_sum(c, product)
    return ordered_sum(total, rest + (error + c_low))


@njit(inline="always")
def three_sum(a: float, b: float, c: float) -> tuple[float, float, float]:
    """Three words of any sizes as three of falling size: exactly (theorem three_sum_exact)."""
    a, rest = two_sum(a, b)
    a, second = two_sum(a, c)
    second, third = two_sum(rest, second)
    a, second = ordered_sum(a, second)
    second, third = two_sum(second, third)
    return a, second, third


@njit(inline="always")
def exponential(high: float, middle: float, low: float) -> tuple[float, float, int]:
    """exp(high + middle + low) as two words times a power of two, to a relative error of EXPONENTIAL_ERROR (theorem
    exponential_near).

    |high| is at most -LOWEST_ARGUMENT, |middle| at most 2^-30 and |low| at most 2^-80. Tang's reduction (1989), in two
    words.
    """
    k = (high * _STEPS_IN_ONE + ROUNDER) - ROUNDER
    # Exact: multiples of the same power of two, whose difference is small.
    r = fused(-k, _FIRST, high)
    product, error = two_product(-k, _SECOND)
    r, first = two_sum(r, middle)
    r, second = two_sum(r, product)
    r, r_low = two_sum(r, (first + second) + (error + (low - k * _THIRD)))
    tail = fused(fused(fused(_EIGHTH, r, _SEVENTH), r, _SIXTH), r, _FIFTH)
    p, p_low = two_sum(_FOURTH_HIGH, fused(tail, r, _FOURTH_LOW))
    p, p_low = multiply_add(p, p_low, r, r_low, _THIRD_HIGH, _THIRD_LOW)
    p, p_low = multiply_add(p, p_low, r, r_low, 0.5, 0.0)
    p, p_low = multiply_add(p, p_low, r, r_low, 1.0, 0.0)
    # exp(r) - 1, which is small: its product with the power of two hardly errs.
    p, p_low = multiply(p, p_low, r, r_low)
    steps = np.int32(k)
    place = steps & (STEPS - 1)
    power, power_low = _POWERS_HIGH[place], _POWERS_LOW[place]
    p, p_low = multiply(p, p_low, power, power_low)
    total, rest = ordered_sum(power, p)
    total, rest = ordered_sum(total, rest + (power_low + p_low))
    return total, rest, int(steps >> STEP_BITS)


@njit(inline="always")
def power_of_two(exponent: int) -> float:
    """2^exponent, for exponents from -1074 to 1."""
    return float(_POWERS_OF_TWO[exponent - _SMALLEST_POWER])
