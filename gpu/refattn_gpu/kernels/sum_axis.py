"""Sums along one axis in an order that is always the same."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def sum_axis(x_base, sum_base, outputs, terms, inner, BLOCK: tl.constexpr, CHUNK: tl.constexpr):
    """(outer, terms, inner) to its sums (outer, inner), both contiguous and in fp32; outputs = outer * inner."""
    places = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = places < outputs
    starts = places // inner * inner * terms + places % inner
    acc = tl.zeros([BLOCK, CHUNK], tl.float32)
    for first in range(0, terms, CHUNK):
        term = first + tl.arange(0, CHUNK)
        mask = inside[:, None] & (term < terms)[None, :]
        acc += tl.load(x_base + starts[:, None] + term[None, :].to(tl.int64) * inner, mask=mask, other=0.0)
    tl.store(sum_base + places, tl.sum(acc, 1), mask=inside)
