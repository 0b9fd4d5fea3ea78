"""Attention of few queries to one part of the keys. One program takes a part, a key-value head and a tile of queries.

The query heads that share a key-value head are packed into the rows of one tile, so that keys are read once for
all of them. Dao et al., Flash-Decoding (2023); Kwon et al., PagedAttention (2023).
"""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.exponential import LOG2_E
from refattn_gpu.kernels.online import accumulate, init_from_sink, log_sum_exp, new_max, reciprocal, tile_weights
from refattn_gpu.kernels.parameters import Has, Matrix, PagedMatrix, Scoring, Sizes, Tile
from refattn_gpu.kernels.scores import visible_scores
from refattn_gpu.kernels.tiles import load_rows, load_transposed, store_rows
from refattn_gpu.kernels.visibility import first_visible_tile, visible_end


@triton.jit
def split_size(length, split_keys, most_splits):
    """Keys of a part: split_keys, or the multiple with which most_splits parts hold the sequence.

    It depends on the length of this sequence only.
    """
    return split_keys * tl.maximum(tl.cdiv(length, split_keys * most_splits), 1)


@triton.jit
def slot_offsets(
    table_base,
    table_batch,
    batch,
    positions,
    key_mask,
    page_stride,
    row_stride,
    HAS_TABLE: tl.constexpr,
    PAGE: tl.constexpr,
):
    """Offsets in elements of the keys at logical positions, from the start of the sequence, or of all pages."""
    if HAS_TABLE:
        page = tl.load(table_base + batch * table_batch + positions // PAGE, mask=key_mask, other=0).to(tl.int64)
        offsets = page * page_stride + (positions % PAGE).to(tl.int64) * row_stride
    else:
        offsets = positions.to(tl.int64) * row_stride
    return offsets


@triton.jit
def decode_split(
    Q: Matrix, K: PagedMatrix, V: PagedMatrix, out_base, lse_base, table_base, table_batch, lengths_base,
    BIAS: Matrix, MASK: Matrix, slopes_base, sinks_base, sizes: Sizes, all_rows, scoring: Scoring, split_keys,
    most_splits, HAS: Has, TILE: Tile, BOTTOM_RIGHT: tl.constexpr, HAS_TABLE: tl.constexpr, PAGE: tl.constexpr,
    NAN_SAFE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """A part's output, divided by its own normaliser, and its natural log-sum-exp, in fp32.

    out is (splits, all_rows, d_v) and lse (splits, all_rows), all_rows being B H Nq; a part that no query sees gives 0
    and -inf. Position p of a sequence lies in slot p % PAGE of page table[batch, p // PAGE]; lengths and table
    are int32; bias and mask are by position too. The parts of a sequence depend on its own length
    and on nothing else of the batch.
    """
    queries, keys, group = sizes.queries, sizes.keys, sizes.group
    kv_heads = sizes.heads // group
    batch = (tl.program_id(0) // kv_heads).to(tl.int64)
    kv_head = (tl.program_id(0) % kv_heads).to(tl.int64)
    split = tl.program_id(2)
    packed_rows = tl.program_id(1) * TILE.M + tl.arange(0, TILE.M)
    row_mask = packed_rows < group * queries
    rows = packed_rows % queries
    head = kv_head * group + tl.where(row_mask, packed_rows // queries, 0)
    length = keys
    if HAS_TABLE:
        length = tl.load(lengths_base + batch)
    alignment = 0
    if BOTTOM_RIGHT:
        alignment = length - queries

    # The rows of a tile belong to several heads.
    row_offsets = batch * Q.batch + head * Q.head + rows.to(tl.int64) * Q.row
    q = load_rows(Q.base, row_offsets, row_mask, 1, Q.column, False, TILE.D_QK, TILE.BLOCK_D)
    k_base = K.base + batch * K.batch + kv_head * K.head
    v_base = V.base + batch * V.batch + kv_head * V.head
    slope = tl.zeros([TILE.M, 1], tl.float32)
    if HAS.ALIBI:
        slope = tl.load(slopes_base + batch * sizes.heads + head)[:, None]

    m = tl.full([TILE.M], float("-inf"), tl.float32)
    normaliser = tl.zeros([TILE.M], tl.float32)
    if HAS.SINKS:
        # Only the first part counts the sink.
        m = tl.where(split == 0, tl.load(sinks_base + head) * LOG2_E, m)
        normaliser = init_from_sink(m)
    acc = tl.zeros([TILE.M, TILE.BLOCK_DV], tl.float32)

    size = split_size(length, split_keys, most_splits)
    start = tl.maximum(split * size, first_visible_tile(alignment, scoring.left, HAS.LEFT, TILE.N))
    end = tl.minimum((split + 1) * size, visible_end(queries - 1 + alignment, length, scoring.right, HAS.RIGHT))
    for tile in range(start, end, TILE.N):
        positions = tile + tl.arange(0, TILE.N)
        key_mask = positions < length
        offsets = slot_offsets(table_base, table_batch, batch, positions, key_mask, K.page, K.row, HAS_TABLE, PAGE)
        k = load_transposed(k_base, offsets, key_mask, 1, K.column, False, TILE.D_QK, TILE.BLOCK_D)
        products = tl.dot(q, k, input_precision=PRECISION)
        scores, visible, _ = visible_scores(
            products, batch, head[:, None], rows[:, None], positions[None, :], queries, length,
            scoring.scale, alignment, slope, scoring, BIAS, MASK, HAS,
        )  # fmt: skip

        m_new = new_max(m, tl.max(scores, 1), 0.0)
        p, rescale, normaliser = tile_weights(scores, m, m_new, normaliser, 0)
        offsets = slot_offsets(table_base, table_batch, batch, positions, key_mask, V.page, V.row, HAS_TABLE, PAGE)
        v = load_rows(v_base, offsets, key_mask, 1, V.column, False, TILE.D_V, TILE.BLOCK_DV)
        acc = accumulate(acc, rescale, p, v, visible, NAN_SAFE, PRECISION)
        m = m_new

    row = split.to(tl.int64) * all_rows + (batch * sizes.heads + head) * queries + rows
    store_rows(acc * reciprocal(normaliser)[:, None], out_base, row, row_mask, TILE.D_V, 1, TILE.D_V, TILE.BLOCK_DV)
    tl.store(lse_base + row, log_sum_exp(m, normaliser), mask=row_mask)
