"""Delta of the backward pass, one number for each row of dO, which the gradient of the softmax subtracts.

Dao et al., FlashAttention (2022), appendix B.4.
"""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.parameters import Matrix, StridedVector, Vector
from refattn_gpu.kernels.tiles import load_vector, row_pointers, sequence_extent


@triton.jit
def attention_backward_delta(
    OUT: Matrix, DO: Matrix, DLSE: StridedVector, DELTA: Vector, query_starts_base, heads, queries, d_v,
    PACKED: tl.constexpr, HAS_DLSE: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_DV: tl.constexpr,
):  # fmt: skip
    """Delta = rowsum(dO * O) - dLSE, (B, H, Nq); PACKED is as in the forward pass."""
    program = tl.program_id(1).to(tl.int64)
    batch, head = program // heads, program % heads
    out_base, do_base, dlse_base, delta_base = OUT.base, DO.base, DLSE.base, DELTA.base
    if PACKED:
        query_start, queries = sequence_extent(query_starts_base, batch)
        out_base += query_start * OUT.row
        do_base += query_start * DO.row
        delta_base += query_start
        if HAS_DLSE:
            dlse_base += query_start * DLSE.row
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    row_mask = rows < queries
    row_offsets = rows.to(tl.int64)
    mask = row_mask[:, None] & (tl.arange(0, BLOCK_DV) < d_v)[None, :]
    do_pointers = row_pointers(do_base + batch * DO.batch + head * DO.head, rows, DO.row, DO.column, BLOCK_DV)
    do = tl.load(do_pointers, mask=mask, other=0.0).to(tl.float32)
    out_pointers = row_pointers(out_base + batch * OUT.batch + head * OUT.head, rows, OUT.row, OUT.column, BLOCK_DV)
    out = tl.load(out_pointers, mask=mask, other=0.0).to(tl.float32)
    delta = tl.sum(do * out, 1)
    if HAS_DLSE:
        dlse_pointers = dlse_base + batch * DLSE.batch + head * DLSE.head + row_offsets * DLSE.row
        delta -= load_vector(dlse_pointers, row_mask, False)
    tl.store(delta_base + batch * DELTA.batch + head * DELTA.head + row_offsets, delta, mask=row_mask)
