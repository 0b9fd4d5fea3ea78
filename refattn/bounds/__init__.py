"""Error budgets: how far a result may be off, given the declared arithmetic and the very inputs.

One function for each thing that a kernel returns; the docstrings below them name the theorems that they rest on.
May import: numpy, refattn.arithmetic, arrays, errors, roundoff, scores, spec.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from refattn.arithmetic import Arithmetic
from refattn.arrays import as_float64
from refattn.bounds import backward, forward, rows
from refattn.bounds.budget import AttentionBudget, ErrorBudget, GradientBudget
from refattn.errors import InvalidValue
from refattn.formats import Array
from refattn.spec import AttentionSpec, SoftmaxSpec, problem_shape

__all__ = [
    "AttentionBudget",
    "ErrorBudget",
    "GradientBudget",
    "attention",
    "attention_backward",
    "logsumexp",
    "softmax",
]


def attention(q: Any, k: Any, v: Any, spec: AttentionSpec, arithmetic: Arithmetic) -> AttentionBudget:
    """Certified and rms budgets of the output (B, H, Nq, Dv) and the log-sum-exp (B, H, Nq), with their parts.

    q is (B, H, Nq, D), k (B, Hkv, Nk, D), v (B, Hkv, Nk, Dv). The bound is inf where the declared formats can overflow.
    Raises InvalidValue or InvalidType when they do not fit, or hold NaN or infinities.
    """
    arrays = [_finite(name, value) for name, value in (("q", q), ("k", k), ("v", v))]
    shape = problem_shape(arrays[0], arrays[1], arrays[2], spec)
    return forward.attention(arrays[0], arrays[1], arrays[2], spec, shape, arithmetic)


def attention_backward(
    q: Any, k: Any, v: Any, do: Any, spec: AttentionSpec, arithmetic: Arithmetic, *, dlse: Any = None
) -> GradientBudget:
    """Certified budgets of dQ, dK, dV, dbias and dsinks; do is (B, H, Nq, Dv), dlse None or (B, H, Nq).

    Raises InvalidValue or InvalidType when they do not fit, or hold NaN or infinities.
    """
    arrays = [_finite(name, value) for name, value in (("q", q), ("k", k), ("v", v), ("do", do))]
    shape = problem_shape(arrays[0], arrays[1], arrays[2], spec)
    upstream = (shape.batch, shape.heads, shape.queries)
    if arrays[3].shape != (*upstream, shape.d_v):
        raise InvalidValue(f"do has shape {arrays[3].shape}: expected {(*upstream, shape.d_v)}")
    direct = None if dlse is None else _finite("dlse", dlse)
    if direct is not None and direct.shape != upstream:
        raise InvalidValue(f"dlse has shape {direct.shape}: expected {upstream}")
    return backward.attention_backward(arrays[0], arrays[1], arrays[2], arrays[3], spec, shape, arithmetic, direct)


def softmax(x: Any, spec: SoftmaxSpec, arithmetic: Arithmetic) -> ErrorBudget:
    """Budget of softmax, log_softmax or logsumexp, as the spec says; -inf is an entry of weight zero.

    Raises InvalidValue or InvalidType when x has no such axis, or holds NaN or +inf.
    """
    array = as_float64("x", x)
    if not -array.ndim <= spec.axis < array.ndim:
        raise InvalidValue(f"axis is {spec.axis}: expected one of x's {array.ndim} axes")
    if np.isnan(array).any() or np.isposinf(array).any():
        raise InvalidValue("x holds NaN or +inf: expected finite numbers or -inf")
    return rows.softmax(array, spec, arithmetic)


def logsumexp(x: Any, arithmetic: Arithmetic, axis: int = -1) -> ErrorBudget:
    """Budget of the natural log-sum-exp along an axis; raises as softmax does."""
    return softmax(x, SoftmaxSpec(axis=axis, kind="logsumexp"), arithmetic)


def _finite(name: str, value: Any) -> Array:
    array = as_float64(name, value)
    if not np.isfinite(array).all():
        raise InvalidValue(f"{name} holds NaN or infinities: expected finite numbers")
    return array
