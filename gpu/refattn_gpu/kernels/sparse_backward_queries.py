"""dQ of sparse attention: one program for each tile of ordered queries, over the keys that they span.

Dao et al., FlashAttention (2022), appendix B.4; Pagliardini et al. (2023).
"""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.parameters import Intervals, Matrix, Schedule, Sizes, Tile, Vector
from refattn_gpu.kernels.score_gradients import reference_of, score_gradients
from refattn_gpu.kernels.sparse_intervals import load_intervals, seen_scores, spanned, within
from refattn_gpu.kernels.special_values import finite, has_special
from refattn_gpu.kernels.tiles import load_row, load_rows, store_rows, tile_and_head


@triton.jit
def query_gradient(
    q, do, reference, delta, k_base, v_base, columns_base, K, V, starts, ends, start, end, scale, TILE,
    GUARDED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dS K of a tile of queries over the keys of slots start .. end - 1, whose head the bases point to.

    GUARDED keeps NaN and infinities of keys from rows that do not see them.
    """
    acc = tl.zeros([TILE.M, TILE.BLOCK_D], tl.float32)
    for tile in range(start, end, TILE.N):
        key_slots = tile + tl.arange(0, TILE.N)
        held = key_slots < end
        columns = tl.load(columns_base + key_slots, mask=held, other=0)
        k = load_rows(k_base, columns, held, K.row, K.column, False, TILE.D_QK, TILE.BLOCK_D)
        v = load_rows(v_base, columns, held, V.row, V.column, False, TILE.D_V, TILE.BLOCK_DV)
        seen = within(key_slots, starts, ends)
        scores = seen_scores(tl.dot(q, tl.trans(k), input_precision=PRECISION), seen, scale)
        dp = tl.dot(do, tl.trans(v), input_precision=PRECISION)
        _, _, ds = score_gradients(scores, seen, scores, reference[:, None], dp, delta[:, None], False, False, 0)
        if GUARDED:
            # A row that sees a key that holds NaN has made ds NaN wherever it sees.
            k = finite(k)
        acc = tl.dot(ds.to(k.dtype), k, acc, input_precision=PRECISION)
    return acc


@triton.jit
def sparse_backward_queries(
    Q: Matrix, K: Matrix, V: Matrix, DO: Matrix, lse_base, delta_base, dq_base, rows_order: Intervals,
    columns_order: Vector, sizes: Sizes, schedule: Schedule, scale, TILE: Tile,
    GUARDS_VALUES: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dQ = scale dS K; lse, delta and dq are contiguous, the other arguments are the forward pass's."""
    queries, keys = sizes.queries, sizes.keys
    tile_of_queries, program = tile_and_head(tl.cdiv(queries, TILE.M), schedule)
    batch, head = program // sizes.heads, program % sizes.heads
    kv_head = head // sizes.group
    slots = tile_of_queries * TILE.M + tl.arange(0, TILE.M)
    inside = slots < queries

    rows, starts, ends = load_intervals(rows_order, batch, head, slots, inside)
    columns_base = columns_order.base + batch * columns_order.batch + head * columns_order.head
    k_base = K.base + batch * K.batch + kv_head * K.head
    v_base = V.base + batch * V.batch + kv_head * V.head
    q = load_rows(Q.base + batch * Q.batch + head * Q.head, rows, inside, Q.row, Q.column, False, TILE.D_QK, TILE.BLOCK_D)
    do = load_rows(DO.base + batch * DO.batch + head * DO.head, rows, inside, DO.row, DO.column, False, TILE.D_V, TILE.BLOCK_DV)
    row_place = program * queries + rows
    reference = reference_of(load_row(lse_base + row_place, inside, False))
    delta = load_row(delta_base + row_place, inside, False)

    start, end = spanned(starts, ends, keys)
    acc = query_gradient(
        q, do, reference, delta, k_base, v_base, columns_base, K, V, starts, ends, start, end, scale,
        TILE, False, PRECISION,
    )  # fmt: skip
    if GUARDS_VALUES:
        # NaN or infinities of a key, if only times 0: once more, with care.
        again = has_special(acc)
        if again:
            acc = query_gradient(
                q, do, reference, delta, k_base, v_base, columns_base, K, V, starts, ends, start, end, scale,
                TILE, True, PRECISION,
            )  # fmt: skip

    store_rows(acc * scale, dq_base, row_place, inside, TILE.D_QK, 1, TILE.D_QK, TILE.BLOCK_D)
