"""Triton's names of types, and the NumPy dtypes that hold their numbers here.

Triton's own interpreter keeps bf16 and fp8 as the integers of their bits, and so adds and multiplies the bits; here
they are numbers, by ml_dtypes.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from refattn.errors import InvalidValue
from refattn.numbers import formats
from refattn.numbers.formats import Format

DType = np.dtype[Any]

_FLOATS: dict[str, DType] = {
    "fp8e4nv": np.dtype(ml_dtypes.float8_e4m3fn),
    "fp8e5": np.dtype(ml_dtypes.float8_e5m2),
    "fp8e4b8": np.dtype(ml_dtypes.float8_e4m3fnuz),
    "fp8e5b16": np.dtype(ml_dtypes.float8_e5m2fnuz),
    "bf16": np.dtype(ml_dtypes.bfloat16),
    "fp16": np.dtype(np.float16),
    "fp32": np.dtype(np.float32),
    "fp64": np.dtype(np.float64),
}
_INTEGERS: dict[str, DType] = {
    f"{sign}int{bits}": np.dtype(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)
}
_INTEGERS["int1"] = np.dtype(bool)
# AMD's formats have one zero, no infinity and a bias that is one larger than usual.
_FNUZ = {
    "fp8e4b8": Format("e4m3fnuz", 4, -7, 7, 240.0, False, _FLOATS["fp8e4b8"]),
    "fp8e5b16": Format("e5m2fnuz", 3, -15, 15, 57344.0, False, _FLOATS["fp8e5b16"]),
}
_FORMATS: dict[DType, Format] = {
    dtype: _FNUZ[name] if name in _FNUZ else formats.get(dtype) for name, dtype in _FLOATS.items()
}
FP8: frozenset[DType] = frozenset(dtype for dtype in _FLOATS.values() if dtype.itemsize == 1)
NARROW: frozenset[DType] = frozenset(dtype for dtype in _FLOATS.values() if dtype.itemsize < 4)
FP32, FP64 = _FLOATS["fp32"], _FLOATS["fp64"]


def dtype_of(name: str) -> DType:
    """The NumPy dtype of a scalar type by Triton's name. Raises InvalidValue."""
    kind = _FLOATS.get(name) or _INTEGERS.get(name)
    if kind is None:
        raise InvalidValue(f"type {name!r} is not interpreted: expected one of {', '.join((*_FLOATS, *_INTEGERS))}")
    return kind


def is_float(dtype: DType) -> bool:
    """True for every floating-point dtype, those of ml_dtypes included."""
    return dtype in _FORMATS


def format_of(dtype: DType) -> Format:
    """The floating-point format of a NumPy dtype."""
    return _FORMATS[dtype]


def bits_of(dtype: DType) -> DType:
    """The unsigned integers that hold a number's bits: what Triton's C++ code can load and store."""
    return np.dtype(f"u{dtype.itemsize}") if dtype in NARROW else dtype
