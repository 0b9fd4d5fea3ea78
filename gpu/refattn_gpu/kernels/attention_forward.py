"""The forward pass of attention: one program for each tile of queries of one head, online over tiles of keys.

Milakov and Gimelshein (2018); Dao et al., FlashAttention (2022). May import: triton, refattn_gpu.kernels.
"""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.online import guarded, log_sum_exp, new_maximum, reciprocal
from refattn_gpu.kernels.visibility import end_of_keys, first_key, sees

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def bounded(scores, cap):
    """c tanh(s / c) from exponentials of a non-positive number, which cannot overflow."""
    x = scores / cap
    small = tl.exp2(tl.abs(x) * (-2 * LOG2_E))
    size = (1.0 - small) / (1.0 + small)
    # Near 0 the difference cancels: there tanh x = x - x^3 / 3 + 2 x^5 / 15 to within an ulp of fp32.
    series = tl.abs(x) * (1.0 - x * x * (0.3333333333333333 - x * x * 0.13333333333333333))
    size = tl.where(tl.abs(x) < 0.0625, series, size)
    return cap * tl.where(x < 0.0, -size, size)


@triton.jit
def special_values(seen, v):
    """(BLOCK_M, BLOCK_D): NaN and infinities of the V that each row sees; 0 where all of it is finite.

    A product with a weight of 0 would spread them to rows that do not see them.
    """
    visible = seen.to(tl.float16)
    bad = tl.dot(visible, (v != v).to(tl.float16))
    above = tl.dot(visible, (v == float("inf")).to(tl.float16))
    below = tl.dot(visible, (v == float("-inf")).to(tl.float16))
    found = tl.where(above > 0, float("inf"), 0.0) + tl.where(below > 0, float("-inf"), 0.0)
    return tl.where(bad > 0, float("nan"), found)


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
    if HAS_ALIBI:
        slope = tl.load(slopes_base + batch * heads + head)

    factor = scale * LOG2_E
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
        seen = sees(rows + alignment, columns, keys, left, right, HAS_LEFT, HAS_RIGHT)
        if HAS_MASK:
            place = mask_base + batch * mask_batch + head * mask_head
            place += offsets[:, None] * mask_row + places[None, :] * mask_column
            seen = seen & (tl.load(place, mask=inside[:, None] & held[None, :], other=0) != 0)

        scores = tl.dot(q, k, input_precision=PRECISION)
        scores = bounded(scores * scale, softcap) * LOG2_E if HAS_SOFTCAP else scores * factor
        if HAS_ALIBI:
            distance = tl.abs(rows[:, None] + alignment - columns[None, :]).to(tl.float32)
            scores -= slope * distance * LOG2_E
        if HAS_BIAS:
            place = bias_base + batch * bias_batch + head * bias_head
            place += offsets[:, None] * bias_row + places[None, :] * bias_column
            bias = tl.load(place, mask=inside[:, None] & held[None, :], other=0.0).to(tl.float32)
            scores += bias * LOG2_E
            seen = seen & (bias != float("-inf"))
        scores = tl.where(seen, scores, float("-inf"))

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
            unusual = (v != v) | (tl.abs(v.to(tl.float32)) == float("inf"))
            if tl.max(tl.max(unusual.to(tl.int32), 1), 0) > 0:
                acc += special_values(seen, v)
                v = tl.where(unusual, 0.0, v.to(tl.float32)).to(v.dtype)
        acc = tl.dot(p.to(v.dtype), v, acc, input_precision=PRECISION)
        m = maximum

    out = acc * reciprocal(normaliser)[:, None]
    out_place = out_base + batch * out_batch + head * out_head
    out_place += offsets[:, None] * out_row + dv[None, :].to(tl.int64) * out_column
    tl.store(out_place, out.to(out_base.dtype.element_ty), mask=inside[:, None] & (dv < d_v)[None, :])
    tl.store(lse_base + (batch * heads + head) * queries + offsets, log_sum_exp(m, normaliser), mask=inside)
