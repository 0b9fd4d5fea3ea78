"""Elementwise arithmetic of floating-point arrays: one rounding an operation, NaN and signed zeros as on NVIDIA GPUs.

bf16 and fp16 are computed in fp32 and rounded once more, which gives the correctly rounded result, since fp32 has more
than twice their precision and two bits (Figueroa, "When is double rounding innocuous?"). PTX rounds them once as well:
Triton 3.6 and 3.9 emit add.bf16 for sm_90 and fma.rn.bf16 for sm_80. fp8 has no arithmetic on NVIDIA GPUs, and Triton
refuses to compile it there; here it is computed alike and rounded as a conversion to fp8 is.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refattn_interpreter.conversions import convert
from refattn_interpreter.dtypes import FP32, FP64, NARROW, format_of

Values = NDArray[Any]


@np.errstate(all="ignore")
def rounded_once(operation: Callable[..., Any], *operands: Values) -> Values:
    """The operation on numbers of one format, rounded once into that format."""
    dtype = operands[0].dtype
    if dtype not in NARROW:
        values: Values = operation(*operands)
        return values
    return convert(np.asarray(operation(*(each.astype(np.float32) for each in operands))), dtype)


@np.errstate(all="ignore")
def compared(operation: Callable[..., Any], a: Values, b: Values) -> NDArray[np.bool_]:
    """A comparison; fp8 and bf16 as the fp32 numbers that they are."""
    if a.dtype in NARROW:
        a, b = a.astype(np.float32), b.astype(np.float32)
    holds: NDArray[np.bool_] = operation(a, b)
    return holds


@np.errstate(all="ignore")
def larger(a: Values, b: Values, propagate_nan: bool = False) -> Values:
    """PTX ISA, max: of a number and NaN the number, with .NaN the NaN; +0 is larger than -0."""
    maxima = (np.maximum if propagate_nan else np.fmax)(a, b)
    # The sum of two zeros has the sign of the larger.
    zeros = (a == 0) & (b == 0)
    return np.where(zeros, a + b, maxima) if np.any(zeros) else np.asarray(maxima)


def smaller(a: Values, b: Values, propagate_nan: bool = False) -> Values:
    """PTX ISA, min, likewise."""
    return negated(larger(negated(a), negated(b), propagate_nan))


def negated(a: Values) -> Values:
    """The sign bit flipped, also that of a zero."""
    return np.negative(a)


@np.errstate(all="ignore")
def remainder(a: Values, b: Values) -> Values:
    """a - trunc(a / b) b with a rounded quotient, which is what a % b compiles to: not exact once a / b is large."""
    quotient = np.trunc(a / b)
    return np.where(np.isinf(b) & np.isfinite(a), a, fused(negated(quotient), b, a))


@np.errstate(all="ignore")
def fused(a: Values, b: Values, c: Values) -> Values:
    """a b + c rounded once."""
    if c.dtype == FP64:
        a, b, c = np.broadcast_arrays(a, b, c)
        return _fused_float64(a, b, c)
    # The product of two numbers of at most 24 bits is a float64.
    total, remainder = _exact_sum(a.astype(np.float64) * b.astype(np.float64), c.astype(np.float64))
    if c.dtype == FP32:
        return _rounded_to_odd(total, remainder).astype(np.float32)
    return convert(format_of(c.dtype).round_sum(total, np.where(np.isfinite(total), remainder, 0.0)), c.dtype)


@np.errstate(all="ignore")
def added_in_fp32(exact: Values, c: Values) -> Values:
    """The sum of float64 numbers and fp32 numbers rounded once, to fp32."""
    return _rounded_to_odd(*_exact_sum(exact, c.astype(np.float64))).astype(np.float32)


def _exact_sum(a: Values, b: Values) -> tuple[Values, Values]:
    """Two float64 numbers, the rounded sum and what it leaves out (Knuth's TwoSum)."""
    total = np.asarray(a + b)
    shifted = total - a
    return total, (a - (total - shifted)) + (b - shifted)


def _rounded_to_odd(total: Values, remainder: Values) -> Values:
    """The exact sum as a float64 whose last bit is 1 where it is not exact: rounded again, to at most 51 bits, it gives
    what rounding the sum at once gives (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums").
    """
    bits = total.view(np.int64)
    inexact = (remainder != 0) & np.isfinite(total) & (bits & 1 == 0)
    # Magnitudes are ordered as the bits are.
    away = np.where((remainder > 0) == (total > 0), 1, -1)
    return np.where(inexact, bits + away, bits).view(np.float64)


def _fused_float64(a: Values, b: Values, c: Values) -> Values:
    unfused = np.asarray(a * b + c)
    flat = np.empty(unfused.size)
    for i, (x, y, z, plain) in enumerate(zip(a.flat, b.flat, c.flat, unfused.flat, strict=True)):
        if not np.isfinite([x, y, z]).all():
            flat[i] = plain
            continue
        exact = Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z))
        try:
            flat[i] = float(exact) if exact else plain
        except OverflowError:
            flat[i] = np.inf if exact > 0 else -np.inf
    return flat.reshape(unfused.shape)


def flushed(a: Values) -> Values:
    """Subnormal fp32 numbers replaced by zeros of the same sign: what .ftz does to operands and results."""
    if a.dtype != FP32:
        return a
    return np.where(np.abs(a) < np.finfo(np.float32).tiny, np.copysign(np.float32(0), a), a)
