"""Worst-case bounds for the models' tests, derived here by hand so that they share nothing with refattn.bounds.

An unnormalised weight exp(s - m) is computed with a log-error t: the error of the score, u |s - m| for rounded
differences (which add up to that along any chain of references), and one exponential's error for the key and for each
rescale. If every |t_j| <= t and sums err by gamma, the quotient of the two sums errs by at most

    (1 + rho) (1 + gamma) / ((1 - rho) (1 - gamma)) - 1,    rho = expm1(t),

of sum_j w_j |v_j|, whatever the order of tiles, and by what is lost in the subnormal range. Only for inputs far from
overflow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from mpmath import mpf

from refattn.contract.arithmetic import Arithmetic
from refattn.contract.spec import AttentionSpec, problem_shape
from refattn.contract.visibility import Visibility


def gamma(n: float, u: float) -> float:
    """n u / (1 - n u)."""
    assert n * u < 1
    return n * u / (1 - n * u)


def distance(actual: Any, exact: Any) -> Any:
    """|actual - exact| for exact in mpmath numbers; 0 where both are the same infinity or both NaN, else inf there."""
    distances = np.empty(np.shape(exact), np.float64)
    for index in np.ndindex(distances.shape):
        a, e = mpf(float(actual[index])), mpf(exact[index])
        special = [not math.isfinite(float(x)) for x in (a, e)]
        same = str(a) == str(e)
        distances[index] = (0.0 if same else math.inf) if any(special) else float(abs(a - e))
    return distances


@dataclass
class Dense:
    """A problem in float64, with the quantities that bounds are made of; arrays (B, H, Nq, Nk)."""

    weights: Any
    seen: Any
    score_error: Any
    log_error: Any
    lse: Any
    k: Any
    v: Any
    factor: Any
    scale: float


def dense(q: Any, k: Any, v: Any, spec: AttentionSpec, arithmetic: Arithmetic, rescales: int) -> Dense:
    """Scores, weights and their log-errors, in float64."""
    q, k, v = (np.asarray(x).astype(np.float64) for x in (q, k, v))
    shape = problem_shape(q, k, v, spec)
    visibility = Visibility.of(spec, shape)
    k, v = (np.repeat(x, shape.group, axis=1) for x in (k, v))
    scale = shape.d_qk**-0.5 if spec.scale is None else spec.scale
    seen = np.broadcast_to(visibility.block(), (shape.batch, shape.heads, shape.queries, shape.keys))
    u = arithmetic.scores.unit
    s = scale * (q @ np.swapaxes(k, -1, -2))
    size = np.abs(scale) * (np.abs(q) @ np.swapaxes(np.abs(k), -1, -2))
    # The product, its rounding into the scores' format, the scale's and the scaling's.
    error = gamma(shape.d_qk, arithmetic.dot.unit) * size + 4 * u * size
    if spec.softcap is not None:
        s = spec.softcap * np.tanh(s / spec.softcap)
        # The slope is at most 1; quotient, tanh, product and the cap's own rounding cost a few u of the argument.
        error = error + 8 * u * size
    for addend in _addends(spec, visibility):
        s = s + np.where(seen, addend, 0.0)
        size = size + np.where(seen, np.abs(addend), 0.0)
        # Slope, product, sum: and every later sum rounds what is there already.
        error = error + 4 * u * size
    s = np.where(seen, s, -np.inf)
    sinks = np.full(shape.heads, -np.inf) if spec.sinks is None else spec.sinks
    sinks = np.broadcast_to(sinks[:, None], s.shape[:3])
    top = np.maximum(s.max(axis=-1, initial=-np.inf), sinks)
    reference = np.where(np.isneginf(top), 0.0, top)
    p = np.exp(s - reference[..., None])
    total = p.sum(axis=-1) + np.exp(sinks - reference)
    with np.errstate(divide="ignore"):
        lse = reference + np.log(total)
    lowest = np.where(seen, reference[..., None] - s, 0.0).max(axis=-1, initial=0.0)
    lowest = np.maximum(lowest, np.where(np.isneginf(sinks), 0.0, reference - sinks))
    exps = (2 + rescales) * arithmetic.exp_error
    worst = np.where(seen, error, 0.0).max(axis=-1, initial=0.0)
    reach = np.abs(reference) if arithmetic.exponent == "fma" else 0.0
    # A fused multiply-add rounds m c once, and c and the differences of references cost u of the distance each.
    steps = 1.0 if arithmetic.exponent == "subtract" else 4.0
    # A reference below the maximum: a way there and back.
    lowest = lowest + 2 * arithmetic.lag
    log_error = worst + steps * u * lowest + 2 * u * (reach + arithmetic.lag) + exps
    factor = np.ones(s.shape) if spec.keep is None else np.broadcast_to(spec.keep, s.shape) / (1 - spec.dropout)
    safe = np.where(total > 0, total, 1.0)
    return Dense(p / safe[..., None], seen, worst, log_error, lse, k, v, factor, scale)


def _addends(spec: AttentionSpec, visibility: Visibility) -> list[Any]:
    addends = []
    if spec.bias is not None:
        addends.append(spec.bias)
    if spec.alibi_slopes is not None:
        addends.append(-np.atleast_2d(spec.alibi_slopes)[:, :, None, None] * visibility.distance())
    return addends


def attention_bounds(
    q: Any, k: Any, v: Any, spec: AttentionSpec, arithmetic: Arithmetic, rescales: int = 8
) -> tuple[Any, Any]:
    """Worst-case errors of out (B, H, Nq, Dv) and lse (B, H, Nq)."""
    problem = dense(q, k, v, spec, arithmetic, rescales)
    n = problem.weights.shape[-1] + 2 * rescales + 6
    if arithmetic.splits > 1:
        # exp(lse_i - lse): both rounded, then one more exponential, product and sum for each split.
        size = np.abs(np.where(np.isneginf(problem.lse), 0.0, problem.lse))
        problem.log_error = problem.log_error + 6 * arithmetic.lse.unit * (size + 1) + arithmetic.exp_error
        n += 3 * arithmetic.splits
    out_rho = np.expm1(problem.log_error + arithmetic.probabilities.unit)
    rho = np.expm1(problem.log_error)
    up = (1 + out_rho) * (1 + gamma(n, arithmetic.accumulator.unit))
    down = (1 - rho) * (1 - gamma(n, arithmetic.normaliser.unit))
    magnitude = (problem.weights * problem.factor) @ np.abs(problem.v)
    inside = (up / down - 1)[..., None] * magnitude
    # P is at most 1 and the row sum at least 1: the output loses at most what a weight loses in the subnormal range.
    formats = (arithmetic.probabilities.format, arithmetic.scores.format, arithmetic.accumulator.format)
    lost = 2 * sum(format.smallest_subnormal for format in formats)
    underflow = (
        lost * ((problem.seen * problem.factor) @ np.abs(problem.v)) + arithmetic.output.format.smallest_subnormal
    )
    out = inside + underflow + arithmetic.output.unit * (magnitude + inside)
    size = np.where(np.isneginf(problem.lse), 0.0, np.abs(problem.lse))
    logarithm = math.log(problem.weights.shape[-1] + 2)
    # m + log(l) is at most |lse| + 2 log n on the way.
    lse = -np.log(down) + 4 * (arithmetic.lse.unit + arithmetic.log_error) * (size + 2 * logarithm)
    return out, lse


def gradient_bounds(
    q: Any, k: Any, v: Any, do: Any, spec: AttentionSpec, arithmetic: Arithmetic, dlse: Any = None
) -> dict[str, Any]:
    """Worst-case errors of dq, dk, dv, dbias, dsinks, to first order, doubled.

    Every term of a gradient is a product of P, of dP - Delta and of an input. With |dP| <= |do| |v|^T it is at most
    A = P (|do||v|^T + rowsum(P |do||v|^T) + |dlse|), and their relative errors (P's log-error, the roundings of out and
    lse, the sums' lengths) at most `relative`.
    """
    problem = dense(q, k, v, spec, arithmetic, 8)
    do = np.asarray(do).astype(np.float64)
    q = np.asarray(q).astype(np.float64)
    u = arithmetic.accumulator.unit
    out_error, lse_error = attention_bounds(q, k, v, spec, arithmetic)
    batch, heads, queries, keys = problem.weights.shape
    length = queries * (heads // k.shape[1]) + keys + do.shape[-1] + batch + 40
    reach = np.where(np.isneginf(problem.lse), 0.0, np.abs(problem.lse))
    relative = problem.log_error + lse_error + 4 * u * (reach + 1) + 2 * arithmetic.probabilities.unit
    relative = relative + length * u + arithmetic.output.unit
    if spec.softcap is not None:
        relative = relative + 2 * (problem.score_error / spec.softcap + 10 * u)
    assert float(relative.max(initial=0.0)) < 0.5
    dp = (np.abs(do) @ np.swapaxes(np.abs(problem.v), -1, -2)) * problem.factor
    kept = problem.weights * problem.factor
    delta = (problem.weights * dp).sum(axis=-1) + (np.zeros(problem.lse.shape) if dlse is None else np.abs(dlse))
    slack = (np.abs(do) * out_error).sum(axis=-1)
    terms = problem.weights * (relative[..., None] * (dp + delta[..., None]) + slack[..., None])
    group = (batch, k.shape[1], heads // k.shape[1], keys)

    def over_group(x: Any) -> Any:
        return x.reshape(*group, x.shape[-1]).sum(axis=2)

    scale = abs(problem.scale)
    bounds = {
        "dq": 2 * scale * terms @ np.abs(problem.k),
        "dk": 2 * scale * over_group(np.swapaxes(terms, -1, -2) @ np.abs(q)),
        "dv": 2 * over_group(np.swapaxes(relative[..., None] * kept, -1, -2) @ np.abs(do)),
    }
    if spec.bias is not None:
        full = (1,) * (4 - spec.bias.ndim) + spec.bias.shape
        axes = tuple(axis for axis in range(4) if full[axis] == 1)
        bounds["dbias"] = (2 * terms).sum(axis=axes, keepdims=True).reshape(spec.bias.shape)
    if spec.sinks is not None:
        sink = np.exp(spec.sinks[:, None] - np.where(np.isneginf(problem.lse), 0.0, problem.lse))
        bounds["dsinks"] = (2 * sink * (relative * delta + slack)).sum(axis=(0, 2))
    return bounds
