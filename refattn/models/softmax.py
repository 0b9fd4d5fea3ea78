"""Softmax four ways, log-softmax and log-sum-exp, along one axis.

naive      exp(x) / sum exp(x): overflows from x = 89 on in fp32
safe       exp(x - max x) / sum exp(x - max x): three passes over x
online     one pass for the maximum and the sum together, element by element (Milakov and Gimelshein, 2018)
tiled      the same, a tile at a time, as fused kernels do

Every function takes x (any shape, any float dtype) and an Arithmetic, by default Arithmetic.flash of x's format:
`scores` is the format of x - m and of the exponential, `normaliser` that of the sum, `output` and `lse` those of the
results. An entry of -inf has weight 0; a row of nothing else is 0 / 0, NaN, and its log-sum-exp is -inf.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from refattn.contract.arithmetic import Arithmetic
from refattn.models.rounding import Stages
from refattn.models.state import guarded
from refattn.numbers.formats import Array

# (rows, stages, tile) -> (maximum, normaliser), each (...,)
Normaliser = Callable[[Array, Stages, int], tuple[Array, Array]]


def naive_softmax(x: Any, axis: int = -1, *, arithmetic: Arithmetic | None = None) -> Any:
    """exp(x) / sum exp(x), in x's shape and dtype: no shift."""

    def unshifted(rows: Array, stages: Stages, tile: int) -> tuple[Array, Array]:
        del tile
        zero = np.zeros(rows.shape[:-1])
        return zero, stages.normaliser.sum(_exponential(rows, zero, stages))

    return _softmax(x, axis, arithmetic, unshifted)


def safe_softmax(x: Any, axis: int = -1, *, arithmetic: Arithmetic | None = None) -> Any:
    """exp(x - max) / sum exp(x - max), in x's shape and dtype."""
    return _softmax(x, axis, arithmetic, whole_row)


def online_softmax(x: Any, axis: int = -1, *, arithmetic: Arithmetic | None = None) -> Any:
    """Softmax whose maximum and sum come from one pass, element by element, in x's shape and dtype."""

    def element_by_element(rows: Array, stages: Stages, tile: int) -> tuple[Array, Array]:
        del tile
        return tiled_row(rows, stages, 1)

    return _softmax(x, axis, arithmetic, element_by_element)


def tiled_softmax(x: Any, axis: int = -1, *, arithmetic: Arithmetic | None = None) -> Any:
    """Softmax whose maximum and sum come from one pass, a tile at a time, in x's shape and dtype."""
    return _softmax(x, axis, arithmetic, tiled_row)


def log_softmax(x: Any, axis: int = -1, *, arithmetic: Arithmetic | None = None) -> Any:
    """(x - m) - log(l), in x's shape and dtype; x - (m + log(l)) would lose log(l) next to a large m."""
    rows, stages, tile, storage = _prepared(x, axis, arithmetic)
    with np.errstate(all="ignore"):
        maximum, total = tiled_row(rows, stages, tile)
        shifted = stages.scores(rows - guarded(maximum)[..., None])
        logarithm = stages.scores(np.log(total))
        return np.moveaxis(stages.output(shifted - logarithm[..., None]).astype(storage), -1, axis)


def logsumexp(x: Any, axis: int = -1, *, arithmetic: Arithmetic | None = None) -> Any:
    """m + log(l), natural, in the arithmetic's `lse` format, without the axis."""
    chosen = _chosen(x, arithmetic)
    rows, stages, tile, _ = _prepared(x, axis, chosen)
    with np.errstate(all="ignore"):
        maximum, total = tiled_row(rows, stages, tile)
        lse = stages.lse(guarded(maximum) + stages.lse(np.log(total)))
        # The weights of a row that holds +inf are NaN, its log-sum-exp is not.
        lse = np.where(np.isposinf(maximum), np.inf, lse)
        return lse.astype(chosen.lse.format.storage)


def whole_row(rows: Array, stages: Stages, tile: int) -> tuple[Array, Array]:
    """The maximum of each row (..., N), then the sum of exp(x - maximum)."""
    del tile
    maximum = rows.max(axis=-1, initial=-np.inf)
    return maximum, stages.normaliser.sum(_exponential(rows, maximum, stages))


def tiled_row(rows: Array, stages: Stages, tile: int) -> tuple[Array, Array]:
    """Maximum and sum in one pass: a larger maximum multiplies the sum so far by exp(old - new)."""
    maximum, total = np.full(rows.shape[:-1], -np.inf), np.zeros(rows.shape[:-1])
    for start in range(0, rows.shape[-1], tile):
        part = rows[..., start : start + tile]
        larger = np.maximum(maximum, part.max(axis=-1))
        factor = _exponential(maximum[..., None], larger, stages)[..., 0]
        added = stages.normaliser.sum(_exponential(part, larger, stages))
        total = stages.normaliser(stages.normaliser(total * factor) + added)
        maximum = larger
    return maximum, total


def _softmax(x: Any, axis: int, arithmetic: Arithmetic | None, normaliser: Normaliser) -> Any:
    rows, stages, tile, storage = _prepared(x, axis, arithmetic)
    with np.errstate(all="ignore"):
        maximum, total = normaliser(rows, stages, tile)
        p = _exponential(rows, maximum, stages)
        return np.moveaxis(stages.output(p / total[..., None]).astype(storage), -1, axis)


def _exponential(rows: Array, reference: Array, stages: Stages) -> Array:
    """exp(x - reference) of rows (..., N) with references (...,)."""
    return stages.scores(np.exp(stages.scores(rows - guarded(reference)[..., None])))


def _chosen(x: Any, arithmetic: Arithmetic | None) -> Arithmetic:
    return Arithmetic.flash(np.asarray(x).dtype) if arithmetic is None else arithmetic


def _prepared(x: Any, axis: int, arithmetic: Arithmetic | None) -> tuple[Array, Stages, int, np.dtype[Any]]:
    """Rows along the last axis held in float64, rounders, tile, dtype of the result."""
    chosen = _chosen(x, arithmetic)
    rows = np.moveaxis(np.asarray(x).astype(np.float64), axis, -1)
    tile = max(1, rows.shape[-1]) if chosen.tile is None else chosen.tile
    return rows, Stages.of(chosen), tile, chosen.output.format.storage
