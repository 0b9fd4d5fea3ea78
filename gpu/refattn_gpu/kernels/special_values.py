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
def indicator(true):
    """1 where it is true and 0 elsewhere, as a product takes it: by a choice, which spills less than a conversion."""
    return tl.where(true, 1.0, 0.0).to(tl.float16)


@triton.jit
def special_values(visible, x):
    """visible (M, N), an indicator, and x (N, D): the (M, D) NaN and infinities of the rows of x that each row sees, 0
    where there are none.
    """
    bad = tl.dot(visible, indicator(x != x))
    above = tl.dot(visible, indicator(x == float("inf")))
    below = tl.dot(visible, indicator(x == float("-inf")))
    found = tl.where(above > 0, float("inf"), 0.0) + tl.where(below > 0, float("-inf"), 0.0)
    return tl.where(bad > 0, float("nan"), found)
