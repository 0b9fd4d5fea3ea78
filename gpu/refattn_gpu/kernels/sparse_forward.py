"""The forward pass of sparse attention: one program for each tile of ordered queries, over the keys that they span.

Pagliardini et al., Faster Causal Attention Over Large Sequences Through Sparse Flash Attention (2023).
"""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.online import log_sum_exp, raised, reciprocal, weighed
from refattn_gpu.kernels.sparse_intervals import load_intervals, seen_scores, spanned, within
from refattn_gpu.kernels.special_values import finite, has_special, indicator, special_values
from refattn_gpu.kernels.parameters import Intervals, Matrix, Schedule, Sizes, Tile, Vector
from refattn_gpu.kernels.tiles import load_rows, store_rows, tile_and_head


@triton.jit
def attended(
    q, k_base, v_base, columns_base, K, V, starts, ends, start, end, scale, TILE,
    GUARDED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """(m, normaliser, acc) of a tile of queries over the keys of slots start .. end - 1, whose head the bases point to.

    GUARDED keeps NaN and infinities of values from rows that do not see them.
    """
    m = tl.full([TILE.M], float("-inf"), tl.float32)
    normaliser = tl.zeros([TILE.M], tl.float32)
    acc = tl.zeros([TILE.M, TILE.BLOCK_DV], tl.float32)
    specials = tl.zeros([TILE.M, TILE.BLOCK_DV], tl.float32)
    for tile in range(start, end, TILE.N):
        key_slots = tile + tl.arange(0, TILE.N)
        held = key_slots < end
        columns = tl.load(columns_base + key_slots, mask=held, other=0)
        k = load_rows(k_base, columns, held, K.row, K.column, False, TILE.D_QK, TILE.BLOCK_D)
        seen = within(key_slots, starts, ends)
        scores = seen_scores(tl.dot(q, tl.trans(k), input_precision=PRECISION), seen, scale)
        maximum = raised(m, tl.max(scores, 1), 0.0)
        p, rescale, normaliser = weighed(scores, m, maximum, normaliser, 0)
        v = load_rows(v_base, columns, held, V.row, V.column, False, TILE.D_V, TILE.BLOCK_DV)
        acc = acc * rescale[:, None]
        if GUARDED:
            specials += special_values(indicator(seen), v)
            v = finite(v)
        acc = tl.dot(p.to(v.dtype), v, acc, input_precision=PRECISION)
        m = maximum
    if GUARDED:
        acc = tl.where(specials == 0.0, acc, acc + specials)
    return m, normaliser, acc


@triton.jit
def sparse_forward(
    Q: Matrix, K: Matrix, V: Matrix, out_base, lse_base, rows_order: Intervals, columns_order: Vector,
    sizes: Sizes, schedule: Schedule, scale, TILE: Tile, GUARDS_VALUES: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """out = softmax(scale Q K^T) V and its natural log-sum-exp, both contiguous.

    rows_order (B, H, Nq) and columns_order (B, H, Nk) are the queries and keys in the order in which they are visited.
    """
    queries, keys = sizes.queries, sizes.keys
    tile_of_queries, program = tile_and_head(tl.cdiv(queries, TILE.M), schedule)
    batch, head = program // sizes.heads, program % sizes.heads
    kv_head = head // sizes.group
    slots = tile_of_queries * TILE.M + tl.arange(0, TILE.M)
    inside = slots < queries

    rows, starts, ends = load_intervals(rows_order, batch, head, slots, inside)
    columns_base = columns_order.base + batch * columns_order.batch + head * columns_order.head
    k_base = K.base + batch * K.batch + kv_head * K.head
    v_base = V.base + batch * V.batch + kv_head * V.head
    q = load_rows(Q.base + batch * Q.batch + head * Q.head, rows, inside, Q.row, Q.column, False, TILE.D_QK, TILE.BLOCK_D)

    start, end = spanned(starts, ends, keys)
    m, normaliser, acc = attended(
        q, k_base, v_base, columns_base, K, V, starts, ends, start, end, scale, TILE, False, PRECISION
    )  # fmt: skip
    if GUARDS_VALUES:
        # NaN or infinities of a value, if only times 0: once more, with care.
        again = has_special(acc)
        if again:
            m, normaliser, acc = attended(
                q, k_base, v_base, columns_base, K, V, starts, ends, start, end, scale, TILE, True, PRECISION
            )  # fmt: skip

    out = acc * reciprocal(normaliser)[:, None]
    row_place = program * queries + rows
    store_rows(out, out_base, row_place, inside, TILE.D_V, 1, TILE.D_V, TILE.BLOCK_DV)
    tl.store(lse_base + row_place, log_sum_exp(m, normaliser), mask=inside)
