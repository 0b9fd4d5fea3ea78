"""NaN and infinities in the operand that weights are multiplied by, as device functions."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def zero_nonfinite(x):
    """x with 0 in place of NaN and infinities, which a product would spread even to rows whose weight is 0."""
    return tl.where((x != x) | (tl.abs(x.to(tl.float32)) == float("inf")), 0.0, x.to(tl.float32)).to(x.dtype)


@triton.jit
def has_nonfinite(x):
    """True if some element of the tile is NaN or infinite."""
    nonfinite = (x != x) | (tl.abs(x.to(tl.float32)) == float("inf"))
    return tl.max(tl.max(nonfinite.to(tl.int32), 1), 0) > 0


@triton.jit
def indicator(mask):
    """The mask as bf16 0 and 1, an operand of tl.dot. tl.where spills fewer registers here than a conversion does."""
    return tl.where(mask, 1.0, 0.0).to(tl.bfloat16)


@triton.jit
def visible_nonfinite(visible, x):
    """The sums (M, D) of the NaN and infinities of x (N, D) that each row sees, 0 where it sees none; visible (M, N) is
    an indicator.

    One product counts NaN, inf and -inf, as three digits to the base 256: three products would not fit the tensor
    memory of sm_100 beside wide heads. N is at most 128 (arguments.LARGEST_TILE), and bf16 and fp32 hold these numbers
    exactly.
    """
    digits = tl.where(x == float("inf"), 1.0, tl.where(x == float("-inf"), 256.0, tl.where(x != x, 65536.0, 0.0)))
    counts = tl.dot(visible, digits.to(tl.bfloat16)).to(tl.int32)
    infinities = tl.where(counts % 256 > 0, float("inf"), 0.0) + tl.where(counts // 256 % 256 > 0, float("-inf"), 0.0)
    return tl.where(counts >= 65536, float("nan"), infinities)
