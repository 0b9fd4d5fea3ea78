"""Conversions between number types, each rounded once, as the NVIDIA instruction for it rounds.

The PTX of Triton 3.6 and 3.9 for sm_90 has one instruction for each: cvt.rn.bf16.f32, cvt.rz.f16.f32,
cvt.rn.satfinite.e4m3x2.f32, cvt.rn.bf16.s64, cvt.rzi.s32.f32 and so on. (On sm_80 a wide integer becomes bf16 by way of
fp32, and fp8 by a sequence of integer instructions.) Payloads of NaNs are not modelled.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from refattn.numbers.formats import Format
from refattn_interpreter.dtypes import FP8, FP32, FP64, DType, format_of, is_float

Rounding = Literal["nearest", "truncate"]
# NumPy and ml_dtypes round these to nearest, ties to even, by themselves; the tests compare all of fp32's upper half.
_NATIVE = {(FP32, "bfloat16"), (FP32, "float16"), (FP64, "float16"), (FP64, "float32")}


@np.errstate(all="ignore")
def convert(values: NDArray[Any], target: DType, rounding: Rounding = "nearest") -> NDArray[Any]:
    """The values in another type: numbers, not bits."""
    source = values.dtype
    if source == target:
        return values
    if is_float(target):
        return _float_from_float(values, target, rounding) if is_float(source) else _float_from_integer(values, target)
    return _integer_from_float(values, target) if is_float(source) else np.asarray(values.astype(target))


def _float_from_float(values: NDArray[Any], target: DType, rounding: Rounding) -> NDArray[Any]:
    if rounding == "nearest" and (values.dtype, target.name) in _NATIVE:
        return values.astype(target)
    wanted = format_of(target)
    exact = values.astype(np.float64)
    rounded = wanted.round(exact, rounding)
    if target in FP8:
        rounded = _saturated(rounded, exact, wanted, keep_infinity=rounding == "truncate" and wanted.has_infinity)
    return rounded.astype(target)


def _saturated(rounded: NDArray[Any], exact: NDArray[Any], wanted: Format, keep_infinity: bool) -> NDArray[Any]:
    """PTX ISA, cvt: .satfinite, which fp8 always has, replaces what exceeds the largest number, infinity included, by
    the largest number, and keeps NaN. Triton truncates to e5m2 by way of cvt.rz.f16 instead, which keeps infinities.
    """
    beyond = np.abs(exact) > wanted.max_finite
    if keep_infinity:
        beyond &= np.isfinite(exact)
    return np.where(beyond, np.copysign(wanted.max_finite, exact), rounded)


def _float_from_integer(values: NDArray[Any], target: DType) -> NDArray[Any]:
    if target.itemsize >= 4:
        return values.astype(target)
    # Both halves of a 64-bit integer are float64 numbers, and so is what their rounded sum leaves out.
    wide = values.astype(np.uint64 if values.dtype.kind in "ub" else np.int64)
    upper, lower = (wide >> 32).astype(np.float64) * 2.0**32, (wide & 0xFFFFFFFF).astype(np.float64)
    high = upper + lower
    low = lower - (high - upper)
    rounded = format_of(target).round_sum(high, low)
    return convert(rounded, target)


def _integer_from_float(values: NDArray[Any], target: DType) -> NDArray[Any]:
    """PTX ISA, cvt: a value out of range is clamped to the range; NaN gives 0, or 2^63 in the bits of a 64-bit result
    and of one that comes from fp64. An 8-bit result is the low half of a 16-bit one.
    """
    if target == np.bool_:
        return np.asarray(values != 0)
    wide = np.dtype(f"{target.kind}2") if target.itemsize == 1 else target
    limits = np.iinfo(wide)
    exact = np.trunc(values.astype(np.float64))
    beyond, below = exact >= float(limits.max), exact <= float(limits.min)
    whole = np.where(np.isnan(exact) | beyond | below, 0.0, exact).astype(wide)
    whole = np.where(beyond, wide.type(limits.max), np.where(below, wide.type(limits.min), whole))
    # In two's complement the indefinite value is the smallest signed integer, and half of the unsigned range.
    indefinite = wide.itemsize == 8 or values.dtype == FP64
    missing = (limits.min if wide.kind == "i" else limits.max // 2 + 1) if indefinite else 0
    integers: NDArray[Any] = np.where(np.isnan(exact), wide.type(missing), whole).astype(target)
    return integers
