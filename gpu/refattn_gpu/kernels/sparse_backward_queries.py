"""dQ of sparse attention: one program for each tile of ordered queries, over the keys that they span.

Dao et al., FlashAttention (2022), appendix B.4; Pagliardini et al. (2023).
"""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.score_gradients import reference_of, score_gradients
from refattn_gpu.kernels.sparse_intervals import intervals, seen_scores, spanned, within
from refattn_gpu.kernels.special_values import finite, has_special
from refattn_gpu.kernels.tiles import load_row, load_rows, store_rows, tile_and_head


@triton.jit
def query_gradient(
    q, do, reference, delta, k_base, v_base, columns_base, k_row, k_column, v_row, v_column, starts, ends, start, end,
    scale, GUARDED: tl.constexpr, PRECISION: tl.constexpr, D_QK: tl.constexpr, D_V: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_DV: tl.constexpr,
):  # fmt: skip
    """dS K of a tile of queries over the keys of slots start .. end - 1, whose head the bases point to.

    GUARDED keeps NaN and infinities of keys from rows that do not see them.
    """
    acc = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
    for tile in range(start, end, BLOCK_N):
        key_slots = tile + tl.arange(0, BLOCK_N)
        held = key_slots < end
        columns = tl.load(columns_base + key_slots, mask=held, other=0)
        k = load_rows(k_base, columns, held, k_row, k_column, False, D_QK, BLOCK_D)
        v = load_rows(v_base, columns, held, v_row, v_column, False, D_V, BLOCK_DV)
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
    q_base, k_base, v_base, do_base, lse_base, delta_base, dq_base, rows_base, starts_base, ends_base, columns_base,
    q_batch, q_head, q_row, q_column,
    k_batch, k_head, k_row, k_column,
    v_batch, v_head, v_row, v_column,
    do_batch, do_head, do_row, do_column,
    rows_batch, rows_head, columns_batch, columns_head,
    heads_of_all, heads, group, queries, keys, together, scale,
    GUARDS_VALUES: tl.constexpr, PRECISION: tl.constexpr, D_QK: tl.constexpr, D_V: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_DV: tl.constexpr,
):  # fmt: skip
    """dQ = scale dS K; lse, delta and dq are contiguous, the other arguments are the forward pass's."""
    tile_of_queries, program = tile_and_head(tl.cdiv(queries, BLOCK_M), heads_of_all, together)
    batch, head = program // heads, program % heads
    kv_head = head // group
    slots = tile_of_queries * BLOCK_M + tl.arange(0, BLOCK_M)
    inside = slots < queries

    place = batch * rows_batch + head * rows_head + slots
    rows, starts, ends = intervals(rows_base, starts_base, ends_base, place, inside)
    columns_base += batch * columns_batch + head * columns_head
    k_base += batch * k_batch + kv_head * k_head
    v_base += batch * v_batch + kv_head * v_head
    q = load_rows(q_base + batch * q_batch + head * q_head, rows, inside, q_row, q_column, False, D_QK, BLOCK_D)
    do = load_rows(do_base + batch * do_batch + head * do_head, rows, inside, do_row, do_column, False, D_V, BLOCK_DV)
    row_place = program * queries + rows
    reference = reference_of(load_row(lse_base + row_place, inside, False))
    delta = load_row(delta_base + row_place, inside, False)

    start, end = spanned(starts, ends, keys)
    acc = query_gradient(
        q, do, reference, delta, k_base, v_base, columns_base, k_row, k_column, v_row, v_column, starts, ends,
        start, end, scale, False, PRECISION, D_QK, D_V, BLOCK_M, BLOCK_N, BLOCK_D, BLOCK_DV,
    )  # fmt: skip
    if GUARDS_VALUES:
        # NaN or infinities of a key, if only times 0: once more, with care.
        again = has_special(acc)
        if again:
            acc = query_gradient(
                q, do, reference, delta, k_base, v_base, columns_base, k_row, k_column, v_row, v_column, starts, ends,
                start, end, scale, True, PRECISION, D_QK, D_V, BLOCK_M, BLOCK_N, BLOCK_D, BLOCK_DV,
            )  # fmt: skip

    store_rows(acc * scale, dq_base, row_place, inside, D_QK, 1, D_QK, BLOCK_D)
