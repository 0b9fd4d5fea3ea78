"""dQ of sparse attention. One program takes a tile of ordered queries and loops over their keys.

Dao et al., FlashAttention (2022), appendix B.4; Pagliardini et al. (2023).
"""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.parameters import Intervals, Matrix, Schedule, Sizes, Tile, Vector
from refattn_gpu.kernels.score_gradients import lse_base2, score_gradients
from refattn_gpu.kernels.sparse_intervals import in_intervals, interval_scores, interval_span, load_intervals
from refattn_gpu.kernels.special_values import has_nonfinite, zero_nonfinite
from refattn_gpu.kernels.tiles import load_rows, load_vector, store_rows, tile_and_head


@triton.jit
def query_gradient(
    q, do, reference, delta, k_base, v_base, columns_base, K, V, starts, ends, start, end, scale, TILE,
    NAN_SAFE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dS K of a tile of queries over the keys in slots start .. end - 1; bases point to a head.

    NAN_SAFE keeps NaN and infinities of keys from rows that do not see them.
    """
    acc = tl.zeros([TILE.M, TILE.BLOCK_D], tl.float32)
    for tile in range(start, end, TILE.N):
        key_slots = tile + tl.arange(0, TILE.N)
        key_mask = key_slots < end
        columns = tl.load(columns_base + key_slots, mask=key_mask, other=0)
        k = load_rows(k_base, columns, key_mask, K.row, K.column, False, TILE.D_QK, TILE.BLOCK_D)
        v = load_rows(v_base, columns, key_mask, V.row, V.column, False, TILE.D_V, TILE.BLOCK_DV)
        visible = in_intervals(key_slots, starts, ends)
        scores = interval_scores(tl.dot(q, tl.trans(k), input_precision=PRECISION), visible, scale)
        dp = tl.dot(do, tl.trans(v), input_precision=PRECISION)
        _, _, ds = score_gradients(scores, visible, scores, reference[:, None], dp, delta[:, None], False, False, 0)
        if NAN_SAFE:
            # Where a row sees a key that holds NaN, its ds is NaN already.
            k = zero_nonfinite(k)
        acc = tl.dot(ds.to(k.dtype), k, acc, input_precision=PRECISION)
    return acc


@triton.jit
def sparse_backward_queries(
    Q: Matrix, K: Matrix, V: Matrix, DO: Matrix, lse_base, delta_base, dq_base, rows_order: Intervals,
    columns_order: Vector, sizes: Sizes, schedule: Schedule, scale, TILE: Tile,
    NAN_SAFE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dQ = scale dS K; lse, delta and dq are contiguous, the other arguments are the forward pass's."""
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
    do_base = DO.base + batch * DO.batch + head * DO.head
    do = load_rows(do_base, rows, row_mask, DO.row, DO.column, False, TILE.D_V, TILE.BLOCK_DV)
    row_place = program * queries + rows
    reference = lse_base2(load_vector(lse_base + row_place, row_mask, False))
    delta = load_vector(delta_base + row_place, row_mask, False)

    start, end = interval_span(starts, ends, keys)
    acc = query_gradient(
        q, do, reference, delta, k_base, v_base, columns_base, K, V, starts, ends, start, end, scale,
        TILE, False, PRECISION,
    )  # fmt: skip
    if NAN_SAFE:
        # Some key is NaN or infinite, perhaps times 0: compute the tile again with NAN_SAFE.
        spread = has_nonfinite(acc)
        if spread:
            acc = query_gradient(
                q, do, reference, delta, k_base, v_base, columns_base, K, V, starts, ends, start, end, scale,
                TILE, True, PRECISION,
            )  # fmt: skip

    store_rows(acc * scale, dq_base, row_place, row_mask, TILE.D_QK, 1, TILE.D_QK, TILE.BLOCK_D)
