"""dQ, and the terms of dbias and dsinks. One program takes a tile of queries of a head and loops over tiles of keys.

Full tiles, of which every query sees every key, come first and need no mask; then come the tiles at the edges.
Dao et al., FlashAttention (2022), appendix B.4.
"""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.exponential import LOG2_E
from refattn_gpu.kernels.parameters import Has, Matrix, Schedule, Scoring, Sizes, Starts, StridedVector, Tile, Vector
from refattn_gpu.kernels.score_gradients import lse_base2, score_gradients
from refattn_gpu.kernels.scores import visible_scores
from refattn_gpu.kernels.special_values import zero_nonfinite
from refattn_gpu.kernels.tiles import load_rows, load_vector, sequence_extent, store_rows, tile_and_head
from refattn_gpu.kernels.visibility import tile_count, tile_start, visible_tiles


@triton.jit
def attention_backward_queries(
    Q: Matrix, K: Matrix, V: Matrix, DO: Matrix, DLSE: StridedVector, LSE: Vector, delta_base, DQ: Matrix, ds_base,
    dsink_base, BIAS: Matrix, MASK: Matrix, slopes_base, sinks_base, starts: Starts, sizes: Sizes, schedule: Schedule,
    scoring: Scoring, HAS: Has, TILE: Tile, HAS_DLSE: tl.constexpr, PACKED: tl.constexpr, NAN_SAFE: tl.constexpr,
    DEGREE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dQ = scale dX K; with a bias, dS (B, H, Nq, Nk) of the visible tiles; with sinks, each row's term of dsinks.

    delta and dsink (B, H, Nq) have the strides of LSE; ds is contiguous, ds and dsink are in fp32. The other arguments
    are the forward pass's.
    """
    queries, keys, scale, alignment = sizes.queries, sizes.keys, scoring.scale, scoring.alignment
    tile_of_queries, head = tile_and_head(tl.cdiv(queries, TILE.M), schedule)
    batch, head = head // sizes.heads, head % sizes.heads
    kv_head = head // sizes.group
    first = tile_of_queries * TILE.M
    row_place = batch * LSE.batch + head * LSE.head
    q_base, k_base, v_base, do_base, dlse_base = Q.base, K.base, V.base, DO.base, DLSE.base
    dq_base = DQ.base + batch * DQ.batch + head * DQ.head
    if PACKED:
        query_start, queries = sequence_extent(starts.queries, batch)
        key_start, keys = sequence_extent(starts.keys, batch)
        if first >= queries:
            return
        alignment = keys - queries
        q_base += query_start * Q.row
        k_base += key_start * K.row
        v_base += key_start * V.row
        do_base += query_start * DO.row
        dq_base += query_start * DQ.row
        row_place += query_start
        if HAS_DLSE:
            dlse_base += query_start * DLSE.row
    rows = first + tl.arange(0, TILE.M)
    row_mask = rows < queries

    q_base = q_base + batch * Q.batch + head * Q.head
    q = load_rows(q_base, rows, row_mask, Q.row, Q.column, False, TILE.D_QK, TILE.BLOCK_D)
    do_base += batch * DO.batch + head * DO.head
    do = load_rows(do_base, rows, row_mask, DO.row, DO.column, False, TILE.D_V, TILE.BLOCK_DV)
    row_place = row_place + rows.to(tl.int64)
    reference = lse_base2(load_vector(LSE.base + row_place, row_mask, False))
    delta = load_vector(delta_base + row_place, row_mask, False)
    slope = 0.0
    if HAS.ALIBI:
        slope = tl.load(slopes_base + batch * sizes.heads + head)

    acc = tl.zeros([TILE.M, TILE.BLOCK_D], tl.float32)
    sees_any_key = tl.zeros([TILE.M], tl.int32)
    low, high = first + alignment, tl.minimum(first + TILE.M, queries) - 1 + alignment
    start, full_start, full_end, end = visible_tiles(
        low, high, keys, scoring.left, scoring.right, HAS.LEFT, HAS.RIGHT, TILE.N
    )
    steps = tl.arange(0, TILE.N)
    k_base += batch * K.batch + kv_head * K.head
    v_base += batch * V.batch + kv_head * V.head
    for FULL in tl.static_range(1, -1, -1):
        count = tile_count(start, full_start, full_end, end, FULL, TILE.N)
        for index in tl.range(0, count, num_stages=None if FULL else 1):
            tile = tile_start(index, start, full_start, full_end, FULL, TILE.N)
            columns = tile + steps
            key_mask = columns < keys
            tile_offset = tl.cast(tile, tl.int64)
            k = load_rows(k_base + tile_offset * K.row, steps, key_mask, K.row, K.column, FULL, TILE.D_QK, TILE.BLOCK_D)
            v = load_rows(v_base + tile_offset * V.row, steps, key_mask, V.row, V.column, FULL, TILE.D_V, TILE.BLOCK_DV)

            products = tl.dot(q, tl.trans(k), input_precision=PRECISION)
            scores, visible, tanh = visible_scores(
                products, batch, head, rows[:, None], columns[None, :], queries, keys,
                scale, alignment, slope, scoring, BIAS, MASK, HAS, FULL,
            )  # fmt: skip
            dp = tl.dot(do, tl.trans(v), input_precision=PRECISION)
            _, ds, dx = score_gradients(
                scores, visible, tanh, reference[:, None], dp, delta[:, None],
                HAS.SOFTCAP, FULL and not (HAS.BIAS or HAS.MASK), DEGREE,
            )  # fmt: skip
            if HAS.BIAS:
                ds_place = ds_base + row_place[:, None] * keys + columns[None, :]
                tl.store(ds_place, ds, mask=row_mask[:, None] & key_mask[None, :])
            if HAS.SINKS:
                sees_any_key = tl.maximum(sees_any_key, tl.max(visible.to(tl.int32), 1))
            if NAN_SAFE and (HAS.BIAS or HAS.MASK or not FULL):
                # Where a row sees a key that holds NaN, its dx is NaN already.
                k = zero_nonfinite(k)
            acc = tl.dot(dx.to(k.dtype), k, acc, input_precision=PRECISION)

    store_rows(acc * scale, dq_base, rows, row_mask, DQ.row, DQ.column, TILE.D_QK, TILE.BLOCK_D)
    if HAS.SINKS:
        # A sink is a key with dP = 0. The output of a row that sees no key is 0 whatever its sink is, so that only dLSE
        # reaches the sink.
        direct = tl.zeros([TILE.M], tl.float32)
        if HAS_DLSE:
            dlse_base += batch * DLSE.batch + head * DLSE.head
            direct = -load_vector(dlse_base + rows.to(tl.int64) * DLSE.row, row_mask, False)
        weight = tl.exp2(tl.load(sinks_base + head) * LOG2_E - reference)
        tl.store(dsink_base + row_place, -weight * tl.where(sees_any_key > 0, delta, direct), mask=row_mask)
