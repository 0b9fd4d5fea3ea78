"""The forward pass of attention. One program takes a tile of queries of a head and loops over tiles of keys.

Full tiles, of which every query sees every key, come first and need no mask; then come the tiles at the edges.
Milakov and Gimelshein (2018); Dao et al., FlashAttention (2022).
"""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.exponential import LOG2_E
from refattn_gpu.kernels.online import accumulate, init_from_sink, log_sum_exp, new_max, reciprocal, tile_weights
from refattn_gpu.kernels.parameters import Has, Matrix, Schedule, Scoring, Sizes, Starts, Tile, Vector
from refattn_gpu.kernels.scores import visible_scores
from refattn_gpu.kernels.tiles import load_rows, load_transposed, sequence_extent, store_rows, tile_and_head
from refattn_gpu.kernels.visibility import tile_count, tile_start, visible_tiles


@triton.jit
def attention_forward(
    Q: Matrix, K: Matrix, V: Matrix, OUT: Matrix, LSE: Vector, BIAS: Matrix, MASK: Matrix, slopes_base, sinks_base,
    starts: Starts, sizes: Sizes, schedule: Schedule, scoring: Scoring, HAS: Has, TILE: Tile,
    PACKED: tl.constexpr, NAN_SAFE: tl.constexpr, THRESHOLD: tl.constexpr, DEGREE: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """out = softmax(softcap(scale Q K^T) + bias - ALiBi) V and its natural log-sum-exp.

    Without softcap, ALiBi and bias the exponent is one fused multiply-add of the raw product. DEGREE is that of exp2.

    PACKED sequences lie one after another along the axis of rows. Then the strides of the batch are 0, sizes.queries
    and sizes.keys are those of the longest sequence, and each sequence is aligned at its own bottom right.
    """
    queries, keys, scale, alignment = sizes.queries, sizes.keys, scoring.scale, scoring.alignment
    tile_of_queries, head = tile_and_head(tl.cdiv(queries, TILE.M), schedule)
    batch, head = head // sizes.heads, head % sizes.heads
    kv_head = head // sizes.group
    first = tile_of_queries * TILE.M
    q_base, k_base, v_base, out_base, lse_base = Q.base, K.base, V.base, OUT.base, LSE.base
    if PACKED:
        query_start, queries = sequence_extent(starts.queries, batch)
        key_start, keys = sequence_extent(starts.keys, batch)
        if first >= queries:
            return
        alignment = keys - queries
        q_base += query_start * Q.row
        k_base += key_start * K.row
        v_base += key_start * V.row
        out_base += query_start * OUT.row
        lse_base += query_start
    rows = first + tl.arange(0, TILE.M)
    row_mask = rows < queries

    q_base = q_base + batch * Q.batch + head * Q.head
    q = load_rows(q_base, rows, row_mask, Q.row, Q.column, False, TILE.D_QK, TILE.BLOCK_D)
    # With the scale's sign in q, the largest product has the largest score.
    q = tl.where(scale < 0.0, -q, q)
    scale = tl.abs(scale)
    slope = 0.0
    if HAS.ALIBI:
        slope = tl.load(slopes_base + batch * sizes.heads + head)

    m = tl.full([TILE.M], float("-inf"), tl.float32)
    normaliser = tl.zeros([TILE.M], tl.float32)
    if HAS.SINKS:
        m = tl.full([TILE.M], tl.load(sinks_base + head) * LOG2_E, tl.float32)
        normaliser = init_from_sink(m)
    acc = tl.zeros([TILE.M, TILE.BLOCK_DV], tl.float32)

    low, high = first + alignment, tl.minimum(first + TILE.M, queries) - 1 + alignment
    start, full_start, full_end, end = visible_tiles(
        low, high, keys, scoring.left, scoring.right, HAS.LEFT, HAS.RIGHT, TILE.N
    )
    steps = tl.arange(0, TILE.N)
    k_base += batch * K.batch + kv_head * K.head
    v_base += batch * V.batch + kv_head * V.head
    # Edges are few: without pipelining, their loads leave registers to the other loop.
    for FULL in tl.static_range(1, -1, -1):
        count = tile_count(start, full_start, full_end, end, FULL, TILE.N)
        for index in tl.range(0, count, num_stages=None if FULL else 1):
            tile = tile_start(index, start, full_start, full_end, FULL, TILE.N)
            columns = tile + steps
            key_mask = columns < keys
            k_tile_base = k_base + tl.cast(tile, tl.int64) * K.row
            k = load_transposed(k_tile_base, steps, key_mask, K.row, K.column, FULL, TILE.D_QK, TILE.BLOCK_D)
            products = tl.dot(q, k, input_precision=PRECISION)
            if FULL and not (HAS.SOFTCAP or HAS.ALIBI or HAS.BIAS or HAS.MASK):
                scores, visible = products * (scale * LOG2_E), key_mask[None, :]
                m_new = new_max(m, tl.max(products, 1) * (scale * LOG2_E), THRESHOLD)
            else:
                scores, visible, _ = visible_scores(
                    products, batch, head, rows[:, None], columns[None, :], queries, keys,
                    scale, alignment, slope, scoring, BIAS, MASK, HAS, FULL,
                )  # fmt: skip
                m_new = new_max(m, tl.max(scores, 1), THRESHOLD)
            p, rescale, normaliser = tile_weights(scores, m, m_new, normaliser, DEGREE)
            v_tile_base = v_base + tl.cast(tile, tl.int64) * V.row
            v = load_rows(v_tile_base, steps, key_mask, V.row, V.column, FULL, TILE.D_V, TILE.BLOCK_DV)
            guards = NAN_SAFE and (HAS.BIAS or HAS.MASK or not FULL)
            acc = accumulate(acc, rescale, p, v, visible, guards, PRECISION)
            m = m_new

    out = acc * reciprocal(normaliser)[:, None]
    out_base = out_base + batch * OUT.batch + head * OUT.head
    store_rows(out, out_base, rows, row_mask, OUT.row, OUT.column, TILE.D_V, TILE.BLOCK_DV)
    lse_base += batch * LSE.batch + head * LSE.head
    tl.store(lse_base + rows.to(tl.int64), log_sum_exp(m, normaliser), mask=row_mask)
