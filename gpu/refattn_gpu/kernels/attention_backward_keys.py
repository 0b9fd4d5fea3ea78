"""dK and dV. One program takes a tile of keys of a key-value head and loops over the queries of its query heads.

Dao et al., FlashAttention (2022), appendix B.4. No other program writes these keys, so that there are no atomic adds.
Scores are computed transposed, keys along the first axis, so that weights enter their products without a transposition.
"""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.parameters import (
    Has,
    Matrix,
    Schedule,
    Scoring,
    Sizes,
    Starts,
    Strides,
    Tile,
    VectorStrides,
)
from refattn_gpu.kernels.score_gradients import lse_base2, score_gradients
from refattn_gpu.kernels.scores import visible_scores
from refattn_gpu.kernels.special_values import has_nonfinite, indicator, visible_nonfinite, zero_nonfinite
from refattn_gpu.kernels.tiles import load_rows, load_vector, sequence_extent, store_rows, tile_and_head
from refattn_gpu.kernels.visibility import tile_count, tile_start, visible_tiles


@triton.jit
def attention_backward_keys(
    q_base, k_base, v_base, do_base, lse_base, delta_base, dk_base, dv_base, BIAS: Matrix, MASK: Matrix, slopes_base,
    starts: Starts, Q: Strides, K: Strides, V: Strides, DO: Strides, LSE: VectorStrides, DK: Strides,
    DV: Strides, schedule: Schedule, sizes: Sizes, scoring: Scoring,
    HAS: Has, TILE: Tile, PACKED: tl.constexpr, NAN_SAFE: tl.constexpr, DEGREE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dK = scale dX^T Q and dV = P^T dO, summed for each query head and then over the heads of the group.

    delta has the strides of LSE; schedule.heads counts key-value heads, and the other arguments are the forward
    pass's. Pointers come before strides: between them, ptxas takes other registers for this kernel.
    """
    queries, keys, scale, alignment = sizes.queries, sizes.keys, scoring.scale, scoring.alignment
    tiles = tl.cdiv(keys, TILE.N)
    tile_of_keys, kv_head = tile_and_head(tiles, schedule)
    kv_heads = sizes.heads // sizes.group
    batch, kv_head = kv_head // kv_heads, kv_head % kv_heads
    # The last tile comes first, but under a causal mask the first keys are seen most.
    first = (tiles - 1 - tile_of_keys) * TILE.N
    dk_base += batch * DK.batch + kv_head * DK.head
    dv_base += batch * DV.batch + kv_head * DV.head
    lse_place = batch * LSE.batch
    if PACKED:
        query_start, queries = sequence_extent(starts.queries, batch)
        key_start, keys = sequence_extent(starts.keys, batch)
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
    key_mask = columns < keys

    k_base = k_base + batch * K.batch + kv_head * K.head
    k = load_rows(k_base, columns, key_mask, K.row, K.column, False, TILE.D_QK, TILE.BLOCK_D)
    v_base = v_base + batch * V.batch + kv_head * V.head
    v = load_rows(v_base, columns, key_mask, V.row, V.column, False, TILE.D_V, TILE.BLOCK_DV)

    low, high = first - alignment, tl.minimum(first + TILE.N, keys) - 1 - alignment
    start, full_start, full_end, end = visible_tiles(
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
        q_head_base = q_base + batch * Q.batch + head * Q.head
        do_head_base = do_base + batch * DO.batch + head * DO.head
        head_place = lse_place + head * LSE.head
        key_part = tl.zeros([TILE.N, TILE.BLOCK_D], tl.float32)
        value_part = tl.zeros([TILE.N, TILE.BLOCK_DV], tl.float32)
        for FULL in tl.static_range(1, -1, -1):
            count = tile_count(start, full_start, full_end, end, FULL, TILE.M)
            for index in tl.range(0, count, num_stages=None if FULL else 1):
                tile = tile_start(index, start, full_start, full_end, FULL, TILE.M)
                rows = tile + steps
                row_mask = rows < queries
                tile_offset = tl.cast(tile, tl.int64)
                q_tile_base = q_head_base + tile_offset * Q.row
                q = load_rows(q_tile_base, steps, row_mask, Q.row, Q.column, FULL, TILE.D_QK, TILE.BLOCK_D)
                do_tile_base = do_head_base + tile_offset * DO.row
                do = load_rows(do_tile_base, steps, row_mask, DO.row, DO.column, FULL, TILE.D_V, TILE.BLOCK_DV)
                row_place = head_place + rows
                reference = lse_base2(load_vector(lse_base + row_place, row_mask, FULL))
                delta = load_vector(delta_base + row_place, row_mask, FULL)

                products = tl.dot(k, tl.trans(q), input_precision=PRECISION)
                scores, visible, tanh = visible_scores(
                    products, batch, head, rows[None, :], columns[:, None], queries, keys,
                    scale, alignment, slope, scoring, BIAS, MASK, HAS, FULL,
                )  # fmt: skip
                dp = tl.dot(v, tl.trans(do), input_precision=PRECISION)
                p, _, dx = score_gradients(
                    scores, visible, tanh, reference[None, :], dp, delta[None, :],
                    HAS.SOFTCAP, FULL and not (HAS.BIAS or HAS.MASK), DEGREE,
                )  # fmt: skip
                if NAN_SAFE and (HAS.BIAS or HAS.MASK or not FULL):
                    # Where a row of Q holds NaN, dx is NaN already for each key that it sees.
                    q = zero_nonfinite(q)
                    if has_nonfinite(do):
                        value_part += visible_nonfinite(indicator(visible), do)
                        do = zero_nonfinite(do)
                value_part = tl.dot(p.to(do.dtype), do, value_part, input_precision=PRECISION)
                key_part = tl.dot(dx.to(q.dtype), q, key_part, input_precision=PRECISION)
        key_sum += key_part * scale
        value_sum += value_part

    store_rows(key_sum, dk_base, columns, key_mask, DK.row, DK.column, TILE.D_QK, TILE.BLOCK_D)
    store_rows(value_sum, dv_base, columns, key_mask, DV.row, DV.column, TILE.D_V, TILE.BLOCK_DV)
