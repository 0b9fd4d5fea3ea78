"""Softmax over each block of keys times a given scale. One program takes a tile of queries of a head.

With the scales exp(LSE_i - LSE), LSE_i being the blocks' log-sum-exps, this is attention (proofs/block_scales.md). A
block of which a query sees no key adds nothing to its row, whatever its scale.
"""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.online import accumulate, log_sum_exp, new_max, reciprocal, tile_weights
from refattn_gpu.kernels.parameters import Has, Matrix, Scoring, Sizes, Tile
from refattn_gpu.kernels.scores import visible_scores
from refattn_gpu.kernels.tiles import load_rows, load_transposed, store_rows
from refattn_gpu.kernels.visibility import first_visible_tile, visible_end


@triton.jit
def load_block_scales(block_base, block, column_stride, row_mask):
    """The scales of a block, one for each row, in fp32."""
    place = block_base + tl.cast(block, tl.int64) * column_stride
    return tl.load(place, mask=row_mask, other=0.0).to(tl.float32)


@triton.jit
def block_scaled_forward(
    Q: Matrix, K: Matrix, V: Matrix, SCALES: Matrix, OUT: Matrix, lse_base, BIAS: Matrix, MASK: Matrix, slopes_base,
    sizes: Sizes, scoring: Scoring, blocks, block_keys, HAS: Has, TILE: Tile,
    NAN_SAFE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """out = sum_i scales_i softmax(scores of block i) V_i, and the natural log-sum-exp of each block in fp32.

    Block i holds the keys from i block_keys on, block_keys of them or, if it is the last, all that follow; lse is (B H
    Nq, blocks), and -inf where a query sees no key of a block. All else is as in attention_forward.
    """
    head = tl.program_id(1).to(tl.int64)
    queries, keys, alignment = sizes.queries, sizes.keys, scoring.alignment
    batch, head = head // sizes.heads, head % sizes.heads
    kv_head = head // sizes.group
    first = tl.program_id(0) * TILE.M
    rows = first + tl.arange(0, TILE.M)
    row_mask = rows < queries
    offsets = rows.to(tl.int64)

    q_base = Q.base + batch * Q.batch + head * Q.head
    q = load_rows(q_base, rows, row_mask, Q.row, Q.column, False, TILE.D_QK, TILE.BLOCK_D)
    k_base = K.base + batch * K.batch + kv_head * K.head
    v_base = V.base + batch * V.batch + kv_head * V.head
    slope = 0.0
    if HAS.ALIBI:
        slope = tl.load(slopes_base + batch * sizes.heads + head)
    scales_place = SCALES.base + batch * SCALES.batch + head * SCALES.head + offsets * SCALES.row
    lse_place = lse_base + ((batch * sizes.heads + head) * queries + offsets) * blocks

    start = first_visible_tile(first + alignment, scoring.left, HAS.LEFT, TILE.N)
    end = visible_end(tl.minimum(first + TILE.M, queries) - 1 + alignment, keys, scoring.right, HAS.RIGHT)
    out = tl.zeros([TILE.M, TILE.BLOCK_DV], tl.float32)
    for block in range(blocks):
        block_start = block * block_keys
        block_end = tl.where(block == blocks - 1, keys, tl.minimum(block_start + block_keys, keys))
        m = tl.full([TILE.M], float("-inf"), tl.float32)
        normaliser = tl.zeros([TILE.M], tl.float32)
        acc = tl.zeros([TILE.M, TILE.BLOCK_DV], tl.float32)
        for tile in range(tl.maximum(start, block_start), tl.minimum(end, block_end), TILE.N):
            columns = tile + tl.arange(0, TILE.N)
            key_mask = columns < block_end
            k = load_transposed(k_base, columns, key_mask, K.row, K.column, False, TILE.D_QK, TILE.BLOCK_D)
            products = tl.dot(q, k, input_precision=PRECISION)
            # Keys past the end of the block are masked as if they were past the last key.
            scores, visible, _ = visible_scores(
                products, batch, head, rows[:, None], columns[None, :], queries, block_end,
                scoring.scale, alignment, slope, scoring, BIAS, MASK, HAS,
            )  # fmt: skip

            m_new = new_max(m, tl.max(scores, 1), 0.0)
            p, rescale, normaliser = tile_weights(scores, m, m_new, normaliser, 0)
            v = load_rows(v_base, columns, key_mask, V.row, V.column, False, TILE.D_V, TILE.BLOCK_DV)
            acc = accumulate(acc, rescale, p, v, visible, NAN_SAFE, PRECISION)
            m = m_new

        # scale * reciprocal could underflow where scale * (acc * reciprocal) does not.
        softmax_of_block = acc * reciprocal(normaliser)[:, None]
        block_scale = tl.where(normaliser == 0.0, 0.0, load_block_scales(scales_place, block, SCALES.column, row_mask))
        out += block_scale[:, None] * softmax_of_block
        tl.store(lse_place + block, log_sum_exp(m, normaliser), mask=row_mask)

    out_base = OUT.base + batch * OUT.batch + head * OUT.head
    store_rows(out, out_base, rows, row_mask, OUT.row, OUT.column, TILE.D_V, TILE.BLOCK_DV)
