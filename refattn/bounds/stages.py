"""What each declared stage contributes: errors of scores, of the exponential's argument, of underflow.

Everything is in the log metric: an unnormalised weight is computed as p e^t, and the bounds of |t| add up exactly.
May import: numpy, refattn.arithmetic, refattn.roundoff, refattn.scores, refattn.spec.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refattn.arithmetic import Arithmetic, Stage
from refattn.roundoff import gamma
from refattn.scores import Block, scores_of
from refattn.spec import AttentionSpec

Array = NDArray[np.float64]


def underflow_unit(stage: Stage, flush_to_zero: bool) -> float:
    """Largest absolute error of one rounding in the subnormal range: half the spacing, the whole of it when truncating,
    the smallest normal number when subnormal results may be flushed.
    """
    if flush_to_zero:
        return stage.format.smallest_normal
    spacing = stage.format.smallest_subnormal
    return spacing / 2 if stage.rounding == "nearest" else spacing


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of one block and the certified and mean square errors of their computation, each (r, n), in nats.

    `largest_product` (r,) bounds every partial sum of Q K^T before scaling: beyond the accumulator's range the
    arithmetic overflows and nothing can be claimed.
    """

    scores: Array
    certified: Array
    mean_square: Array
    largest_product: Array


def score_errors(block: Block, spec: AttentionSpec, scale: float, arithmetic: Arithmetic) -> Scores:
    """Errors of softcap(scale * Q K^T) + bias + ALiBi (theorem score_error).

    The dot product errs by gamma_d sum|q||k| in any order; scaling by two roundings, one of them the scale's own; then
    one rounding for each operation that the spec asks for. In the mean square, a sequential sum of d terms with total s
    errs by (d/6) sum (q k)^2 + (d/3) s^2 roundings: partial sums form a bridge.
    """
    d = block.query.shape[1]
    unit, square = arithmetic.scores.unit, arithmetic.scores.mean_square
    magnitude = np.abs(block.query * scale) @ np.abs(block.key).T
    final = scores_of(block, spec, scale)
    raw = (block.query * scale) @ block.key.T if spec.softcap is not None or block.additive is not None else final
    raw = np.where(np.isneginf(raw), 0.0, raw)
    eta = d * underflow_unit(arithmetic.dot, arithmetic.flush_to_zero) * abs(scale)
    certified = gamma(d, arithmetic.dot.unit) * magnitude + eta
    squares = (block.query * scale) ** 2 @ (block.key**2).T
    mean_square = arithmetic.dot.mean_square * (d / 6 * squares + d / 3 * raw**2)
    if arithmetic.scale_query:
        narrow = Stage(arithmetic.inputs)
        certified += (narrow.unit + 2 * unit) * magnitude
        mean_square += narrow.mean_square * squares
    else:
        certified += 2 * unit * (np.abs(raw) + certified)
        mean_square += 2 * square * raw**2
    if spec.softcap is not None:
        raw, certified, mean_square = _capped(raw, certified, mean_square, spec.softcap, arithmetic)
    if block.additive is not None:
        certified += 3 * unit * (np.abs(raw) + certified + block.additive_size[:, None])
        mean_square += 2 * square * np.where(np.isneginf(final), 0.0, final) ** 2
    largest = np.abs(block.query) @ np.abs(block.key).max(axis=0, initial=0.0)
    return Scores(final, certified, mean_square, largest)


def _capped(raw: Array, certified: Array, square: Array, cap: float, arithmetic: Arithmetic) -> tuple[Array, ...]:
    """Errors after c tanh(s / c): the slope is at most sech^2 at the end of the interval nearest to 0."""
    unit = arithmetic.scores.unit
    tanh = arithmetic.tanh_ulps * 2 * arithmetic.scores.format.unit_roundoff
    certified = certified + 2 * unit * np.abs(raw)
    nearest = np.maximum(np.abs(raw) - certified, 0.0) / cap
    slope = 1.0 / np.cosh(np.minimum(nearest, 300.0)) ** 2
    capped = cap * np.tanh(raw / cap)
    error = certified * slope + (tanh + 2 * unit) * np.abs(capped)
    middle = 1.0 / np.cosh(np.minimum(np.abs(raw) / cap, 300.0)) ** 2
    return capped, error, square * middle**2 + 3 * arithmetic.scores.mean_square * capped**2


def argument_error(scores: Array, maximum: Array, arithmetic: Arithmetic) -> Array:
    """Certified error of the exponential's argument, in nats, rescaling factors included (theorem any_schedule).

    Subtracting errs by u |s - m|, and along any chain of rescales these add up to u times the distance from the last
    maximum. A fused multiply-add of s and the rounded product m c errs by u times that product, which is at most the
    larger of |s| and the last |m| whatever maximum was current; rescales then subtract, and multiply by a rounded c.
    """
    distance = maximum[:, None] - scores
    if arithmetic.exponent == "subtract":
        return arithmetic.scores.unit * distance
    if arithmetic.exponent == "subtract_exp2":
        return 3 * arithmetic.scores.unit * distance
    shift = np.maximum(np.abs(scores), np.abs(maximum)[:, None])
    return arithmetic.scores.unit * (3 * distance + shift)


def argument_mean_square(distance: Array, arithmetic: Arithmetic) -> Array:
    """Mean square of the argument's error that is independent from key to key."""
    count = {"subtract": 1.0, "subtract_exp2": 3.0, "fma": 2.0}[arithmetic.exponent]
    return count * arithmetic.scores.mean_square * distance**2


def exp_mean_square(arithmetic: Arithmetic) -> float:
    """Mean square relative error of the exponential: one rounding, the function's own error spread evenly over what its
    bound leaves beyond half an ulp, and an equioscillating polynomial's.
    """
    u = arithmetic.scores.format.unit_roundoff
    beyond = max(0.0, arithmetic.exp_ulps - 0.5) * 2 * u
    return arithmetic.scores.mean_square + beyond**2 / 12 + arithmetic.exp_relative**2 / 2


def rescales(keys: int, arithmetic: Arithmetic) -> int:
    """The most often that a tiled kernel can change its running maximum after the first tile."""
    if arithmetic.tile is None:
        return 0
    return max(0, -(-keys // arithmetic.tile) - 1)
