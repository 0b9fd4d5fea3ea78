"""Rung 1 of the ladder for gradients: float64 with a proved radius, blockwise over the queries.

May import: numpy, refattn.roundoff, refattn.scores, refattn.spec, refattn.oracle.enclosure, .float64, .truth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refattn.oracle.enclosure import Enclosure
from refattn.oracle.float64 import FUNCTION_ERROR, INFLATE, LONGEST, TINY, U, Weights, gamma64, weights_of
from refattn.oracle.truth import GradientTruth
from refattn.scores import Block, blocks, dropout_keep, scale_of
from refattn.spec import AttentionSpec, Shape

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Sums:
    """A gradient being accumulated and the radius of what has been added so far."""

    mid: Array
    rad: Array

    @classmethod
    def zeros(cls, shape: tuple[int, ...]) -> _Sums:
        return cls(np.zeros(shape), np.zeros(shape))

    def enclosure(self) -> Enclosure:
        known = np.isfinite(self.mid) & ~np.isnan(self.rad)
        return Enclosure(self.mid, np.where(known, self.rad * INFLATE, np.inf))


def attention_backward(
    q: Array, k: Array, v: Array, do: Array, spec: AttentionSpec, shape: Shape, dlse: Array | None = None
) -> GradientTruth:
    """Gradients of sum(do * out) + sum(dlse * lse) for finite float64 arrays; rad is inf where nothing is proved.

    With P the weights, D = dropout's factor, dP = do V^T and Delta = sum_j P D dP: dS = P (D dP - Delta + dlse), from which
    dQ, dK, dbias and dsinks follow linearly, and dV = (P D)^T do.
    """
    scale = scale_of(spec, shape.d_qk)
    dq, dk, dv = (_Sums.zeros(array.shape) for array in (q, k, v))
    bias_shape = None if spec.bias is None else (1,) * (4 - spec.bias.ndim) + spec.bias.shape
    dbias = None if bias_shape is None else _Sums.zeros(bias_shape)
    dsinks = None if spec.sinks is None else _Sums.zeros(spec.sinks.shape)
    with np.errstate(over="ignore", invalid="ignore", under="ignore", divide="ignore"):
        for block in blocks(q, k, spec, shape):
            _add_block(block, v, do, dlse, spec, shape, scale, (dq, dk, dv), dbias, dsinks)
    return GradientTruth(
        dq.enclosure(),
        dk.enclosure(),
        dv.enclosure(),
        None if dbias is None or spec.bias is None else _reshaped(dbias.enclosure(), spec.bias.shape),
        None if dsinks is None else dsinks.enclosure(),
    )


def _reshaped(found: Enclosure, shape: tuple[int, ...]) -> Enclosure:
    return Enclosure(found.mid.reshape(shape), found.rad.reshape(shape))


def _add_block(
    block: Block,
    v: Array,
    do: Array,
    dlse: Array | None,
    spec: AttentionSpec,
    shape: Shape,
    scale: float,
    gradients: tuple[_Sums, _Sums, _Sums],
    dbias: _Sums | None,
    dsinks: _Sums | None,
) -> None:
    dq, dk, dv = gradients
    place = (block.batch, block.head, block.rows)
    source = (block.batch, block.kv_head, block.keys)
    found = weights_of(block, spec, scale)
    upstream = do[place]
    direct = np.zeros(len(upstream)) if dlse is None else dlse[place]
    value, n, width = v[source], block.key.shape[0], v.shape[-1]
    gain = 1.0 / (1.0 - spec.dropout)
    kept = gain * dropout_keep(block, spec) if spec.keep is not None else np.ones(found.weights.shape)

    total = np.where(found.total > 0, found.total, 1.0)
    weights = found.weights / total[:, None]
    alive = ~found.empty
    weights[~alive] = 0.0
    relative = _weight_error(found)
    dp = kept * (upstream @ value.T)
    delta = (weights * dp).sum(axis=1)
    slope = dp - delta[:, None] + direct[:, None]
    ds = weights * slope

    reach = gain * _norms(upstream) * _norms(value).max(initial=0.0) * (1 + gamma64(width + 8))
    height = 2 * reach + np.abs(direct)
    slope_error = gamma64(width + 4) * reach + reach * (relative + gamma64(n + width + 8)) * 2 + 4 * U * height
    error = relative * height + (1 + relative) * (slope_error + 4 * U * height)
    widened = 1 + relative
    terms = shape.queries * shape.group + n + 16

    if dbias is not None:
        _add_bias(dbias, block, ds, weights * ((error + gamma64(terms) * height) * widened)[:, None])
    if dsinks is not None and spec.sinks is not None:
        share = np.exp(spec.sinks[block.head] - found.maximum) / total
        pull = direct - np.where(alive, delta, 0.0)
        dsinks.mid[block.head] += (share * pull).sum()
        dsinks.rad[block.head] += (share * (error + (relative + gamma64(terms * shape.batch)) * height) * widened * 2).sum()
        dsinks.rad[block.head] += len(share) * TINY
    if spec.softcap is not None:
        # The slope of tanh changes by at most 0.77 per unit of its argument.
        capped = np.tanh((block.query * scale) @ block.key.T / spec.softcap)
        ds = ds * (1 - capped**2)
        error = error + widened * height * (found.score_error / spec.softcap + 2 * FUNCTION_ERROR + 8 * U)
    spread = (error + gamma64(terms) * widened * (height + error)) * widened
    lost = (n + shape.queries) * shape.group * TINY * (1 + reach.max(initial=0.0) + np.abs(direct).max(initial=0.0))
    lost_q, lost_k, lost_v = (lost * (1 + np.abs(x).max(initial=0.0)) for x in (block.key, block.query, upstream))
    dq.mid[place] += scale * (ds @ block.key)
    dq.rad[place] += abs(scale) * (spread[:, None] * (weights @ np.abs(block.key))) + lost_q
    dk.mid[source] += scale * (ds.T @ block.query)
    dk.rad[source] += abs(scale) * (weights.T @ (spread[:, None] * np.abs(block.query))) + lost_k
    dv.mid[source] += (weights * kept).T @ upstream
    doubt = (relative + gamma64(terms) * widened) * widened
    dv.rad[source] += gain * (weights.T @ (doubt[:, None] * np.abs(upstream))) + lost_v


def _weight_error(found: Weights) -> Array:
    """Relative error of every normalised weight that does not underflow."""
    own = np.exp(found.score_error + found.common_error + U * LONGEST)
    total = found.total_error
    return np.where(total < 0.5, own * (1 + 2 * U) / (1 - np.minimum(total, 0.5)) - 1, np.inf)


def _norms(rows: Array) -> Array:
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", rows, rows)))


def _add_bias(dbias: _Sums, block: Block, ds: Array, error: Array) -> None:
    sizes = dbias.mid.shape
    place = (
        block.batch if sizes[0] > 1 else 0,
        block.head if sizes[1] > 1 else 0,
        block.rows if sizes[2] > 1 else slice(0, 1),
        block.keys if sizes[3] > 1 else slice(0, 1),
    )
    for sums, part in ((dbias.mid, ds), (dbias.rad, error + TINY)):
        if sizes[2] == 1:
            part = part.sum(axis=0, keepdims=True)
        if sizes[3] == 1:
            part = part.sum(axis=1, keepdims=True)
        sums[place] += part
