"""The state of online softmax in base 2, as device functions: (m, normaliser, acc), the last two in units of 2^m.

m is the running maximum of a row's scores. Milakov and Gimelshein (2018).
"""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.exponential import LN_2, exp2
from refattn_gpu.kernels.special_values import has_nonfinite, indicator, visible_nonfinite, zero_nonfinite


@triton.jit
def safe_max(m):
    """m, or 0 for a row that has seen no key: -inf minus its own maximum of -inf would be NaN."""
    return tl.where(m == float("-inf"), 0.0, m)


@triton.jit
def init_from_sink(m):
    """The normaliser of rows that start from a sink of score m, a key of weight 2^0 and value 0; 0 where m is -inf."""
    return tl.where(m == float("-inf"), 0.0, 1.0)


@triton.jit
def new_max(m, tile_max, THRESHOLD: tl.constexpr):
    """m after a tile whose largest scores are tile_max. m stays where it would grow by at most THRESHOLD powers of two
    (conditional rescale).
    """
    m_new = tl.maximum(m, tile_max)
    if THRESHOLD > 0:
        stays = (m != float("-inf")) & (safe_max(m_new) - safe_max(m) <= THRESHOLD)
        m_new = tl.where(stays, m, m_new)
    return m_new


@triton.jit
def tile_weights(scores, m, m_new, normaliser, DEGREE: tl.constexpr):
    """(p, rescale, normaliser) of a tile after which the maximum is m_new: the weights p = 2^(scores - m_new), the
    factor 2^(m - m_new) that rescales the state, which is 0 where no key has been seen before, and the normaliser with
    these weights. DEGREE is that of exp2.
    """
    reference = safe_max(m_new)
    p = exp2(scores - reference[:, None], DEGREE)
    rescale = tl.exp2(m - reference)
    return p, rescale, normaliser * rescale + tl.sum(p, 1)


@triton.jit
def accumulate(acc, rescale, p, v, visible, NAN_SAFE: tl.constexpr, PRECISION: tl.constexpr):
    """The rescaled acc plus the tile's P V. NAN_SAFE keeps NaN and infinities of V from rows that do not see them."""
    acc = acc * rescale[:, None]
    if NAN_SAFE:
        nonfinite = has_nonfinite(v)
        if nonfinite:
            acc += visible_nonfinite(indicator(visible), v)
            v = zero_nonfinite(v)
    return tl.dot(p.to(v.dtype), v, acc, input_precision=PRECISION)


@triton.jit
def log_sum_exp(m, normaliser):
    """The natural logarithm of normaliser 2^m; -inf for a row that has seen no key, NaN where either is NaN."""
    empty = normaliser == 0.0
    return tl.where(empty, float("-inf"), (safe_max(m) + tl.log2(tl.where(empty, 1.0, normaliser))) * LN_2)


@triton.jit
def reciprocal(normaliser):
    """1 / normaliser; 1 for a row that has seen no key, whose acc, and so output, is 0."""
    return 1.0 / tl.where(normaliser == 0.0, 1.0, normaliser)
