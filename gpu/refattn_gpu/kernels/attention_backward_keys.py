"""dK and dV: one program for each tile of keys of a key-value head, over the tiles of queries of its query heads.

Dao et al., FlashAttention (2022), appendix B.4. A program alone writes its keys, so that nothing is added atomically.
Scores are computed transposed, keys along the first axis, so that weights enter their products as they are.
May import: triton, refattn_gpu.kernels.
"""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.score_gradients import gradients_at, reference_of
from refattn_gpu.kernels.scores import scores_at
from refattn_gpu.kernels.special_values import finite, has_special, special_values
from refattn_gpu.kernels.tiles import extent, load_row, load_tile, tile_and_head
from refattn_gpu.kernels.visibility import end_of_queries, first_query, whole_tiles


@triton.jit
def attention_backward_keys(
    q_base, k_base, v_base, do_base, lse_base, delta_base, dk_base, dv_base, bias_base, mask_base, slopes_base,
    query_starts_base, key_starts_base,
    q_batch, q_head, q_row, q_column,
    k_batch, k_head, k_row, k_column,
    v_batch, v_head, v_row, v_column,
    do_batch, do_head, do_row, do_column,
    bias_batch, bias_head, bias_row, bias_column,
    mask_batch, mask_head, mask_row, mask_column,
    lse_batch, lse_head,
    dk_batch, dk_head, dk_row,
    dv_batch, dv_head, dv_row,
    heads_of_all, heads, group, queries, keys, together,
    scale, softcap, left, right, alignment,
    HAS_SOFTCAP: tl.constexpr, HAS_ALIBI: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_MASK: tl.constexpr,
    HAS_LEFT: tl.constexpr, HAS_RIGHT: tl.constexpr,
    PACKED: tl.constexpr, GUARDS_VALUES: tl.constexpr, DEGREE: tl.constexpr, PRECISION: tl.constexpr,
    D_QK: tl.constexpr, D_V: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_DV: tl.constexpr,
):  # fmt: skip
    """dK = scale dX^T Q and dV = P^T dO, added up over each query head by itself and then over the heads of the group.

    lse and delta lie alike, and rows of dk and dv are without gaps; heads_of_all counts key-value heads, and the other
    arguments are the forward pass's.
    """
    tiles = tl.cdiv(keys, BLOCK_N)
    tile_of_keys, kv_head = tile_and_head(tiles, heads_of_all, together)
    kv_heads = heads // group
    batch, kv_head = kv_head // kv_heads, kv_head % kv_heads
    # Under a causal mask the first keys are seen most.
    first = (tiles - 1 - tile_of_keys) * BLOCK_N
    dk_base += batch * dk_batch + kv_head * dk_head
    dv_base += batch * dv_batch + kv_head * dv_head
    lse_place = batch * lse_batch
    if PACKED:
        query_start, queries = extent(query_starts_base, batch)
        key_start, keys = extent(key_starts_base, batch)
        if first >= keys:
            return
        alignment = keys - queries
        q_base += query_start * q_row
        k_base += key_start * k_row
        v_base += key_start * v_row
        do_base += query_start * do_row
        dk_base += key_start * dk_row
        dv_base += key_start * dv_row
        lse_place += query_start
    columns = first + tl.arange(0, BLOCK_N)
    places = columns.to(tl.int64)[:, None]
    d = tl.arange(0, BLOCK_D)
    dv = tl.arange(0, BLOCK_DV)
    in_d, in_dv = (d < D_QK)[None, :], (dv < D_V)[None, :]
    held = (columns < keys)[:, None]

    k_place = k_base + batch * k_batch + kv_head * k_head + places * k_row + d[None, :].to(tl.int64) * k_column
    k = load_tile(k_place, held, in_d, False, D_QK == BLOCK_D)
    v_place = v_base + batch * v_batch + kv_head * v_head + places * v_row + dv[None, :].to(tl.int64) * v_column
    v = load_tile(v_place, held, in_dv, False, D_V == BLOCK_DV)

    low, high = first - alignment, tl.minimum(first + BLOCK_N, keys) - 1 - alignment
    start = first_query(low, right, HAS_RIGHT, BLOCK_M)
    end = end_of_queries(high, queries, left, HAS_LEFT)
    whole, last = whole_tiles(start, end, low, high, queries, right, left, HAS_RIGHT, HAS_LEFT, BLOCK_M)
    before = (whole - start) // BLOCK_M
    steps = tl.arange(0, BLOCK_M)
    far = steps.to(tl.int64)[:, None]
    q_offsets = far * q_row + d[None, :].to(tl.int64) * q_column
    do_offsets = far * do_row + dv[None, :].to(tl.int64) * do_column
    key_sum = tl.zeros([BLOCK_N, BLOCK_D], tl.float32)
    value_sum = tl.zeros([BLOCK_N, BLOCK_DV], tl.float32)
    for member in range(group):
        head = kv_head * group + member
        slope = 0.0
        if HAS_ALIBI:
            slope = tl.load(slopes_base + batch * heads + head)
        q_places = q_base + batch * q_batch + head * q_head
        do_places = do_base + batch * do_batch + head * do_head
        head_place = lse_place + head * lse_head
        key_part = tl.zeros([BLOCK_N, BLOCK_D], tl.float32)
        value_part = tl.zeros([BLOCK_N, BLOCK_DV], tl.float32)
        for WHOLE in tl.static_range(1, -1, -1):
            count = (last - whole) // BLOCK_M
            if not WHOLE:
                count = before + tl.cdiv(tl.maximum(end - last, 0), BLOCK_M)
            for index in tl.range(0, count, num_stages=None if WHOLE else 1):
                tile = whole + index * BLOCK_M
                if not WHOLE:
                    tile = index * BLOCK_M + tl.where(index < before, start, last - before * BLOCK_M)
                rows = tile + steps
                inside = rows < queries
                q_place = q_places + tl.cast(tile, tl.int64) * q_row + q_offsets
                q = load_tile(q_place, inside[:, None], in_d, WHOLE, D_QK == BLOCK_D)
                do_place = do_places + tl.cast(tile, tl.int64) * do_row + do_offsets
                do = load_tile(do_place, inside[:, None], in_dv, WHOLE, D_V == BLOCK_DV)
                row_place = head_place + rows
                reference = reference_of(load_row(lse_base + row_place, inside, WHOLE))
                delta = load_row(delta_base + row_place, inside, WHOLE)

                products = tl.dot(k, tl.trans(q), input_precision=PRECISION)
                scores, seen, tanh = scores_at(
                    products, batch, head, rows[None, :], columns[:, None], queries, keys,
                    scale, softcap, left, right, alignment, slope,
                    bias_base, bias_batch, bias_head, bias_row, bias_column,
                    mask_base, mask_batch, mask_head, mask_row, mask_column,
                    HAS_SOFTCAP, HAS_ALIBI, HAS_BIAS, HAS_MASK, HAS_LEFT, HAS_RIGHT, WHOLE,
                )  # fmt: skip
                dp = tl.dot(v, tl.trans(do), input_precision=PRECISION)
                p, _, dx = gradients_at(
                    scores, seen, tanh, reference[None, :], dp, delta[None, :],
                    HAS_SOFTCAP, WHOLE and not (HAS_BIAS or HAS_MASK), DEGREE,
                )  # fmt: skip
                if GUARDS_VALUES and (HAS_BIAS or HAS_MASK or not WHOLE):
                    # A row of Q that holds NaN has made dx NaN wherever it sees.
                    q = finite(q)
                    if has_special(do):
                        value_part += special_values(seen, do)
                        do = finite(do)
                value_part = tl.dot(p.to(do.dtype), do, value_part, input_precision=PRECISION)
                key_part = tl.dot(dx.to(q.dtype), q, key_part, input_precision=PRECISION)
        key_sum += key_part * scale
        value_sum += value_part

    tl.store(dk_base + places * dk_row + d[None, :], key_sum.to(dk_base.dtype.element_ty), mask=held & in_d)
    tl.store(dv_base + places * dv_row + dv[None, :], value_sum.to(dv_base.dtype.element_ty), mask=held & in_dv)
