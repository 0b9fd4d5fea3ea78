"""The forward pass of sparse attention: one program for each tile of ordered queries, over the keys that they span.

Pagliardini et al., Faster Causal Attention Over Large Sequences Through Sparse Flash Attention (2023).
"""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.online import log_sum_exp, raised, reciprocal, weighed
from refattn_gpu.kernels.sparse_intervals import intervals, seen_scores, spanned, within
from refattn_gpu.kernels.special_values import finite, has_special, indicator, special_values
from refattn_gpu.kernels.tiles import load_rows, store_rows, tile_and_head


@triton.jit
def attended(
    q, k_base, v_base, columns_base, k_row, k_column, v_row, v_column, starts, ends, start, end, scale,
    GUARDED: tl.constexpr, PRECISION: tl.constexpr, D_QK: tl.constexpr, D_V: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_DV: tl.constexpr,
):  # fmt: skip
    """(m, normaliser, acc) of a tile of queries over the keys of slots start .. end - 1, whose head the bases point to.

    GUARDED keeps NaN and infinities of values from rows that do not see them.
    """
    m = tl.full([BLOCK_M], float("-inf"), tl.float32)
    normaliser = tl.zeros([BLOCK_M], tl.float32)
    acc = tl.zeros([BLOCK_M, BLOCK_DV], tl.float32)
    specials = tl.zeros([BLOCK_M, BLOCK_DV], tl.float32)
    for tile in range(start, end, BLOCK_N):
        key_slots = tile + tl.arange(0, BLOCK_N)
        held = key_slots < end
        columns = tl.load(columns_base + key_slots, mask=held, other=0)
        k = load_rows(k_base, columns, held, k_row, k_column, False, D_QK, BLOCK_D)
        seen = within(key_slots, starts, ends)
        scores = seen_scores(tl.dot(q, tl.trans(k), input_precision=PRECISION), seen, scale)
        maximum = raised(m, tl.max(scores, 1), 0.0)
        p, rescale, normaliser = weighed(scores, m, maximum, normaliser, 0)
        v = load_rows(v_base, columns, held, v_row, v_column, False, D_V, BLOCK_DV)
        acc = acc * rescale[:, None]
        if GUARDED:
            specials += special_values(indicator(seen), v)
            v = finite(v)
        acc = tl.dot(p.to(v.dtype), v, acc, input_precision=PRECISION)
        m = maximum
    if GUARDED:
        acc = tl.where(specials == 0.0, acc, acc + specials)
    return m, normaliser, acc


@triton.jit
def sparse_forward(
    q_base, k_base, v_base, out_base, lse_base, rows_base, starts_base, ends_base, columns_base,
    q_batch, q_head, q_row, q_column,
    k_batch, k_head, k_row, k_column,
    v_batch, v_head, v_row, v_column,
    rows_batch, rows_head, columns_batch, columns_head,
    heads_of_all, heads, group, queries, keys, together, scale,
    GUARDS_VALUES: tl.constexpr, PRECISION: tl.constexpr, D_QK: tl.constexpr, D_V: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_DV: tl.constexpr,
):  # fmt: skip
    """out = softmax(scale Q K^T) V and its natural log-sum-exp, both contiguous.

    rows (B, H, Nq) and columns (B, H, Nk) are the queries and keys in the order in which they are visited, and the
    query of a slot sees the keys of slots starts <= slot < ends (B, H, Nq); starts and ends have the strides of rows.
    heads_of_all is B H, and `together` is tile_and_head's.
    """
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

    start, end = spanned(starts, ends, keys)
    m, normaliser, acc = attended(
        q, k_base, v_base, columns_base, k_row, k_column, v_row, v_column, starts, ends, start, end, scale,
        False, PRECISION, D_QK, D_V, BLOCK_M, BLOCK_N, BLOCK_D, BLOCK_DV,
    )  # fmt: skip
    if GUARDS_VALUES:
        # NaN or infinities of a value, if only times 0: once more, with care.
        again = has_special(acc)
        if again:
            m, normaliser, acc = attended(
                q, k_base, v_base, columns_base, k_row, k_column, v_row, v_column, starts, ends, start, end, scale,
                True, PRECISION, D_QK, D_V, BLOCK_M, BLOCK_N, BLOCK_D, BLOCK_DV,
            )  # fmt: skip

    out = acc * reciprocal(normaliser)[:, None]
    row_place = program * queries + rows
    store_rows(out, out_base, row_place, inside, D_V, 1, D_V, BLOCK_DV)
    tl.store(lse_base + row_place, log_sum_exp(m, normaliser), mask=inside)
