"""NaN and infinities of an operand of a product with weights, as device functions. May import: triton."""

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
def special_values(seen, x):
    """seen (M, N) and x (N, D): the (M, D) NaN and infinities of the rows of x that each row sees, 0 where there are
    none.
    """
    visible = seen.to(tl.float16)
    bad = tl.dot(visible, (x != x).to(tl.float16))
    above = tl.dot(visible, (x == float("inf")).to(tl.float16))
    below = tl.dot(visible, (x == float("-inf")).to(tl.float16))
    found = tl.where(above > 0, float("inf"), 0.0) + tl.where(below > 0, float("-inf"), 0.0)
    return tl.where(bad > 0, float("nan"), found)
