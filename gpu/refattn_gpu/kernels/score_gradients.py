"""The weights of a tile and the gradients of its scores, as device functions, for both kernels of the backward pass."""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.exponential import LOG2_E, exp2
from refattn_gpu.kernels.online import safe_max


@triton.jit
def lse_base2(lse):
    """The log-sum-exp in base 2; 0 for a row that has seen no key."""
    return safe_max(lse) * LOG2_E


@triton.jit
def score_gradients(
    scores, visible, tanh, reference, dp, delta,
    HAS_SOFTCAP: tl.constexpr, ALL_VISIBLE: tl.constexpr, DEGREE: tl.constexpr,
):  # fmt: skip
    """(P, dS, dX), 0 where not visible, from visible_scores and dP = dO V^T, all of one shape.

    P = exp(S - LSE); dS = P (dP - Delta) is the gradient of a score, dX that of the
    scaled product before softcap.
    reference and delta have two axes, and queries lie along either. ALL_VISIBLE says that the tile hides nothing;
    DEGREE is that of exp2.
    """
    p = exp2(scores - reference, DEGREE)
    ds = p * (dp - delta)
    if not ALL_VISIBLE:
        p = tl.where(visible, p, 0.0)
        # 0 times NaN would be NaN.
        ds = tl.where(visible, ds, 0.0)
    dx = ds
    if HAS_SOFTCAP:
        dx = ds * (1.0 - tanh * tanh)
        if not ALL_VISIBLE:
            dx = tl.where(visible, dx, 0.0)
    return p, ds, dx
