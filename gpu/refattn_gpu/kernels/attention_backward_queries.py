"""dQ, and what dbias and dsinks add up: one program for each tile of queries of a head, over the tiles of keys.

Tiles of which every query sees every key come first, without masks; then those at the edges of what is seen.
Dao et al., FlashAttention (2022), appendix B.4.
"""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.exponential import LOG2_E
from refattn_gpu.kernels.parameters import Has, Matrix, Vector, Schedule, Scoring, Sizes, Starts, Tile, StridedVector
from refattn_gpu.kernels.score_gradients import reference_of, score_gradients
from refattn_gpu.kernels.scores import visible_scores
from refattn_gpu.kernels.special_values import finite
from refattn_gpu.kernels.tiles import extent, load_row, load_rows, store_rows, tile_and_head
from refattn_gpu.kernels.visibility import number_of_tiles, tile_at, tiles_seen


@triton.jit
def attention_backward_queries(
    Q: Matrix, K: Matrix, V: Matrix, DO: Matrix, DLSE: StridedVector, LSE: Vector, delta_base, DQ: Matrix, ds_base, dsink_base,
    BIAS: Matrix, MASK: Matrix, slopes_base, sinks_base, starts: Starts, sizes: Sizes, schedule: Schedule, scoring: Scoring,
    HAS: Has, TILE: Tile, HAS_DLSE: tl.constexpr, PACKED: tl.constexpr, GUARDS_VALUES: tl.constexpr, DEGREE: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """dQ = scale dX K; with a bias, dS (B, H, Nq, Nk) where a tile is visible; with sinks, each row's term of dsinks.

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
        query_start, queries = extent(starts.queries, batch)
        key_start, keys = extent(starts.keys, batch)
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
    inside = rows < queries

    q = load_rows(q_base + batch * Q.batch + head * Q.head, rows, inside, Q.row, Q.column, False, TILE.D_QK, TILE.BLOCK_D)
    do_base += batch * DO.batch + head * DO.head
    do = load_rows(do_base, rows, inside, DO.row, DO.column, False, TILE.D_V, TILE.BLOCK_DV)
    row_place = row_place + rows.to(tl.int64)
    reference = reference_of(load_row(LSE.base + row_place, inside, False))
    delta = load_row(delta_base + row_place, inside, False)
    slope = 0.0
    if HAS.ALIBI:
        slope = tl.load(slopes_base + batch * sizes.heads + head)

    acc = tl.zeros([TILE.M, TILE.BLOCK_D], tl.float32)
    sees_some = tl.zeros([TILE.M], tl.int32)
    low, high = first + alignment, tl.minimum(first + TILE.M, queries) - 1 + alignment
    start, whole, last, end = tiles_seen(
        low, high, keys, scoring.left, scoring.right, HAS.LEFT, HAS.RIGHT, TILE.N
    )
    steps = tl.arange(0, TILE.N)
    k_base += batch * K.batch + kv_head * K.head
    v_base += batch * V.batch + kv_head * V.head
    for WHOLE in tl.static_range(1, -1, -1):
        count = number_of_tiles(start, whole, last, end, WHOLE, TILE.N)
        for index in tl.range(0, count, num_stages=None if WHOLE else 1):
            tile = tile_at(index, start, whole, last, WHOLE, TILE.N)
            columns = tile + steps
            held = columns < keys
            far = tl.cast(tile, tl.int64)
            k = load_rows(k_base + far * K.row, steps, held, K.row, K.column, WHOLE, TILE.D_QK, TILE.BLOCK_D)
            v = load_rows(v_base + far * V.row, steps, held, V.row, V.column, WHOLE, TILE.D_V, TILE.BLOCK_DV)

            products = tl.dot(q, tl.trans(k), input_precision=PRECISION)
            scores, seen, tanh = visible_scores(
                products, batch, head, rows[:, None], columns[None, :], queries, keys,
                scale, alignment, slope, scoring, BIAS, MASK, HAS, WHOLE,
            )  # fmt: skip
            dp = tl.dot(do, tl.trans(v), input_precision=PRECISION)
            _, ds, dx = score_gradients(
                scores, seen, tanh, reference[:, None], dp, delta[:, None],
                HAS.SOFTCAP, WHOLE and not (HAS.BIAS or HAS.MASK), DEGREE,
            )  # fmt: skip
            if HAS.BIAS:
                ds_place = ds_base + row_place[:, None] * keys + columns[None, :]
                tl.store(ds_place, ds, mask=inside[:, None] & held[None, :])
            if HAS.SINKS:
                sees_some = tl.maximum(sees_some, tl.max(seen.to(tl.int32), 1))
            if GUARDS_VALUES and (HAS.BIAS or HAS.MASK or not WHOLE):
                # A row that sees a key that holds NaN has made dx NaN wherever it sees.
                k = finite(k)
            acc = tl.dot(dx.to(k.dtype), k, acc, input_precision=PRECISION)

    store_rows(acc * scale, dq_base, rows, inside, DQ.row, DQ.column, TILE.D_QK, TILE.BLOCK_D)
    if HAS.SINKS:
        # A sink is a key of which dP is 0. The output of a row that sees no key depends on nothing: dO says nothing.
        direct = tl.zeros([TILE.M], tl.float32)
        if HAS_DLSE:
            dlse_base += batch * DLSE.batch + head * DLSE.head
            direct = -load_row(dlse_base + rows.to(tl.int64) * DLSE.row, inside, False)
        weight = tl.exp2(tl.load(sinks_base + head) * LOG2_E - reference)
        tl.store(dsink_base + row_place, -weight * tl.where(sees_some > 0, delta, direct), mask=inside)
