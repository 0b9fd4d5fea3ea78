"""NVIDIA's libdevice by symbol: what tl.extra.libdevice and the cuda library call.

Values are correctly rounded (refattn_interpreter.functions says how nearly) where NVIDIA documents a few ulps; the
fast variants go through the same instructions as on the GPU, rounding in between. Triton compiles libdevice so that it
flushes subnormals, which is visible where a function is one instruction.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refattn.errors import InvalidValue
from refattn_interpreter import arithmetic, functions
from refattn_interpreter.arithmetic import rounded_once
from refattn_interpreter.functions import LOG2_E, flushing, in_float64

Values = NDArray[Any]
Function = Callable[..., Values]
_LN_2, _LOG10_2, _LOG2_10 = np.float32(math.log(2)), np.float32(math.log10(2)), np.float32(math.log2(10))
_exp2, _log2 = flushing(functions.exp2), flushing(functions.log2)
_sin, _cos = flushing(functions.sin), flushing(functions.cos)

# Each for fp32 (the name with an f) and for fp64.
_BOTH: dict[str, Function] = {
    "acos": functions.acos,
    "acosh": in_float64(np.arccosh),
    "asin": functions.asin,
    "asinh": in_float64(np.arcsinh),
    "atan": functions.atan,
    "atan2": functions.atan2,
    "atanh": in_float64(np.arctanh),
    "cbrt": functions.cbrt,
    "ceil": flushing(functions.ceil),
    "copysign": np.copysign,
    "cos": functions.cos,
    "cosh": functions.cosh,
    "erf": functions.erf,
    "erfc": functions.erfc,
    "exp": functions.exponential,
    "exp10": functions.exp10,
    "exp2": _exp2,
    "expm1": functions.expm1,
    "fabs": np.abs,
    "floor": flushing(functions.floor),
    "fma": arithmetic.fused,
    "fmax": arithmetic.larger,
    "fmin": arithmetic.smaller,
    "fmod": np.fmod,
    "hypot": functions.hypot,
    "log": functions.log,
    "log10": functions.log10,
    "log1p": functions.log1p,
    "log2": functions.log2,
    "nearbyint": functions.to_even,
    "pow": functions.power,
    "rint": functions.to_even,
    "round": functions.half_away,
    "rsqrt": flushing(functions.rsqrt),
    "sin": functions.sin,
    "sinh": functions.sinh,
    "sqrt": functions.sqrt,
    "tan": functions.tan,
    "tanh": functions.tanh,
    "trunc": functions.truncated,
}


def _fast_divide(x: Values, y: Values) -> Values:
    """PTX ISA, div.approx: 0 where 2^126 < |y| < 2^128, and NaN there if x is infinite."""
    huge = (np.abs(y) > 2.0**126) & np.isfinite(y)
    return np.where(
        huge, np.where(np.isfinite(x), np.copysign(0, x) * np.sign(y), np.nan), functions.divide(x, y)
    ).astype(x.dtype)


def _fast_power(x: Values, y: Values) -> Values:
    return _exp2(y * _log2(x))


_NAMED: dict[str, Function] = {
    "__nv_fast_expf": lambda x: _exp2(x * LOG2_E),
    "__nv_fast_exp10f": lambda x: _exp2(x * _LOG2_10),
    "__nv_fast_logf": lambda x: _log2(x) * _LN_2,
    "__nv_fast_log2f": _log2,
    "__nv_fast_log10f": lambda x: _log2(x) * _LOG10_2,
    "__nv_fast_sinf": _sin,
    "__nv_fast_cosf": _cos,
    "__nv_fast_tanf": lambda x: _fast_divide(_sin(x), _cos(x)),
    "__nv_fast_tanhf": functions.tanh,
    "__nv_fast_powf": _fast_power,
    "__nv_fast_fdividef": flushing(_fast_divide),
    "__nv_saturatef": lambda x: np.where(np.isnan(x), 0, np.clip(x, 0, 1)).astype(x.dtype),
    "__nv_fadd_rn": np.add,
    "__nv_fsub_rn": np.subtract,
    "__nv_fmul_rn": np.multiply,
    "__nv_fdiv_rn": np.divide,
    "__nv_fmaf_rn": arithmetic.fused,
    "__nv_frcp_rn": functions.reciprocal,
    "__nv_fsqrt_rn": np.sqrt,
    "__nv_frsqrt_rn": functions.rsqrt,
    "__nv_dadd_rn": np.add,
    "__nv_dmul_rn": np.multiply,
    "__nv_ddiv_rn": np.divide,
    "__nv_fma_rn": arithmetic.fused,
    "__nv_isnanf": np.isnan,
    "__nv_isnand": np.isnan,
    "__nv_isinff": np.isinf,
    "__nv_isinfd": np.isinf,
    "__nv_finitef": np.isfinite,
    "__nv_isfinited": np.isfinite,
    "__nv_signbitf": np.signbit,
    "__nv_signbitd": np.signbit,
    "__nv_llrintf": lambda x: np.rint(x.astype(np.float64)),
    "__nv_llrint": np.rint,
    "__nv_float2int_rn": lambda x: np.rint(x.astype(np.float64)),
    "__nv_float2int_rz": lambda x: np.trunc(x.astype(np.float64)),
    "__nv_abs": np.abs,
    "__nv_llabs": np.abs,
    "__nv_popc": np.bitwise_count if hasattr(np, "bitwise_count") else np.vectorize(lambda x: int(x).bit_count()),
}
_TABLE: dict[str, Function] = {
    **{f"__nv_{name}{suffix}": function for name, function in _BOTH.items() for suffix in ("", "f")},
    **_NAMED,
}


@np.errstate(all="ignore")
def call(symbol: str, operands: list[Values]) -> Values:
    """The function's values, in the operands' dtype or as integers and truth values. Raises InvalidValue."""
    if symbol not in _TABLE:
        raise InvalidValue(
            f"libdevice function {symbol!r} is not interpreted: expected one of {', '.join(sorted(_TABLE))}"
        )
    return rounded_once(_TABLE[symbol], *operands)
