"""The forward pass of attention: one program for each tile of queries of one head, online over tiles of keys.

Tiles of which every query sees every key come first, without masks; then those at the edges of what is seen.
Milakov and Gimelshein (2018); Dao et al., FlashAttention (2022).
"""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.exponential import LOG2_E
from refattn_gpu.kernels.online import accumulated, log_sum_exp, of_sink, raised, reciprocal, weighed
from refattn_gpu.kernels.parameters import Has, Matrix, Vector, Schedule, Scoring, Sizes, Starts, Tile
from refattn_gpu.kernels.scores import visible_scores
from refattn_gpu.kernels.tiles import extent, load_rows, load_transposed, store_rows, tile_and_head
from refattn_gpu.kernels.visibility import number_of_tiles, tile_at, tiles_seen


@triton.jit
def attention_forward(
    Q: Matrix, K: Matrix, V: Matrix, OUT: Matrix, LSE: Vector, BIAS: Matrix, MASK: Matrix, slopes_base, sinks_base,
    starts: Starts, sizes: Sizes, schedule: Schedule, scoring: Scoring, HAS: Has, TILE: Tile,
    PACKED: tl.constexpr, GUARDS_VALUES: tl.constexpr, THRESHOLD: tl.constexpr, DEGREE: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """out = softmax(softcap(scale Q K^T) + bias - ALiBi) V and its natural log-sum-exp.

    Without softcap, ALiBi and bias the exponent is a fused multiply-add of the raw product. DEGREE is that of exp2.

    Where sequences are PACKED, one after another along the axis of rows, strides of the batch are 0, queries and keys
    are the longest sequence's, and the alignment is each sequence's own, at the bottom right.
    """
    queries, keys, scale, alignment = sizes.queries, sizes.keys, scoring.scale, scoring.alignment
    tile_of_queries, head = tile_and_head(tl.cdiv(queries, TILE.M), schedule)
    batch, head = head // sizes.heads, head % sizes.heads
    kv_head = head // sizes.group
    first = tile_of_queries * TILE.M
    q_base, k_base, v_base, out_base, lse_base = Q.base, K.base, V.base, OUT.base, LSE.base
    if PACKED:
        query_start, queries = extent(starts.queries, batch)
        key_start, keys = extent(starts.keys, batch)
        if first >= queries:
            return
        alignment = keys - queries
        q_base += query_start * Q.row
        k_base += key_start * K.row
        v_base += key_start * V.row
        out_base += query_start * OUT.row
        lse_base += query_start
    rows = first + tl.arange(0, TILE.M)
    inside = rows < queries

    q = load_rows(q_base + batch * Q.batch + head * Q.head, rows, inside, Q.row, Q.column, False, TILE.D_QK, TILE.BLOCK_D)
    # Products take the scale's sign, so that the largest of them has the largest score.
    q = tl.where(scale < 0.0, -q, q)
    scale = tl.abs(scale)
    slope = 0.0
    if HAS.ALIBI:
        slope = tl.load(slopes_base + batch * sizes.heads + head)

    m = tl.full([TILE.M], float("-inf"), tl.float32)
    normaliser = tl.zeros([TILE.M], tl.float32)
    if HAS.SINKS:
        m = tl.full([TILE.M], tl.load(sinks_base + head) * LOG2_E, tl.float32)
        normaliser = of_sink(m)
    acc = tl.zeros([TILE.M, TILE.BLOCK_DV], tl.float32)

    low, high = first + alignment, tl.minimum(first + TILE.M, queries) - 1 + alignment
    start, whole, last, end = tiles_seen(
        low, high, keys, scoring.left, scoring.right, HAS.LEFT, HAS.RIGHT, TILE.N
    )
    steps = tl.arange(0, TILE.N)
    k_base += batch * K.batch + kv_head * K.head
    v_base += batch * V.batch + kv_head * V.head
    # Edges are few: their loads are not pipelined, which leaves registers to the other loop.
    for WHOLE in tl.static_range(1, -1, -1):
        count = number_of_tiles(start, whole, last, end, WHOLE, TILE.N)
        for index in tl.range(0, count, num_stages=None if WHOLE else 1):
            tile = tile_at(index, start, whole, last, WHOLE, TILE.N)
            columns = tile + steps
            held = columns < keys
            of_keys = k_base + tl.cast(tile, tl.int64) * K.row
            k = load_transposed(of_keys, steps, held, K.row, K.column, WHOLE, TILE.D_QK, TILE.BLOCK_D)
            products = tl.dot(q, k, input_precision=PRECISION)
            if WHOLE and not (HAS.SOFTCAP or HAS.ALIBI or HAS.BIAS or HAS.MASK):
                scores, seen = products * (scale * LOG2_E), held[None, :]
                maximum = raised(m, tl.max(products, 1) * (scale * LOG2_E), THRESHOLD)
            else:
                scores, seen, _ = visible_scores(
                    products, batch, head, rows[:, None], columns[None, :], queries, keys,
                    scale, alignment, slope, scoring, BIAS, MASK, HAS, WHOLE,
                )  # fmt: skip
                maximum = raised(m, tl.max(scores, 1), THRESHOLD)
            p, rescale, normaliser = weighed(scores, m, maximum, normaliser, DEGREE)
            of_values = v_base + tl.cast(tile, tl.int64) * V.row
            v = load_rows(of_values, steps, held, V.row, V.column, WHOLE, TILE.D_V, TILE.BLOCK_DV)
            hides = GUARDS_VALUES and (HAS.BIAS or HAS.MASK or not WHOLE)
            acc = accumulated(acc, rescale, p, v, seen, hides, PRECISION)
            m = maximum

    out = acc * reciprocal(normaliser)[:, None]
    store_rows(out, out_base + batch * OUT.batch + head * OUT.head, rows, inside, OUT.row, OUT.column, TILE.D_V, TILE.BLOCK_DV)
    lse_base += batch * LSE.batch + head * LSE.head
    tl.store(lse_base + rows.to(tl.int64), log_sum_exp(m, normaliser), mask=inside)
