"""The forward pass of attention: one program for each tile of queries of one head, online over tiles of keys.

Tiles of which every query sees every key come first, without masks; then those at the edges of what is seen.
Milakov and Gimelshein (2018); Dao et al., FlashAttention (2022).
"""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.exponential import LOG2_E
from refattn_gpu.kernels.online import accumulated, log_sum_exp, of_sink, raised, reciprocal, weighed
from refattn_gpu.kernels.scores import visible_scores
from refattn_gpu.kernels.tiles import extent, load_rows, load_transposed, store_rows, tile_and_head
from refattn_gpu.kernels.visibility import number_of_tiles, tile_at, tiles_seen


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

    q = load_rows(q_base + batch * q_batch + head * q_head, rows, inside, q_row, q_column, False, D_QK, BLOCK_D)
    # Products take the scale's sign, so that the largest of them has the largest score.
    q = tl.where(scale < 0.0, -q, q)
    scale = tl.abs(scale)
    slope = 0.0
    if HAS_ALIBI:
        slope = tl.load(slopes_base + batch * heads + head)

    m = tl.full([BLOCK_M], float("-inf"), tl.float32)
    normaliser = tl.zeros([BLOCK_M], tl.float32)
    if HAS_SINKS:
        m = tl.full([BLOCK_M], tl.load(sinks_base + head) * LOG2_E, tl.float32)
        normaliser = of_sink(m)
    acc = tl.zeros([BLOCK_M, BLOCK_DV], tl.float32)

    low, high = first + alignment, tl.minimum(first + BLOCK_M, queries) - 1 + alignment
    start, whole, last, end = tiles_seen(low, high, keys, left, right, HAS_LEFT, HAS_RIGHT, BLOCK_N)
    steps = tl.arange(0, BLOCK_N)
    k_base += batch * k_batch + kv_head * k_head
    v_base += batch * v_batch + kv_head * v_head
    # Edges are few: their loads are not pipelined, which leaves registers to the other loop.
    for WHOLE in tl.static_range(1, -1, -1):
        count = number_of_tiles(start, whole, last, end, WHOLE, BLOCK_N)
        for index in tl.range(0, count, num_stages=None if WHOLE else 1):
            tile = tile_at(index, start, whole, last, WHOLE, BLOCK_N)
            columns = tile + steps
            held = columns < keys
            of_keys = k_base + tl.cast(tile, tl.int64) * k_row
            k = load_transposed(of_keys, steps, held, k_row, k_column, WHOLE, D_QK, BLOCK_D)
            products = tl.dot(q, k, input_precision=PRECISION)
            if WHOLE and not (HAS_SOFTCAP or HAS_ALIBI or HAS_BIAS or HAS_MASK):
                scores, seen = products * (scale * LOG2_E), held[None, :]
                maximum = raised(m, tl.max(products, 1) * (scale * LOG2_E), THRESHOLD)
            else:
                scores, seen, _ = visible_scores(
                    products, batch, head, rows[:, None], columns[None, :], queries, keys,
                    scale, softcap, left, right, alignment, slope,
                    bias_base, bias_batch, bias_head, bias_row, bias_column,
                    mask_base, mask_batch, mask_head, mask_row, mask_column,
                    HAS_SOFTCAP, HAS_ALIBI, HAS_BIAS, HAS_MASK, HAS_LEFT, HAS_RIGHT, WHOLE,
                )  # fmt: skip
                maximum = raised(m, tl.max(scores, 1), THRESHOLD)
            p, rescale, normaliser = weighed(scores, m, maximum, normaliser, DEGREE)
            of_values = v_base + tl.cast(tile, tl.int64) * v_row
            v = load_rows(of_values, steps, held, v_row, v_column, WHOLE, D_V, BLOCK_DV)
            hides = GUARDS_VALUES and (HAS_BIAS or HAS_MASK or not WHOLE)
            acc = accumulated(acc, rescale, p, v, seen, hides, PRECISION)
            m = maximum

    out = acc * reciprocal(normaliser)[:, None]
    store_rows(out, out_base + batch * out_batch + head * out_head, rows, inside, out_row, out_column, D_V, BLOCK_DV)
    lse_base += batch * lse_batch + head * lse_head
    tl.store(lse_base + rows.to(tl.int64), log_sum_exp(m, normaliser), mask=inside)
