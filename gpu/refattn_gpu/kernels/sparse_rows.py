"""Rows of a matrix in any order, as a device function. May import: triton, refattn_gpu.kernels."""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.tiles import load_tile


@triton.jit
def gathered(base, places, there, row_stride, column_stride, columns, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """(len(places), BLOCK) of a matrix of WIDTH columns: rows `places`, 0 where not `there`."""
    place = base + places.to(tl.int64)[:, None] * row_stride + columns.to(tl.int64)[None, :] * column_stride
    return load_tile(place, there[:, None], (columns < WIDTH)[None, :], False, WIDTH == BLOCK)
