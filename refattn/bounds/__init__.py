"""Error budgets: how far a result may be off, for the declared arithmetic and the given inputs.

One function for each result of a kernel; the docstrings below them name the theorems that they rest on.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from refattn.bounds import backward, forward, rms_backward, rows
from refattn.bounds.budget import AttentionBudget, ErrorBudget, GradientBudget
from refattn.contract.arithmetic import Arithmetic
from refattn.contract.spec import AttentionSpec, SoftmaxSpec, problem_shape
from refattn.errors import InvalidValue
from refattn.numbers.arrays import as_float64
from refattn.numbers.formats import Array

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
    q: Any,
    k: Any,
    v: Any,
    do: Any,
    spec: AttentionSpec,
    arithmetic: Arithmetic,
    *,
    dlse: Any = None,
    with_rms: bool = False,
) -> GradientBudget:
    """Certified budgets of dQ, dK, dV, dbias and dsinks; do is (B, H, Nq, Dv), dlse None or (B, H, Nq).

    with_rms adds the rms of dQ, dK and dV where there is a model of it (refattn.bounds.rms_backward.has_model).
    Raises InvalidValue or InvalidType when they do not fit, or hold NaN or infinities.
    """
    arrays = [_finite(name, value) for name, value in (("q", q), ("k", k), ("v", v), ("do", do))]
    shape = problem_shape(arrays[0], arrays[1], arrays[2], spec)
    upstream = (shape.batch, shape.heads, shape.queries)
    if arrays[3].shape != (*upstream, shape.d_v):
        raise InvalidValue(f"do has shape {arrays[3].shape}: expected {(*upstream, shape.d_v)}")
    exact_dlse = None if dlse is None else _finite("dlse", dlse)
    if exact_dlse is not None and exact_dlse.shape != upstream:
        raise InvalidValue(f"dlse has shape {exact_dlse.shape}: expected {upstream}")
    given = (arrays[0], arrays[1], arrays[2], arrays[3], spec, shape, arithmetic)
    budget = backward.attention_backward(*given, exact_dlse)
    if not with_rms or exact_dlse is not None or not rms_backward.has_model(spec, arithmetic):
        return budget
    forwards = forward.attention(arrays[0], arrays[1], arrays[2], spec, shape, arithmetic)
    return rms_backward.with_rms(budget, *given, forwards)


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
