"""The error of each declared stage: of scores, of the exponential's argument, of underflow.

Everything is in the log metric: an unnormalised weight is computed as p e^t, and the bounds of |t| add up exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refattn.bounds.theorems.dot import dot_any_order
from refattn.bounds.theorems.exponential import (
    argument_fma,
    argument_lost,
    argument_subtract,
    argument_subtract_exp2,
    exponential_error,
)
from refattn.bounds.theorems.formats import flushed_weight_lost, weight_lost
from refattn.bounds.theorems.scores import (
    alibi_score,
    biased_alibi_score,
    biased_score,
    capped_score,
    divided_score,
    scaled_query,
    scaled_query_score,
    scaled_score,
)
from refattn.contract.arithmetic import Arithmetic, Stage
from refattn.contract.scores import Block, scores_of
from refattn.contract.spec import AttentionSpec
from refattn.numbers import formats

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


def _constant_stage(arithmetic: Arithmetic) -> Stage:
    """The rounding of products with constants that are not rounded to the scores' format: as in constant_unit."""
    wider = max(arithmetic.scores.format, formats.fp32, key=lambda format: format.precision)
    return Stage(wider, arithmetic.scores.rounding)


def _product_units(factor: float, arithmetic: Arithmetic) -> tuple[float, float]:
    """Relative errors of a product with a factor in the scores' format, and of the stored factor: none for a power of
    two (theorem power_of_two_exact).
    """
    if abs(math.frexp(factor)[0]) == 0.5:
        return 0.0, 0.0
    return arithmetic.scores.unit, constant_unit(arithmetic)


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of one block and the certified, mean square and mean errors of their computation, each (r, n), in nats.

    Only stages that truncate have a mean error, `drift`, which all keys of a row share. `overflow` (r,) is True where
    an intermediate result can leave its format's range, so that no bound holds.
    """

    scores: Array
    certified: Array
    mean_square: Array
    drift: Array
    overflow: NDArray[np.bool_]


def score_errors(block: Block, spec: AttentionSpec, scale: float, arithmetic: Arithmetic) -> Scores:
    """Errors of softcap(scale * Q K^T) + bias + ALiBi (theorems scaled_pipeline_error, query_pipeline_error).

    The dot product is added up in any order, stored in the scores' format, and scaled, unless the query was; one step
    follows for each operation of the spec. In the mean square, a sequential sum of d terms with total s errs by
    (d/6) sum (q k)^2 + (d/3) s^2 roundings: partial sums form a bridge.
    """
    d = block.query.shape[1]
    final = scores_of(block, spec, scale)
    raw = (block.query * scale) @ block.key.T if spec.softcap is not None or block.additive is not None else final
    raw = np.where(np.isneginf(raw), 0.0, raw)
    squares = (block.query * scale) ** 2 @ (block.key**2).T
    mean_square = arithmetic.dot.mean_square * (d / 6 * squares + d / 3 * raw**2)
    drift = arithmetic.dot.mean * d / 2 * raw
    if arithmetic.scale_query:
        mean_square += Stage(arithmetic.inputs).mean_square * squares
    else:
        mean_square += 2 * arithmetic.scores.mean_square * raw**2
        drift += 2 * arithmetic.scores.mean * raw
    certified, overflow = _product_error(block, raw, scale, arithmetic)
    if spec.softcap is not None:
        raw, certified, mean_square, drift = _capped(raw, certified, mean_square, drift, spec.softcap, arithmetic)
    if block.additive is not None:
        visible = np.where(np.isneginf(final), 0.0, final)
        certified = _with_additions(block, spec, raw, visible, certified, arithmetic)
        mean_square += 2 * arithmetic.scores.mean_square * visible**2
        drift += 2 * arithmetic.scores.mean * visible
    # The exponential in base 2 multiplies by log2(e) < 1.5.
    height = (np.abs(raw) + certified).max(axis=1, initial=0.0) + block.additive_size
    height = height * (1.0 if arithmetic.exponent == "subtract" else 1.5)
    return Scores(final, certified, mean_square, drift, overflow | (height > arithmetic.scores.format.max_finite))


def _product_error(block: Block, raw: Array, scale: float, arithmetic: Arithmetic) -> tuple[Array, NDArray[np.bool_]]:
    """Certified error of scale * Q K^T, (r, n), and the rows in which a partial sum can overflow, (r,)."""
    d, dot = block.query.shape[1], arithmetic.dot
    unit, constant = _product_units(scale, arithmetic)
    flush = arithmetic.flush_to_zero
    lost, dot_lost = underflow_unit(arithmetic.scores, flush), underflow_unit(dot, flush)
    stored = arithmetic.scores.unit if arithmetic.scores.format.precision < dot.format.precision else 0.0
    key, magnitude = np.abs(block.key), np.abs(block.query)
    largest = magnitude @ key.max(axis=0, initial=0.0)
    if arithmetic.scale_query:
        # The product with the scale is taken in fp32 at least, then rounded to the inputs' format. A kernel may scale Q
        # and K each by the scale's root, which need not be a power of two where the scale is one.
        wide, narrow = _constant_stage(arithmetic), Stage(arithmetic.inputs)
        relative, constant = wide.unit, constant_unit(arithmetic)
        losses = underflow_unit(wide, flush), underflow_unit(narrow, flush)
        magnitude, largest = magnitude * abs(scale) @ key.T, largest * abs(scale)
        query = scaled_query(magnitude, key.sum(axis=1), relative, constant, losses[0], narrow.unit, losses[1])
        error = scaled_query_score(query, d, dot.unit, magnitude, dot_lost, np.abs(raw), stored, lost)
    else:
        summed = dot_any_order(d, dot.unit, magnitude @ key.T, dot_lost)
        error = scaled_score(summed, np.abs(raw), abs(scale), stored, unit, constant, lost)
    overflow = largest + dot_any_order(d, dot.unit, largest, dot_lost) > min(
        dot.format.max_finite, arithmetic.scores.format.max_finite
    )
    if arithmetic.scale_query:
        largest_query = np.abs(block.query).max(axis=1, initial=0.0) * abs(scale)
        overflow |= largest_query * (1 + relative) * (1 + constant) > narrow.format.max_finite
    return error, overflow


def _capped(
    raw: Array, certified: Array, square: Array, drift: Array, cap: float, arithmetic: Arithmetic
) -> tuple[Array, ...]:
    """Scores and errors after c tanh(s / c): the slope is at most sech^2 at the end of the interval nearest to 0."""
    unit, constant = _product_units(cap, arithmetic)
    tanh = arithmetic.tanh_ulps * 2 * arithmetic.scores.format.unit_roundoff
    lost = underflow_unit(arithmetic.scores, arithmetic.flush_to_zero)
    divided = divided_score(certified, np.abs(raw), cap, unit, constant, lost)
    nearest = np.maximum(np.abs(raw) - divided, 0.0) / cap
    slope = 1.0 / np.cosh(np.minimum(nearest, 300.0)) ** 2
    capped = cap * np.tanh(raw / cap)
    error = capped_score(divided, slope, np.abs(capped), cap, tanh, unit, constant, lost)
    middle = 1.0 / np.cosh(np.minimum(np.abs(raw) / cap, 300.0)) ** 2
    scores = arithmetic.scores
    square = square * middle**2 + 3 * scores.mean_square * capped**2
    return capped, error, square, drift * middle + 3 * scores.mean * capped


def _with_additions(
    block: Block, spec: AttentionSpec, before: Array, after: Array, certified: Array, arithmetic: Arithmetic
) -> Array:
    """Certified errors of `after`, the sum of `before`, bias and ALiBi."""
    steps = arithmetic.scores.unit, constant_unit(arithmetic)
    lost = underflow_unit(arithmetic.scores, arithmetic.flush_to_zero)
    additive = block.additive_size[:, None]
    if spec.alibi_slopes is None:
        return np.asarray(biased_score(certified, np.abs(after), additive, *steps, lost))
    if spec.bias is None:
        return np.asarray(alibi_score(certified, np.abs(after), additive, *steps, lost))
    return np.asarray(biased_alibi_score(certified, np.abs(before), additive, *steps, lost))


def argument_error(scores: Array, reference: Array, arithmetic: Arithmetic, doubt: Array | float = 0.0) -> Array:
    """Certified error of the exponential's argument, in nats, rescaling factors included (theorem any_schedule).

    Subtracting errs by u |s - m|, and along any chain of rescales these add up to u times the distance from the last
    maximum. A fused multiply-add of s and the rounded product m c errs by u times that product, which is at most the
    larger of |s| and the last |m| whatever maximum was current; rescales then subtract, and multiply by a rounded c.
    scores (r, n); reference (r, 1) is the maximum, or the log-sum-exp; both are computed to within `doubt` (r, 1).
    """
    distance = np.abs(reference - scores) + 2 * doubt
    unit, constant = arithmetic.scores.unit, constant_unit(arithmetic)
    if arithmetic.exponent == "subtract":
        return np.asarray(argument_subtract(distance, unit))
    if arithmetic.exponent == "subtract_exp2":
        return np.asarray(argument_subtract_exp2(distance, unit, constant))
    shift = np.maximum(np.abs(scores), np.abs(reference)) + doubt
    return np.asarray(argument_fma(distance, shift, unit, constant))


def exp_log_error(arithmetic: Arithmetic, scale: float = 1.0) -> float:
    """|t| of an exponential computed as e^x e^t: its relative error in the log metric, and its argument's loss to
    underflow. scale is Q K^T's: a kernel that folds it into the exponent subtracts unscaled scores.
    """
    lost = underflow_unit(arithmetic.scores, arithmetic.flush_to_zero)
    if arithmetic.exponent != "subtract":
        folded = max(1.0, abs(scale)) if arithmetic.exponent == "fma" else 1.0
        lost = argument_lost(folded, arithmetic.scores.unit, constant_unit(arithmetic), lost)
    return float(exponential_error(arithmetic.exp_error, lost)) if arithmetic.exp_error < 1 else math.inf


def exponential_lost(arithmetic: Arithmetic) -> float:
    """Absolute error of an exponential below the normal range (theorems declared_exponential,
    flushed_declared_exponential); inf where its error is not declared.
    """
    format, relative = arithmetic.scores.format, arithmetic.exp_error
    if relative >= 1:
        return math.inf
    lost = weight_lost(arithmetic.exp_ulps, arithmetic.exp_relative, format.smallest_subnormal, format.smallest_normal)
    flushed = flushed_weight_lost(relative, format.smallest_normal) if arithmetic.flush_to_zero else 0.0
    return float(max(lost, flushed))


def argument_mean_square(distance: Array, arithmetic: Arithmetic) -> Array:
    """Mean square of the argument's error that is independent from key to key."""
    count = {"subtract": 1.0, "subtract_exp2": 3.0, "fma": 2.0}[arithmetic.exponent]
    return count * arithmetic.scores.mean_square * distance**2


def exp_mean_square(arithmetic: Arithmetic) -> float:
    """Mean square relative error of the exponential: of one rounding, of the function's own error (uniform up to the
    declared bound less half an ulp), and of an equioscillating polynomial.
    """
    u = arithmetic.scores.format.unit_roundoff
    beyond = max(0.0, arithmetic.exp_ulps - 0.5) * 2 * u
    return arithmetic.scores.mean_square + beyond**2 / 12 + arithmetic.exp_relative**2 / 2


def rescales(keys: int, arithmetic: Arithmetic) -> int:
    """The most changes of a tiled kernel's running maximum after the first tile."""
    if arithmetic.tile is None:
        return 0
    return max(0, -(-keys // arithmetic.tile) - 1)
