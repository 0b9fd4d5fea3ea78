"""The gradient of softmax and log-softmax from their result and its gradient, of rows of any length."""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.exponential import LOG2_E
from refattn_gpu.kernels.parameters import Lines
from refattn_gpu.kernels.softmax_forward import load_elements, row_tile, store_elements


@triton.jit
def softmax_backward(
    Y: Lines, DY: Lines, DX: Lines, groups, count, columns, KIND: tl.constexpr, IN_ONE_TILE: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """dx = y (dy - sum y dy) of softmax, dx = dy - e^y sum dy of log-softmax; layouts as in softmax_forward."""
    y_start, row_mask = row_tile(Y, groups, count, BLOCK_R)
    dy_start, _ = row_tile(DY, groups, count, BLOCK_R)
    dx_place, _ = row_tile(DX, groups, count, BLOCK_R)
    total = tl.zeros([BLOCK_R], tl.float32)
    # The first tile replaces y and dy, which are read again where there is no other tile.
    y = tl.zeros([BLOCK_R, BLOCK_N], tl.float32)
    dy = y
    for tile in range(0, columns, BLOCK_N):
        y = load_elements(y_start, row_mask, tile, columns, Y.column, 0.0, BLOCK_N)
        dy = load_elements(dy_start, row_mask, tile, columns, DY.column, 0.0, BLOCK_N)
        total += tl.sum(dy if KIND == "log_softmax" else y * dy, 1)
    for tile in range(0, columns, BLOCK_N):
        if not IN_ONE_TILE:
            y = load_elements(y_start, row_mask, tile, columns, Y.column, 0.0, BLOCK_N)
            dy = load_elements(dy_start, row_mask, tile, columns, DY.column, 0.0, BLOCK_N)
        dx = dy - tl.exp2(y * LOG2_E) * total[:, None] if KIND == "log_softmax" else y * (dy - total[:, None])
        store_elements(dx, dx_place, row_mask, tile, columns, DX.column, BLOCK_N)
