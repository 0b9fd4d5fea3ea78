"""Numbers to try the interpreter's arithmetic on, and roundings found by looking them up in a list of all numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from refattn_interpreter.compare.numbers import BF16, E4M3, E5M2, FP16, FP32, bits, drawn, padded, pairs, special, wide

__all__ = [
    "BF16",
    "E4M3",
    "E5M2",
    "FP16",
    "FP32",
    "FP64",
    "NARROW",
    "TABLES",
    "bits",
    "drawn",
    "every",
    "padded",
    "pairs",
    "rounded",
    "same",
    "special",
    "wide",
]

FP64 = np.dtype(np.float64)
NARROW = (E4M3, E5M2, BF16, FP16)


def every(dtype: np.dtype[Any]) -> np.ndarray:
    """All numbers of an 8- or 16-bit format, infinities and NaNs included."""
    unsigned = np.dtype(f"u{dtype.itemsize}")
    return np.arange(2 ** (8 * dtype.itemsize), dtype=np.uint32).astype(unsigned).view(dtype)


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
