"""The state of online softmax in base 2, as device functions: (m, normaliser, acc), the last two in units of 2^m.

Milakov and Gimelshein (2018). A tile of keys raises m, weighs itself, and is added to acc.
"""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.exponential import LN_2, exp2
from refattn_gpu.kernels.special_values import finite, has_special, indicator, special_values


@triton.jit
def guarded(m):
    """The reference that exponents are taken from: 0 for a row that has seen nothing, whose maximum is -inf."""
    return tl.where(m == float("-inf"), 0.0, m)


@triton.jit
def of_sink(m):
    """The normaliser of rows that begin with a sink of score m, a key of weight 2^0 and value 0; 0 where m is -inf."""
    return tl.where(m == float("-inf"), 0.0, 1.0)


@triton.jit
def raised(m, found, THRESHOLD: tl.constexpr):
    """m after a tile whose largest scores are `found`; one that grows by at most THRESHOLD powers of two stays
    (conditional rescale).
    """
    found = tl.maximum(m, found)
    if THRESHOLD > 0:
        kept = (m != float("-inf")) & (guarded(found) - guarded(m) <= THRESHOLD)
        found = tl.where(kept, m, found)
    return found


@triton.jit
def weighed(scores, m, maximum, normaliser, DEGREE: tl.constexpr):
    """(p, rescale, normaliser) of a tile that raises m to `maximum`: its weights in units of 2^maximum, what takes the
    state to these units, which is 0 where nothing has been seen before, and the normaliser with them. DEGREE is exp2's.
    """
    reference = guarded(maximum)
    p = exp2(scores - reference[:, None], DEGREE)
    rescale = tl.exp2(m - reference)
    return p, rescale, normaliser * rescale + tl.sum(p, 1)


@triton.jit
def accumulated(acc, rescale, p, v, seen, GUARDED: tl.constexpr, PRECISION: tl.constexpr):
    """acc with the products of a tile's weights and values; GUARDED keeps NaN and infinities of values from rows that
    do not see them.
    """
    acc = acc * rescale[:, None]
    if GUARDED:
        unusual = has_special(v)
        if unusual:
            acc += special_values(indicator(seen), v)
            v = finite(v)
    return tl.dot(p.to(v.dtype), v, acc, input_precision=PRECISION)


@triton.jit
def log_sum_exp(m, normaliser):
    """The natural logarithm of normaliser 2^m; -inf for a row that has seen nothing, NaN where one is NaN."""
    empty = normaliser == 0.0
    return tl.where(empty, float("-inf"), (guarded(m) + tl.log2(tl.where(empty, 1.0, normaliser))) * LN_2)


@triton.jit
def reciprocal(normaliser):
    """Its reciprocal, and 0 for a row that has seen nothing: its output is 0."""
    return 1.0 / tl.where(normaliser == 0.0, 1.0, normaliser)
