"""dK and dV: one program for each tile of keys of a key-value head, over the tiles of queries of its query heads.

Dao et al., FlashAttention (2022), appendix B.4. A program alone writes its keys, so that nothing is added atomically.
Scores are computed transposed, keys along the first axis, so that weights enter their products as they are.
"""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.parameters import Has, Matrix, Vector, Schedule, Scoring, Sizes, Starts, Tile
from refattn_gpu.kernels.score_gradients import reference_of, score_gradients
from refattn_gpu.kernels.scores import visible_scores
from refattn_gpu.kernels.special_values import finite, has_special, indicator, special_values
from refattn_gpu.kernels.tiles import extent, load_row, load_rows, store_rows, tile_and_head
from refattn_gpu.kernels.visibility import number_of_tiles, tile_at, tiles_seen


@triton.jit
def attention_backward_keys(
    Q: Matrix, K: Matrix, V: Matrix, DO: Matrix, LSE: Vector, delta_base, DK: Matrix, DV: Matrix,
    BIAS: Matrix, MASK: Matrix, slopes_base, starts: Starts, sizes: Sizes, schedule: Schedule, scoring: Scoring, HAS: Has, TILE: Tile,
    PACKED: tl.constexpr, GUARDS_VALUES: tl.constexpr, DEGREE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dK = scale dX^T Q and dV = P^T dO, added up over each query head by itself and then over the heads of the group.

    delta has the strides of LSE; schedule.heads counts key-value heads, and the other arguments are the forward
    pass's.
    """
    queries, keys, scale, alignment = sizes.queries, sizes.keys, scoring.scale, scoring.alignment
    tiles = tl.cdiv(keys, TILE.N)
    tile_of_keys, kv_head = tile_and_head(tiles, schedule)
    kv_heads = sizes.heads // sizes.group
    batch, kv_head = kv_head // kv_heads, kv_head % kv_heads
    # Under a causal mask the first keys are seen most.
    first = (tiles - 1 - tile_of_keys) * TILE.N
    q_base, k_base, v_base, do_base = Q.base, K.base, V.base, DO.base
    dk_base = DK.base + batch * DK.batch + kv_head * DK.head
    dv_base = DV.base + batch * DV.batch + kv_head * DV.head
    lse_place = batch * LSE.batch
    if PACKED:
        query_start, queries = extent(starts.queries, batch)
        key_start, keys = extent(starts.keys, batch)
        if first >= keys:
            return
        alignment = keys - queries
        q_base += query_start * Q.row
        k_base += key_start * K.row
        v_base += key_start * V.row
        do_base += query_start * DO.row
        dk_base += key_start * DK.row
        dv_base += key_start * DV.row
        lse_place += query_start
    columns = first + tl.arange(0, TILE.N)
    held = columns < keys

    k = load_rows(k_base + batch * K.batch + kv_head * K.head, columns, held, K.row, K.column, False, TILE.D_QK, TILE.BLOCK_D)
    v = load_rows(v_base + batch * V.batch + kv_head * V.head, columns, held, V.row, V.column, False, TILE.D_V, TILE.BLOCK_DV)

    low, high = first - alignment, tl.minimum(first + TILE.N, keys) - 1 - alignment
    start, whole, last, end = tiles_seen(
        low, high, queries, scoring.right, scoring.left, HAS.RIGHT, HAS.LEFT, TILE.M
    )
    steps = tl.arange(0, TILE.M)
    key_sum = tl.zeros([TILE.N, TILE.BLOCK_D], tl.float32)
    value_sum = tl.zeros([TILE.N, TILE.BLOCK_DV], tl.float32)
    for member in range(sizes.group):
        head = kv_head * sizes.group + member
        slope = 0.0
        if HAS.ALIBI:
            slope = tl.load(slopes_base + batch * sizes.heads + head)
        of_queries = q_base + batch * Q.batch + head * Q.head
        of_gradients = do_base + batch * DO.batch + head * DO.head
        head_place = lse_place + head * LSE.head
        key_part = tl.zeros([TILE.N, TILE.BLOCK_D], tl.float32)
        value_part = tl.zeros([TILE.N, TILE.BLOCK_DV], tl.float32)
        for WHOLE in tl.static_range(1, -1, -1):
            count = number_of_tiles(start, whole, last, end, WHOLE, TILE.M)
            for index in tl.range(0, count, num_stages=None if WHOLE else 1):
                tile = tile_at(index, start, whole, last, WHOLE, TILE.M)
                rows = tile + steps
                inside = rows < queries
                far = tl.cast(tile, tl.int64)
                q = load_rows(of_queries + far * Q.row, steps, inside, Q.row, Q.column, WHOLE, TILE.D_QK, TILE.BLOCK_D)
                do = load_rows(of_gradients + far * DO.row, steps, inside, DO.row, DO.column, WHOLE, TILE.D_V, TILE.BLOCK_DV)
                row_place = head_place + rows
                reference = reference_of(load_row(LSE.base + row_place, inside, WHOLE))
                delta = load_row(delta_base + row_place, inside, WHOLE)

                products = tl.dot(k, tl.trans(q), input_precision=PRECISION)
                scores, seen, tanh = visible_scores(
                    products, batch, head, rows[None, :], columns[:, None], queries, keys,
                    scale, alignment, slope, scoring, BIAS, MASK, HAS, WHOLE,
                )  # fmt: skip
                dp = tl.dot(v, tl.trans(do), input_precision=PRECISION)
                p, _, dx = score_gradients(
                    scores, seen, tanh, reference[None, :], dp, delta[None, :],
                    HAS.SOFTCAP, WHOLE and not (HAS.BIAS or HAS.MASK), DEGREE,
                )  # fmt: skip
                if GUARDS_VALUES and (HAS.BIAS or HAS.MASK or not WHOLE):
                    # A row of Q that holds NaN has made dx NaN wherever it sees.
                    q = finite(q)
                    if has_special(do):
                        value_part += special_values(indicator(seen), do)
                        do = finite(do)
                value_part = tl.dot(p.to(do.dtype), do, value_part, input_precision=PRECISION)
                key_part = tl.dot(dx.to(q.dtype), q, key_part, input_precision=PRECISION)
        key_sum += key_part * scale
        value_sum += value_part

    store_rows(key_sum, dk_base, columns, held, DK.row, DK.column, TILE.D_QK, TILE.BLOCK_D)
    store_rows(value_sum, dv_base, columns, held, DV.row, DV.column, TILE.D_V, TILE.BLOCK_DV)
