"""Softmax over each block of keys times a given scale: one program for each tile of queries of one head.

The scales exp(LSE_i - LSE) of the blocks' log-sum-exps make this attention (proofs/block_scales.md). A block of which a
query sees nothing has no softmax: it adds nothing, whatever its scale.
"""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.online import accumulated, log_sum_exp, raised, reciprocal, weighed
from refattn_gpu.kernels.scores import visible_scores
from refattn_gpu.kernels.tiles import load_rows, load_transposed, store_rows
from refattn_gpu.kernels.visibility import end_of_seen, first_seen


@triton.jit
def scales_of(block_base, block, column_stride, inside):
    """The rows' scales of a block in fp32, (BLOCK_M,)."""
    place = block_base + tl.cast(block, tl.int64) * column_stride
    return tl.load(place, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def block_scaled_forward(
    q_base, k_base, v_base, scales_base, out_base, lse_base, bias_base, mask_base, slopes_base,
    q_batch, q_head, q_row, q_column,
    k_batch, k_head, k_row, k_column,
    v_batch, v_head, v_row, v_column,
    scales_batch, scales_head, scales_row, scales_column,
    out_batch, out_head, out_row, out_column,
    bias_batch, bias_head, bias_row, bias_column,
    mask_batch, mask_head, mask_row, mask_column,
    heads, group, queries, keys,
    scale, softcap, left, right, alignment, blocks, block_keys,
    HAS_SOFTCAP: tl.constexpr, HAS_ALIBI: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_MASK: tl.constexpr,
    HAS_LEFT: tl.constexpr, HAS_RIGHT: tl.constexpr, GUARDS_VALUES: tl.constexpr, PRECISION: tl.constexpr,
    D_QK: tl.constexpr, D_V: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_DV: tl.constexpr,
):  # fmt: skip
    """out = sum_i scales_i softmax(scores of block i) V_i, and the natural log-sum-exp of each block in fp32.

    Block i holds the keys from i block_keys on, block_keys of them or, if it is the last, all that follow; lse is (rows
    of all, blocks) and -inf where a query sees nothing of a block. All else is as in attention_forward.
    """
    head = tl.program_id(1).to(tl.int64)
    batch, head = head // heads, head % heads
    kv_head = head // group
    first = tl.program_id(0) * BLOCK_M
    rows = first + tl.arange(0, BLOCK_M)
    inside = rows < queries
    offsets = rows.to(tl.int64)

    q = load_rows(q_base + batch * q_batch + head * q_head, rows, inside, q_row, q_column, False, D_QK, BLOCK_D)
    k_base += batch * k_batch + kv_head * k_head
    v_base += batch * v_batch + kv_head * v_head
    slope = 0.0
    if HAS_ALIBI:
        slope = tl.load(slopes_base + batch * heads + head)
    scales_place = scales_base + batch * scales_batch + head * scales_head + offsets * scales_row
    lse_place = lse_base + ((batch * heads + head) * queries + offsets) * blocks

    start = first_seen(first + alignment, left, HAS_LEFT, BLOCK_N)
    end = end_of_seen(tl.minimum(first + BLOCK_M, queries) - 1 + alignment, keys, right, HAS_RIGHT)
    out = tl.zeros([BLOCK_M, BLOCK_DV], tl.float32)
    for block in range(blocks):
        block_start = block * block_keys
        block_end = tl.where(block == blocks - 1, keys, tl.minimum(block_start + block_keys, keys))
        m = tl.full([BLOCK_M], float("-inf"), tl.float32)
        normaliser = tl.zeros([BLOCK_M], tl.float32)
        acc = tl.zeros([BLOCK_M, BLOCK_DV], tl.float32)
        for tile in range(tl.maximum(start, block_start), tl.minimum(end, block_end), BLOCK_N):
            columns = tile + tl.arange(0, BLOCK_N)
            held = columns < block_end
            k = load_transposed(k_base, columns, held, k_row, k_column, False, D_QK, BLOCK_D)
            products = tl.dot(q, k, input_precision=PRECISION)
            # The keys end where the block does.
            scores, seen, _ = visible_scores(
                products, batch, head, rows[:, None], columns[None, :], queries, block_end,
                scale, softcap, left, right, alignment, slope,
                bias_base, bias_batch, bias_head, bias_row, bias_column,
                mask_base, mask_batch, mask_head, mask_row, mask_column,
                HAS_SOFTCAP, HAS_ALIBI, HAS_BIAS, HAS_MASK, HAS_LEFT, HAS_RIGHT,
            )  # fmt: skip

            maximum = raised(m, tl.max(scores, 1), 0.0)
            p, rescale, normaliser = weighed(scores, m, maximum, normaliser, 0)
            v = load_rows(v_base, columns, held, v_row, v_column, False, D_V, BLOCK_DV)
            acc = accumulated(acc, rescale, p, v, seen, GUARDS_VALUES, PRECISION)
            m = maximum

        # A product of the scale and the reciprocal could underflow where their product with a sum does not.
        softmax_of_block = acc * reciprocal(normaliser)[:, None]
        share = tl.where(normaliser == 0.0, 0.0, scales_of(scales_place, block, scales_column, inside))
        out += share[:, None] * softmax_of_block
        tl.store(lse_place + block, log_sum_exp(m, normaliser), mask=inside)

    store_rows(out, out_base + batch * out_batch + head * out_head, rows, inside, out_row, out_column, D_V, BLOCK_DV)
