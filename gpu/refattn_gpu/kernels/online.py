"""The state of online softmax in base 2, as device functions: (m, normaliser, acc), the last two in units of 2^m.

May import: triton.
"""

from __future__ import annotations

import triton
import triton.language as tl

LN_2 = tl.constexpr(0.6931471805599453)


@triton.jit
def guarded(m):
    """The reference that exponents are taken from: 0 for a row that has seen nothing, whose maximum is -inf."""
    return tl.where(m == float("-inf"), 0.0, m)


@triton.jit
def new_maximum(m, scores, THRESHOLD: tl.constexpr):
    """The reference after a tile; one that grows by at most THRESHOLD powers of two stays (conditional rescale)."""
    return raised(m, tl.max(scores, 1), THRESHOLD)


@triton.jit
def raised(m, found, THRESHOLD: tl.constexpr):
    """The same, given the largest score of the tile."""
    found = tl.maximum(m, found)
    if THRESHOLD > 0:
        kept = (m != float("-inf")) & (guarded(found) - guarded(m) <= THRESHOLD)
        found = tl.where(kept, m, found)
    return found


@triton.jit
def rescaling(m, reference):
    """What takes numbers in units of 2^m to those of 2^reference: 0 where nothing has been seen before."""
    return tl.exp2(m - reference)


@triton.jit
def log_sum_exp(m, normaliser):
    """The natural logarithm of normaliser 2^m; -inf for a row that has seen nothing, NaN where one is NaN."""
    empty = normaliser == 0.0
    return tl.where(empty, float("-inf"), (guarded(m) + tl.log2(tl.where(empty, 1.0, normaliser))) * LN_2)


@triton.jit
def reciprocal(normaliser):
    """Its reciprocal, and 0 for a row that has seen nothing: its output is 0."""
    return 1.0 / tl.where(normaliser == 0.0, 1.0, normaliser)
