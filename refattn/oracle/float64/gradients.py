"""Rung 1 of the ladder for gradients: float64 with a proved radius, blockwise over the queries.

NumPy arrays and torch tensors alike, as refattn.oracle.float64.forward.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from refattn.contract.scores import Block, add_to_bias, blocks, dropout_keep, scale_of
from refattn.contract.spec import AttentionSpec, Shape
from refattn.numbers.arrays import namespace, to_numpy
from refattn.oracle.enclosure import Enclosure
from refattn.oracle.float64.forward import INFLATE, LONGEST, TINY, U, Weights, gamma64, norms, weights_of, zeros
from refattn.oracle.float64.platform import function_error
from refattn.oracle.truth import GradientTruth

# float64, of NumPy or torch.
Array = Any


def attention_backward(
    q: Array, k: Array, v: Array, do: Array, spec: AttentionSpec, shape: Shape, dlse: Array | None = None
) -> GradientTruth:
    """Gradients of sum(do * out) + sum(dlse * lse) for finite float64 arrays of one library and device, in NumPy.

    rad is inf where nothing is proved. Raises PlatformError where the library cannot be relied on.

    With P the weights, D = dropout's factor, dP = do V^T and Delta = sum_j P D dP: dS = P (D dP - Delta + dlse), from
    which dQ, dK, dbias and dsinks follow linearly, and dV = (P D)^T do.
    """
    backward = _Backward(q, k, v, do, dlse, spec, shape)
    with np.errstate(over="ignore", invalid="ignore", under="ignore", divide="ignore"):
        for block in blocks(q, k, spec, shape):
            backward.add(block)
        return backward.truth()


@dataclass(frozen=True, eq=False)
class _Sums:
    """A gradient's sum so far, and its radius."""

    mid: Array
    rad: Array

    @classmethod
    def zeros(cls, shape: tuple[int, ...], model: Array) -> _Sums:
        return cls(zeros(shape, model), zeros(shape, model))

    def add(self, place: tuple[Any, ...], mid: Array, rad: Array) -> None:
        self.mid[place] += mid
        self.rad[place] += rad

    def enclosure(self, shape: tuple[int, ...] | None = None) -> Enclosure:
        mid, rad = to_numpy(self.mid), to_numpy(self.rad)
        known = np.isfinite(mid) & ~np.isnan(rad)
        rad = np.where(known, rad * INFLATE, np.inf)
        return Enclosure(mid, rad) if shape is None else Enclosure(mid.reshape(shape), rad.reshape(shape))


@dataclass(frozen=True, eq=False)
class _Slope:
    """dS of one block (r, n) and the errors of its rows, each in units of the row's weights.

    |dS| <= weights * height * (1 + relative) and dS errs by at most weights * error.
    """

    ds: Array
    delta: Array
    height: Array
    error: Array


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

    def __post_init__(self) -> None:
        spec = self.spec
        self.scale = scale_of(spec, self.shape.d_qk)
        self.gain = 1.0 / (1.0 - spec.dropout)
        self.function_error = function_error(self.q)
        self.dq, self.dk, self.dv = (_Sums.zeros(array.shape, self.q) for array in (self.q, self.k, self.v))
        bias_shape = None if spec.bias is None else (1,) * (4 - spec.bias.ndim) + spec.bias.shape
        self.dbias = None if bias_shape is None else _Sums.zeros(bias_shape, self.q)
        self.dsinks = None if spec.sinks is None else _Sums.zeros(spec.sinks.shape, self.q)
        # More than the terms of any sum below, with a few roundings of its own.
        self.terms = self.shape.queries * self.shape.group * self.shape.batch + self.shape.keys + 16

    def add(self, block: Block) -> None:
        """One block of queries of one head."""
        place = (block.batch, block.head, block.rows)
        source = (block.batch, block.kv_head, block.keys)
        xp = namespace(self.q)
        unnormalised = weights_of(block, self.spec, self.scale, self.function_error)
        total = xp.where(unnormalised.total > 0, unnormalised.total, 1.0)
        weights = xp.where(unnormalised.empty[:, None], 0.0, unnormalised.weights / total[:, None])
        dropout: Array | float = 1.0
        if self.spec.keep is not None:
            dropout = self.gain * xp.astype(dropout_keep(block, self.spec), xp.float64)
        upstream, value = self.do[place], self.v[source]
        relative = _weight_error(unnormalised)
        slope = self._slope(place, weights, relative, dropout * xp.matmul(upstream, value.T), upstream, value)
        self._add_value(source, weights * dropout, weights, relative, upstream)
        gamma = gamma64(self.terms)
        if self.dbias is not None:
            summing = gamma64(self.terms + self._terms_of_bias(self.dbias))
            error = weights * ((slope.error + summing * (slope.height + slope.error)) * (1 + relative))[:, None]
            error = error + TINY * (1 + slope.height)[:, None]
            add_to_bias(self.dbias.mid, block, slope.ds)
            add_to_bias(self.dbias.rad, block, error)
        if self.dsinks is not None:
            share = xp.exp(float(self.spec.sinks[block.head]) - unnormalised.maximum) / total
            pull = -xp.where(unnormalised.empty, 0.0, slope.delta)
            if self.dlse is not None:
                pull = pull + self.dlse[place]
            error = share * (slope.error + (relative + gamma) * slope.height) * (1 + relative) * 2
            error = error + TINY * (1 + slope.height)
            self.dsinks.add((block.head,), xp.sum(share * pull), xp.sum(error))
        if self.spec.softcap is not None:
            slope = self._through_softcap(slope, block, unnormalised, relative, self.spec.softcap)
        self._add_scores(place, source, block, weights, relative, slope)

    def truth(self) -> GradientTruth:
        """The gradients, once every block has been added."""
        return GradientTruth(
            self.dq.enclosure(),
            self.dk.enclosure(),
            self.dv.enclosure(),
            None if self.dbias is None else self.dbias.enclosure(self.spec.bias.shape),
            None if self.dsinks is None else self.dsinks.enclosure(),
        )

    def _terms_of_bias(self, dbias: _Sums) -> int:
        """Terms that one element of the bias's gradient adds up."""
        shape = self.shape
        size: int = math.prod(dbias.mid.shape)
        return shape.batch * shape.heads * shape.queries * shape.keys // max(1, size)

    def _slope(
        self,
        place: tuple[int, int, slice],
        weights: Array,
        relative: Array,
        dp: Array,
        upstream: Array,
        value: Array,
    ) -> _Slope:
        xp = namespace(value)
        n, width = value.shape
        delta = xp.sum(weights * dp, axis=1)
        dlse = xp.zeros_like(delta) if self.dlse is None else self.dlse[place]
        # |dP| and |Delta| are at most |dO| max|v|, by Cauchy-Schwarz and because weights sum to at most 1.
        reach = self.gain * norms(upstream) * _top(norms(value)) * (1 + gamma64(2 * width + 12))
        height = 2 * reach + xp.abs(dlse)
        inner = gamma64(width + 4) * reach + 2 * reach * (relative + gamma64(n + width + 8)) + 4 * U * height
        error = relative * height + (1 + relative) * (inner + 4 * U * height)
        return _Slope(weights * (dp - delta[:, None] + dlse[:, None]), delta, height, error)

    def _through_softcap(self, slope: _Slope, block: Block, weights: Weights, relative: Array, cap: float) -> _Slope:
        """Multiply by 1 - tanh^2, which changes by at most 0.77 per unit of its argument."""
        xp = namespace(block.query)
        capped = xp.tanh(xp.matmul(block.query * self.scale, block.key.T) / cap)
        # score_error counts the rounding after the cap too, and bounds the error before it.
        doubt = weights.score_error / cap + 2 * self.function_error + 8 * U
        error = slope.error + (1 + relative) * slope.height * doubt
        return _Slope(slope.ds * (1 - capped**2), slope.delta, slope.height, error)

    def _add_scores(
        self,
        place: tuple[int, int, slice],
        source: tuple[Any, ...],
        block: Block,
        weights: Array,
        relative: Array,
        slope: _Slope,
    ) -> None:
        xp = namespace(block.query)
        grown = 1 + relative
        spread = ((slope.error + gamma64(self.terms) * grown * (slope.height + slope.error)) * grown)[:, None]
        size = abs(self.scale)
        lost = self.terms * TINY * (1 + size) * (1 + _top(slope.height))
        key, query = xp.abs(block.key), xp.abs(block.query)
        self.dq.add(
            place,
            self.scale * xp.matmul(slope.ds, block.key),
            size * spread * xp.matmul(weights, key) + lost * (1 + _top(key)),
        )
        self.dk.add(
            source,
            self.scale * xp.matmul(slope.ds.T, block.query),
            size * xp.matmul(weights.T, spread * query) + lost * (1 + _top(query)),
        )

    def _add_value(
        self, source: tuple[Any, ...], factors: Array, weights: Array, relative: Array, upstream: Array
    ) -> None:
        xp = namespace(upstream)
        size = xp.abs(upstream)
        doubt = ((relative + gamma64(self.terms) * (1 + relative)) * (1 + relative))[:, None]
        lost = self.terms * TINY * (1 + _top(size))
        radius = self.gain * xp.matmul(weights.T, doubt * size) + lost
        self.dv.add(source, xp.matmul(factors.T, upstream), radius)


def _weight_error(weights: Weights) -> Array:
    """Relative error of every normalised weight that does not underflow."""
    xp = namespace(weights.weights)
    own = xp.exp(weights.score_error + weights.common_error + U * LONGEST)
    total = weights.total_error
    return xp.where(total < 0.5, own * (1 + 2 * U) / (1 - xp.clip(total, max=0.5)) - 1, math.inf)


def _top(array: Array) -> float:
    """The largest of some non-negative numbers, 0 of none."""
    return float(namespace(array).max(array)) if math.prod(array.shape) else 0.0
