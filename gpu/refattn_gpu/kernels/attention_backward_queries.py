"""dQ, and what dbias and dsinks add up: one program for each tile of queries of a head, over the tiles of keys.

Tiles of which every query sees every key come first, without masks; then those at the edges of what is seen.
Dao et al., FlashAttention (2022), appendix B.4.
"""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.exponential import LOG2_E
from refattn_gpu.kernels.score_gradients import reference_of, score_gradients
from refattn_gpu.kernels.scores import visible_scores
from refattn_gpu.kernels.special_values import finite
from refattn_gpu.kernels.tiles import extent, load_row, load_rows, store_rows, tile_and_head
from refattn_gpu.kernels.visibility import number_of_tiles, tile_at, tiles_seen


@triton.jit
def attention_backward_queries(
    q_base, k_base, v_base, do_base, dlse_base, lse_base, delta_base, dq_base, ds_base, dsink_base,
    bias_base, mask_base, slopes_base, sinks_base, query_starts_base, key_starts_base,
    q_batch, q_head, q_row, q_column,
    k_batch, k_head, k_row, k_column,
    v_batch, v_head, v_row, v_column,
    do_batch, do_head, do_row, do_column,
    dlse_batch, dlse_head, dlse_row,
    bias_batch, bias_head, bias_row, bias_column,
    mask_batch, mask_head, mask_row, mask_column,
    lse_batch, lse_head,
    dq_batch, dq_head, dq_row,
    heads_of_all, heads, group, queries, keys, together,
    scale, softcap, left, right, alignment,
    HAS_SOFTCAP: tl.constexpr, HAS_ALIBI: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_MASK: tl.constexpr,
    HAS_SINKS: tl.constexpr, HAS_LEFT: tl.constexpr, HAS_RIGHT: tl.constexpr, HAS_DLSE: tl.constexpr,
    PACKED: tl.constexpr, GUARDS_VALUES: tl.constexpr, DEGREE: tl.constexpr, PRECISION: tl.constexpr,
    D_QK: tl.constexpr, D_V: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_DV: tl.constexpr,
):  # fmt: skip
    """dQ = scale dX K; with a bias, dS (B, H, Nq, Nk) where a tile is visible; with sinks, each row's term of dsinks.

    lse, delta and dsink (B, H, Nq) lie alike, and rows of dq are without gaps; ds is contiguous, ds and dsink are in
    fp32. The other arguments are the forward pass's.
    """
    tile_of_queries, head = tile_and_head(tl.cdiv(queries, BLOCK_M), heads_of_all, together)
    batch, head = head // heads, head % heads
    kv_head = head // group
    first = tile_of_queries * BLOCK_M
    row_place = batch * lse_batch + head * lse_head
    dq_base += batch * dq_batch + head * dq_head
    if PACKED:
        query_start, queries = extent(query_starts_base, batch)
        key_start, keys = extent(key_starts_base, batch)
        if first >= queries:
            return
        alignment = keys - queries
        q_base += query_start * q_row
        k_base += key_start * k_row
        v_base += key_start * v_row
        do_base += query_start * do_row
        dq_base += query_start * dq_row
        row_place += query_start
        if HAS_DLSE:
            dlse_base += query_start * dlse_row
    rows = first + tl.arange(0, BLOCK_M)
    inside = rows < queries

    q = load_rows(q_base + batch * q_batch + head * q_head, rows, inside, q_row, q_column, False, D_QK, BLOCK_D)
    do_base += batch * do_batch + head * do_head
    do = load_rows(do_base, rows, inside, do_row, do_column, False, D_V, BLOCK_DV)
    row_place = row_place + rows.to(tl.int64)
    reference = reference_of(load_row(lse_base + row_place, inside, False))
    delta = load_row(delta_base + row_place, inside, False)
    slope = 0.0
    if HAS_ALIBI:
        slope = tl.load(slopes_base + batch * heads + head)

    acc = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
    sees_some = tl.zeros([BLOCK_M], tl.int32)
    low, high = first + alignment, tl.minimum(first + BLOCK_M, queries) - 1 + alignment
    start, whole, last, end = tiles_seen(low, high, keys, left, right, HAS_LEFT, HAS_RIGHT, BLOCK_N)
    steps = tl.arange(0, BLOCK_N)
    k_base += batch * k_batch + kv_head * k_head
    v_base += batch * v_batch + kv_head * v_head
    for WHOLE in tl.static_range(1, -1, -1):
        count = number_of_tiles(start, whole, last, end, WHOLE, BLOCK_N)
        for index in tl.range(0, count, num_stages=None if WHOLE else 1):
            tile = tile_at(index, start, whole, last, WHOLE, BLOCK_N)
            columns = tile + steps
            held = columns < keys
            far = tl.cast(tile, tl.int64)
            k = load_rows(k_base + far * k_row, steps, held, k_row, k_column, WHOLE, D_QK, BLOCK_D)
            v = load_rows(v_base + far * v_row, steps, held, v_row, v_column, WHOLE, D_V, BLOCK_DV)

            products = tl.dot(q, tl.trans(k), input_precision=PRECISION)
            scores, seen, tanh = visible_scores(
                products, batch, head, rows[:, None], columns[None, :], queries, keys,
                scale, softcap, left, right, alignment, slope,
                bias_base, bias_batch, bias_head, bias_row, bias_column,
                mask_base, mask_batch, mask_head, mask_row, mask_column,
                HAS_SOFTCAP, HAS_ALIBI, HAS_BIAS, HAS_MASK, HAS_LEFT, HAS_RIGHT, WHOLE,
            )  # fmt: skip
            dp = tl.dot(do, tl.trans(v), input_precision=PRECISION)
            _, ds, dx = score_gradients(
                scores, seen, tanh, reference[:, None], dp, delta[:, None],
                HAS_SOFTCAP, WHOLE and not (HAS_BIAS or HAS_MASK), DEGREE,
            )  # fmt: skip
            if HAS_BIAS:
                ds_place = ds_base + row_place[:, None] * keys + columns[None, :]
                tl.store(ds_place, ds, mask=inside[:, None] & held[None, :])
            if HAS_SINKS:
                sees_some = tl.maximum(sees_some, tl.max(seen.to(tl.int32), 1))
            if GUARDS_VALUES and (HAS_BIAS or HAS_MASK or not WHOLE):
                # A row that sees a key that holds NaN has made dx NaN wherever it sees.
                k = finite(k)
            acc = tl.dot(dx.to(k.dtype), k, acc, input_precision=PRECISION)

    store_rows(acc * scale, dq_base, rows, inside, dq_row, 1, D_QK, BLOCK_D)
    if HAS_SINKS:
        # A sink is a key of which dP is 0. The output of a row that sees no key depends on nothing: dO says nothing.
        direct = tl.zeros([BLOCK_M], tl.float32)
        if HAS_DLSE:
            dlse_base += batch * dlse_batch + head * dlse_head
            direct = -load_row(dlse_base + rows.to(tl.int64) * dlse_row, inside, False)
        weight = tl.exp2(tl.load(sinks_base + head) * LOG2_E - reference)
        tl.store(dsink_base + row_place, -weight * tl.where(sees_some > 0, delta, direct), mask=inside)
