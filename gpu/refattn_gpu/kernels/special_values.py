"""NaN and infinities of an operand of a product with weights, as device functions."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def finite(x):
    """The operand with 0 in the place of NaN and infinities: a weight of 0 would spread them to every row."""
    return tl.where((x != x) | (tl.abs(x.to(tl.float32)) == float("inf")), 0.0, x.to(tl.float32)).to(x.dtype)


@triton.jit
def has_special(x):
    """True if a number of the tile is NaN or infinite."""
    unusual = (x != x) | (tl.abs(x.to(tl.float32)) == float("inf"))
    return tl.max(tl.max(unusual.to(tl.int32), 1), 0) > 0


@triton.jit
def indicator(true):
    """1 where it is true and 0 elsewhere, as a product takes it: by a choice, which spills less than a conversion."""
    return tl.where(true, 1.0, 0.0).to(tl.bfloat16)


@triton.jit
def special_values(visible, x):
    """visible (M, N), an indicator, and x (N, D): the (M, D) NaN and infinities of the rows of x that each row sees, 0
    where there are none.

    One product counts all three kinds, 255 of each at most, as digits to the base 256: two more would not fit the
    tensor memory of sm_100 beside wide heads. N is at most 128 (arguments.LARGEST_TILE), and bf16 and fp32 hold these
    numbers exactly.
    """
    digits = tl.where(x == float("inf"), 1.0, tl.where(x == float("-inf"), 256.0, tl.where(x != x, 65536.0, 0.0)))
    counts = tl.dot(visible, digits.to(tl.bfloat16)).to(tl.int32)
    found = tl.where(counts % 256 > 0, float("inf"), 0.0) + tl.where(counts // 256 % 256 > 0, float("-inf"), 0.0)
    return tl.where(counts >= 65536, float("nan"), found)
