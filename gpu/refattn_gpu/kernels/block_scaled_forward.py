"""Softmax over each block of keys times a given scale: one program for each tile of queries of one head.

The scales exp(LSE_i - LSE) of the blocks' log-sum-exps make this attention (proofs/block_scales.md). A block of which a
query sees nothing has no softmax: it adds nothing, whatever its scale.
"""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.online import accumulated, log_sum_exp, raised, reciprocal, weighed
from refattn_gpu.kernels.parameters import Has, Matrix, Scoring, Sizes, Tile
from refattn_gpu.kernels.scores import visible_scores
from refattn_gpu.kernels.tiles import load_rows, load_transposed, store_rows
from refattn_gpu.kernels.visibility import end_of_seen, first_seen


@triton.jit
def scales_of(block_base, block, column_stride, inside):
    """The rows' scales of a block in fp32, (TILE.M,)."""
    place = block_base + tl.cast(block, tl.int64) * column_stride
    return tl.load(place, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def block_scaled_forward(
    Q: Matrix, K: Matrix, V: Matrix, SCALES: Matrix, OUT: Matrix, lse_base, BIAS: Matrix, MASK: Matrix, slopes_base,
    sizes: Sizes, scoring: Scoring, blocks, block_keys, HAS: Has, TILE: Tile,
    GUARDS_VALUES: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """out = sum_i scales_i softmax(scores of block i) V_i, and the natural log-sum-exp of each block in fp32.

    Block i holds the keys from i block_keys on, block_keys of them or, if it is the last, all that follow; lse is (rows
    of all, blocks) and -inf where a query sees nothing of a block. All else is as in attention_forward.
    """
    head = tl.program_id(1).to(tl.int64)
    queries, keys, alignment = sizes.queries, sizes.keys, scoring.alignment
    batch, head = head // sizes.heads, head % sizes.heads
    kv_head = head // sizes.group
    first = tl.program_id(0) * TILE.M
    rows = first + tl.arange(0, TILE.M)
    inside = rows < queries
    offsets = rows.to(tl.int64)

    q = load_rows(Q.base + batch * Q.batch + head * Q.head, rows, inside, Q.row, Q.column, False, TILE.D_QK, TILE.BLOCK_D)
    k_base = K.base + batch * K.batch + kv_head * K.head
    v_base = V.base + batch * V.batch + kv_head * V.head
    slope = 0.0
    if HAS.ALIBI:
        slope = tl.load(slopes_base + batch * sizes.heads + head)
    scales_place = SCALES.base + batch * SCALES.batch + head * SCALES.head + offsets * SCALES.row
    lse_place = lse_base + ((batch * sizes.heads + head) * queries + offsets) * blocks

    start = first_seen(first + alignment, scoring.left, HAS.LEFT, TILE.N)
    end = end_of_seen(tl.minimum(first + TILE.M, queries) - 1 + alignment, keys, scoring.right, HAS.RIGHT)
    out = tl.zeros([TILE.M, TILE.BLOCK_DV], tl.float32)
    for block in range(blocks):
        block_start = block * block_keys
        block_end = tl.where(block == blocks - 1, keys, tl.minimum(block_start + block_keys, keys))
        m = tl.full([TILE.M], float("-inf"), tl.float32)
        normaliser = tl.zeros([TILE.M], tl.float32)
        acc = tl.zeros([TILE.M, TILE.BLOCK_DV], tl.float32)
        for tile in range(tl.maximum(start, block_start), tl.minimum(end, block_end), TILE.N):
            columns = tile + tl.arange(0, TILE.N)
            held = columns < block_end
            k = load_transposed(k_base, columns, held, K.row, K.column, False, TILE.D_QK, TILE.BLOCK_D)
            products = tl.dot(q, k, input_precision=PRECISION)
            # The keys end where the block does.
            scores, seen, _ = visible_scores(
                products, batch, head, rows[:, None], columns[None, :], queries, block_end,
                scoring.scale, alignment, slope, scoring, BIAS, MASK, HAS,
            )  # fmt: skip

            maximum = raised(m, tl.max(scores, 1), 0.0)
            p, rescale, normaliser = weighed(scores, m, maximum, normaliser, 0)
            v = load_rows(v_base, columns, held, V.row, V.column, False, TILE.D_V, TILE.BLOCK_DV)
            acc = accumulated(acc, rescale, p, v, seen, GUARDS_VALUES, PRECISION)
            m = maximum

        # A product of the scale and the reciprocal could underflow where their product with a sum does not.
        softmax_of_block = acc * reciprocal(normaliser)[:, None]
        share = tl.where(normaliser == 0.0, 0.0, scales_of(scales_place, block, SCALES.column, inside))
        out += share[:, None] * softmax_of_block
        tl.store(lse_place + block, log_sum_exp(m, normaliser), mask=inside)

    store_rows(out, OUT.base + batch * OUT.batch + head * OUT.head, rows, inside, OUT.row, OUT.column, TILE.D_V, TILE.BLOCK_DV)
