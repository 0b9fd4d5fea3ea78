"""Memory of a call's inputs: fresh, in a chosen layout, between guards of NaN that the kernel must not overwrite."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from refattn.errors import InvalidValue
from refattn.numbers.formats import Array, Format

Layout = Literal["contiguous", "strided", "offset", "broadcast0"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
_ALIGNMENT = 64
_ROW_GAP = 8


@dataclass(frozen=True, eq=False)
class Block:
    """An array of `shape` in a larger flat buffer of bit patterns, whose other elements are NaN.

    strides and offset count elements; `snapshot` is the buffer as it was given to the kernel.
    """

    flat: NDArray[Any]
    snapshot: NDArray[Any]
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    format: Format

    @classmethod
    def of(cls, values: Array, format: Format, layout: Layout = "contiguous") -> Block:
        """Lay out numbers of the format, with the strides of `layout`.

        contiguous  C order, on a 64-byte boundary (some libraries choose their code path by alignment)
        strided     the second and third axes from the end transposed in memory, and a gap after each row
        offset      C order, one element past the boundary
        broadcast0  stride 0 along those of the first two axes on which all numbers are equal
        """
        if layout not in LAYOUTS:
            raise InvalidValue(f"layout is {layout!r}: expected one of {', '.join(LAYOUTS)}")
        dtype, nan = _patterns(format)
        bits = values.astype(format.storage, order="C").view(dtype)
        shape: tuple[int, ...] = bits.shape
        strides = _strides(bits, layout)
        sides = list(zip(shape, strides, strict=True))
        span = 1 + sum((n - 1) * s for n, s in sides) if bits.size else 0
        guard = _ALIGNMENT // bits.itemsize
        offset = guard + (layout == "offset")
        flat = _aligned(offset + span + guard, dtype)
        flat.fill(nan)
        block = cls(flat, flat, shape, strides, offset, format)
        repeated = tuple(slice(0, 1) if s == 0 and n else slice(None) for n, s in sides)
        block.bits()[repeated] = bits[repeated]
        return cls(flat, flat.copy(), shape, strides, offset, format)

    def bits(self) -> NDArray[Any]:
        """The array itself, as a view of bit patterns."""
        size = self.flat.itemsize
        return np.ndarray(
            self.shape,
            self.flat.dtype,
            buffer=self.flat.data,
            offset=self.offset * size if math.prod(self.shape) else 0,
            strides=tuple(s * size for s in self.strides),
        )

    def numbers(self) -> NDArray[Any]:
        """The array itself, as a view in the format's NumPy or ml_dtypes dtype."""
        return self.bits().view(self.format.storage)

    def damage(self, flat: NDArray[Any]) -> str | None:
        """How `flat`, the buffer's present state, differs from the snapshot; None if it does not."""
        if np.array_equal(flat, self.snapshot):
            return None
        before, now = (
            Block(state, state, self.shape, self.strides, self.offset, self.format) for state in (self.snapshot, flat)
        )
        return "changed" if not np.array_equal(before.bits(), now.bits()) else "written outside its bounds"


@functools.cache
def _patterns(format: Format) -> tuple[np.dtype[Any], Any]:
    """The unsigned dtype of the format's bit patterns, and the pattern of NaN."""
    dtype = np.dtype(f"u{format.storage.itemsize}")
    return dtype, np.array(np.nan, format.storage).view(dtype)[()]


def _strides(bits: NDArray[Any], layout: Layout) -> tuple[int, ...]:
    order = list(range(bits.ndim))
    if layout == "strided" and bits.ndim >= 3:
        order[-3], order[-2] = order[-2], order[-3]
    repeated = _repeated(bits) if layout == "broadcast0" else ()
    strides = [0] * bits.ndim
    step = 1
    for axis in reversed(order):
        if axis in repeated:
            continue
        strides[axis] = step
        step *= bits.shape[axis]
        if layout == "strided" and axis == bits.ndim - 1:
            step += _ROW_GAP
    return tuple(strides)


def _repeated(bits: NDArray[Any]) -> tuple[int, ...]:
    """Those of the first two axes, but not the last, along which all numbers are equal."""
    axes = range(min(2, bits.ndim - 1)) if bits.size else ()
    return tuple(axis for axis in axes if np.array_equal(bits, np.broadcast_to(bits.take([0], axis), bits.shape)))


def _aligned(count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    size = count * dtype.itemsize
    raw = np.empty(size + _ALIGNMENT, np.uint8)
    start = -raw.__array_interface__["data"][0] % _ALIGNMENT
    return raw[start : start + size].view(dtype)
