"""dQ, and what dbias and dsinks add up: one program for each tile of queries of a head, over the tiles of keys.

Dao et al., FlashAttention (2022), appendix B.4. May import: triton, refattn_gpu.kernels.
"""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.score_gradients import reference_of, score_gradients
from refattn_gpu.kernels.scores import LOG2_E, visible_scores
from refattn_gpu.kernels.special_values import finite
from refattn_gpu.kernels.visibility import end_of_keys, first_key


@triton.jit
def attention_backward_queries(
    q_base, k_base, v_base, do_base, dlse_base, lse_base, delta_base, dq_base, ds_base, dsink_base,
    bias_base, mask_base, slopes_base, sinks_base,
    q_batch, q_head, q_row, q_column,
    k_batch, k_head, k_row, k_column,
    v_batch, v_head, v_row, v_column,
    do_batch, do_head, do_row, do_column,
    dlse_batch, dlse_head, dlse_row,
    bias_batch, bias_head, bias_row, bias_column,
    mask_batch, mask_head, mask_row, mask_column,
    heads, group, queries, keys, d_qk, d_v,
    scale, softcap, left, right, alignment,
    HAS_SOFTCAP: tl.constexpr, HAS_ALIBI: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_MASK: tl.constexpr,
    HAS_SINKS: tl.constexpr, HAS_LEFT: tl.constexpr, HAS_RIGHT: tl.constexpr, HAS_DLSE: tl.constexpr,
    GUARDS_VALUES: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_DV: tl.constexpr,
):  # fmt: skip
    """dQ = scale dX K; with a bias, dS (B, H, Nq, Nk) where a tile is visible; with sinks, each row's term of dsinks.

    lse, delta, dq, ds and dsink (B, H, Nq) are contiguous, ds and dsink in fp32; the other arguments are the forward
    pass's.
    """
    program = tl.program_id(1).to(tl.int64)
    batch, head = program // heads, program % heads
    kv_head = head // group
    first = tl.program_id(0) * BLOCK_M
    rows = first + tl.arange(0, BLOCK_M)
    inside = rows < queries
    offsets = rows.to(tl.int64)
    d = tl.arange(0, BLOCK_D)
    dv = tl.arange(0, BLOCK_DV)
    in_d, in_dv = (d < d_qk)[None, :], (dv < d_v)[None, :]

    q_place = q_base + batch * q_batch + head * q_head + offsets[:, None] * q_row + d[None, :].to(tl.int64) * q_column
    q = tl.load(q_place, mask=inside[:, None] & in_d, other=0.0)
    do_place = do_base + batch * do_batch + head * do_head
    do_place += offsets[:, None] * do_row + dv[None, :].to(tl.int64) * do_column
    do = tl.load(do_place, mask=inside[:, None] & in_dv, other=0.0)
    row_place = program * queries + offsets
    reference = reference_of(tl.load(lse_base + row_place, mask=inside, other=0.0))
    delta = tl.load(delta_base + row_place, mask=inside, other=0.0)
    slope = 0.0
    if HAS_ALIBI:
        slope = tl.load(slopes_base + batch * heads + head)

    acc = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
    sees_some = tl.zeros([BLOCK_M], tl.int32)
    start = first_key(first + alignment, left, HAS_LEFT, BLOCK_N)
    end = end_of_keys(tl.minimum(first + BLOCK_M, queries) - 1 + alignment, keys, right, HAS_RIGHT)
    for tile in range(start, end, BLOCK_N):
        columns = tile + tl.arange(0, BLOCK_N)
        places = columns.to(tl.int64)
        held = (columns < keys)[:, None]
        k_place = k_base + batch * k_batch + kv_head * k_head
        k_place += places[:, None] * k_row + d[None, :].to(tl.int64) * k_column
        k = tl.load(k_place, mask=held & in_d, other=0.0)
        v_place = v_base + batch * v_batch + kv_head * v_head
        v_place += places[:, None] * v_row + dv[None, :].to(tl.int64) * v_column
        v = tl.load(v_place, mask=held & in_dv, other=0.0)

        products = tl.dot(q, tl.trans(k), input_precision=PRECISION)
        scores, seen, tanh = visible_scores(
            products, batch, head, rows, columns, queries, keys, scale, softcap, left, right, alignment, slope,
            bias_base, bias_batch, bias_head, bias_row, bias_column,
            mask_base, mask_batch, mask_head, mask_row, mask_column,
            HAS_SOFTCAP, HAS_ALIBI, HAS_BIAS, HAS_MASK, HAS_LEFT, HAS_RIGHT,
        )  # fmt: skip
        dp = tl.dot(do, tl.trans(v), input_precision=PRECISION)
        _, ds, dx = score_gradients(scores, seen, tanh, reference, dp, delta, HAS_SOFTCAP)
        if HAS_BIAS:
            ds_place = ds_base + row_place[:, None] * keys + places[None, :]
            tl.store(ds_place, ds, mask=inside[:, None] & (columns < keys)[None, :])
        if HAS_SINKS:
            sees_some = tl.maximum(sees_some, tl.max(seen.to(tl.int32), 1))
        if GUARDS_VALUES:
            # A row that sees a key that holds NaN has made dx NaN wherever it sees.
            k = finite(k)
        acc = tl.dot(dx.to(k.dtype), k, acc, input_precision=PRECISION)

    dq = (acc * scale).to(dq_base.dtype.element_ty)
    tl.store(dq_base + row_place[:, None] * d_qk + d[None, :], dq, mask=inside[:, None] & in_d)
    if HAS_SINKS:
        # A sink is a key of which dP is 0. The output of a row that sees no key depends on nothing: dO says nothing.
        direct = tl.zeros([BLOCK_M], tl.float32)
        if HAS_DLSE:
            dlse_place = dlse_base + batch * dlse_batch + head * dlse_head + offsets * dlse_row
            direct = -tl.load(dlse_place, mask=inside, other=0.0)
        weight = tl.exp2(tl.load(sinks_base + head) * LOG2_E - reference)
        tl.store(dsink_base + row_place, -weight * tl.where(sees_some > 0, delta, direct), mask=inside)
