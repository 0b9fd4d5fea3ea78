"""Numbers to try operations on."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[Any]
BF16, FP16 = np.dtype(ml_dtypes.bfloat16), np.dtype(np.float16)
FP32 = np.dtype(np.float32)
E4M3, E5M2 = np.dtype(ml_dtypes.float8_e4m3fn), np.dtype(ml_dtypes.float8_e5m2)


def wide(values: Numbers) -> Numbers:
    """The same numbers in float64."""
    with np.errstate(invalid="ignore"):  # signalling NaNs
        return values.astype(np.float64)


def bits(values: Numbers) -> Numbers:
    """The bits, with one NaN for all: payloads are not modelled."""
    bits = np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}").copy()
    if values.dtype.kind not in "iu":
        bits[np.isnan(wide(values))] = np.array([np.nan]).astype(values.dtype).view(bits.dtype)[0]
    return bits


def padded(values: Numbers) -> Numbers:
    """To the next power of two, with the first value."""
    size = 1 << (len(values) - 1).bit_length()
    return np.concatenate([values, np.full(size - len(values), values[0])])


def special(dtype: np.dtype[Any]) -> Numbers:
    """Zeros, infinities, NaN, the ends of the subnormal and of the normal range, ties."""
    limits: Any = ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]
    tiny, least, top = (float(limits.tiny), float(limits.smallest_subnormal), float(limits.max))
    ones = [0.0, least, 3 * least, tiny - least, tiny, 1.0, 1.0 + float(limits.eps), 1.5, 3.0, top, np.inf]
    return np.array([*ones, *(-each for each in ones), np.nan]).astype(dtype)


def drawn(dtype: np.dtype[Any], count: int, seed: int) -> Numbers:
    """Random bits, so all binades, with the special values in front."""
    generator = np.random.default_rng(seed)
    stored = generator.integers(0, 256, count * dtype.itemsize, dtype=np.uint8).view(dtype)
    return np.concatenate([special(dtype), stored])


def pairs(dtype: np.dtype[Any], count: int, seed: int) -> tuple[Numbers, Numbers]:
    """Every special value with every other, then random ones: far apart, close together, and of the same size."""
    left, right = drawn(dtype, count, seed), drawn(dtype, count, seed + 1)
    edge = special(dtype)
    a, b = (each.ravel() for each in np.meshgrid(edge, edge))
    with np.errstate(all="ignore"):
        near, negated = np.nextafter(left[:count], np.array(np.inf).astype(dtype)), -left
    return np.concatenate([a, left, left[:count], left]), np.concatenate([b, right, near, negated])
