"""dK and dV: one program for each tile of keys of a key-value head, over the tiles of queries of its query heads.

Dao et al., FlashAttention (2022), appendix B.4. A program alone writes its keys, so that nothing is added atomically.
Scores are computed transposed, keys along the first axis, so that weights enter their products as they are.
"""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.score_gradients import reference_of, score_gradients
from refattn_gpu.kernels.scores import visible_scores
from refattn_gpu.kernels.special_values import finite, has_special, indicator, special_values
from refattn_gpu.kernels.tiles import extent, load_row, load_rows, store_rows, tile_and_head
from refattn_gpu.kernels.visibility import number_of_tiles, tile_at, tiles_seen


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
    held = columns < keys

    k = load_rows(k_base + batch * k_batch + kv_head * k_head, columns, held, k_row, k_column, False, D_QK, BLOCK_D)
    v = load_rows(v_base + batch * v_batch + kv_head * v_head, columns, held, v_row, v_column, False, D_V, BLOCK_DV)

    low, high = first - alignment, tl.minimum(first + BLOCK_N, keys) - 1 - alignment
    start, whole, last, end = tiles_seen(low, high, queries, right, left, HAS_RIGHT, HAS_LEFT, BLOCK_M)
    steps = tl.arange(0, BLOCK_M)
    key_sum = tl.zeros([BLOCK_N, BLOCK_D], tl.float32)
    value_sum = tl.zeros([BLOCK_N, BLOCK_DV], tl.float32)
    for member in range(group):
        head = kv_head * group + member
        slope = 0.0
        if HAS_ALIBI:
            slope = tl.load(slopes_base + batch * heads + head)
        of_queries = q_base + batch * q_batch + head * q_head
        of_gradients = do_base + batch * do_batch + head * do_head
        head_place = lse_place + head * lse_head
        key_part = tl.zeros([BLOCK_N, BLOCK_D], tl.float32)
        value_part = tl.zeros([BLOCK_N, BLOCK_DV], tl.float32)
        for WHOLE in tl.static_range(1, -1, -1):
            count = number_of_tiles(start, whole, last, end, WHOLE, BLOCK_M)
            for index in tl.range(0, count, num_stages=None if WHOLE else 1):
                tile = tile_at(index, start, whole, last, WHOLE, BLOCK_M)
                rows = tile + steps
                inside = rows < queries
                far = tl.cast(tile, tl.int64)
                q = load_rows(of_queries + far * q_row, steps, inside, q_row, q_column, WHOLE, D_QK, BLOCK_D)
                do = load_rows(of_gradients + far * do_row, steps, inside, do_row, do_column, WHOLE, D_V, BLOCK_DV)
                row_place = head_place + rows
                reference = reference_of(load_row(lse_base + row_place, inside, WHOLE))
                delta = load_row(delta_base + row_place, inside, WHOLE)

                products = tl.dot(k, tl.trans(q), input_precision=PRECISION)
                scores, seen, tanh = visible_scores(
                    products, batch, head, rows[None, :], columns[:, None], queries, keys,
                    scale, softcap, left, right, alignment, slope,
                    bias_base, bias_batch, bias_head, bias_row, bias_column,
                    mask_base, mask_batch, mask_head, mask_row, mask_column,
                    HAS_SOFTCAP, HAS_ALIBI, HAS_BIAS, HAS_MASK, HAS_LEFT, HAS_RIGHT, WHOLE,
                )  # fmt: skip
                dp = tl.dot(v, tl.trans(do), input_precision=PRECISION)
                p, _, dx = score_gradients(
                    scores, seen, tanh, reference[None, :], dp, delta[None, :],
                    HAS_SOFTCAP, WHOLE and not (HAS_BIAS or HAS_MASK), DEGREE,
                )  # fmt: skip
                if GUARDS_VALUES and (HAS_BIAS or HAS_MASK or not WHOLE):
                    # A row of Q that holds NaN has made dx NaN wherever it sees.
                    q = finite(q)
                    if has_special(do):
                        value_part += special_values(indicator(seen), do)
                        do = finite(do)
                value_part = tl.dot(p.to(do.dtype), do, value_part, input_precision=PRECISION)
                key_part = tl.dot(dx.to(q.dtype), q, key_part, input_precision=PRECISION)
        key_sum += key_part * scale
        value_sum += value_part

    store_rows(key_sum, dk_base, columns, held, dk_row, 1, D_QK, BLOCK_D)
    store_rows(value_sum, dv_base, columns, held, dv_row, 1, D_V, BLOCK_DV)
