"""Root mean square errors when every rounding errs independently with a log-uniform significand.

Sums that truncate also drift, in proportion to the number of roundings and not to its root. A model, not a theorem: it
says how large the error of a good kernel usually is; a much larger or a biased error needs another explanation.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from refattn.bounds.stages import argument_mean_square, exp_mean_square, underflow_unit
from refattn.contract.arithmetic import Arithmetic

if TYPE_CHECKING:
    from refattn.bounds.weights import BlockWeights

Array = NDArray[np.float64]

# Keys whose partial sums are modelled as scattered about a straight line; matrix units take as many at a time.
CHUNK = 16


def weight_mean_square(softmax: BlockWeights, arithmetic: Arithmetic) -> Array:
    """Mean square log-error of each weight that numerator and normaliser share, (r, n)."""
    distance = np.where(np.isfinite(softmax.distance), softmax.distance, 0.0)
    # exp(0) = 1 exactly in every implementation: the weight of the maximum has no error of its own.
    own = np.where(softmax.distance > 0, exp_mean_square(arithmetic), 0.0)
    return np.asarray(softmax.score_square + argument_mean_square(distance, arithmetic) + own)


def total_mean_square(softmax: BlockWeights, arithmetic: Arithmetic) -> Array:
    """Mean square relative error of the row sum, (r,)."""
    independent = (softmax.weights**2 * weight_mean_square(softmax, arithmetic)).sum(axis=1)
    independent += softmax.sink**2 * exp_mean_square(arithmetic)
    if arithmetic.sum_of_cast:
        independent += (softmax.weights**2 * cast_mean_square(softmax, arithmetic)).sum(axis=1)
    drift = (softmax.weights * softmax.score_drift).sum(axis=1) + arithmetic.scores.mean
    return np.asarray(independent + drift**2 + _shared_by_total(softmax, arithmetic) + _summation(softmax, arithmetic))


def kept_mean_square(arithmetic: Arithmetic) -> float:
    """Mean square relative error of storing the finished row sum."""
    return arithmetic.row_sum.mean_square if arithmetic.row_sum_error else 0.0


def log_mean_square(arithmetic: Arithmetic) -> float:
    """Mean square relative error of the logarithm."""
    return arithmetic.log_error**2 / (8 * math.log(2))


def _tiles(keys: int, arithmetic: Arithmetic) -> list[slice]:
    step = arithmetic.tile or max(keys, 1)
    return [slice(start, start + step) for start in range(0, keys, step)]


def _summation(softmax: BlockWeights, arithmetic: Arithmetic) -> Array:
    """Mean square of the roundings of sum_j w_j: key by key within a tile, then tile by tile."""
    square = np.zeros(len(softmax.total))
    running = np.zeros(len(softmax.total))
    drift = np.zeros(len(softmax.total))
    for tile in _tiles(softmax.weights.shape[1], arithmetic):
        partial = np.cumsum(softmax.weights[:, tile], axis=1)
        running = running + partial[:, -1]
        square += (partial**2).sum(axis=1) + running**2
        drift += partial.sum(axis=1) + running
    drift *= arithmetic.normaliser.mean
    return np.asarray(square * arithmetic.normaliser.mean_square + drift**2 + kept_mean_square(arithmetic))


def output_mean_square(
    softmax: BlockWeights, value: Array, keep: Array | None, gain: float, out: Array, arithmetic: Arithmetic
) -> Array:
    """Mean square error of the output, (r, Dv).

    Errors of weights enter as w_j e_j (v_j - O), because numerator and normaliser share them; the cast of P (unless the
    normaliser adds the cast P), and the accumulator's roundings, only enter the numerator.
    """
    weights = softmax.weights if keep is None else softmax.weights * keep * gain
    values = np.concatenate([value**2, value], axis=1)
    shared = weight_mean_square(softmax, arithmetic)
    cast = cast_mean_square(softmax, arithmetic)
    if arithmetic.sum_of_cast:
        shared = shared + cast
    columns = value.shape[1]
    moments = (weights**2 * shared) @ values
    bare = ((softmax.weights**2 * shared).sum(axis=1) + softmax.sink**2 * exp_mean_square(arithmetic))[:, None]
    cross = ((weights * softmax.weights) * shared) @ value
    square = moments[:, :columns] - 2 * out * cross + out**2 * bare
    square = np.maximum(square, 0.0)
    if not arithmetic.sum_of_cast:
        square += (weights**2 * cast) @ value**2 + (out * arithmetic.probabilities.mean) ** 2
    drift = (softmax.weights * softmax.score_drift).sum(axis=1)
    square += ((weights * softmax.score_drift) @ value - out * drift[:, None]) ** 2
    square += _accumulation(weights, value, arithmetic)
    square += out**2 * (_summation(softmax, arithmetic)[:, None] + 2 * arithmetic.accumulator.mean_square)
    square += _shared_by_output(softmax, weights, value, out, arithmetic)
    if arithmetic.output.format.precision < arithmetic.accumulator.format.precision:
        square += arithmetic.output.format.ulp(out) ** 2 / (12 if arithmetic.output.rounding == "nearest" else 3)
    for stage in (arithmetic.accumulator, arithmetic.output):
        square += underflow_unit(stage, arithmetic.flush_to_zero) ** 2 / 3
    return np.asarray(square)


def cast_mean_square(softmax: BlockWeights, arithmetic: Arithmetic) -> Array:
    """Mean square relative error of casting P, (r, n), underflow included, gradual or not."""
    stage = arithmetic.probabilities
    if stage.format.precision >= arithmetic.scores.format.precision:
        return np.zeros_like(softmax.weights)
    cast = softmax.weights if arithmetic.cast == "after" else np.exp(-softmax.distance)
    coarse = (stage.format.smallest_subnormal**2 / 12) / np.maximum(cast, 1e-150) ** 2
    if arithmetic.flush_to_zero:
        coarse = np.ones_like(cast)
    square = np.where(cast < stage.format.smallest_normal, coarse, stage.mean_square)
    # The weight of the maximum is 1 before it is divided by the row sum: no format rounds it.
    return square if arithmetic.cast == "after" else np.where(softmax.distance > 0, square, 0.0)


def _accumulation(weights: Array, value: Array, arithmetic: Arithmetic) -> Array:
    """Mean square of the accumulator's roundings, keys in their order: within each tile and then tile by tile, or all
    in one chain.

    In a run of CHUNK keys from partial sum R, with sum A and sum of squares Q, the partial sums are a bridge from R to
    R + A. Their squares add up to about CHUNK (R^2 + R A + A^2 / 3) + CHUNK Q / 6; they themselves to
    CHUNK (R + A / 2), of which truncation loses a fixed share.
    """
    running = np.zeros((weights.shape[0], value.shape[1]))
    square = np.zeros_like(running)
    drift = np.zeros_like(running)
    for tile in _tiles(weights.shape[1], arithmetic):
        inside = running if arithmetic.chained else np.zeros_like(running)
        stop = min(tile.stop, weights.shape[1])
        for start in range(tile.start, stop, CHUNK):
            keys = slice(start, min(start + CHUNK, stop))
            length = keys.stop - keys.start
            added = weights[:, keys] @ value[keys]
            spread = weights[:, keys] ** 2 @ value[keys] ** 2
            square += length * (inside**2 + inside * added + added**2 / 3) + length / 6 * spread
            drift += length * (inside + added / 2)
            inside = inside + added
        if arithmetic.chained:
            running = inside
        else:
            running = running + inside
            square += running**2
            drift += running
    stage = arithmetic.accumulator
    return np.asarray(np.maximum(square, 0.0) * stage.mean_square + (drift * stage.mean) ** 2)


def _shared(softmax: BlockWeights, arithmetic: Arithmetic, *, by_tile: bool) -> list[tuple[slice, Array]]:
    """Log-errors that all keys of a group share and that do not average out there: groups and mean squares (r,).

    A fused argument rounds m c once for each maximum; a split rounds its log-sum-exp, and takes an exponential of it.
    """
    keys = softmax.weights.shape[1]
    sources = []
    if arithmetic.exponent == "fma":
        groups = _tiles(keys, arithmetic) if by_tile else [slice(0, keys)]
        shift = arithmetic.scores.mean_square * softmax.maximum**2
        sources += [(group, shift) for group in groups]
    if arithmetic.splits > 1:
        unit = arithmetic.split_keys or arithmetic.tile or max(keys, 1)
        step = max(1, -(-keys // (unit * arithmetic.splits))) * unit
        for start in range(0, keys, step):
            part = slice(start, start + step)
            share = np.maximum(softmax.weights[:, part].sum(axis=1), np.finfo(np.float64).tiny)
            lse = softmax.maximum + np.log(softmax.total) + np.log(share)
            rounding = 2 * arithmetic.lse.mean_square * lse**2 + 2 * arithmetic.accumulator.mean_square
            sources.append((part, rounding))
    return sources


def _shared_by_total(softmax: BlockWeights, arithmetic: Arithmetic) -> Array:
    """Mean square relative error of the row sum from shared log-errors."""
    square = np.zeros(len(softmax.total))
    for group, group_square in _shared(softmax, arithmetic, by_tile=False):
        square += softmax.weights[:, group].sum(axis=1) ** 2 * group_square
    return square


def _shared_by_output(softmax: BlockWeights, weights: Array, value: Array, out: Array, arithmetic: Arithmetic) -> Array:
    """Mean square error of the output from shared log-errors."""
    square = np.zeros_like(out)
    for group, group_square in _shared(softmax, arithmetic, by_tile=True):
        moved = weights[:, group] @ value[group] - out * softmax.weights[:, group].sum(axis=1)[:, None]
        square += moved**2 * group_square[:, None]
    return square
