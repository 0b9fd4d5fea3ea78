"""dK and dV of sparse attention: one program for each tile of ordered keys of a query head, over the queries it spans.

Dao et al., FlashAttention (2022), appendix B.4; Pagliardini et al. (2023), whose kernel adds up dQ between its tiles
of keys and so takes them one after the other. Here a program alone writes its keys. May import: triton,
refattn_gpu.kernels.
"""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.score_gradients import reference_of, score_gradients
from refattn_gpu.kernels.sparse_intervals import seen_scores, spanned, within
from refattn_gpu.kernels.sparse_rows import gathered
from refattn_gpu.kernels.special_values import finite, has_special, special_values
from refattn_gpu.kernels.tiles import tile_and_head


@triton.jit
def key_gradients(
    k, v, q_base, do_base, lse_base, delta_base, rows_base, q_row, q_column, do_row, do_column, lows, highs,
    start, end, scale, GUARDED: tl.constexpr, PRECISION: tl.constexpr, D_QK: tl.constexpr, D_V: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_DV: tl.constexpr,
):  # fmt: skip
    """(dS^T Q, P^T dO) of a tile of keys over the queries of slots start .. end - 1, whose head the bases point to.

    GUARDED keeps NaN and infinities of Q and dO from keys that their rows do not see.
    """
    d = tl.arange(0, BLOCK_D)
    dv = tl.arange(0, BLOCK_DV)
    key_sum = tl.zeros([BLOCK_N, BLOCK_D], tl.float32)
    value_sum = tl.zeros([BLOCK_N, BLOCK_DV], tl.float32)
    specials = tl.zeros([BLOCK_N, BLOCK_DV], tl.float32)
    for tile in range(start, end, BLOCK_M):
        slots = tile + tl.arange(0, BLOCK_M)
        inside = slots < end
        rows = tl.load(rows_base + slots, mask=inside, other=0)
        q = gathered(q_base, rows, inside, q_row, q_column, d, D_QK, BLOCK_D)
        do = gathered(do_base, rows, inside, do_row, do_column, dv, D_V, BLOCK_DV)
        reference = reference_of(tl.load(lse_base + rows, mask=inside, other=0.0))
        delta = tl.load(delta_base + rows, mask=inside, other=0.0)
        seen = tl.trans(within(slots, lows, highs))
        scores = seen_scores(tl.dot(q, tl.trans(k), input_precision=PRECISION), seen, scale)
        dp = tl.dot(do, tl.trans(v), input_precision=PRECISION)
        p, _, ds = score_gradients(scores, seen, scores, reference, dp, delta, False)
        if GUARDED:
            # A row of Q that holds NaN has made ds NaN wherever it sees.
            q = finite(q)
            specials += special_values(tl.trans(seen.to(tl.float16)), do)
            do = finite(do)
        value_sum = tl.dot(tl.trans(p.to(do.dtype)), do, value_sum, input_precision=PRECISION)
        key_sum = tl.dot(tl.trans(ds.to(q.dtype)), q, key_sum, input_precision=PRECISION)
    if GUARDED:
        value_sum = tl.where(specials == 0.0, value_sum, value_sum + specials)
    return key_sum, value_sum


@triton.jit
def sparse_backward_keys(
    q_base, k_base, v_base, do_base, lse_base, delta_base, dk_base, dv_base,
    rows_base, columns_base, lows_base, highs_base,
    q_batch, q_head, q_row, q_column,
    k_batch, k_head, k_row, k_column,
    v_batch, v_head, v_row, v_column,
    do_batch, do_head, do_row, do_column,
    rows_batch, rows_head, columns_batch, columns_head,
    heads_of_all, heads, group, queries, keys, together, scale,
    GUARDS_VALUES: tl.constexpr, PRECISION: tl.constexpr, D_QK: tl.constexpr, D_V: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_DV: tl.constexpr,
):  # fmt: skip
    """dK = scale dS^T Q and dV = P^T dO of every query head, (B, H, Nk, D) and (B, H, Nk, Dv), contiguous.

    The key of a slot is seen by the queries of slots lows <= slot < highs (B, H, Nk), which have the strides of
    columns; lse and delta are contiguous, the other arguments are the forward pass's.
    """
    tile_of_keys, program = tile_and_head(tl.cdiv(keys, BLOCK_N), heads_of_all, together)
    batch, head = program // heads, program % heads
    kv_head = head // group
    key_slots = tile_of_keys * BLOCK_N + tl.arange(0, BLOCK_N)
    held = key_slots < keys
    d = tl.arange(0, BLOCK_D)
    dv = tl.arange(0, BLOCK_DV)

    place = batch * columns_batch + head * columns_head + key_slots
    columns = tl.load(columns_base + place, mask=held, other=0)
    lows = tl.load(lows_base + place, mask=held, other=0)
    highs = tl.load(highs_base + place, mask=held, other=0)
    rows_base += batch * rows_batch + head * rows_head
    q_base += batch * q_batch + head * q_head
    do_base += batch * do_batch + head * do_head
    k = gathered(k_base + batch * k_batch + kv_head * k_head, columns, held, k_row, k_column, d, D_QK, BLOCK_D)
    v = gathered(v_base + batch * v_batch + kv_head * v_head, columns, held, v_row, v_column, dv, D_V, BLOCK_DV)

    lse_base += program * queries
    delta_base += program * queries
    start, end = spanned(lows, highs, queries)
    key_sum, value_sum = key_gradients(
        k, v, q_base, do_base, lse_base, delta_base, rows_base, q_row, q_column, do_row, do_column, lows, highs,
        start, end, scale, False, PRECISION, D_QK, D_V, BLOCK_M, BLOCK_N, BLOCK_D, BLOCK_DV,
    )  # fmt: skip
    if GUARDS_VALUES:
        # NaN or infinities of a query or of its dO, if only times 0: once more, with care.
        again = has_special(key_sum) | has_special(value_sum)
        if again:
            key_sum, value_sum = key_gradients(
                k, v, q_base, do_base, lse_base, delta_base, rows_base, q_row, q_column, do_row, do_column, lows, highs,
                start, end, scale, True, PRECISION, D_QK, D_V, BLOCK_M, BLOCK_N, BLOCK_D, BLOCK_DV,
            )  # fmt: skip

    place = (program * keys + columns)[:, None]
    dk = (key_sum * scale).to(dk_base.dtype.element_ty)
    tl.store(dk_base + place * D_QK + d[None, :], dk, mask=held[:, None] & (d < D_QK)[None, :])
    dv_place = dv_base + place * D_V + dv[None, :]
    tl.store(dv_place, value_sum.to(dv_base.dtype.element_ty), mask=held[:, None] & (dv < D_V)[None, :])
