"""Attention of few queries to one part of the keys: one program for each part, key-value head and tile of its queries.

The query heads that share a key-value head are packed into the rows of one tile, so that keys are read once for all of
them. Dao et al., Flash-Decoding (2023); Kwon et al., PagedAttention (2023).
"""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.exponential import LOG2_E
from refattn_gpu.kernels.online import accumulated, log_sum_exp, of_sink, raised, reciprocal, weighed
from refattn_gpu.kernels.scores import visible_scores
from refattn_gpu.kernels.tiles import load_rows, load_transposed, store_rows
from refattn_gpu.kernels.visibility import end_of_seen, first_seen


@triton.jit
def split_size(length, split_keys, most_splits):
    """Keys of a part, by the sequence's own length alone: split_keys, or a multiple if most_splits parts were short."""
    return split_keys * tl.maximum(tl.cdiv(length, split_keys * most_splits), 1)


@triton.jit
def slots(
    table_base,
    table_batch,
    batch,
    positions,
    held,
    page_stride,
    row_stride,
    HAS_TABLE: tl.constexpr,
    PAGE: tl.constexpr,
):
    """Where the keys at logical positions lie, in elements from the start of their sequence, or of all pages."""
    if HAS_TABLE:
        page = tl.load(table_base + batch * table_batch + positions // PAGE, mask=held, other=0).to(tl.int64)
        found = page * page_stride + (positions % PAGE).to(tl.int64) * row_stride
    else:
        found = positions.to(tl.int64) * row_stride
    return found


@triton.jit
def decode_split(
    q_base, k_base, v_base, out_base, lse_base, table_base, lengths_base, bias_base, mask_base, slopes_base, sinks_base,
    q_batch, q_head, q_row, q_column,
    k_batch, k_head, k_page, k_row, k_column,
    v_batch, v_head, v_page, v_row, v_column,
    table_batch,
    bias_batch, bias_head, bias_row, bias_column,
    mask_batch, mask_head, mask_row, mask_column,
    rows_of_all, heads, group, queries, keys,
    scale, softcap, left, right, split_keys, most_splits,
    BOTTOM_RIGHT: tl.constexpr, HAS_SOFTCAP: tl.constexpr, HAS_ALIBI: tl.constexpr, HAS_BIAS: tl.constexpr,
    HAS_MASK: tl.constexpr, HAS_SINKS: tl.constexpr, HAS_LEFT: tl.constexpr, HAS_RIGHT: tl.constexpr,
    HAS_TABLE: tl.constexpr, PAGE: tl.constexpr,
    GUARDS_VALUES: tl.constexpr, PRECISION: tl.constexpr, D_QK: tl.constexpr, D_V: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_DV: tl.constexpr,
):  # fmt: skip
    """A part's output, divided by its own normaliser, and its natural log-sum-exp, in fp32.

    out is (splits, rows_of_all, d_v) and lse (splits, rows_of_all), of B H Nq rows each; a part that no query sees
    gives 0 and -inf. Position p of a sequence lies in slot p % PAGE of page table[batch, p // PAGE]; lengths and table
    are int32; bias and mask are by position too. The parts of a sequence, and all that is done in them, depend on its
    own length and on nothing else of the batch.
    """
    kv_heads = heads // group
    batch = (tl.program_id(0) // kv_heads).to(tl.int64)
    kv_head = (tl.program_id(0) % kv_heads).to(tl.int64)
    split = tl.program_id(2)
    packed = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)
    inside = packed < group * queries
    rows = packed % queries
    head = kv_head * group + tl.where(inside, packed // queries, 0)
    length = keys
    if HAS_TABLE:
        length = tl.load(lengths_base + batch)
    alignment = 0
    if BOTTOM_RIGHT:
        alignment = length - queries

    # Rows are of several heads.
    of_rows = batch * q_batch + head * q_head + rows.to(tl.int64) * q_row
    q = load_rows(q_base, of_rows, inside, 1, q_column, False, D_QK, BLOCK_D)
    k_base += batch * k_batch + kv_head * k_head
    v_base += batch * v_batch + kv_head * v_head
    slope = tl.zeros([BLOCK_M, 1], tl.float32)
    if HAS_ALIBI:
        slope = tl.load(slopes_base + batch * heads + head)[:, None]

    m = tl.full([BLOCK_M], float("-inf"), tl.float32)
    normaliser = tl.zeros([BLOCK_M], tl.float32)
    if HAS_SINKS:
        # It comes first: in the first part.
        m = tl.where(split == 0, tl.load(sinks_base + head) * LOG2_E, m)
        normaliser = of_sink(m)
    acc = tl.zeros([BLOCK_M, BLOCK_DV], tl.float32)

    size = split_size(length, split_keys, most_splits)
    start = tl.maximum(split * size, first_seen(alignment, left, HAS_LEFT, BLOCK_N))
    end = tl.minimum((split + 1) * size, end_of_seen(queries - 1 + alignment, length, right, HAS_RIGHT))
    for tile in range(start, end, BLOCK_N):
        positions = tile + tl.arange(0, BLOCK_N)
        held = positions < length
        found = slots(table_base, table_batch, batch, positions, held, k_page, k_row, HAS_TABLE, PAGE)
        k = load_transposed(k_base, found, held, 1, k_column, False, D_QK, BLOCK_D)
        products = tl.dot(q, k, input_precision=PRECISION)
        scores, seen, _ = visible_scores(
            products, batch, head[:, None], rows[:, None], positions[None, :], queries, length,
            scale, softcap, left, right, alignment, slope,
            bias_base, bias_batch, bias_head, bias_row, bias_column,
            mask_base, mask_batch, mask_head, mask_row, mask_column,
            HAS_SOFTCAP, HAS_ALIBI, HAS_BIAS, HAS_MASK, HAS_LEFT, HAS_RIGHT,
        )  # fmt: skip

        maximum = raised(m, tl.max(scores, 1), 0.0)
        p, rescale, normaliser = weighed(scores, m, maximum, normaliser, 0)
        found = slots(table_base, table_batch, batch, positions, held, v_page, v_row, HAS_TABLE, PAGE)
        v = load_rows(v_base, found, held, 1, v_column, False, D_V, BLOCK_DV)
        acc = accumulated(acc, rescale, p, v, seen, GUARDS_VALUES, PRECISION)
        m = maximum

    row = split.to(tl.int64) * rows_of_all + (batch * heads + head) * queries + rows
    store_rows(acc * reciprocal(normaliser)[:, None], out_base, row, inside, D_V, 1, D_V, BLOCK_DV)
    tl.store(lse_base + row, log_sum_exp(m, normaliser), mask=inside)
