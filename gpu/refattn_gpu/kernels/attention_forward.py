"""The forward pass of attention: one program for each tile of queries of one head, online over tiles of keys.

Milakov and Gimelshein (2018); Dao et al., FlashAttention (2022). May import: triton, refattn_gpu.kernels.
"""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.online import guarded, log_sum_exp, new_maximum, reciprocal
from refattn_gpu.kernels.scores import LOG2_E, visible_scores
from refattn_gpu.kernels.special_values import finite, has_special, special_values
from refattn_gpu.kernels.visibility import end_of_keys, first_key


@triton.jit
def attention_forward(
    q_base, k_base, v_base, out_base, lse_base, bias_base, mask_base, slopes_base, sinks_base,
    q_batch, q_head, q_row, q_column,
    k_batch, k_head, k_row, k_column,
    v_batch, v_head, v_row, v_column,
    out_batch, out_head, out_row, out_column,
    bias_batch, bias_head, bias_row, bias_column,
    mask_batch, mask_head, mask_row, mask_column,
    heads, group, queries, keys, d_qk, d_v,
    scale, softcap, left, right, alignment,
    HAS_SOFTCAP: tl.constexpr, HAS_ALIBI: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_MASK: tl.constexpr,
    HAS_SINKS: tl.constexpr, HAS_LEFT: tl.constexpr, HAS_RIGHT: tl.constexpr,
    GUARDS_VALUES: tl.constexpr, THRESHOLD: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_DV: tl.constexpr,
):  # fmt: skip
    """out = softmax(softcap(scale Q K^T) + bias - ALiBi) V and its natural log-sum-exp.

    Strides are in elements; `alignment` is added to a query's index to compare it with a key's; left and right are the
    window's, right being 0 at most under a causal mask. Without softcap, ALiBi and bias the exponent is a fused
    multiply-add of the raw product.
    """
    head = tl.program_id(1).to(tl.int64)
    batch, head = head // heads, head % heads
    kv_head = head // group
    first = tl.program_id(0) * BLOCK_M
    rows = first + tl.arange(0, BLOCK_M)
    inside = rows < queries
    offsets = rows.to(tl.int64)
    d = tl.arange(0, BLOCK_D)
    dv = tl.arange(0, BLOCK_DV)

    q_place = q_base + batch * q_batch + head * q_head + offsets[:, None] * q_row + d[None, :].to(tl.int64) * q_column
    q = tl.load(q_place, mask=inside[:, None] & (d < d_qk)[None, :], other=0.0)
    slope = 0.0
    if HAS_ALIBI:
        slope = tl.load(slopes_base + batch * heads + head)

    m = tl.full([BLOCK_M], float("-inf"), tl.float32)
    normaliser = tl.zeros([BLOCK_M], tl.float32)
    if HAS_SINKS:
        # A key of weight 2^0 and value 0, which comes first.
        sink = tl.load(sinks_base + head) * LOG2_E
        m = tl.where(normaliser == 0.0, sink, m)
        normaliser = tl.where(m == float("-inf"), 0.0, normaliser + 1.0)
    acc = tl.zeros([BLOCK_M, BLOCK_DV], tl.float32)

    start = first_key(first + alignment, left, HAS_LEFT, BLOCK_N)
    end = end_of_keys(tl.minimum(first + BLOCK_M, queries) - 1 + alignment, keys, right, HAS_RIGHT)
    for tile in range(start, end, BLOCK_N):
        columns = tile + tl.arange(0, BLOCK_N)
        places = columns.to(tl.int64)
        held = columns < keys
        k_place = k_base + batch * k_batch + kv_head * k_head
        k_place += places[None, :] * k_row + d[:, None].to(tl.int64) * k_column
        k = tl.load(k_place, mask=(d < d_qk)[:, None] & held[None, :], other=0.0)
        products = tl.dot(q, k, input_precision=PRECISION)
        scores, seen, _ = visible_scores(
            products, batch, head, rows, columns, queries, keys, scale, softcap, left, right, alignment, slope,
            bias_base, bias_batch, bias_head, bias_row, bias_column,
            mask_base, mask_batch, mask_head, mask_row, mask_column,
            HAS_SOFTCAP, HAS_ALIBI, HAS_BIAS, HAS_MASK, HAS_LEFT, HAS_RIGHT,
        )  # fmt: skip

        maximum = new_maximum(m, scores, THRESHOLD)
        reference = guarded(maximum)
        p = tl.exp2(scores - reference[:, None])
        rescale = tl.exp2(m - reference)
        normaliser = normaliser * rescale + tl.sum(p, 1)
        v_place = v_base + batch * v_batch + kv_head * v_head
        v_place += places[:, None] * v_row + dv[None, :].to(tl.int64) * v_column
        v = tl.load(v_place, mask=held[:, None] & (dv < d_v)[None, :], other=0.0)
        acc = acc * rescale[:, None]
        if GUARDS_VALUES:
            unusual = has_special(v)
            if unusual:
                acc += special_values(seen, v)
                v = finite(v)
        acc = tl.dot(p.to(v.dtype), v, acc, input_precision=PRECISION)
        m = maximum

    out = acc * reciprocal(normaliser)[:, None]
    out_place = out_base + batch * out_batch + head * out_head
    out_place += offsets[:, None] * out_row + dv[None, :].to(tl.int64) * out_column
    tl.store(out_place, out.to(out_base.dtype.element_ty), mask=inside[:, None] & (dv < d_v)[None, :])
    tl.store(lse_base + (batch * heads + head) * queries + offsets, log_sum_exp(m, normaliser), mask=inside)
