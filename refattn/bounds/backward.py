"""Certified budgets of attention's gradients, for kernels that recompute P from the log-sum-exp."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refattn.bounds.budget import AttentionBudget, ErrorBudget, GradientBudget
from refattn.bounds.forward import attention
from refattn.bounds.stages import argument_error, constant_unit, exp_log_error, exponential_lost, underflow_unit
from refattn.bounds.theorems.gradients import (
    delta_error,
    gradient_additions,
    gradient_sum,
    gradient_underflow,
    p_recompute,
    probability_gradient_error,
    score_gradient_error,
    slope_error,
    softcap_gradient,
    through_softcap,
    value_weight_error,
    weight_error,
)
from refattn.bounds.weights import BlockWeights, block_weights
from refattn.contract.arithmetic import Arithmetic
from refattn.contract.scores import Block, add_to_bias, blocks, dropout_keep, scale_of
from refattn.contract.spec import AttentionSpec, Shape
from refattn.numbers.roundoff import growth, rounded

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
        if terms.slope is not None:
            self.slope[place] += terms.slope @ size

    def add_to_bias(self, block: Block, terms: _Terms) -> None:
        """Add a block's terms to an array of the bias's four axes."""
        assert terms.slope is not None
        pieces = (terms.value, np.abs(terms.value), terms.weights, terms.slope)
        for target, piece in zip((self.value, self.magnitude, self.weights, self.slope), pieces, strict=True):
            add_to_bias(target, block, piece)

    def add_to_sink(self, head: int, value: Array, weights: Array, slope: Array) -> None:
        """Add the rows' terms to the sink of a head."""
        pieces = (value, np.abs(value), weights, slope)
        for target, piece in zip((self.value, self.magnitude, self.weights, self.slope), pieces, strict=True):
            target[head] += piece.sum()

    def budget(self, terms: int, group: int, arithmetic: Arithmetic, scale: float | None = None) -> ErrorBudget:
        """Errors of the terms, of their sum in any order, of the sum over a group, and of the output (theorem
        gradient_bound).

        `scale`, if given, multiplies the sum, not the terms.
        """
        accumulator, again = arithmetic.accumulator, arithmetic.gradient_sum
        stages, roundings = [accumulator], 0
        if again != accumulator:
            stages, roundings = [accumulator, again], -(-terms // arithmetic.gradient_tile)
        flush = arithmetic.flush_to_zero
        lost, again_lost, group_lost, output_lost = (
            underflow_unit(stage, flush) for stage in (accumulator, again, arithmetic.group_sum, arithmetic.output)
        )
        scaling = scaling_lost = group_unit = 0.0
        if scale is not None:
            scaling, scaling_lost = _scaling(scale, arithmetic), lost
        if group > 1:
            group_unit = arithmetic.group_sum.unit
        else:
            group_lost = 0.0
        factor = 1.0 if scale is None else abs(scale)
        additions = gradient_additions(terms, accumulator.unit, scaling, roundings, again.unit, group, group_unit)
        lost = gradient_underflow(terms, lost, factor, scaling_lost, roundings, again_lost, group, group_lost)
        # The error of the terms is a part of its own.
        before = self.weights + self.slope
        adding = gradient_sum(self.magnitude + before, 0.0, additions, lost)
        output = rounded(0.0, np.abs(self.value) + before + adding, arithmetic.output.unit, output_lost)
        certified = before + adding + output
        # Above every partial sum of the scaled terms; dividing by the factor undoes the scaling.
        largest = self.magnitude + before + adding
        overflow = largest / (min(1.0, factor) or 1.0) > min(stage.format.max_finite for stage in stages)
        if group > 1:
            overflow |= largest > arithmetic.group_sum.format.max_finite
        overflow |= (np.abs(self.value) + certified > arithmetic.output.format.max_finite) | np.isnan(certified)
        parts = {"weights": self.weights, "slope": self.slope, "accumulation": adding, "output": output}
        return ErrorBudget(np.where(overflow, np.inf, certified), None, parts)


def _scaling(scale: float, arithmetic: Arithmetic) -> float:
    """Log-error of a product with the stored scale: none for a power of two (theorem power_of_two_exact)."""
    exact = abs(math.frexp(scale)[0]) == 0.5
    return 0.0 if exact else constant_unit(arithmetic) + arithmetic.accumulator.unit


@dataclass(frozen=True, eq=False)
class _Terms:
    """Factors of a product (r, n): values, and their certified errors from P and from the factor of P (None without
    one).
    """

    value: Array
    weights: Array
    slope: Array | None

    @property
    def transposed(self) -> _Terms:
        return _Terms(self.value.T, self.weights.T, None if self.slope is None else self.slope.T)

    def in_range(self, largest: float) -> _Terms:
        """The terms with infinite errors where they can overflow."""
        size = np.abs(self.value) + self.weights
        size = size if self.slope is None else size + self.slope
        if (size <= largest).all():
            return self
        return _Terms(self.value, np.where(size <= largest, self.weights, np.inf), self.slope)


@dataclass(frozen=True, eq=False)
class _Slope:
    """dP - Delta + dlse of one block, (r, n), with its error; Delta - dlse (r,), with the error of Delta."""

    value: Array
    error: Array
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
        flush = arithmetic.flush_to_zero
        self.scale = scale_of(spec, self.shape.d_qk)
        self.unit, self.constant = arithmetic.accumulator.unit, constant_unit(arithmetic)
        self.exponential = exp_log_error(arithmetic)
        self.lost = underflow_unit(arithmetic.accumulator, flush)
        self.weight_lost = exponential_lost(arithmetic)
        self.cast_lost = underflow_unit(arithmetic.probabilities, flush)
        # 1 - p and its inverse are stored as constants, then multiplied.
        self.gain = 0.0 if spec.keep is None else 2 * self.constant + self.unit
        self.gain_lost = 0.0 if spec.keep is None else self.lost
        self.largest = min(stage.format.max_finite for stage in (arithmetic.probabilities, arithmetic.accumulator))
        self.dq, self.dk, self.dv = (_Sums.zeros(array.shape) for array in (self.q, self.k, self.v))
        self.dbias = None if spec.bias is None else _Sums.zeros((1,) * (4 - spec.bias.ndim) + spec.bias.shape)
        self.dsinks = None if spec.sinks is None else _Sums.zeros(spec.sinks.shape)

    def add(self, block: Block) -> None:
        """One block of queries of one head."""
        spec = self.spec
        place = (block.batch, block.head, block.rows)
        source = (block.batch, block.kv_head, block.keys)
        softmax = block_weights(block, spec, self.scale, self.arithmetic, self.shape.keys)
        dropout = 1.0 if spec.keep is None else dropout_keep(block, spec) / (1.0 - spec.dropout)
        log_error = self._recomputed(softmax, self.forward.lse.certified[place])
        upstream = self.do[place]
        self._add_value(source, softmax, dropout, log_error, upstream)
        slope = self._slope(place, softmax, dropout, upstream, self.v[source])
        terms = self._score_gradient(softmax, log_error, slope)
        if self.dbias is not None:
            self.dbias.add_to_bias(block, terms)
        if self.dsinks is not None:
            self._add_sink(self.dsinks, block, softmax, slope, place)
        if spec.softcap is not None:
            terms = self._through_softcap(terms, block, softmax, spec.softcap)
        terms = self._cast(terms)
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

    def _recomputed(self, softmax: BlockWeights, lse_error: Array) -> Array:
        """Log-error of P = exp(s - LSE)."""
        lse = (softmax.maximum + np.log(softmax.total))[:, None]
        doubt = np.maximum(softmax.score, lse_error[:, None])
        argument = argument_error(softmax.scores, lse, self.arithmetic, doubt)
        return np.asarray(p_recompute(softmax.score, lse_error[:, None], argument, self.exponential))

    def _weight_error(self, softmax: BlockWeights, log_error: Array, roundings: float) -> Array:
        """Error of P after more roundings; inf where the log-error is, where 0 times inf would give NaN."""
        grown = softmax.excess(log_error + roundings)
        unknown = np.isinf(log_error)
        if unknown.any():
            grown = np.where(unknown, np.inf, grown)
        return np.asarray(weight_error(grown, roundings, self.weight_lost))

    @staticmethod
    def _visible(softmax: BlockWeights, error: Array) -> Array:
        """0 where the key is invisible."""
        return error if softmax.visible.all() else np.where(softmax.visible, error, 0.0)

    def _slope(
        self, place: tuple[int, int, slice], softmax: BlockWeights, dropout: Any, upstream: Array, value: Array
    ) -> _Slope:
        """dP - Delta + dlse."""
        width = value.shape[1]
        dot = self.arithmetic.dot
        dot_lost = underflow_unit(dot, self.arithmetic.flush_to_zero)
        size = np.abs(upstream)
        dp = (upstream @ value.T) * dropout
        reach = size @ np.abs(value).T
        dp_error = probability_gradient_error(width, dot.unit, reach, dot_lost, dropout, self.gain, self.gain_lost)
        out, out_error = (softmax.weights * dropout) @ value, self.forward.out.certified[place]
        delta = (upstream * out).sum(axis=1)
        products, doubt = (size * np.abs(out)).sum(axis=1), (size * out_error).sum(axis=1)
        delta_bound = delta_error(width, self.unit, products, doubt, self.lost)
        dlse = np.zeros(len(upstream)) if self.dlse is None else self.dlse[place]
        height = np.abs(dp) + dp_error + (np.abs(delta) + delta_bound + np.abs(dlse))[:, None]
        inner = 0.0 if self.dlse is None else self.unit
        error = slope_error(dp_error, delta_bound[:, None], height, inner, self.unit, self.lost)
        beyond = (1 + growth(width * dot.unit)) * reach > dot.format.max_finite
        # Above the products, their sum and the differences.
        limit = self.arithmetic.accumulator.format.max_finite
        beyond |= 2 * (height + (products + doubt)[:, None] + reach * dropout) > limit
        error = np.where(beyond, np.inf, error)
        delta_bound = np.where(2 * (products + doubt) > limit, np.inf, delta_bound)
        return _Slope(dp - delta[:, None] + dlse[:, None], error, delta - dlse, delta_bound)

    def _score_gradient(self, softmax: BlockWeights, log_error: Array, slope: _Slope) -> _Terms:
        """dS = P (dP - Delta + dlse)."""
        off = self._weight_error(softmax, log_error, 2 * self.unit)
        from_weights = score_gradient_error(softmax.weights, off, np.abs(slope.value), 0.0, self.lost)
        from_slope = score_gradient_error(softmax.weights, off, 0.0, slope.error, 0.0)
        value = softmax.weights * slope.value
        return _Terms(value, self._visible(softmax, from_weights), self._visible(softmax, from_slope))

    def _cast(self, terms: _Terms) -> _Terms:
        """dS rounded to the operand's format; each part of its error, as the theorem `rounded` is linear."""
        unit = self.arithmetic.probabilities.unit
        slope = rounded(terms.slope, np.abs(terms.value), unit, self.cast_lost)
        return _Terms(terms.value, rounded(terms.weights, 0.0, unit), slope).in_range(self.largest)

    def _add_value(
        self, source: tuple[Any, ...], softmax: BlockWeights, dropout: Any, log_error: Array, upstream: Array
    ) -> None:
        """dV = (P D)^T dO with P cast."""
        cast = self.arithmetic.probabilities.unit
        off = self._weight_error(softmax, log_error, self.gain + cast)
        error = value_weight_error(off, dropout, cast, self.gain_lost, self.cast_lost)
        terms = _Terms(softmax.weights * dropout, self._visible(softmax, error), None).in_range(self.largest)
        self.dv.add_product(source, terms.transposed, upstream, 1.0)

    def _through_softcap(self, terms: _Terms, block: Block, softmax: BlockWeights, cap: float) -> _Terms:
        """Multiply by 1 - tanh^2, computed from the capped score, which errs by at most softmax.score."""
        tanh = np.abs(np.tanh((block.query * self.scale) @ block.key.T / cap))
        factor = 1 - tanh**2
        scores = self.arithmetic.scores
        lost = underflow_unit(scores, self.arithmetic.flush_to_zero)
        doubt = softcap_gradient(tanh, softmax.score / cap, scores.unit, self.constant, lost)
        return _Terms(
            terms.value * factor,
            through_softcap(terms.weights, 0.0, factor, doubt, self.unit, 0.0),
            through_softcap(terms.slope, np.abs(terms.value), factor, doubt, self.unit, self.lost),
        )

    def _add_sink(
        self, sums: _Sums, block: Block, softmax: BlockWeights, slope: _Slope, place: tuple[int, int, slice]
    ) -> None:
        """dsink = sum_i p_sink (dlse - Delta): a sink is a key whose dP is 0."""
        lse = (softmax.maximum + np.log(softmax.total))[:, None]
        lse_error = self.forward.lse.certified[place]
        logit = np.full_like(lse, self.spec.sinks[block.head])
        logit_error = self.constant * np.abs(logit)
        argument = argument_error(logit, lse, self.arithmetic, lse_error[:, None] + logit_error)
        log_error = p_recompute(logit_error[:, 0], lse_error, argument[:, 0], self.exponential)
        unknown, roundings = np.isinf(lse_error), 2 * self.unit
        grown = np.where(unknown, np.inf, softmax.sink_excess(log_error + roundings))
        off = weight_error(grown, roundings, self.weight_lost)
        error = slope_error(0.0, slope.delta_error, 0.0, 0.0, self.unit, self.lost)
        # A sink of -inf has no gradient, unless Delta overflows and it is multiplied by 0.
        there = np.isfinite(softmax.sink_distance) | np.isinf(slope.delta_error) | unknown
        terms = (
            -softmax.sink * slope.delta,
            score_gradient_error(softmax.sink, off, np.abs(slope.delta), 0.0, self.lost),
            score_gradient_error(softmax.sink, off, 0.0, error, 0.0),
        )
        sums.add_to_sink(block.head, *(np.where(there, term, 0.0) for term in terms))
