"""The output and log-sum-exp over all keys, from those of each part of the keys."""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.exponential import LN_2, LOG2_E
from refattn_gpu.kernels.online import reciprocal, safe_max


@triton.jit
def decode_combine(
    parts_base, part_lse_base, out_base, lse_base, splits, rows, d_v, BLOCK_M: tl.constexpr, BLOCK_DV: tl.constexpr
):
    """out = sum w_i out_i / sum w_i with w_i = exp(lse_i - max lse), and lse = max lse + log sum w_i.

    parts is (splits, rows, d_v) and part_lse (splits, rows), out (rows, d_v) and lse (rows,). Parts are added one
    after another, so that empty parts at the end change no bit.
    """
    row = tl.program_id(0).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    row_mask = row < rows
    dv = tl.arange(0, BLOCK_DV)
    key_mask = row_mask[:, None] & (dv < d_v)[None, :]

    lse_max = tl.full([BLOCK_M], float("-inf"), tl.float32)
    part = row
    for _ in range(splits):
        lse_max = tl.maximum(lse_max, tl.load(part_lse_base + part, mask=row_mask, other=float("-inf")))
        part += rows
    reference = safe_max(lse_max)
    total = tl.zeros([BLOCK_M], tl.float32)
    acc = tl.zeros([BLOCK_M, BLOCK_DV], tl.float32)
    part = row
    for _ in range(splits):
        log_weight = tl.load(part_lse_base + part, mask=row_mask, other=float("-inf"))
        weight = tl.exp2((log_weight - reference) * LOG2_E)
        total += weight
        acc += weight[:, None] * tl.load(parts_base + part[:, None] * d_v + dv[None, :], mask=key_mask, other=0.0)
        part += rows
    out = (acc * reciprocal(total)[:, None]).to(out_base.dtype.element_ty)
    tl.store(out_base + row[:, None] * d_v + dv[None, :], out, mask=key_mask)
    lse = tl.where(total == 0.0, float("-inf"), reference + tl.log2(total) * LN_2)
    tl.store(lse_base + row, lse, mask=row_mask)
