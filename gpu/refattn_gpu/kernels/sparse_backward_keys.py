"""dK and dV of sparse attention: one program for each tile of ordered keys of a query head, over the queries it spans.

Dao et al., FlashAttention (2022), appendix B.4; Pagliardini et al. (2023), whose kernel adds up dQ between its tiles
of keys and so takes them one after the other. Here a program alone writes its keys.
"""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.score_gradients import reference_of, score_gradients
from refattn_gpu.kernels.sparse_intervals import intervals, seen_scores, spanned, within
from refattn_gpu.kernels.special_values import finite, has_special, indicator, special_values
from refattn_gpu.kernels.tiles import load_row, load_rows, store_rows, tile_and_head


@triton.jit
def key_gradients(
    k, v, q_base, do_base, lse_base, delta_base, rows_base, q_row, q_column, do_row, do_column, lows, highs,
    start, end, scale, GUARDED: tl.constexpr, PRECISION: tl.constexpr, D_QK: tl.constexpr, D_V: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_DV: tl.constexpr,
):  # fmt: skip
    """(dS^T Q, P^T dO) of a tile of keys over the queries of slots start .. end - 1, whose head the bases point to.

    GUARDED keeps NaN and infinities of Q and dO from keys that their rows do not see.
    """
    key_sum = tl.zeros([BLOCK_N, BLOCK_D], tl.float32)
    value_sum = tl.zeros([BLOCK_N, BLOCK_DV], tl.float32)
    specials = tl.zeros([BLOCK_N, BLOCK_DV], tl.float32)
    for tile in range(start, end, BLOCK_M):
        slots = tile + tl.arange(0, BLOCK_M)
        inside = slots < end
        rows = tl.load(rows_base + slots, mask=inside, other=0)
        q = load_rows(q_base, rows, inside, q_row, q_column, False, D_QK, BLOCK_D)
        do = load_rows(do_base, rows, inside, do_row, do_column, False, D_V, BLOCK_DV)
        reference = reference_of(load_row(lse_base + rows, inside, False))
        delta = load_row(delta_base + rows, inside, False)
        seen = tl.trans(within(slots, lows, highs))
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
    q_base, k_base, v_base, do_base, lse_base, delta_base, dk_base, dv_base,
    rows_base, columns_base, lows_base, highs_base,
    q_batch, q_head, q_row, q_column,
    k_batch, k_head, k_row, k_column,
    v_batch, v_head, v_row, v_column,
    do_batch, do_head, do_row, do_column,
    rows_batch, rows_head, columns_batch, columns_head,
    heads_of_all, heads, group, queries, keys, together, scale,
    GUARDS_VALUES: tl.constexpr, PRECISION: tl.constexpr, D_QK: tl.constexpr, D_V: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_DV: tl.constexpr,
):  # fmt: skip
    """dK = scale dS^T Q and dV = P^T dO of every query head, (B, H, Nk, D) and (B, H, Nk, Dv), contiguous.

    The key of a slot is seen by the queries of slots lows <= slot < highs (B, H, Nk), which have the strides of
    columns; lse and delta are contiguous, the other arguments are the forward pass's.
    """
    tile_of_keys, program = tile_and_head(tl.cdiv(keys, BLOCK_N), heads_of_all, together)
    batch, head = program // heads, program % heads
    kv_head = head // group
    key_slots = tile_of_keys * BLOCK_N + tl.arange(0, BLOCK_N)
    held = key_slots < keys

    place = batch * columns_batch + head * columns_head + key_slots
    columns, lows, highs = intervals(columns_base, lows_base, highs_base, place, held)
    rows_base += batch * rows_batch + head * rows_head
    q_base += batch * q_batch + head * q_head
    do_base += batch * do_batch + head * do_head
    k = load_rows(k_base + batch * k_batch + kv_head * k_head, columns, held, k_row, k_column, False, D_QK, BLOCK_D)
    v = load_rows(v_base + batch * v_batch + kv_head * v_head, columns, held, v_row, v_column, False, D_V, BLOCK_DV)

    lse_base += program * queries
    delta_base += program * queries
    start, end = spanned(lows, highs, queries)
    key_sum, value_sum = key_gradients(
        k, v, q_base, do_base, lse_base, delta_base, rows_base, q_row, q_column, do_row, do_column, lows, highs,
        start, end, scale, False, PRECISION, D_QK, D_V, BLOCK_M, BLOCK_N, BLOCK_D, BLOCK_DV,
    )  # fmt: skip
    if GUARDS_VALUES:
        # NaN or infinities of a query or of its dO, if only times 0: once more, with care.
        again = has_special(key_sum) | has_special(value_sum)
        if again:
            key_sum, value_sum = key_gradients(
                k, v, q_base, do_base, lse_base, delta_base, rows_base, q_row, q_column, do_row, do_column, lows, highs,
                start, end, scale, True, PRECISION, D_QK, D_V, BLOCK_M, BLOCK_N, BLOCK_D, BLOCK_DV,
            )  # fmt: skip

    row_place = program * keys + columns
    store_rows(key_sum * scale, dk_base, row_place, held, D_QK, 1, D_QK, BLOCK_D)
    store_rows(value_sum, dv_base, row_place, held, D_V, 1, D_V, BLOCK_DV)
