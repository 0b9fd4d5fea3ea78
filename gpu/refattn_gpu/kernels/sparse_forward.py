"""The forward pass of sparse attention. One program takes a tile of ordered queries and loops over their keys.

Pagliardini et al., Faster Causal Attention Over Large Sequences Through Sparse Flash Attention (2023).
"""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.online import log_sum_exp, new_max, reciprocal, tile_weights
from refattn_gpu.kernels.parameters import Intervals, Matrix, Schedule, Sizes, Tile, Vector
from refattn_gpu.kernels.sparse_intervals import in_intervals, interval_scores, interval_span, load_intervals
from refattn_gpu.kernels.special_values import has_nonfinite, indicator, visible_nonfinite, zero_nonfinite
from refattn_gpu.kernels.tiles import load_rows, store_rows, tile_and_head


@triton.jit
def attend(
    q, k_base, v_base, columns_base, K, V, starts, ends, start, end, scale, TILE,
    NAN_SAFE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """(m, normaliser, acc) of a tile of queries over the keys in slots start .. end - 1; bases point to a head.

    NAN_SAFE keeps NaN and infinities of values from rows that do not see them.
    """
    m = tl.full([TILE.M], float("-inf"), tl.float32)
    normaliser = tl.zeros([TILE.M], tl.float32)
    acc = tl.zeros([TILE.M, TILE.BLOCK_DV], tl.float32)
    nonfinite = tl.zeros([TILE.M, TILE.BLOCK_DV], tl.float32)
    for tile in range(start, end, TILE.N):
        key_slots = tile + tl.arange(0, TILE.N)
        key_mask = key_slots < end
        columns = tl.load(columns_base + key_slots, mask=key_mask, other=0)
        k = load_rows(k_base, columns, key_mask, K.row, K.column, False, TILE.D_QK, TILE.BLOCK_D)
        visible = in_intervals(key_slots, starts, ends)
        scores = interval_scores(tl.dot(q, tl.trans(k), input_precision=PRECISION), visible, scale)
        m_new = new_max(m, tl.max(scores, 1), 0.0)
        p, rescale, normaliser = tile_weights(scores, m, m_new, normaliser, 0)
        v = load_rows(v_base, columns, key_mask, V.row, V.column, False, TILE.D_V, TILE.BLOCK_DV)
        acc = acc * rescale[:, None]
        if NAN_SAFE:
            nonfinite += visible_nonfinite(indicator(visible), v)
            v = zero_nonfinite(v)
        acc = tl.dot(p.to(v.dtype), v, acc, input_precision=PRECISION)
        m = m_new
    if NAN_SAFE:
        acc = tl.where(nonfinite == 0.0, acc, acc + nonfinite)
    return m, normaliser, acc


@triton.jit
def sparse_forward(
    Q: Matrix, K: Matrix, V: Matrix, out_base, lse_base, rows_order: Intervals, columns_order: Vector,
    sizes: Sizes, schedule: Schedule, scale, TILE: Tile, NAN_SAFE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """out = softmax(scale Q K^T) V and its natural log-sum-exp, both contiguous.

    rows_order (B, H, Nq) and columns_order (B, H, Nk) are the queries and keys in the order in which they are visited.
    """
    queries, keys = sizes.queries, sizes.keys
    tile_of_queries, program = tile_and_head(tl.cdiv(queries, TILE.M), schedule)
    batch, head = program // sizes.heads, program % sizes.heads
    kv_head = head // sizes.group
    slots = tile_of_queries * TILE.M + tl.arange(0, TILE.M)
    row_mask = slots < queries

    rows, starts, ends = load_intervals(rows_order, batch, head, slots, row_mask)
    columns_base = columns_order.base + batch * columns_order.batch + head * columns_order.head
    k_base = K.base + batch * K.batch + kv_head * K.head
    v_base = V.base + batch * V.batch + kv_head * V.head
    q_base = Q.base + batch * Q.batch + head * Q.head
    q = load_rows(q_base, rows, row_mask, Q.row, Q.column, False, TILE.D_QK, TILE.BLOCK_D)

    start, end = interval_span(starts, ends, keys)
    m, normaliser, acc = attend(
        q, k_base, v_base, columns_base, K, V, starts, ends, start, end, scale, TILE, False, PRECISION
    )  # fmt: skip
    if NAN_SAFE:
        # Some value is NaN or infinite, perhaps times 0: compute the tile again with NAN_SAFE.
        spread = has_nonfinite(acc)
        if spread:
            m, normaliser, acc = attend(
                q, k_base, v_base, columns_base, K, V, starts, ends, start, end, scale, TILE, True, PRECISION
            )  # fmt: skip

    out = acc * reciprocal(normaliser)[:, None]
    row_place = program * queries + rows
    store_rows(out, out_base, row_place, row_mask, TILE.D_V, 1, TILE.D_V, TILE.BLOCK_DV)
    tl.store(lse_base + row_place, log_sum_exp(m, normaliser), mask=row_mask)
