"""Rows of a matrix in any order, as a device function. May import: triton."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def gathered(base, places, there, row_stride, column_stride, columns, width):
    """(len(places), len(columns)) of a matrix of `width` columns: rows `places`, 0 where not `there`."""
    place = base + places.to(tl.int64)[:, None] * row_stride + columns.to(tl.int64)[None, :] * column_stride
    return tl.load(place, mask=there[:, None] & (columns < width)[None, :], other=0.0)
