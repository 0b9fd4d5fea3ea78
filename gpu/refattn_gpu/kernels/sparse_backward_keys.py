"""dK and dV of sparse attention. One program takes a tile of ordered keys of a query head and loops over their queries.

Dao et al., FlashAttention (2022), appendix B.4; Pagliardini et al. (2023), whose kernel sums dQ over its tiles of
keys and so takes them one after another. Here no two programs write the same keys.
"""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.parameters import Intervals, Matrix, Schedule, Sizes, Tile, Vector
from refattn_gpu.kernels.score_gradients import lse_base2, score_gradients
from refattn_gpu.kernels.sparse_intervals import in_intervals, interval_scores, interval_span, load_intervals
from refattn_gpu.kernels.special_values import has_nonfinite, indicator, visible_nonfinite, zero_nonfinite
from refattn_gpu.kernels.tiles import load_rows, load_vector, store_rows, tile_and_head


@triton.jit
def key_gradients(
    k, v, q_base, do_base, lse_base, delta_base, rows_base, Q, DO, starts, ends, start, end, scale, TILE,
    NAN_SAFE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """(dS^T Q, P^T dO) of a tile of keys over the queries in slots start .. end - 1; bases point to a head.

    NAN_SAFE keeps NaN and infinities of Q and dO from keys that their rows do not see.
    """
    key_sum = tl.zeros([TILE.N, TILE.BLOCK_D], tl.float32)
    value_sum = tl.zeros([TILE.N, TILE.BLOCK_DV], tl.float32)
    nonfinite = tl.zeros([TILE.N, TILE.BLOCK_DV], tl.float32)
    for tile in range(start, end, TILE.M):
        slots = tile + tl.arange(0, TILE.M)
        row_mask = slots < end
        rows = tl.load(rows_base + slots, mask=row_mask, other=0)
        q = load_rows(q_base, rows, row_mask, Q.row, Q.column, False, TILE.D_QK, TILE.BLOCK_D)
        do = load_rows(do_base, rows, row_mask, DO.row, DO.column, False, TILE.D_V, TILE.BLOCK_DV)
        reference = lse_base2(load_vector(lse_base + rows, row_mask, False))
        delta = load_vector(delta_base + rows, row_mask, False)
        visible = tl.trans(in_intervals(slots, starts, ends))
        scores = interval_scores(tl.dot(q, tl.trans(k), input_precision=PRECISION), visible, scale)
        dp = tl.dot(do, tl.trans(v), input_precision=PRECISION)
        p, _, ds = score_gradients(
            scores, visible, scores, reference[:, None], dp, delta[:, None], False, False, 0
        )  # fmt: skip
        if NAN_SAFE:
            # Where a row of Q holds NaN, ds is NaN already for each key that it sees.
            q = zero_nonfinite(q)
            nonfinite += visible_nonfinite(tl.trans(indicator(visible)), do)
            do = zero_nonfinite(do)
        value_sum = tl.dot(tl.trans(p.to(do.dtype)), do, value_sum, input_precision=PRECISION)
        key_sum = tl.dot(tl.trans(ds.to(q.dtype)), q, key_sum, input_precision=PRECISION)
    if NAN_SAFE:
        value_sum = tl.where(nonfinite == 0.0, value_sum, value_sum + nonfinite)
    return key_sum, value_sum


@triton.jit
def sparse_backward_keys(
    Q: Matrix, K: Matrix, V: Matrix, DO: Matrix, lse_base, delta_base, dk_base, dv_base, rows_order: Vector,
    columns_order: Intervals, sizes: Sizes, schedule: Schedule, scale, TILE: Tile,
    NAN_SAFE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dK = scale dS^T Q and dV = P^T dO of every query head, (B, H, Nk, D) and (B, H, Nk, Dv), contiguous.

    columns_order says which queries see a key; lse and delta are contiguous, the other arguments are the forward
    pass's.
    """
    queries, keys = sizes.queries, sizes.keys
    tile_of_keys, program = tile_and_head(tl.cdiv(keys, TILE.N), schedule)
    batch, head = program // sizes.heads, program % sizes.heads
    kv_head = head // sizes.group
    key_slots = tile_of_keys * TILE.N + tl.arange(0, TILE.N)
    key_mask = key_slots < keys

    columns, starts, ends = load_intervals(columns_order, batch, head, key_slots, key_mask)
    rows_base = rows_order.base + batch * rows_order.batch + head * rows_order.head
    q_base = Q.base + batch * Q.batch + head * Q.head
    do_base = DO.base + batch * DO.batch + head * DO.head
    k_base = K.base + batch * K.batch + kv_head * K.head
    k = load_rows(k_base, columns, key_mask, K.row, K.column, False, TILE.D_QK, TILE.BLOCK_D)
    v_base = V.base + batch * V.batch + kv_head * V.head
    v = load_rows(v_base, columns, key_mask, V.row, V.column, False, TILE.D_V, TILE.BLOCK_DV)

    lse_base += program * queries
    delta_base += program * queries
    start, end = interval_span(starts, ends, queries)
    key_sum, value_sum = key_gradients(
        k, v, q_base, do_base, lse_base, delta_base, rows_base, Q, DO, starts, ends, start, end, scale, TILE,
        False, PRECISION,
    )  # fmt: skip
    if NAN_SAFE:
        # Some Q or dO is NaN or infinite, perhaps times 0: compute the tile again with NAN_SAFE.
        spread = has_nonfinite(key_sum) | has_nonfinite(value_sum)
        if spread:
            key_sum, value_sum = key_gradients(
                k, v, q_base, do_base, lse_base, delta_base, rows_base, Q, DO, starts, ends, start, end, scale, TILE,
                True, PRECISION,
            )  # fmt: skip

    row_place = program * keys + columns
    store_rows(key_sum * scale, dk_base, row_place, key_mask, TILE.D_QK, 1, TILE.D_QK, TILE.BLOCK_D)
    store_rows(value_sum, dv_base, row_place, key_mask, TILE.D_V, 1, TILE.D_V, TILE.BLOCK_DV)
