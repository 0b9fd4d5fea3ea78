"""The forward pass of attention: one program for each tile of queries of one head, online over tiles of keys.

Tiles of which every query sees every key come first, without masks; then those at the edges of what is seen.
Milakov and Gimelshein (2018); Dao et al., FlashAttention (2022). May import: triton, refattn_gpu.kernels.
"""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.exponential import exp2
from refattn_gpu.kernels.online import guarded, log_sum_exp, new_maximum, raised, reciprocal, rescaling
from refattn_gpu.kernels.scores import LOG2_E, visible_scores
from refattn_gpu.kernels.special_values import finite, has_special, special_values
from refattn_gpu.kernels.tiles import extent, load_tile, tile_and_head
from refattn_gpu.kernels.visibility import end_of_keys, first_key, whole_tiles


@triton.jit
def attention_forward(
    q_base, k_base, v_base, out_base, lse_base, bias_base, mask_base, slopes_base, sinks_base,
    query_starts_base, key_starts_base,
    q_batch, q_head, q_row, q_column,
    k_batch, k_head, k_row, k_column,
    v_batch, v_head, v_row, v_column,
    out_batch, out_head, out_row, out_column,
    lse_batch, lse_head,
    bias_batch, bias_head, bias_row, bias_column,
    mask_batch, mask_head, mask_row, mask_column,
    heads_of_all, heads, group, queries, keys, together,
    scale, softcap, left, right, alignment,
    HAS_SOFTCAP: tl.constexpr, HAS_ALIBI: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_MASK: tl.constexpr,
    HAS_SINKS: tl.constexpr, HAS_LEFT: tl.constexpr, HAS_RIGHT: tl.constexpr,
    PACKED: tl.constexpr, GUARDS_VALUES: tl.constexpr, THRESHOLD: tl.constexpr, DEGREE: tl.constexpr,
    PRECISION: tl.constexpr, D_QK: tl.constexpr, D_V: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_DV: tl.constexpr,
):  # fmt: skip
    """out = softmax(softcap(scale Q K^T) + bias - ALiBi) V and its natural log-sum-exp.

    Strides are in elements; `alignment` is added to a query's index to compare it with a key's; left and right are the
    window's, right being 0 at most under a causal mask; heads_of_all is B H, and `together` is tile_and_head's. Without
    softcap, ALiBi and bias the exponent is a fused multiply-add of the raw product. DEGREE is that of exp2.

    Where sequences are PACKED, one after another along the axis of rows, strides of the batch are 0, queries and keys
    are the longest sequence's, and the alignment is each sequence's own, at the bottom right.
    """
    tile_of_queries, head = tile_and_head(tl.cdiv(queries, BLOCK_M), heads_of_all, together)
    batch, head = head // heads, head % heads
    kv_head = head // group
    first = tile_of_queries * BLOCK_M
    if PACKED:
        query_start, queries = extent(query_starts_base, batch)
        key_start, keys = extent(key_starts_base, batch)
        if first >= queries:
            return
        alignment = keys - queries
        q_base += query_start * q_row
        k_base += key_start * k_row
        v_base += key_start * v_row
        out_base += query_start * out_row
        lse_base += query_start
    rows = first + tl.arange(0, BLOCK_M)
    inside = rows < queries
    offsets = rows.to(tl.int64)
    d = tl.arange(0, BLOCK_D)
    dv = tl.arange(0, BLOCK_DV)

    q_place = q_base + batch * q_batch + head * q_head + offsets[:, None] * q_row + d[None, :].to(tl.int64) * q_column
    q = load_tile(q_place, inside[:, None], (d < D_QK)[None, :], False, D_QK == BLOCK_D)
    # Products take the scale's sign, so that the largest of them has the largest score.
    q = tl.where(scale < 0.0, -q, q)
    scale = tl.abs(scale)
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

    low, high = first + alignment, tl.minimum(first + BLOCK_M, queries) - 1 + alignment
    start = first_key(low, left, HAS_LEFT, BLOCK_N)
    end = end_of_keys(high, keys, right, HAS_RIGHT)
    whole, last = whole_tiles(start, end, low, high, keys, left, right, HAS_LEFT, HAS_RIGHT, BLOCK_N)
    before = (whole - start) // BLOCK_N
    steps = tl.arange(0, BLOCK_N)
    far = steps.to(tl.int64)
    k_places = k_base + batch * k_batch + kv_head * k_head
    k_offsets = far[None, :] * k_row + d[:, None].to(tl.int64) * k_column
    v_places = v_base + batch * v_batch + kv_head * v_head
    v_offsets = far[:, None] * v_row + dv[None, :].to(tl.int64) * v_column
    # Edges are few: their loads are not pipelined, which leaves registers to the other loop.
    for WHOLE in tl.static_range(1, -1, -1):
        count = (last - whole) // BLOCK_N
        if not WHOLE:
            count = before + tl.cdiv(tl.maximum(end - last, 0), BLOCK_N)
        for index in tl.range(0, count, num_stages=None if WHOLE else 1):
            tile = whole + index * BLOCK_N
            if not WHOLE:
                tile = index * BLOCK_N + tl.where(index < before, start, last - before * BLOCK_N)
            columns = tile + steps
            held = columns < keys
            place = k_places + tl.cast(tile, tl.int64) * k_row + k_offsets
            k = load_tile(place, (d < D_QK)[:, None], held[None, :], D_QK == BLOCK_D, WHOLE)
            products = tl.dot(q, k, input_precision=PRECISION)
            if WHOLE and not (HAS_SOFTCAP or HAS_ALIBI or HAS_BIAS or HAS_MASK):
                scores = products * (scale * LOG2_E)
                maximum = raised(m, tl.max(products, 1) * (scale * LOG2_E), THRESHOLD)
            else:
                scores, seen, _ = visible_scores(
                    products, batch, head, rows, columns, queries, keys, scale, softcap, left, right, alignment, slope,
                    bias_base, bias_batch, bias_head, bias_row, bias_column,
                    mask_base, mask_batch, mask_head, mask_row, mask_column,
                    HAS_SOFTCAP, HAS_ALIBI, HAS_BIAS, HAS_MASK, HAS_LEFT, HAS_RIGHT, WHOLE,
                )  # fmt: skip
                maximum = new_maximum(m, scores, THRESHOLD)
            reference = guarded(maximum)
            p = exp2(scores - reference[:, None], DEGREE)
            rescale = rescaling(m, reference)
            normaliser = normaliser * rescale + tl.sum(p, 1)
            place = v_places + tl.cast(tile, tl.int64) * v_row + v_offsets
            v = load_tile(place, held[:, None], (dv < D_V)[None, :], WHOLE, D_V == BLOCK_DV)
            acc = acc * rescale[:, None]
            if GUARDS_VALUES and (HAS_BIAS or HAS_MASK or not WHOLE):
                unusual = has_special(v)
                if unusual:
                    acc += special_values(seen, v)
                    v = finite(v)
            acc = tl.dot(p.to(v.dtype), v, acc, input_precision=PRECISION)
            m = maximum

    out = acc * reciprocal(normaliser)[:, None]
    out_place = out_base + batch * out_batch + head * out_head
    out_place += offsets[:, None] * out_row + dv[None, :].to(tl.int64) * out_column
    tl.store(out_place, out.to(out_base.dtype.element_ty), mask=inside[:, None] & (dv < D_V)[None, :])
    tl.store(lse_base + batch * lse_batch + head * lse_head + offsets, log_sum_exp(m, normaliser), mask=inside)
