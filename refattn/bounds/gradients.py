"""Certified budgets of attention's gradients, for kernels that recompute P from the log-sum-exp.

May import: numpy, refattn.arithmetic, refattn.roundoff, refattn.scores, refattn.spec, refattn.bounds.*.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refattn.arithmetic import Arithmetic, Stage
from refattn.bounds.attention import attention, block_weights
from refattn.bounds.budget import ErrorBudget, GradientBudget
from refattn.bounds.stages import underflow_unit
from refattn.roundoff import gamma
from refattn.scores import Block, blocks, dropout_keep, scale_of
from refattn.spec import AttentionSpec, Shape

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Sums:
    """An accumulated gradient: its value, the sum of its terms' magnitudes, and the certified errors of the terms."""

    value: Array
    magnitude: Array
    parts: dict[str, Array]

    @classmethod
    def zeros(cls, shape: tuple[int, ...]) -> _Sums:
        return cls(np.zeros(shape), np.zeros(shape), {"weights": np.zeros(shape), "slope": np.zeros(shape)})

    def budget(self, terms: int, group: int, arithmetic: Arithmetic) -> ErrorBudget:
        """Theorem gradient_sum: the terms' errors, their summation in any order, the sum over a group, the output."""
        parts = dict(self.parts)
        before = parts["weights"] + parts["slope"]
        flush = arithmetic.flush_to_zero
        adding = gamma(terms + 4, arithmetic.accumulator.unit) * (self.magnitude + before)
        adding = adding + 2 * terms * underflow_unit(arithmetic.accumulator, flush)
        if group > 1:
            grouped = gamma(group, arithmetic.group_sum.unit) * (self.magnitude + before + adding)
            adding = adding + grouped + group * underflow_unit(arithmetic.group_sum, flush)
        size = np.abs(self.value) + before + adding
        parts["accumulation"] = adding
        parts["output"] = arithmetic.output.unit * size + underflow_unit(arithmetic.output, flush)
        certified = before + adding + parts["output"]
        limit = min(arithmetic.output.format.max_finite, arithmetic.accumulator.format.max_finite)
        overflow = (self.magnitude + certified > limit) | np.isnan(certified)
        return ErrorBudget(np.where(overflow, np.inf, certified), None, parts)


@dataclass(frozen=True, eq=False)
class _Slopes:
    """dS of one block (r, n), its weights, and the two kinds of its error: of P, and of what multiplies P."""

    ds: Array
    weights: Array
    of_weights: Array
    of_slope: Array
    cast: float

    def cast_to_inputs(self, eta: float) -> tuple[Array, Array, Array]:
        """dS rounded to the format of P: value, and both errors."""
        grown = 1 + self.cast
        size = np.abs(self.ds) * self.cast
        return self.ds, self.of_weights * grown, self.of_slope * grown + size + eta


def attention_backward(
    q: Array,
    k: Array,
    v: Array,
    do: Array,
    spec: AttentionSpec,
    shape: Shape,
    arithmetic: Arithmetic,
    dlse: Array | None = None,
) -> GradientBudget:
    """Certified budgets of dQ, dK, dV, dbias, dsinks for finite float64 arrays.

    P is recomputed as exp(s - LSE), dP = dO V^T, Delta = rowsum(dO O) with the rounded O, dS = P (dP - Delta), and P and dS
    are cast to the format of `probabilities` before they are multiplied.
    """
    scale = scale_of(spec, shape.d_qk)
    forward = attention(q, k, v, spec, shape, arithmetic, with_rms=False)
    dq, dk, dv = (_Sums.zeros(array.shape) for array in (q, k, v))
    bias_shape = None if spec.bias is None else (1,) * (4 - spec.bias.ndim) + spec.bias.shape
    dbias = None if bias_shape is None else _Sums.zeros(bias_shape)
    dsinks = None if spec.sinks is None else _Sums.zeros(spec.sinks.shape)
    eta = underflow_unit(arithmetic.probabilities, arithmetic.flush_to_zero)
    with np.errstate(over="ignore", invalid="ignore", under="ignore", divide="ignore"):
        for block in blocks(q, k, spec, shape):
            place = (block.batch, block.head, block.rows)
            source = (block.batch, block.kv_head, block.keys)
            found = block_weights(block, spec, scale, arithmetic, shape.keys)
            upstream, value = do[place], v[source]
            direct = np.zeros(len(upstream)) if dlse is None else dlse[place]
            kept = _kept(block, spec)
            log_error = _recomputed(found.score, found.scores, found.maximum, found.total, forward.lse.certified[place], arithmetic)
            slopes, delta_error, delta = _slopes(
                found.weights, found.distance, log_error, upstream, value, kept, direct, forward.out.certified[place], arithmetic
            )
            _add_value(dv, source, found.weights * kept, found.distance, log_error, upstream, eta, arithmetic)
            if dbias is not None:
                _add_bias(dbias, block, slopes)
            if dsinks is not None and spec.sinks is not None:
                share = np.exp(spec.sinks[block.head] - found.maximum) / found.total
                _add_sink(dsinks, block.head, share, found, delta, delta_error, direct, forward.lse.certified[place], arithmetic)
            if spec.softcap is not None:
                slopes = _through_softcap(slopes, block, spec, scale, found.score, arithmetic)
            ds, of_weights, of_slope = slopes.cast_to_inputs(eta)
            factor = abs(scale) * (1 + 4 * arithmetic.accumulator.unit)
            dq.value[place] += scale * (ds @ block.key)
            dk.value[source] += scale * (ds.T @ block.query)
            for sums, at, left, right in ((dq, place, None, block.key), (dk, source, "T", block.query)):
                other = np.abs(right) * factor
                for target, part in ((sums.magnitude, np.abs(ds)), (sums.parts["weights"], of_weights), (sums.parts["slope"], of_slope)):
                    target[at] += (part if left is None else part.T) @ other
                sums.parts["slope"][at] += 4 * arithmetic.accumulator.unit * ((np.abs(ds) if left is None else np.abs(ds).T) @ other)
    rows = shape.queries
    return GradientBudget(
        dq.budget(shape.keys, 1, arithmetic),
        dk.budget(rows, shape.group, arithmetic),
        dv.budget(rows, shape.group, arithmetic),
        None if dbias is None or spec.bias is None else _bias_budget(dbias, spec, shape, arithmetic),
        None if dsinks is None else dsinks.budget(rows * shape.batch, 1, _in_wide(arithmetic)),
    )


def _in_wide(arithmetic: Arithmetic) -> Arithmetic:
    """Sinks and their gradients are kept in the accumulator's format."""
    return arithmetic.replace(output=arithmetic.accumulator)


def _bias_budget(dbias: _Sums, spec: AttentionSpec, shape: Shape, arithmetic: Arithmetic) -> ErrorBudget:
    full = shape.batch * shape.heads * shape.queries * shape.keys
    terms = max(1, full // max(1, dbias.value.size))
    budget = dbias.budget(terms, 1, arithmetic)
    own = spec.bias.shape
    parts = {name: part.reshape(own) for name, part in budget.parts.items()}
    return ErrorBudget(budget.certified.reshape(own), None, parts)


def _kept(block: Block, spec: AttentionSpec) -> Array:
    if spec.keep is None:
        return np.ones((block.query.shape[0], block.key.shape[0]))
    return np.asarray(dropout_keep(block, spec) / (1.0 - spec.dropout))


def _recomputed(score: Array, scores: Array, maximum: Array, total: Array, lse_error: Array, arithmetic: Arithmetic) -> Array:
    """Log-error of P = exp(s - LSE) (theorem p_recompute); fused arguments err by both magnitudes."""
    lse = (maximum + np.log(total))[:, None]
    unit = arithmetic.scores.unit
    size = np.abs(scores - lse) * (1 if arithmetic.exponent == "subtract" else 3)
    if arithmetic.exponent == "fma":
        size = size + np.abs(lse) + np.abs(scores)
    error = lse_error[:, None]
    return np.asarray(score + error * (1 + unit) + unit * (size + score + error) + arithmetic.exp_error)


def _excess(weights: Array, log_error: Array) -> Array:
    with np.errstate(over="ignore"):
        grown = weights * np.expm1(np.minimum(log_error, 700.0))
    return np.where(weights > 0, grown, 0.0)


def _slopes(
    weights: Array,
    distance: Array,
    log_error: Array,
    upstream: Array,
    value: Array,
    kept: Array,
    direct: Array,
    out_error: Array,
    arithmetic: Arithmetic,
) -> tuple[_Slopes, Array, Array]:
    """dS and its errors (theorem dS_error)."""
    del distance
    unit = arithmetic.accumulator.unit
    width = value.shape[1]
    dp = (upstream @ value.T) * kept
    dp_size = (np.abs(upstream) @ np.abs(value).T) * kept
    dot = arithmetic.dot
    eta = (width + 2) * underflow_unit(dot, arithmetic.flush_to_zero)
    dp_error = gamma(width + 4, dot.unit) * dp_size + eta * kept
    out = (weights * kept) @ value
    delta = (upstream * out).sum(axis=1)
    size = (np.abs(upstream) * (np.abs(out) + out_error)).sum(axis=1)
    delta_error = (np.abs(upstream) * out_error).sum(axis=1) + gamma(width, unit) * size + eta
    slope = dp - delta[:, None] + direct[:, None]
    height = np.abs(dp) + dp_error + (np.abs(delta) + delta_error + np.abs(direct))[:, None]
    slope_error = dp_error + delta_error[:, None] + 3 * unit * height
    grown = _excess(weights, log_error + 2 * unit)
    lost = underflow_unit(arithmetic.scores, arithmetic.flush_to_zero)
    of_weights = grown * np.abs(slope) + np.where(weights > 0, 2 * lost, 0.0) * height
    of_slope = (weights + grown) * slope_error
    return _Slopes(weights * slope, weights, of_weights, of_slope, arithmetic.probabilities.unit), delta_error, delta


def _add_value(
    dv: _Sums,
    source: tuple[int, int, object],
    weights: Array,
    distance: Array,
    log_error: Array,
    upstream: Array,
    eta: float,
    arithmetic: Arithmetic,
) -> None:
    """dV = (P D)^T dO with P cast (theorem dot_any_order)."""
    size = np.abs(upstream)
    cast = arithmetic.probabilities.unit + 3 * arithmetic.accumulator.unit
    lost = np.where(np.isfinite(distance), 2 * eta + 2 * underflow_unit(arithmetic.scores, arithmetic.flush_to_zero), 0.0)
    dv.value[source] += weights.T @ upstream
    dv.magnitude[source] += weights.T @ size
    dv.parts["weights"][source] += (_excess(weights, log_error + cast) + lost).T @ size


def _through_softcap(
    slopes: _Slopes, block: Block, spec: AttentionSpec, scale: float, score_error: Array, arithmetic: Arithmetic
) -> _Slopes:
    """Multiply by 1 - tanh^2, whose slope is at most 0.77 per unit of its argument."""
    assert spec.softcap is not None
    capped = np.tanh((block.query * scale) @ block.key.T / spec.softcap)
    factor = 1 - capped**2
    tanh = arithmetic.tanh_ulps * 2 * arithmetic.scores.format.unit_roundoff
    # score_error is that of the capped score; before the cap it was larger by at most the slope's inverse.
    before = score_error / np.maximum(factor, 1e-6) / spec.softcap
    doubt = np.minimum(before + 2 * tanh + 4 * arithmetic.scores.unit, 1.0)
    size = np.abs(slopes.ds) + slopes.of_weights + slopes.of_slope
    return _Slopes(
        slopes.ds * factor, slopes.weights, slopes.of_weights * factor, slopes.of_slope * factor + size * doubt, slopes.cast
    )


def _add_bias(dbias: _Sums, block: Block, slopes: _Slopes) -> None:
    sizes = dbias.value.shape
    place = (
        block.batch if sizes[0] > 1 else 0,
        block.head if sizes[1] > 1 else 0,
        block.rows if sizes[2] > 1 else slice(0, 1),
        block.keys if sizes[3] > 1 else slice(0, 1),
    )
    axes = tuple(axis for axis in (0, 1) if sizes[2 + axis] == 1)
    pieces = (
        (dbias.value, slopes.ds),
        (dbias.magnitude, np.abs(slopes.ds)),
        (dbias.parts["weights"], slopes.of_weights),
        (dbias.parts["slope"], slopes.of_slope),
    )
    for target, part in pieces:
        target[place] += part.sum(axis=axes, keepdims=True) if axes else part


def _add_sink(
    dsinks: _Sums,
    head: int,
    share: Array,
    found: object,
    delta: Array,
    delta_error: Array,
    direct: Array,
    lse_error: Array,
    arithmetic: Arithmetic,
) -> None:
    """dsink = sum_i p_sink (dlse - Delta)."""
    del found
    pull = direct - delta
    unit = Stage(arithmetic.scores.format).unit
    logarithm = np.abs(np.log(np.maximum(share, 1e-300)))
    log_error = lse_error * (1 + unit) + 3 * unit * logarithm + arithmetic.exp_error + 2 * unit
    grown = share * np.expm1(np.minimum(log_error, 700.0))
    dsinks.value[head] += (share * pull).sum()
    dsinks.magnitude[head] += (share * np.abs(pull)).sum()
    dsinks.parts["weights"][head] += (grown * np.abs(pull)).sum()
    dsinks.parts["slope"][head] += ((share + grown) * (delta_error + 2 * unit * np.abs(pull))).sum()
