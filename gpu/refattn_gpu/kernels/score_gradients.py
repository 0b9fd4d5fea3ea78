"""The weights of a tile and the gradients of its scores, as device functions, for both kernels of the backward pass.

May import: triton, refattn_gpu.kernels.
"""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.exponential import exp2
from refattn_gpu.kernels.online import guarded
from refattn_gpu.kernels.scores import LOG2_E


@triton.jit
def reference_of(lse):
    """The log-sum-exp in base 2, 0 for a row that has seen nothing."""
    return guarded(lse) * LOG2_E


@triton.jit
def score_gradients(scores, seen, tanh, reference, dp, delta, HAS_SOFTCAP: tl.constexpr):
    """(P, dS, dX), all (BLOCK_M, BLOCK_N), 0 where nothing is seen, from visible_scores and dP = dO V^T.

    P = exp(S - LSE); dS = P (dP - Delta) is the gradient of a score, dX that of what was capped, before the scale.
    """
    return gradients_at(scores, seen, tanh, reference[:, None], dp, delta[:, None], HAS_SOFTCAP, False, 0)


@triton.jit
def gradients_at(
    scores, seen, tanh, reference, dp, delta, HAS_SOFTCAP: tl.constexpr, ALL_SEEN: tl.constexpr, DEGREE: tl.constexpr
):
    """score_gradients with queries along either axis: reference and delta have two. DEGREE is that of exp2.

    ALL_SEEN says that nothing of the tile is hidden.
    """
    p = exp2(scores - reference, DEGREE)
    ds = p * (dp - delta)
    if not ALL_SEEN:
        p = tl.where(seen, p, 0.0)
        # 0 times NaN would be NaN.
        ds = tl.where(seen, ds, 0.0)
    dx = ds
    if HAS_SOFTCAP:
        dx = ds * (1.0 - tanh * tanh)
        if not ALL_SEEN:
            dx = tl.where(seen, dx, 0.0)
    return p, ds, dx
