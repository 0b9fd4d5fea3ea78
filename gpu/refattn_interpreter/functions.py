"""Elementary functions of fp32 and fp64 arrays.

Every fp32 value here is the float64 one rounded once, within 0.5 ulp and a few millionths of the exact value. A GPU's
approximate instructions and library functions are further off, by what NVIDIA documents of each: that is for the
kernel's Arithmetic to declare (exp_ulps, tanh_ulps, log_ulps), and it is not imitated.

The instructions that Triton 3.6 and 3.9 choose were read from their PTX for sm_80 and sm_90: tl.exp2, tl.sqrt and
tl.rsqrt become the .ftz variants, tl.floor and tl.ceil cvt.rmi.ftz and cvt.rpi.ftz, and tl.exp(x) is
ex2.approx(fl(x log2(e))), whose argument is rounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refattn_interpreter.arithmetic import flushed
from refattn_interpreter.dtypes import FP32, FP64

Values = NDArray[Any]
Function = Callable[..., Values]
LOG2_E = np.float32(1.4426950408889634)


def _elementwise(function: Callable[..., float], arguments: int) -> Callable[..., Any]:
    """A function of Python's floats for arrays, with infinities and NaN where it refuses."""

    def guarded(*values: float) -> float:
        try:
            return function(*values)
        except (OverflowError, ValueError):
            return math.nan

    return np.frompyfunc(guarded, arguments, 1)


_erf, _erfc = _elementwise(math.erf, 1), _elementwise(math.erfc, 1)


def in_float64(function: Callable[..., Any]) -> Function:
    """The function of float64 for fp32 and fp64 arrays, rounded once into the format of the first of them."""

    @np.errstate(all="ignore")
    def rounded(*operands: Values) -> Values:
        wide = function(*(each.astype(np.float64) for each in operands))
        return np.asarray(wide).astype(np.float64).astype(operands[0].dtype)

    return rounded


def flushing(function: Function) -> Function:
    """The .ftz variant of an fp32 function; fp64 has none."""

    def variant(*operands: Values) -> Values:
        if operands[0].dtype == FP64:
            return function(*operands)
        return flushed(function(*(flushed(each) for each in operands)))

    return variant


@np.errstate(all="ignore")
def _rsqrt(x: Values) -> Values:
    return np.where(x == 0, np.copysign(np.inf, x), 1 / np.sqrt(x))


@np.errstate(all="ignore")
def _round_half_away(x: Values) -> Values:
    return np.copysign(np.floor(np.abs(x) + 0.5), x)


exp2 = in_float64(np.exp2)
log = in_float64(np.log)
log2 = in_float64(np.log2)
log10 = in_float64(np.log10)
log1p = in_float64(np.log1p)
expm1 = in_float64(np.expm1)
exponential = in_float64(np.exp)
exp10 = in_float64(lambda x: np.power(10.0, x))
sqrt = in_float64(np.sqrt)
rsqrt = in_float64(_rsqrt)
reciprocal = in_float64(lambda x: 1 / x)
divide = in_float64(lambda x, y: x / y)
tanh = in_float64(np.tanh)
sinh, cosh = in_float64(np.sinh), in_float64(np.cosh)
sin, cos, tan = in_float64(np.sin), in_float64(np.cos), in_float64(np.tan)
asin, acos, atan = in_float64(np.arcsin), in_float64(np.arccos), in_float64(np.arctan)
atan2, hypot, power = in_float64(np.arctan2), in_float64(np.hypot), in_float64(np.power)
cbrt = in_float64(np.cbrt)
erf, erfc = in_float64(_erf), in_float64(_erfc)
floor, ceil = in_float64(np.floor), in_float64(np.ceil)
truncated, to_even = in_float64(np.trunc), in_float64(np.rint)
half_away = in_float64(_round_half_away)


@np.errstate(all="ignore")
def exp(x: Values) -> Values:
    """tl.exp: for fp32 two to the power of the rounded product with log2(e)."""
    return exp2(x * LOG2_E) if x.dtype == FP32 else exponential(x)
