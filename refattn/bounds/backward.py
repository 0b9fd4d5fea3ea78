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
from refattn.bounds.stages import argument_error, constant_unit, exp_log_error, underflow_unit
from refattn.roundoff import compound, gamma
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

    def budget(self, terms: int, group: int, arithmetic: Arithmetic, scale: float = 1.0) -> ErrorBudget:
        """Theorem gradient_sum: the terms' errors, their summation in any order, the sum over a group, the output.

        The terms are multiplied by `scale` only after they have been added up.
        """
        flush = arithmetic.flush_to_zero
        before = self.weights + self.slope
        size = max(1.0, abs(scale))
        adding = gamma(terms + 8, arithmetic.accumulator.unit) * (self.magnitude + before)
        adding += 2 * terms * size * underflow_unit(arithmetic.accumulator, flush)
        stages = [arithmetic.accumulator]
        if arithmetic.gradient_sum != arithmetic.accumulator:
            roundings = -(-terms // arithmetic.gradient_tile)
            adding += gamma(roundings, arithmetic.gradient_sum.unit) * (self.magnitude + before + adding)
            adding += roundings * size * underflow_unit(arithmetic.gradient_sum, flush)
            stages.append(arithmetic.gradient_sum)
        # Far more than any sum on the way, of the terms as they were before they were scaled.
        widest = (self.magnitude + before + adding) / (min(1.0, abs(scale)) if scale else 1.0)
        overflow = widest > min(stage.format.max_finite for stage in stages)
        if group > 1:
            adding += gamma(group, arithmetic.group_sum.unit) * (self.magnitude + before + adding)
            adding += group * underflow_unit(arithmetic.group_sum, flush)
            overflow |= self.magnitude + before + adding > arithmetic.group_sum.format.max_finite
        output = arithmetic.output.unit * (np.abs(self.value) + before + adding)
        output += underflow_unit(arithmetic.output, flush)
        certified = before + adding + output
        overflow |= (np.abs(self.value) + certified > arithmetic.output.format.max_finite) | np.isnan(certified)
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
        flush = arithmetic.flush_to_zero
        # Of a cast, and of the products before it.
        self.eta = underflow_unit(arithmetic.probabilities, flush) + 2 * underflow_unit(arithmetic.accumulator, flush)
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
            self.dq.budget(shape.keys, 1, arithmetic, self.scale),
            self.dk.budget(shape.queries, shape.group, arithmetic, self.scale),
            self.dv.budget(shape.queries, shape.group, arithmetic),
            dbias,
            None if self.dsinks is None else self.dsinks.budget(shape.queries * shape.batch, 1, wide),
        )

    def _recomputed(self, found: BlockWeights, lse_error: Array) -> Array:
        """Log-error of P = exp(s - LSE) (theorem p_recompute)."""
        lse = (found.maximum + np.log(found.total))[:, None]
        doubt = np.maximum(found.score, lse_error[:, None])
        argument = argument_error(found.scores, lse, self.arithmetic, doubt)
        return np.asarray(found.score + lse_error[:, None] + argument + exp_log_error(self.arithmetic))

    @staticmethod
    def _excess(found: BlockWeights, log_error: Array) -> Array:
        """What the errors can add to each weight; inf where nothing is known, as NaN times 0 is NaN."""
        return np.where(np.isinf(log_error), np.inf, found.excess(log_error))

    def _slope(
        self, place: tuple[int, int, slice], found: BlockWeights, kept: Array, upstream: Array, value: Array
    ) -> _Slope:
        """dP - Delta + dlse (theorem dS_error)."""
        width = value.shape[1]
        out_error = self.forward.out.certified[place]
        dot, flush = self.arithmetic.dot, self.arithmetic.flush_to_zero
        lost = (width + 2) * (underflow_unit(dot, flush) + underflow_unit(self.arithmetic.accumulator, flush))
        dp = (upstream @ value.T) * kept
        reach = np.abs(upstream) @ np.abs(value).T
        summing = gamma(width + 4, dot.unit)
        if self.spec.keep is not None:
            summing = compound(summing, self.unit, self.unit, self.unit)
        dp_error = (summing * reach + lost) * kept
        out = (found.weights * kept) @ value
        delta = (upstream * out).sum(axis=1)
        size = np.abs(upstream)
        delta_error = (size * out_error).sum(axis=1) + lost
        products = (size * (np.abs(out) + out_error)).sum(axis=1)
        delta_error += gamma(width, self.unit) * products
        direct = np.zeros(len(upstream)) if self.dlse is None else self.dlse[place]
        height = np.abs(dp) + dp_error + (np.abs(delta) + delta_error + np.abs(direct))[:, None]
        error = dp_error + delta_error[:, None] + 3 * self.unit * height
        beyond = (1 + summing) * reach > dot.format.max_finite
        # Far more than the products, their sum and the differences.
        limit = self.arithmetic.accumulator.format.max_finite
        beyond |= 2 * (height + products[:, None] + reach * kept) > limit
        error = np.where(beyond, np.inf, error)
        delta_error = np.where(2 * products > limit, np.inf, delta_error)
        return _Slope(dp - delta[:, None] + direct[:, None], error, height, delta - direct, delta_error)

    def _score_gradient(self, found: BlockWeights, log_error: Array, slope: _Slope) -> _Terms:
        """dS = P (dP - Delta + dlse) (theorem dS_error)."""
        weights, visible = found.weights, np.isfinite(found.distance)
        grown = self._excess(found, log_error + 2 * self.unit)
        lost = 2 * underflow_unit(self.arithmetic.scores, self.arithmetic.flush_to_zero)
        of_weights = grown * np.abs(slope.value) + lost * slope.size
        of_slope = (weights + grown) * slope.error
        return _Terms(weights * slope.value, np.where(visible, of_weights, 0.0), np.where(visible, of_slope, 0.0))

    def _add_value(
        self, source: tuple[Any, ...], found: BlockWeights, kept: Array, log_error: Array, upstream: Array
    ) -> None:
        """dV = (P D)^T dO with P cast (theorem dot_any_order)."""
        lost = 2 * self.eta + 2 * underflow_unit(self.arithmetic.scores, self.arithmetic.flush_to_zero)
        grown = self._excess(found, log_error + self.arithmetic.probabilities.unit + 3 * self.unit)
        error = np.where(np.isfinite(found.distance), (grown + lost) * kept + lost, 0.0)
        terms = _Terms(found.weights * kept, error, np.zeros_like(error))
        self.dv.add_product(source, terms.transposed, upstream, 1.0)

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
        unit, flush = self.arithmetic.scores.unit, self.arithmetic.flush_to_zero
        lse = (found.maximum + np.log(found.total))[:, None]
        logit = np.full_like(lse, self.spec.sinks[block.head])
        error = self.forward.lse.certified[place][:, None] + constant_unit(self.arithmetic) * np.abs(logit)
        argument = argument_error(logit, lse, self.arithmetic, error)
        t = (error + argument)[:, 0] + exp_log_error(self.arithmetic) + 2 * unit
        unknown = np.isinf(self.forward.lse.certified[place])
        grown = np.where(unknown, np.inf, found.sink_excess(t))
        pull = np.abs(slope.delta)
        doubt = (found.sink + grown) * (slope.delta_error + 2 * unit * (pull + slope.delta_error))
        lost = 2 * underflow_unit(self.arithmetic.scores, flush) + underflow_unit(self.arithmetic.accumulator, flush)
        # A sink of -inf has no gradient, unless Delta overflows and it is multiplied by 0.
        there = np.isfinite(found.sink_distance) | np.isinf(slope.delta_error) | unknown
        terms = (-found.sink * slope.delta, (grown + lost) * pull + lost, doubt)
        sums.add_to_sink(block.head, *(np.where(there, term, 0.0) for term in terms))
