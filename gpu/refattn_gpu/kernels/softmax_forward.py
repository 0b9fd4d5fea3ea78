"""Softmax, log-softmax and log-sum-exp of rows of any length; one pass over tiles gives maximum and normaliser.

Milakov and Gimelshein (2018).
"""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.exponential import LN_2, LOG2_E
from refattn_gpu.kernels.online import safe_max
from refattn_gpu.kernels.parameters import Lines


@triton.jit
def row_tile(X, groups, count, BLOCK_R: tl.constexpr):
    """(pointers, mask) of this program's rows, all of one group: pointers (BLOCK_R, 1) to their first elements."""
    tiles = tl.cdiv(count, BLOCK_R)
    group = tl.program_id(0) // tiles
    rows = tl.program_id(0) % tiles * BLOCK_R + tl.arange(0, BLOCK_R)
    start = X.base + (group // groups).to(tl.int64) * X.outer + (group % groups).to(tl.int64) * X.group
    return start + rows.to(tl.int64)[:, None] * X.row, rows < count


@triton.jit
def load_elements(start, row_mask, tile, columns, column_stride, other, BLOCK_N: tl.constexpr):
    """(BLOCK_R, BLOCK_N): the elements from column `tile` on in fp32, `other` beyond a row's end."""
    place = tile + tl.arange(0, BLOCK_N)
    loaded = tl.load(
        start + place.to(tl.int64)[None, :] * column_stride,
        mask=row_mask[:, None] & (place < columns)[None, :],
        other=other,
    )
    return loaded.to(tl.float32)


@triton.jit
def store_elements(x, start, row_mask, tile, columns, column_stride, BLOCK_N: tl.constexpr):
    """Store x (BLOCK_R, BLOCK_N), rounded, as the elements from column `tile` on, up to a row's end."""
    place = tile + tl.arange(0, BLOCK_N)
    tl.store(
        start + place.to(tl.int64)[None, :] * column_stride,
        x.to(start.dtype.element_ty),
        mask=row_mask[:, None] & (place < columns)[None, :],
    )


@triton.jit
def softmax_forward(
    X: Lines, OUT: Lines, groups, count, columns, KIND: tl.constexpr, IN_ONE_TILE: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """KIND of the rows of X: sets of `groups` groups of `count` rows of `columns` elements.

    A row of one tile is read once, a longer one once for its maximum and normaliser and once for the weights.
    """
    start, row_mask = row_tile(X, groups, count, BLOCK_R)
    out_place, _ = row_tile(OUT, groups, count, BLOCK_R)
    m = tl.full([BLOCK_R], float("-inf"), tl.float32)
    normaliser = tl.zeros([BLOCK_R], tl.float32)
    reference = normaliser
    # The first tile replaces x, which is read again where there is no other tile.
    x = tl.full([BLOCK_R, BLOCK_N], float("-inf"), tl.float32)
    for tile in range(0, columns, BLOCK_N):
        x = load_elements(start, row_mask, tile, columns, X.column, float("-inf"), BLOCK_N)
        m_new = tl.maximum(m, tl.max(x, 1))
        reference = safe_max(m_new)
        if KIND == "logsumexp":
            # With reference 0 the sum of a row that holds +inf is +inf, or NaN if the row holds NaN; inf - inf is NaN.
            reference = tl.where(m_new == float("inf"), 0.0, reference)
        rescale = tl.exp2((m - reference) * LOG2_E)
        normaliser = normaliser * rescale + tl.sum(tl.exp2((x - reference[:, None]) * LOG2_E), 1)
        m = m_new

    if KIND == "logsumexp":
        log_weight = tl.where(normaliser == 0.0, float("-inf"), tl.log2(normaliser) * LN_2)
        out = (reference + log_weight)[:, None]
        tl.store(out_place, out.to(OUT.base.dtype.element_ty), mask=row_mask[:, None])
    else:
        factor = tl.div_rn(1.0, normaliser)[:, None]
        log_weight = (tl.log2(normaliser) * LN_2)[:, None]
        for tile in range(0, columns, BLOCK_N):
            if not IN_ONE_TILE:
                x = load_elements(start, row_mask, tile, columns, X.column, float("-inf"), BLOCK_N)
            distance = x - reference[:, None]
            out = distance - log_weight if KIND == "log_softmax" else tl.exp2(distance * LOG2_E) * factor
            store_elements(out, out_place, row_mask, tile, columns, OUT.column, BLOCK_N)
