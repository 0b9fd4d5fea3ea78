"""Matrix products as tensor cores form them: exact products, sums that enter the accumulator a few at a time.

NVIDIA does not document the inside of a tensor core. What is known by experiment (Fasi et al., "Numerical behavior of
NVIDIA tensor cores", PeerJ CS 7:e330, 2021; Khattak and Mikaitis, "Accurate models of NVIDIA tensor cores", arXiv
2512.07004) is that products are exact, that the sum of an instruction's products and the accumulator is formed by
aligning all to the largest, and that it is truncated. The model here keeps the sum of a chunk exact and rounds it into
the accumulator once; it is an idealisation: on the GPU low bits of small products are lost as well, most of all with
fp8 on Hopper, whose sums keep about 14 bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from refattn.numbers import formats
from refattn_interpreter.arithmetic import added_in_fp32, fused
from refattn_interpreter.dtypes import FP32, FP64, format_of
from refattn_interpreter.options import Options

Values = NDArray[Any]


@np.errstate(all="ignore")
def dot(a: Values, b: Values, accumulator: Values, precision: str, options: Options) -> Values:
    """accumulator + a b, of the accumulator's dtype; (..., M, K) times (..., K, N).

    fp32 operands: "ieee" is a chain of fused multiply-adds over k, as Triton emits; "tf32" drops their low 13 bits;
    "tf32x3" adds the products of the rounded operands and of their remainders, the accumulator last.
    """
    if a.dtype.kind in "iu":
        return np.asarray(accumulator + np.matmul(a.astype(np.int32), b.astype(np.int32)))
    if a.dtype == FP64:
        return _chain(a, b, accumulator)
    if a.dtype == FP32:
        if precision == "ieee":
            return _chain(a, b, accumulator)
        if precision == "tf32x3":
            return _three_products(a, b, accumulator, options)
        a, b = _operand(a, options), _operand(b, options)
    # mma.sync and wgmma take 256 bits of each operand: m16n8k16 of 16-bit numbers, k8 of tf32, k32 of fp8.
    return _in_chunks(a, b, accumulator, 32 // a.dtype.itemsize, options)


def _in_chunks(a: Values, b: Values, accumulator: Values, chunk: int, options: Options) -> Values:
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    size = a.shape[-1] if options.dot == "exact" else chunk
    wanted = format_of(accumulator.dtype)
    total = accumulator.astype(np.float64)
    for start in range(0, a.shape[-1], size):
        part = slice(start, start + size)
        # Products are exact; their float64 sum errs by less than 2^-48 of the sum of their magnitudes.
        total = total + np.matmul(wide_a[..., part], wide_b[..., part, :])
        if options.dot_rounding == "nearest" and accumulator.dtype == FP32:
            total = total.astype(np.float32).astype(np.float64)
        else:
            total = wanted.round(total, options.dot_rounding)
    return total.astype(accumulator.dtype)


def _chain(a: Values, b: Values, accumulator: Values) -> Values:
    total = accumulator
    if total.dtype != FP32:
        for k in range(a.shape[-1]):
            total = fused(a[..., :, k, None], b[..., None, k, :], total)
        return total
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    for k in range(a.shape[-1]):
        total = added_in_fp32(wide_a[..., :, k, None] * wide_b[..., None, k, :], total)
    return total


def _operand(a: Values, options: Options) -> Values:
    """tf32: PTX ISA, mma: of the fp32 bits of a .tf32 operand the low 13 are ignored. Triton 3.6 and 3.9 hand them over
    as they are, on sm_80 and sm_90.
    """
    if options.tf32_operands == "nearest":
        return formats.tf32.round(a).astype(np.float32)
    return (np.ascontiguousarray(a).view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)


def rounded_away(a: Values) -> Values:
    """cvt.rna.tf32.f32: to nearest, ties away from zero."""
    bits = np.ascontiguousarray(a).view(np.uint32)
    rounded = ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)
    return np.where(np.isfinite(a), rounded, a)


def _three_products(a: Values, b: Values, accumulator: Values, options: Options) -> Values:
    """Triton's pass F32DotTC: small products first, NaN among them (of inf - inf) made 0, the accumulator last."""
    big_a, big_b = rounded_away(a), rounded_away(b)
    small_a, small_b = _operand(a - big_a, options), _operand(b - big_b, options)
    total = np.zeros_like(accumulator)
    for left, right in ((small_a, big_b), (big_a, small_b)):
        total = _in_chunks(left, right, total, 8, options)
    total = _in_chunks(big_a, big_b, np.where(np.isnan(total), 0, total).astype(FP32), 8, options)
    return total + accumulator
