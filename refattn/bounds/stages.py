"""What each declared stage contributes: errors of scores, of the exponential's argument, of underflow.

Everything is in the log metric: an unnormalised weight is computed as p e^t, and the bounds of |t| add up exactly.
May import: numpy, refattn.arithmetic, refattn.formats, refattn.roundoff, refattn.scores, refattn.spec.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refattn import formats
from refattn.arithmetic import Arithmetic, Stage
from refattn.roundoff import compound, gamma
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


def constant_unit(arithmetic: Arithmetic) -> float:
    """Relative error of a constant: scales, caps, slopes and biases are held in fp32 at least, however narrow the
    scores.
    """
    return min(arithmetic.scores.unit, formats.fp32.unit_roundoff)


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of one block and the certified and mean square errors of their computation, each (r, n), in nats.

    `overflow` (r,) is true where a number on the way to the scores can leave its format's range: nothing can be claimed
    there.
    """

    scores: Array
    certified: Array
    mean_square: Array
    overflow: NDArray[np.bool_]


def score_errors(block: Block, spec: AttentionSpec, scale: float, arithmetic: Arithmetic) -> Scores:
    """Errors of softcap(scale * Q K^T) + bias + ALiBi (theorem score_error).

    The dot product errs by gamma_d sum|q||k| in any order; storing it in a narrower format, scaling it and the scale
    itself by one rounding each; then one rounding for each operation that the spec asks for. In the mean square, a
    sequential sum of d terms with total s errs by (d/6) sum (q k)^2 + (d/3) s^2 roundings: partial sums form a bridge.
    """
    d = block.query.shape[1]
    unit, square, constant = arithmetic.scores.unit, arithmetic.scores.mean_square, constant_unit(arithmetic)
    flush = arithmetic.flush_to_zero
    lost = underflow_unit(arithmetic.scores, flush)
    stored = unit if arithmetic.scores.format.precision < arithmetic.dot.format.precision else 0.0
    size = np.abs(block.key)
    magnitude = np.abs(block.query * scale) @ size.T
    final = scores_of(block, spec, scale)
    raw = (block.query * scale) @ block.key.T if spec.softcap is not None or block.additive is not None else final
    raw = np.where(np.isneginf(raw), 0.0, raw)
    summing, eta = gamma(d, arithmetic.dot.unit), d * underflow_unit(arithmetic.dot, flush)
    squares = (block.query * scale) ** 2 @ (block.key**2).T
    mean_square = arithmetic.dot.mean_square * (d / 6 * squares + d / 3 * raw**2)
    if arithmetic.scale_query:
        narrow = Stage(arithmetic.inputs)
        certified = compound(narrow.unit, constant, constant, summing, stored) * magnitude
        certified += (eta + underflow_unit(narrow, flush) * size.sum(axis=1) * (1 + summing)) * (1 + stored) + lost
        mean_square += narrow.mean_square * squares
    else:
        certified = summing * magnitude + eta * abs(scale)
        certified += compound(stored, unit, constant) * (np.abs(raw) + certified) + lost * (1 + abs(scale))
        mean_square += 2 * square * raw**2
    largest = np.abs(block.query) @ size.max(axis=0, initial=0.0) * (abs(scale) if arithmetic.scale_query else 1.0)
    overflow = largest * (1 + summing) > min(arithmetic.dot.format.max_finite, arithmetic.scores.format.max_finite)
    if spec.softcap is not None:
        raw, certified, mean_square = _capped(raw, certified, mean_square, spec.softcap, arithmetic)
    if block.additive is not None:
        certified += compound(unit, unit, constant) * (np.abs(raw) + certified + block.additive_size[:, None])
        certified += 2 * lost
        mean_square += 2 * square * np.where(np.isneginf(final), 0.0, final) ** 2
    # The exponential in base 2 multiplies by log2(e) < 1.5.
    height = (np.abs(raw) + certified).max(axis=1, initial=0.0) + block.additive_size
    height = height * (1.0 if arithmetic.exponent == "subtract" else 1.5)
    return Scores(final, certified, mean_square, overflow | (height > arithmetic.scores.format.max_finite))


def _capped(raw: Array, certified: Array, square: Array, cap: float, arithmetic: Arithmetic) -> tuple[Array, ...]:
    """Errors after c tanh(s / c): the slope is at most sech^2 at the end of the interval nearest to 0."""
    unit, constant = arithmetic.scores.unit, constant_unit(arithmetic)
    tanh = arithmetic.tanh_ulps * 2 * arithmetic.scores.format.unit_roundoff
    lost = underflow_unit(arithmetic.scores, arithmetic.flush_to_zero)
    certified = certified + compound(unit, constant) * (np.abs(raw) + certified) + lost * cap
    nearest = np.maximum(np.abs(raw) - certified, 0.0) / cap
    slope = 1.0 / np.cosh(np.minimum(nearest, 300.0)) ** 2
    capped = cap * np.tanh(raw / cap)
    error = certified * slope
    error = error + compound(tanh, unit, constant) * (np.abs(capped) + error) + lost * (1 + cap)
    middle = 1.0 / np.cosh(np.minimum(np.abs(raw) / cap, 300.0)) ** 2
    return capped, error, square * middle**2 + 3 * arithmetic.scores.mean_square * capped**2


def argument_error(scores: Array, reference: Array, arithmetic: Arithmetic, doubt: Array | float = 0.0) -> Array:
    """Certified error of the exponential's argument, in nats, rescaling factors included (theorem any_schedule).

    Subtracting errs by u |s - m|, and along any chain of rescales these add up to u times the distance from the last
    maximum. A fused multiply-add of s and the rounded product m c errs by u times that product, which is at most the
    larger of |s| and the last |m| whatever maximum was current; rescales then subtract, and multiply by a rounded c.
    scores (r, n); reference (r, 1) is the maximum, or the log-sum-exp; both are computed to within `doubt` (r, 1).
    """
    distance = np.abs(reference - scores) + 2 * doubt
    unit = arithmetic.scores.unit
    if arithmetic.exponent == "subtract":
        return np.asarray(unit * distance)
    turned = compound(unit, unit, constant_unit(arithmetic)) * distance
    if arithmetic.exponent == "subtract_exp2":
        return np.asarray(turned)
    shift = np.maximum(np.abs(scores), np.abs(reference)) + doubt
    return np.asarray(turned + (unit + unit * compound(unit, constant_unit(arithmetic))) * shift)


def exp_log_error(arithmetic: Arithmetic) -> float:
    """|t| of an exponential computed as e^x e^t: its relative error in the log metric, and what its argument loses to
    underflow.
    """
    relative = -math.log1p(-arithmetic.exp_error) if arithmetic.exp_error < 1 else math.inf
    return relative + 2 * underflow_unit(arithmetic.scores, arithmetic.flush_to_zero)


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
