"""dK and dV of sparse attention: one program for each tile of ordered keys of a query head, over the queries it spans.

Dao et al., FlashAttention (2022), appendix B.4; Pagliardini et al. (2023), whose kernel adds up dQ between its tiles
of keys and so takes them one after the other. Here a program alone writes its keys.
"""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.parameters import Intervals, Matrix, Schedule, Sizes, Tile, Vector
from refattn_gpu.kernels.score_gradients import reference_of, score_gradients
from refattn_gpu.kernels.sparse_intervals import load_intervals, seen_scores, spanned, within
from refattn_gpu.kernels.special_values import finite, has_special, indicator, special_values
from refattn_gpu.kernels.tiles import load_row, load_rows, store_rows, tile_and_head


@triton.jit
def key_gradients(
    k, v, q_base, do_base, lse_base, delta_base, rows_base, Q, DO, starts, ends, start, end, scale, TILE,
    GUARDED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """(dS^T Q, P^T dO) of a tile of keys over the queries of slots start .. end - 1, whose head the bases point to.

    GUARDED keeps NaN and infinities of Q and dO from keys that their rows do not see.
    """
    key_sum = tl.zeros([TILE.N, TILE.BLOCK_D], tl.float32)
    value_sum = tl.zeros([TILE.N, TILE.BLOCK_DV], tl.float32)
    specials = tl.zeros([TILE.N, TILE.BLOCK_DV], tl.float32)
    for tile in range(start, end, TILE.M):
        slots = tile + tl.arange(0, TILE.M)
        inside = slots < end
        rows = tl.load(rows_base + slots, mask=inside, other=0)
        q = load_rows(q_base, rows, inside, Q.row, Q.column, False, TILE.D_QK, TILE.BLOCK_D)
        do = load_rows(do_base, rows, inside, DO.row, DO.column, False, TILE.D_V, TILE.BLOCK_DV)
        reference = reference_of(load_row(lse_base + rows, inside, False))
        delta = load_row(delta_base + rows, inside, False)
        seen = tl.trans(within(slots, starts, ends))
        scores = seen_scores(tl.dot(q, tl.trans(k), input_precision=PRECISION), seen, scale)
        dp = tl.dot(do, tl.trans(v), input_precision=PRECISION)
        p, _, ds = score_gradients(
            scores, seen, scores, reference[:, None], dp, delta[:, None], False, False, 0
        )  # fmt: skip
        if GUARDED:
            # A row of Q that holds NaN has made ds NaN wherever it sees.
            q = finite(q)
            specials += special_values(tl.trans(indicator(seen)), do)
            do = finite(do)
        value_sum = tl.dot(tl.trans(p.to(do.dtype)), do, value_sum, input_precision=PRECISION)
        key_sum = tl.dot(tl.trans(ds.to(q.dtype)), q, key_sum, input_precision=PRECISION)
    if GUARDED:
        value_sum = tl.where(specials == 0.0, value_sum, value_sum + specials)
    return key_sum, value_sum


@triton.jit
def sparse_backward_keys(
    Q: Matrix, K: Matrix, V: Matrix, DO: Matrix, lse_base, delta_base, dk_base, dv_base, rows_order: Vector,
    columns_order: Intervals, sizes: Sizes, schedule: Schedule, scale, TILE: Tile,
    GUARDS_VALUES: tl.constexpr, PRECISION: tl.constexpr,
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
    held = key_slots < keys

    columns, starts, ends = load_intervals(columns_order, batch, head, key_slots, held)
    rows_base = rows_order.base + batch * rows_order.batch + head * rows_order.head
    q_base = Q.base + batch * Q.batch + head * Q.head
    do_base = DO.base + batch * DO.batch + head * DO.head
    k = load_rows(K.base + batch * K.batch + kv_head * K.head, columns, held, K.row, K.column, False, TILE.D_QK, TILE.BLOCK_D)
    v = load_rows(V.base + batch * V.batch + kv_head * V.head, columns, held, V.row, V.column, False, TILE.D_V, TILE.BLOCK_DV)

    lse_base += program * queries
    delta_base += program * queries
    start, end = spanned(starts, ends, queries)
    key_sum, value_sum = key_gradients(
        k, v, q_base, do_base, lse_base, delta_base, rows_base, Q, DO, starts, ends, start, end, scale, TILE,
        False, PRECISION,
    )  # fmt: skip
    if GUARDS_VALUES:
        # NaN or infinities of a query or of its dO, if only times 0: once more, with care.
        again = has_special(key_sum) | has_special(value_sum)
        if again:
            key_sum, value_sum = key_gradients(
                k, v, q_base, do_base, lse_base, delta_base, rows_base, Q, DO, starts, ends, start, end, scale, TILE,
                True, PRECISION,
            )  # fmt: skip

    row_place = program * keys + columns
    store_rows(key_sum * scale, dk_base, row_place, held, TILE.D_QK, 1, TILE.D_QK, TILE.BLOCK_D)
    store_rows(value_sum, dv_base, row_place, held, TILE.D_V, 1, TILE.D_V, TILE.BLOCK_DV)
