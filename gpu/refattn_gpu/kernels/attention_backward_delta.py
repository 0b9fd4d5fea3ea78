"""Delta of the backward pass: what the softmax's gradient subtracts in every row.

Dao et al., FlashAttention (2022), appendix B.4. May import: triton.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def attention_backward_delta(
    out_base, do_base, dlse_base, delta_base,
    do_batch, do_head, do_row, do_column,
    dlse_batch, dlse_head, dlse_row,
    heads, queries, d_v,
    HAS_DLSE: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_DV: tl.constexpr,
):  # fmt: skip
    """Delta = rowsum(dO * O) - dLSE, (B, H, Nq); out and delta are contiguous, strides are in elements."""
    program = tl.program_id(1).to(tl.int64)
    batch, head = program // heads, program % heads
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    inside = rows < queries
    offsets = rows.to(tl.int64)
    dv = tl.arange(0, BLOCK_DV)
    there = inside[:, None] & (dv < d_v)[None, :]
    do_place = do_base + batch * do_batch + head * do_head
    do_place += offsets[:, None] * do_row + dv[None, :].to(tl.int64) * do_column
    do = tl.load(do_place, mask=there, other=0.0).to(tl.float32)
    place = program * queries + offsets
    out = tl.load(out_base + place[:, None] * d_v + dv[None, :], mask=there, other=0.0).to(tl.float32)
    delta = tl.sum(do * out, 1)
    if HAS_DLSE:
        dlse_place = dlse_base + batch * dlse_batch + head * dlse_head + offsets * dlse_row
        delta -= tl.load(dlse_place, mask=inside, other=0.0)
    tl.store(delta_base + place, delta, mask=inside)
