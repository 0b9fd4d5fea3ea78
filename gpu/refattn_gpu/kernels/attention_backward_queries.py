"""dQ, and what dbias and dsinks add up: one program for each tile of queries of a head, over the tiles of keys.

Tiles of which every query sees every key come first, without masks; then those at the edges of what is seen.
Dao et al., FlashAttention (2022), appendix B.4. May import: triton, refattn_gpu.kernels.
"""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.score_gradients import gradients_at, reference_of
from refattn_gpu.kernels.scores import LOG2_E, scores_at
from refattn_gpu.kernels.special_values import finite
from refattn_gpu.kernels.tiles import extent, load_tile, tile_and_head
from refattn_gpu.kernels.visibility import end_of_keys, first_key, whole_tiles


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
    offsets = rows.to(tl.int64)
    d = tl.arange(0, BLOCK_D)
    dv = tl.arange(0, BLOCK_DV)
    in_d, in_dv = (d < D_QK)[None, :], (dv < D_V)[None, :]

    q_place = q_base + batch * q_batch + head * q_head + offsets[:, None] * q_row + d[None, :].to(tl.int64) * q_column
    q = load_tile(q_place, inside[:, None], in_d, False, D_QK == BLOCK_D)
    do_place = do_base + batch * do_batch + head * do_head
    do_place += offsets[:, None] * do_row + dv[None, :].to(tl.int64) * do_column
    do = load_tile(do_place, inside[:, None], in_dv, False, D_V == BLOCK_DV)
    row_place = row_place + offsets
    reference = reference_of(tl.load(lse_base + row_place, mask=inside, other=0.0))
    delta = tl.load(delta_base + row_place, mask=inside, other=0.0)
    slope = 0.0
    if HAS_ALIBI:
        slope = tl.load(slopes_base + batch * heads + head)

    acc = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
    sees_some = tl.zeros([BLOCK_M], tl.int32)
    low, high = first + alignment, tl.minimum(first + BLOCK_M, queries) - 1 + alignment
    start = first_key(low, left, HAS_LEFT, BLOCK_N)
    end = end_of_keys(high, keys, right, HAS_RIGHT)
    whole, last = whole_tiles(start, end, low, high, keys, left, right, HAS_LEFT, HAS_RIGHT, BLOCK_N)
    before = (whole - start) // BLOCK_N
    steps = tl.arange(0, BLOCK_N)
    far = steps.to(tl.int64)[:, None]
    k_places = k_base + batch * k_batch + kv_head * k_head
    k_offsets = far * k_row + d[None, :].to(tl.int64) * k_column
    v_places = v_base + batch * v_batch + kv_head * v_head
    v_offsets = far * v_row + dv[None, :].to(tl.int64) * v_column
    for WHOLE in tl.static_range(1, -1, -1):
        count = (last - whole) // BLOCK_N
        if not WHOLE:
            count = before + tl.cdiv(tl.maximum(end - last, 0), BLOCK_N)
        for index in tl.range(0, count, num_stages=None if WHOLE else 1):
            tile = whole + index * BLOCK_N
            if not WHOLE:
                tile = index * BLOCK_N + tl.where(index < before, start, last - before * BLOCK_N)
            columns = tile + steps
            held = (columns < keys)[:, None]
            k_place = k_places + tl.cast(tile, tl.int64) * k_row + k_offsets
            k = load_tile(k_place, held, in_d, WHOLE, D_QK == BLOCK_D)
            v_place = v_places + tl.cast(tile, tl.int64) * v_row + v_offsets
            v = load_tile(v_place, held, in_dv, WHOLE, D_V == BLOCK_DV)

            products = tl.dot(q, tl.trans(k), input_precision=PRECISION)
            scores, seen, tanh = scores_at(
                products, batch, head, rows[:, None], columns[None, :], queries, keys,
                scale, softcap, left, right, alignment, slope,
                bias_base, bias_batch, bias_head, bias_row, bias_column,
                mask_base, mask_batch, mask_head, mask_row, mask_column,
                HAS_SOFTCAP, HAS_ALIBI, HAS_BIAS, HAS_MASK, HAS_LEFT, HAS_RIGHT, WHOLE,
            )  # fmt: skip
            dp = tl.dot(do, tl.trans(v), input_precision=PRECISION)
            _, ds, dx = gradients_at(
                scores, seen, tanh, reference[:, None], dp, delta[:, None],
                HAS_SOFTCAP, WHOLE and not (HAS_BIAS or HAS_MASK), DEGREE,
            )  # fmt: skip
            if HAS_BIAS:
                ds_place = ds_base + row_place[:, None] * keys + columns[None, :]
                tl.store(ds_place, ds, mask=inside[:, None] & (columns < keys)[None, :])
            if HAS_SINKS:
                sees_some = tl.maximum(sees_some, tl.max(seen.to(tl.int32), 1))
            if GUARDS_VALUES and (HAS_BIAS or HAS_MASK or not WHOLE):
                # A row that sees a key that holds NaN has made dx NaN wherever it sees.
                k = finite(k)
            acc = tl.dot(dx.to(k.dtype), k, acc, input_precision=PRECISION)

    dq = (acc * scale).to(dq_base.dtype.element_ty)
    tl.store(dq_base + offsets[:, None] * dq_row + d[None, :], dq, mask=inside[:, None] & in_d)
    if HAS_SINKS:
        # A sink is a key of which dP is 0. The output of a row that sees no key depends on nothing: dO says nothing.
        direct = tl.zeros([BLOCK_M], tl.float32)
        if HAS_DLSE:
            dlse_place = dlse_base + batch * dlse_batch + head * dlse_head + offsets * dlse_row
            direct = -tl.load(dlse_place, mask=inside, other=0.0)
        weight = tl.exp2(tl.load(sinks_base + head) * LOG2_E - reference)
        tl.store(dsink_base + row_place, -weight * tl.where(sees_some > 0, delta, direct), mask=inside)
