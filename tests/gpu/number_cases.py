"""Numbers to try the interpreter's arithmetic on, and roundings found by looking them up in a list of all numbers."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

BF16, FP16 = np.dtype(ml_dtypes.bfloat16), np.dtype(np.float16)
FP32, FP64 = np.dtype(np.float32), np.dtype(np.float64)
E4M3, E5M2 = np.dtype(ml_dtypes.float8_e4m3fn), np.dtype(ml_dtypes.float8_e5m2)
NARROW = (E4M3, E5M2, BF16, FP16)


def every(dtype: np.dtype[Any]) -> np.ndarray:
    """All numbers of an 8- or 16-bit format, infinities and NaNs included."""
    unsigned = np.dtype(f"u{dtype.itemsize}")
    return np.arange(2 ** (8 * dtype.itemsize), dtype=np.uint32).astype(unsigned).view(dtype)


def wide(values: np.ndarray) -> np.ndarray:
    """The same numbers in float64."""
    with np.errstate(invalid="ignore"):  # signalling NaNs
        return values.astype(np.float64)


def bits(values: np.ndarray) -> np.ndarray:
    """The bits, with one NaN for all: payloads are not modelled."""
    found = np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}").copy()
    found[np.isnan(wide(values))] = np.array([np.nan]).astype(values.dtype).view(found.dtype)[0]
    return found


def same(actual: np.ndarray, expected: np.ndarray) -> None:
    """Equal to the bit, zeros with their signs and NaN for NaN."""
    assert actual.dtype == expected.dtype
    wrong = np.flatnonzero(bits(actual).ravel() != bits(np.broadcast_to(expected, actual.shape)).ravel())
    first = wrong[:3]
    assert wrong.size == 0, (wrong.size, actual.ravel()[first], np.broadcast_to(expected, actual.shape).ravel()[first])


class Table:
    """The finite numbers of a narrow format in order, from which a rounding is read off."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        stored = every(dtype)
        stored = stored[np.isfinite(wide(stored)) & (bits(stored) != 1 << (8 * dtype.itemsize - 1))]
        order = np.argsort(wide(stored))
        self.dtype, self.stored, self.values = dtype, stored[order], wide(stored)[order]

    def round(self, exact: np.ndarray, truncate: bool = False) -> np.ndarray:
        """Float64 values that do not exceed the largest number, rounded to nearest even or towards zero."""
        above = np.clip(np.searchsorted(self.values, exact), 1, len(self.values) - 1)
        below = above - 1
        # Distances of neighbouring numbers of at most 16 bits from a float64 between them are exact.
        up, down = self.values[above] - exact, exact - self.values[below]
        even = (self.stored[above].view(f"u{self.dtype.itemsize}") & 1) == 0
        nearer_above = np.where(up == down, even, up < down)
        towards_zero = np.where(exact > 0, up == 0, down != 0)
        chosen = np.where(towards_zero if truncate else nearer_above, above, below)
        found = self.stored[chosen]
        zero = wide(found) == 0
        return np.where(zero, np.copysign(0.0, exact).astype(self.dtype), found)


TABLES = {dtype: Table(dtype) for dtype in NARROW}


def rounded(exact: np.ndarray, target: np.dtype[Any], truncate: bool = False) -> np.ndarray:
    """Float64 values in a narrow format; overflow as the instruction has it: to infinity for bf16 and fp16, to the
    largest number for fp8.
    """
    table = TABLES[target]
    top, step = table.values[-1], table.values[-1] - table.values[-2]
    inside = np.clip(np.nan_to_num(exact, nan=0.0), -top, top)
    found = table.round(inside, truncate)
    overflows = np.isinf(exact) | (False if truncate else np.abs(exact) >= top + step / 2)
    if target.itemsize == 2 or (truncate and target == E5M2):
        found = np.where(overflows, np.copysign(np.inf, exact).astype(target), found)
    return np.where(np.isnan(exact), np.array(np.nan).astype(target), found)


def special(dtype: np.dtype[Any]) -> np.ndarray:
    """Zeros, infinities, NaN, the ends of the subnormal and of the normal range, ties."""
    limits = ml_dtypes.finfo(dtype)
    tiny, least, top = (float(limits.tiny), float(limits.smallest_subnormal), float(limits.max))
    ones = [0.0, least, 3 * least, tiny - least, tiny, 1.0, 1.0 + float(limits.eps), 1.5, 3.0, top, np.inf]
    return np.array([*ones, *(-each for each in ones), np.nan]).astype(dtype)


def drawn(dtype: np.dtype[Any], count: int, seed: int) -> np.ndarray:
    """Random bits, so all binades, with the special values in front."""
    generator = np.random.default_rng(seed)
    stored = generator.integers(0, 256, count * dtype.itemsize, dtype=np.uint8).view(dtype)
    return np.concatenate([special(dtype), stored])


def pairs(dtype: np.dtype[Any], count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Every special value with every other, then random ones: far apart, close together, and of the same size."""
    left, right = drawn(dtype, count, seed), drawn(dtype, count, seed + 1)
    edge = special(dtype)
    a, b = (each.ravel() for each in np.meshgrid(edge, edge))
    with np.errstate(all="ignore"):
        near, negated = np.nextafter(left[:count], np.array(np.inf).astype(dtype)), -left
    return np.concatenate([a, left, left[:count], left]), np.concatenate([b, right, near, negated])
