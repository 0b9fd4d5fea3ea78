"""The weights of a tile and the gradients of its scores, as device functions, for both kernels of the backward pass."""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.exponential import LOG2_E, exp2
from refattn_gpu.kernels.online import guarded


@triton.jit
def reference_of(lse):
    """The log-sum-exp in base 2, 0 for a row that has seen nothing."""
    return guarded(lse) * LOG2_E


@triton.jit
def score_gradients(
    scores, seen, tanh, reference, dp, delta, HAS_SOFTCAP: tl.constexpr, ALL_SEEN: tl.constexpr, DEGREE: tl.constexpr
):
    """(P, dS, dX), 0 where nothing is seen, from visible_scores and dP = dO V^T, all of one shape.

    P = exp(S - LSE); dS = P (dP - Delta) is the gradient of a score, dX that of what was capped, before the scale.
    reference and delta have two axes, and queries lie along either. ALL_SEEN says that nothing of the tile is hidden;
    DEGREE is that of exp2.
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
