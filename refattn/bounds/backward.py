"""Certified budgets of attention's gradients, for kernels that recompute P from the log-sum-exp.

May import: numpy, refattn.arithmetic, refattn.roundoff, refattn.scores, refattn.spec, refattn.bounds.*.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refattn.arithmetic import Arithmetic, Stage
from refattn.bounds.budget import AttentionBudget, ErrorBudget, GradientBudget
from refattn.bounds.forward import BlockWeights, attention, block_weights
from refattn.bounds.stages import underflow_unit
from refattn.roundoff import gamma
from refattn.scores import Block, add_to_bias, blocks, dropout_keep, scale_of
from refattn.spec import AttentionSpec, Shape

Array = NDArray[np.float64]


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

    P is recomputed as exp(s - LSE), dP = dO V^T, Delta = rowsum(dO O) with the rounded O, dS = P (dP - Delta + dlse),
    and P and dS are cast to the format of `probabilities` before they are multiplied.
    """
    forward = attention(q, k, v, spec, shape, arithmetic, with_rms=False)
    backward = _Backward(q, k, v, do, dlse, spec, shape, arithmetic, forward)
    with np.errstate(over="ignore", invalid="ignore", under="ignore", divide="ignore"):
        for block in blocks(q, k, spec, shape):
            backward.add(block)
        return backward.budget()


@dataclass(frozen=True, eq=False)
class _Sums:
    """An accumulated gradient: its value, the sum of its terms' magnitudes, and the certified errors of the terms."""

    value: Array
    magnitude: Array
    weights: Array
    slope: Array

    @classmethod
    def zeros(cls, shape: tuple[int, ...]) -> _Sums:
        return cls(*(np.zeros(shape) for _ in range(4)))

    def reshaped(self, shape: tuple[int, ...]) -> _Sums:
        return _Sums(*(x.reshape(shape) for x in (self.value, self.magnitude, self.weights, self.slope)))

    def add_product(self, place: tuple[Any, ...], terms: _Terms, other: Array, factor: float) -> None:
        """Add terms @ other * factor."""
        size = np.abs(other) * abs(factor)
        self.value[place] += factor * (terms.value @ other)
        self.magnitude[place] += np.abs(terms.value) @ size
        self.weights[place] += terms.weights @ size
        self.slope[place] += terms.slope @ size

    def add_to_bias(self, block: Block, terms: _Terms) -> None:
        """Add a block's terms to an array of the bias's four axes."""
        pieces = (terms.value, np.abs(terms.value), terms.weights, terms.slope)
        for target, piece in zip((self.value, self.magnitude, self.weights, self.slope), pieces, strict=True):
            add_to_bias(target, block, piece)

    def add_to_sink(self, head: int, value: Array, weights: Array, slope: Array) -> None:
        """Add the rows' terms to the sink of a head."""
        pieces = (value, np.abs(value), weights, slope)
        for target, piece in zip((self.value, self.magnitude, self.weights, self.slope), pieces, strict=True):
            target[head] += piece.sum()

    def budget(self, terms: int, group: int, arithmetic: Arithmetic) -> ErrorBudget:
        """Theorem gradient_sum: the terms' errors, their summation in any order, the sum over a group, the output."""
        flush = arithmetic.flush_to_zero
        before = self.weights + self.slope
        adding = gamma(terms + 8, arithmetic.accumulator.unit) * (self.magnitude + before)
        adding += 2 * terms * underflow_unit(arithmetic.accumulator, flush)
        if arithmetic.gradient_sum != arithmetic.accumulator:
            roundings = -(-terms // arithmetic.gradient_tile)
            adding += gamma(roundings, arithmetic.gradient_sum.unit) * (self.magnitude + before + adding)
            adding += roundings * underflow_unit(arithmetic.gradient_sum, flush)
        if group > 1:
            adding += gamma(group, arithmetic.group_sum.unit) * (self.magnitude + before + adding)
            adding += group * underflow_unit(arithmetic.group_sum, flush)
        size = np.abs(self.value) + before + adding
        output = arithmetic.output.unit * size + underflow_unit(arithmetic.output, flush)
        certified = before + adding + output
        limit = min(arithmetic.output.format.max_finite, arithmetic.accumulator.format.max_finite)
        overflow = (self.magnitude + certified > limit) | np.isnan(certified)
        parts = {"weights": self.weights, "slope": self.slope, "accumulation": adding, "output": output}
        return ErrorBudget(np.where(overflow, np.inf, certified), None, parts)


@dataclass(frozen=True, eq=False)
class _Terms:
    """Factors of a product (r, n): values, and the certified errors that come from P and from what multiplies P."""

    value: Array
    weights: Array
    slope: Array

    @property
    def transposed(self) -> _Terms:
        return _Terms(self.value.T, self.weights.T, self.slope.T)

    def cast(self, stage: Stage, eta: float) -> _Terms:
        """The values rounded to the stage's format; nothing is claimed of one that can overflow it."""
        grown = 1 + stage.unit
        size = np.abs(self.value)
        slope = self.slope * grown + size * stage.unit + eta
        slope = np.where(size + self.weights * grown + slope > stage.format.max_finite, np.inf, slope)
        return _Terms(self.value, self.weights * grown, slope)


@dataclass(frozen=True, eq=False)
class _Slope:
    """dP - Delta + dlse of one block, (r, n), with its error; delta (r,) with its own."""

    value: Array
    error: Array
    size: Array
    delta: Array
    delta_error: Array


@dataclass(eq=False)
class _Backward:
    """The sums over the blocks of one problem."""

    q: Array
    k: Array
    v: Array
    do: Array
    dlse: Array | None
    spec: AttentionSpec
    shape: Shape
    arithmetic: Arithmetic
    forward: AttentionBudget

    def __post_init__(self) -> None:
        spec, arithmetic = self.spec, self.arithmetic
        self.scale = scale_of(spec, self.shape.d_qk)
        self.unit = arithmetic.accumulator.unit
        self.eta = underflow_unit(arithmetic.probabilities, arithmetic.flush_to_zero)
        self.dq, self.dk, self.dv = (_Sums.zeros(array.shape) for array in (self.q, self.k, self.v))
        self.dbias = None if spec.bias is None else _Sums.zeros((1,) * (4 - spec.bias.ndim) + spec.bias.shape)
        self.dsinks = None if spec.sinks is None else _Sums.zeros(spec.sinks.shape)

    def add(self, block: Block) -> None:
        """One block of queries of one head."""
        spec, arithmetic = self.spec, self.arithmetic
        place = (block.batch, block.head, block.rows)
        source = (block.batch, block.kv_head, block.keys)
        found = block_weights(block, spec, self.scale, arithmetic, self.shape.keys)
        kept = np.ones_like(found.weights)
        if spec.keep is not None:
            kept = dropout_keep(block, spec) / (1.0 - spec.dropout)
        log_error = self._recomputed(found, self.forward.lse.certified[place])
        upstream = self.do[place]
        self._add_value(source, found, kept, log_error, upstream)
        slope = self._slope(place, found, kept, upstream, self.v[source])
        terms = self._score_gradient(found, log_error, slope)
        if self.dbias is not None:
            self.dbias.add_to_bias(block, terms)
        if self.dsinks is not None:
            self._add_sink(self.dsinks, block, found, slope, place)
        if spec.softcap is not None:
            terms = self._through_softcap(terms, block, found, spec.softcap)
        terms = terms.cast(arithmetic.probabilities, self.eta)
        self.dq.add_product(place, terms, block.key, self.scale)
        self.dk.add_product(source, terms.transposed, block.query, self.scale)

    def budget(self) -> GradientBudget:
        """The budgets, once every block has been added."""
        shape, arithmetic = self.shape, self.arithmetic
        # Biases and sinks, and their gradients, are as wide as the scores and the accumulator.
        wide = arithmetic.replace(output=arithmetic.accumulator)
        pairs = shape.batch * shape.heads * shape.queries * shape.keys
        dbias = None
        if self.dbias is not None and self.spec.bias is not None:
            terms = max(1, pairs // max(1, self.dbias.value.size))
            dbias = self.dbias.reshaped(self.spec.bias.shape).budget(terms, 1, arithmetic)
        return GradientBudget(
            self.dq.budget(shape.keys, 1, arithmetic),
            self.dk.budget(shape.queries, shape.group, arithmetic),
            self.dv.budget(shape.queries, shape.group, arithmetic),
            dbias,
            None if self.dsinks is None else self.dsinks.budget(shape.queries * shape.batch, 1, wide),
        )

    def _recomputed(self, found: BlockWeights, lse_error: Array) -> Array:
        """Log-error of P = exp(s - LSE) (theorem p_recompute); fused arguments err by both magnitudes."""
        lse = (found.maximum + np.log(found.total))[:, None]
        unit = self.arithmetic.scores.unit
        size = np.abs(found.scores - lse) * (1 if self.arithmetic.exponent == "subtract" else 3)
        if self.arithmetic.exponent == "fma":
            size = size + np.abs(lse) + np.abs(found.scores)
        error = lse_error[:, None]
        return np.asarray(
            found.score + error * (1 + unit) + unit * (size + found.score + error) + self.arithmetic.exp_error
        )

    def _slope(
        self, place: tuple[int, int, slice], found: BlockWeights, kept: Array, upstream: Array, value: Array
    ) -> _Slope:
        """dP - Delta + dlse (theorem dS_error)."""
        width = value.shape[1]
        out_error = self.forward.out.certified[place]
        dot = self.arithmetic.dot
        lost = (width + 2) * underflow_unit(dot, self.arithmetic.flush_to_zero)
        dp = (upstream @ value.T) * kept
        dp_error = gamma(width + 4, dot.unit) * (np.abs(upstream) @ np.abs(value).T) * kept + lost * kept
        out = (found.weights * kept) @ value
        delta = (upstream * out).sum(axis=1)
        size = np.abs(upstream)
        delta_error = (size * out_error).sum(axis=1) + lost
        delta_error += gamma(width, self.unit) * (size * (np.abs(out) + out_error)).sum(axis=1)
        direct = np.zeros(len(upstream)) if self.dlse is None else self.dlse[place]
        height = np.abs(dp) + dp_error + (np.abs(delta) + delta_error + np.abs(direct))[:, None]
        error = dp_error + delta_error[:, None] + 3 * self.unit * height
        return _Slope(dp - delta[:, None] + direct[:, None], error, height, delta - direct, delta_error)

    def _score_gradient(self, found: BlockWeights, log_error: Array, slope: _Slope) -> _Terms:
        """dS = P (dP - Delta + dlse) (theorem dS_error)."""
        weights = found.weights
        grown = _excess(weights, log_error + 2 * self.unit)
        lost = underflow_unit(self.arithmetic.scores, self.arithmetic.flush_to_zero)
        of_weights = grown * np.abs(slope.value) + np.where(np.isfinite(found.distance), 2 * lost, 0.0) * slope.size
        return _Terms(weights * slope.value, of_weights, (weights + grown) * slope.error)

    def _add_value(
        self, source: tuple[Any, ...], found: BlockWeights, kept: Array, log_error: Array, upstream: Array
    ) -> None:
        """dV = (P D)^T dO with P cast (theorem dot_any_order)."""
        weights = found.weights * kept
        lost = 2 * self.eta + 2 * underflow_unit(self.arithmetic.scores, self.arithmetic.flush_to_zero)
        grown = _excess(weights, log_error + self.arithmetic.probabilities.unit + 3 * self.unit)
        error = grown + np.where(np.isfinite(found.distance), lost, 0.0)
        self.dv.add_product(source, _Terms(weights, error, np.zeros_like(error)).transposed, upstream, 1.0)

    def _through_softcap(self, terms: _Terms, block: Block, found: BlockWeights, cap: float) -> _Terms:
        """Multiply by 1 - tanh^2, which changes by at most 0.77 per unit of its argument."""
        factor = 1 - np.tanh((block.query * self.scale) @ block.key.T / cap) ** 2
        tanh = self.arithmetic.tanh_ulps * 2 * self.arithmetic.scores.format.unit_roundoff
        # found.score is the error of the capped score; that of the score before is at most so much larger.
        before = found.score / np.maximum(factor, 1e-6) / cap
        doubt = np.minimum(before + 2 * tanh + 4 * self.arithmetic.scores.unit, 1.0)
        size = np.abs(terms.value) + terms.weights + terms.slope
        return _Terms(terms.value * factor, terms.weights * factor, terms.slope * factor + size * doubt)

    def _add_sink(
        self, sums: _Sums, block: Block, found: BlockWeights, slope: _Slope, place: tuple[int, int, slice]
    ) -> None:
        """Dsink = sum_i p_sink (dlse - Delta)."""
        share = np.exp(self.spec.sinks[block.head] - found.maximum) / found.total
        unit = self.arithmetic.scores.unit
        error = self.forward.lse.certified[place]
        log_error = error * (1 + unit) + 3 * unit * np.abs(np.log(np.maximum(share, 1e-300)))
        grown = _excess(share, log_error + self.arithmetic.exp_error + 2 * unit)
        pull = np.abs(slope.delta)
        doubt = (share + grown) * (slope.delta_error + 2 * unit * (pull + slope.delta_error))
        lost = 2 * underflow_unit(self.arithmetic.scores, self.arithmetic.flush_to_zero)
        sums.add_to_sink(block.head, -share * slope.delta, (grown + lost) * pull + lost, doubt)


def _excess(weights: Array, log_error: Array) -> Array:
    """w (e^t - 1), 0 where the weight is 0."""
    return np.where(weights > 0, weights * np.expm1(np.minimum(log_error, 700.0)), 0.0)
