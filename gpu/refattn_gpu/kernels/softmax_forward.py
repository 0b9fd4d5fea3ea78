"""Softmax, log-softmax and log-sum-exp of rows of any length: their statistics in one pass, online over tiles.

Milakov and Gimelshein (2018).
"""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.exponential import LN_2, LOG2_E
from refattn_gpu.kernels.online import guarded
from refattn_gpu.kernels.parameters import Lines


@triton.jit
def row_tile(X, groups, count, BLOCK_R: tl.constexpr):
    """This program's rows, of one group: pointers to their first elements, (BLOCK_R, 1), and which rows there are."""
    tiles = tl.cdiv(count, BLOCK_R)
    group = tl.program_id(0) // tiles
    rows = tl.program_id(0) % tiles * BLOCK_R + tl.arange(0, BLOCK_R)
    start = X.base + (group // groups).to(tl.int64) * X.outer + (group % groups).to(tl.int64) * X.group
    return start + rows.to(tl.int64)[:, None] * X.row, rows < count


@triton.jit
def elements(start, inside, tile, columns, column_stride, other, BLOCK_N: tl.constexpr):
    """(BLOCK_R, BLOCK_N): the elements from column `tile` on in fp32, `other` beyond a row's end."""
    place = tile + tl.arange(0, BLOCK_N)
    found = tl.load(
        start + place.to(tl.int64)[None, :] * column_stride,
        mask=inside[:, None] & (place < columns)[None, :],
        other=other,
    )
    return found.to(tl.float32)


@triton.jit
def store_elements(x, start, inside, tile, columns, column_stride, BLOCK_N: tl.constexpr):
    """Store x (BLOCK_R, BLOCK_N), rounded, as the elements from column `tile` on, up to a row's end."""
    place = tile + tl.arange(0, BLOCK_N)
    tl.store(
        start + place.to(tl.int64)[None, :] * column_stride,
        x.to(start.dtype.element_ty),
        mask=inside[:, None] & (place < columns)[None, :],
    )


@triton.jit
def softmax_forward(
    X: Lines, OUT: Lines, groups, count, columns, KIND: tl.constexpr, IN_ONE_TILE: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """KIND of x, which lies in sets of `groups` groups of `count` rows of `columns` elements.

    A row of one tile is read once, a longer one once for its maximum and normaliser and once for the weights.
    """
    start, inside = row_tile(X, groups, count, BLOCK_R)
    out_place, _ = row_tile(OUT, groups, count, BLOCK_R)
    m = tl.full([BLOCK_R], float("-inf"), tl.float32)
    normaliser = tl.zeros([BLOCK_R], tl.float32)
    reference = normaliser
    # Replaced by the first tile, and used where that is the only one.
    x = tl.full([BLOCK_R, BLOCK_N], float("-inf"), tl.float32)
    for tile in range(0, columns, BLOCK_N):
        x = elements(start, inside, tile, columns, X.column, float("-inf"), BLOCK_N)
        maximum = tl.maximum(m, tl.max(x, 1))
        reference = guarded(maximum)
        if KIND == "logsumexp":
            # Powers of +inf itself: the sum is +inf, or NaN where the row holds one. In a weight inf - inf is NaN.
            reference = tl.where(maximum == float("inf"), 0.0, reference)
        rescale = tl.exp2((m - reference) * LOG2_E)
        normaliser = normaliser * rescale + tl.sum(tl.exp2((x - reference[:, None]) * LOG2_E), 1)
        m = maximum

    if KIND == "logsumexp":
        logarithm = tl.where(normaliser == 0.0, float("-inf"), tl.log2(normaliser) * LN_2)
        out = (reference + logarithm)[:, None]
        tl.store(out_place, out.to(OUT.base.dtype.element_ty), mask=inside[:, None])
    else:
        factor = tl.div_rn(1.0, normaliser)[:, None]
        logarithm = (tl.log2(normaliser) * LN_2)[:, None]
        for tile in range(0, columns, BLOCK_N):
            if not IN_ONE_TILE:
                x = elements(start, inside, tile, columns, X.column, float("-inf"), BLOCK_N)
            distance = x - reference[:, None]
            out = distance - logarithm if KIND == "log_softmax" else tl.exp2(distance * LOG2_E) * factor
            store_elements(out, out_place, inside, tile, columns, OUT.column, BLOCK_N)
