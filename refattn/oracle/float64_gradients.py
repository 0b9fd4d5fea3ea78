"""Rung 1 of the ladder for gradients: float64 with a proved radius, blockwise over the queries.

May import: numpy, refattn.roundoff, refattn.scores, refattn.spec, refattn.oracle.enclosure, .float64, .truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refattn.oracle.enclosure import Enclosure
from refattn.oracle.float64 import FUNCTION_ERROR, INFLATE, LONGEST, TINY, U, Weights, gamma64, norms, weights_of
from refattn.oracle.truth import GradientTruth
from refattn.scores import Block, add_to_bias, blocks, dropout_keep, scale_of
from refattn.spec import AttentionSpec, Shape

Array = NDArray[np.float64]


def attention_backward(
    q: Array, k: Array, v: Array, do: Array, spec: AttentionSpec, shape: Shape, dlse: Array | None = None
) -> GradientTruth:
    """Gradients of sum(do * out) + sum(dlse * lse) for finite float64 arrays; rad is inf where nothing is proved.

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
    """A gradient being accumulated and the radius of what has been added so far."""

    mid: Array
    rad: Array

    @classmethod
    def zeros(cls, shape: tuple[int, ...]) -> _Sums:
        return cls(np.zeros(shape), np.zeros(shape))

    def add(self, place: tuple[Any, ...], mid: Array, rad: Array) -> None:
        self.mid[place] += mid
        self.rad[place] += rad

    def enclosure(self, shape: tuple[int, ...] | None = None) -> Enclosure:
        known = np.isfinite(self.mid) & ~np.isnan(self.rad)
        found = Enclosure(self.mid, np.where(known, self.rad * INFLATE, np.inf))
        return found if shape is None else Enclosure(found.mid.reshape(shape), found.rad.reshape(shape))


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
        self.dq, self.dk, self.dv = (_Sums.zeros(array.shape) for array in (self.q, self.k, self.v))
        self.dbias = None if spec.bias is None else _Sums.zeros((1,) * (4 - spec.bias.ndim) + spec.bias.shape)
        self.dsinks = None if spec.sinks is None else _Sums.zeros(spec.sinks.shape)
        # Terms that any sum below can have, with a few roundings of its own.
        self.terms = self.shape.queries * self.shape.group * self.shape.batch + self.shape.keys + 16

    def add(self, block: Block) -> None:
        """One block of queries of one head."""
        place = (block.batch, block.head, block.rows)
        source = (block.batch, block.kv_head, block.keys)
        found = weights_of(block, self.spec, self.scale)
        total = np.where(found.total > 0, found.total, 1.0)
        weights = np.where(found.empty[:, None], 0.0, found.weights / total[:, None])
        kept: Array | float = 1.0
        if self.spec.keep is not None:
            kept = self.gain * dropout_keep(block, self.spec)
        upstream = self.do[place]
        relative = _weight_error(found)
        slope = self._slope(place, weights, relative, kept * (upstream @ self.v[source].T), upstream, self.v[source])
        self._add_value(source, weights * kept, weights, relative, upstream)
        gamma = gamma64(self.terms)
        if self.dbias is not None:
            summing = gamma64(self.terms + self._terms_of_bias(self.dbias))
            error = weights * ((slope.error + summing * (slope.height + slope.error)) * (1 + relative))[:, None]
            error = error + TINY * (1 + slope.height)[:, None]
            add_to_bias(self.dbias.mid, block, slope.ds)
            add_to_bias(self.dbias.rad, block, error)
        if self.dsinks is not None:
            share = np.exp(self.spec.sinks[block.head] - found.maximum) / total
            pull = -np.where(found.empty, 0.0, slope.delta)
            if self.dlse is not None:
                pull = pull + self.dlse[place]
            error = share * (slope.error + (relative + gamma) * slope.height) * (1 + relative) * 2
            error = error + TINY * (1 + slope.height)
            self.dsinks.add((block.head,), (share * pull).sum(), error.sum())
        if self.spec.softcap is not None:
            slope = self._through_softcap(slope, block, found, relative, self.spec.softcap)
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
        return shape.batch * shape.heads * shape.queries * shape.keys // max(1, dbias.mid.size)

    def _slope(
        self,
        place: tuple[int, int, slice],
        weights: Array,
        relative: Array,
        dp: Array,
        upstream: Array,
        value: Array,
    ) -> _Slope:
        n, width = value.shape
        delta = (weights * dp).sum(axis=1)
        direct = np.zeros(len(upstream)) if self.dlse is None else self.dlse[place]
        # |dP| and |Delta| are at most |dO| max|v|, by Cauchy-Schwarz and because weights sum to at most 1.
        reach = self.gain * norms(upstream) * norms(value).max(initial=0.0) * (1 + gamma64(2 * width + 12))
        height = 2 * reach + np.abs(direct)
        inner = gamma64(width + 4) * reach + 2 * reach * (relative + gamma64(n + width + 8)) + 4 * U * height
        error = relative * height + (1 + relative) * (inner + 4 * U * height)
        return _Slope(weights * (dp - delta[:, None] + direct[:, None]), delta, height, error)

    def _through_softcap(self, slope: _Slope, block: Block, found: Weights, relative: Array, cap: float) -> _Slope:
        """Multiply by 1 - tanh^2, which changes by at most 0.77 per unit of its argument."""
        capped = np.tanh((block.query * self.scale) @ block.key.T / cap)
        # score_error counts the rounding after the cap too, and bounds the error before it.
        doubt = found.score_error / cap + 2 * FUNCTION_ERROR + 8 * U
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
        grown = 1 + relative
        spread = ((slope.error + gamma64(self.terms) * grown * (slope.height + slope.error)) * grown)[:, None]
        size = abs(self.scale)
        lost = self.terms * TINY * (1 + size) * (1 + slope.height.max(initial=0.0))
        key, query = np.abs(block.key), np.abs(block.query)
        self.dq.add(
            place,
            self.scale * (slope.ds @ block.key),
            size * spread * (weights @ key) + lost * (1 + key.max(initial=0.0)),
        )
        self.dk.add(
            source,
            self.scale * (slope.ds.T @ block.query),
            size * (weights.T @ (spread * query)) + lost * (1 + query.max(initial=0.0)),
        )

    def _add_value(
        self, source: tuple[Any, ...], kept: Array, weights: Array, relative: Array, upstream: Array
    ) -> None:
        size = np.abs(upstream)
        doubt = ((relative + gamma64(self.terms) * (1 + relative)) * (1 + relative))[:, None]
        lost = self.terms * TINY * (1 + size.max(initial=0.0))
        self.dv.add(source, kept.T @ upstream, self.gain * (weights.T @ (doubt * size)) + lost)


def _weight_error(found: Weights) -> Array:
    """Relative error of every normalised weight that does not underflow."""
    own = np.exp(found.score_error + found.common_error + U * LONGEST)
    total = found.total_error
    return np.where(total < 0.5, own * (1 + 2 * U) / (1 - np.minimum(total, 0.5)) - 1, np.inf)
