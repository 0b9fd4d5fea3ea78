"""dK and dV: one program for each tile of keys of a key-value head, over the tiles of queries of its query heads.

Dao et al., FlashAttention (2022), appendix B.4. A program alone writes its keys, so that nothing is added atomically.
May import: triton, refattn_gpu.kernels.
"""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.score_gradients import reference_of, score_gradients
from refattn_gpu.kernels.scores import visible_scores
from refattn_gpu.kernels.special_values import finite, has_special, special_values
from refattn_gpu.kernels.visibility import end_of_queries, first_query


@triton.jit
def attention_backward_keys(
    q_base, k_base, v_base, do_base, lse_base, delta_base, dk_base, dv_base, bias_base, mask_base, slopes_base,
    q_batch, q_head, q_row, q_column,
    k_batch, k_head, k_row, k_column,
    v_batch, v_head, v_row, v_column,
    do_batch, do_head, do_row, do_column,
    bias_batch, bias_head, bias_row, bias_column,
    mask_batch, mask_head, mask_row, mask_column,
    heads, group, queries, keys, d_qk, d_v,
    scale, softcap, left, right, alignment,
    HAS_SOFTCAP: tl.constexpr, HAS_ALIBI: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_MASK: tl.constexpr,
    HAS_LEFT: tl.constexpr, HAS_RIGHT: tl.constexpr,
    GUARDS_VALUES: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_DV: tl.constexpr,
):  # fmt: skip
    """dK = scale dX^T Q and dV = P^T dO, added up over each query head by itself and then over the heads of the group.

    lse, delta, dk and dv are contiguous; the other arguments are the forward pass's.
    """
    program = tl.program_id(1).to(tl.int64)
    kv_heads = heads // group
    batch, kv_head = program // kv_heads, program % kv_heads
    first = tl.program_id(0) * BLOCK_N
    columns = first + tl.arange(0, BLOCK_N)
    places = columns.to(tl.int64)
    d = tl.arange(0, BLOCK_D)
    dv = tl.arange(0, BLOCK_DV)
    in_d, in_dv = (d < d_qk)[None, :], (dv < d_v)[None, :]
    held = (columns < keys)[:, None]

    k_place = k_base + batch * k_batch + kv_head * k_head
    k_place += places[:, None] * k_row + d[None, :].to(tl.int64) * k_column
    k = tl.load(k_place, mask=held & in_d, other=0.0)
    v_place = v_base + batch * v_batch + kv_head * v_head
    v_place += places[:, None] * v_row + dv[None, :].to(tl.int64) * v_column
    v = tl.load(v_place, mask=held & in_dv, other=0.0)

    start = first_query(first - alignment, right, HAS_RIGHT, BLOCK_M)
    end = end_of_queries(tl.minimum(first + BLOCK_N, keys) - 1 - alignment, queries, left, HAS_LEFT)
    key_sum = tl.zeros([BLOCK_N, BLOCK_D], tl.float32)
    value_sum = tl.zeros([BLOCK_N, BLOCK_DV], tl.float32)
    for member in range(group):
        head = kv_head * group + member
        slope = 0.0
        if HAS_ALIBI:
            slope = tl.load(slopes_base + batch * heads + head)
        key_part = tl.zeros([BLOCK_N, BLOCK_D], tl.float32)
        value_part = tl.zeros([BLOCK_N, BLOCK_DV], tl.float32)
        for tile in range(start, end, BLOCK_M):
            rows = tile + tl.arange(0, BLOCK_M)
            offsets = rows.to(tl.int64)
            inside = rows < queries
            q_place = q_base + batch * q_batch + head * q_head
            q_place += offsets[:, None] * q_row + d[None, :].to(tl.int64) * q_column
            q = tl.load(q_place, mask=inside[:, None] & in_d, other=0.0)
            do_place = do_base + batch * do_batch + head * do_head
            do_place += offsets[:, None] * do_row + dv[None, :].to(tl.int64) * do_column
            do = tl.load(do_place, mask=inside[:, None] & in_dv, other=0.0)
            row_place = (batch * heads + head) * queries + offsets
            reference = reference_of(tl.load(lse_base + row_place, mask=inside, other=0.0))
            delta = tl.load(delta_base + row_place, mask=inside, other=0.0)

            products = tl.dot(q, tl.trans(k), input_precision=PRECISION)
            scores, seen, tanh = visible_scores(
                products, batch, head, rows, columns, queries, keys, scale, softcap, left, right, alignment, slope,
                bias_base, bias_batch, bias_head, bias_row, bias_column,
                mask_base, mask_batch, mask_head, mask_row, mask_column,
                HAS_SOFTCAP, HAS_ALIBI, HAS_BIAS, HAS_MASK, HAS_LEFT, HAS_RIGHT,
            )  # fmt: skip
            dp = tl.dot(do, tl.trans(v), input_precision=PRECISION)
            p, _, dx = score_gradients(scores, seen, tanh, reference, dp, delta, HAS_SOFTCAP)
            if GUARDS_VALUES:
                # A row of Q that holds NaN has made dx NaN wherever it sees.
                q = finite(q)
                if has_special(do):
                    value_part += special_values(tl.trans(seen.to(tl.float16)), do)
                    do = finite(do)
            value_part = tl.dot(tl.trans(p.to(do.dtype)), do, value_part, input_precision=PRECISION)
            key_part = tl.dot(tl.trans(dx.to(q.dtype)), q, key_part, input_precision=PRECISION)
        key_sum += key_part * scale
        value_sum += value_part

    place = (program * keys + places)[:, None]
    tl.store(dk_base + place * d_qk + d[None, :], key_sum.to(dk_base.dtype.element_ty), mask=held & in_d)
    tl.store(dv_base + place * d_v + dv[None, :], value_sum.to(dv_base.dtype.element_ty), mask=held & in_dv)
