"""Budgets of attention's output and log-sum-exp: certified for every order of summation, and rms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refattn.bounds.budget import AttentionBudget, ErrorBudget
from refattn.bounds.rms import log_mean_square, output_mean_square, total_mean_square
from refattn.bounds.splits import reference_turn, split_lost
from refattn.bounds.stages import constant_unit, exponential_lost, rescales, underflow_unit
from refattn.bounds.theorems.lse import lse_error
from refattn.bounds.theorems.normaliser import common_excess, least_normaliser, normaliser_error
from refattn.bounds.theorems.output import cast_underflow, hull_error, output_error, quotient_error
from refattn.bounds.theorems.overflow import claimed_in_range, largest_numerator
from refattn.bounds.theorems.schedule import additions, underflow
from refattn.bounds.weights import BlockWeights, block_weights
from refattn.contract.arithmetic import Arithmetic
from refattn.contract.scores import blocks, dropout_keep, scale_of
from refattn.contract.spec import AttentionSpec, Shape
from refattn.numbers.roundoff import compound, log_growth

Array = NDArray[np.float64]

PARTS = ("scores", "exp", "probabilities", "accumulation", "normaliser", "output", "underflow")
LSE_PARTS = ("scores", "exp", "normaliser", "output")


def attention(
    q: Array,
    k: Array,
    v: Array,
    spec: AttentionSpec,
    shape: Shape,
    arithmetic: Arithmetic,
    *,
    with_rms: bool = True,
    added: int | None = None,
) -> AttentionBudget:
    """Budgets of the output (B, H, Nq, Dv) and of the log-sum-exp (B, H, Nq), for finite float64 arrays.

    The bound is inf where an intermediate result can overflow the declared formats. added is the most keys that a
    kernel adds up in a row; None is all of them.
    """
    keys = shape.keys if added is None else added
    scale = scale_of(spec, shape.d_qk)
    size = (shape.batch, shape.heads, shape.queries, shape.d_v)
    parts = {name: np.zeros(size) for name in PARTS}
    lse_parts = {name: np.zeros(size[:3]) for name in LSE_PARTS}
    certified, square = np.zeros(size), np.zeros(size)
    lse_certified, lse_square = np.zeros(size[:3]), np.zeros(size[:3])
    with np.errstate(over="ignore", invalid="ignore", under="ignore", divide="ignore"):
        for block in blocks(q, k, spec, shape):
            place = (block.batch, block.head, block.rows)
            softmax = block_weights(block, spec, scale, arithmetic, keys)
            value = v[block.batch, block.kv_head, block.keys]
            keep, gain = None, 1.0
            if spec.keep is not None:
                keep, gain = dropout_keep(block, spec), 1.0 / (1.0 - spec.dropout)
            excess = softmax.excess(softmax.log_error())
            total = _total_error(softmax, excess, keys, arithmetic)
            pieces, bound, out = _output_error(softmax, excess, value, keep, gain, total, keys, arithmetic)
            for name, piece in pieces.items():
                parts[name][place] = piece
            certified[place] = bound
            for name, piece in _lse_error(softmax, total, arithmetic).items():
                lse_parts[name][place] = piece
            lse_bound = np.asarray(sum(lse_parts[name][place] for name in LSE_PARTS))
            lse_certified[place] = _lse_in_range(lse_bound, softmax, arithmetic)
            if with_rms:
                square[place] = output_mean_square(softmax, value, keep, gain, out, arithmetic)
                lse_square[place] = _lse_mean_square(softmax, arithmetic)
            blank = softmax.empty
            for array in (certified, square, *parts.values()):
                array[place][blank] = 0.0
            if spec.sinks is None:
                for array in (lse_certified, lse_square, *lse_parts.values()):
                    array[place][blank] = 0.0
            certified[place][(softmax.overflow | total.overflow) & ~blank] = np.inf
            lse_certified[place][(softmax.overflow | total.overflow) & ~blank] = np.inf
    return AttentionBudget(
        ErrorBudget(_claimed(certified), np.sqrt(square) if with_rms else None, parts),
        ErrorBudget(_claimed(lse_certified), np.sqrt(lse_square) if with_rms else None, lse_parts),
    )


def _claimed(bound: Array) -> Array:
    """inf for NaN, which comes from inf - inf or 0 * inf after an overflow."""
    return np.where(np.isnan(bound), np.inf, bound)


@dataclass(frozen=True, eq=False)
class TotalError:
    """Certified relative error of the row sum, (r,), and its shares.

    Log-errors: adding of the additions and of storing the sum, casting of casting P, grown of the whole sum but for its
    absolute part. lost is the absolute part in the kernel's own coordinates, where the row sum is at least `least`;
    underflow is the same relative to the exact row sum. relative is D with |L^ - L| <= D L and |L^ - L| <= D L^.
    """

    scores: Array
    exp: Array
    adding: float
    casting: float
    lost: Array
    least: Array
    grown: Array
    underflow: Array
    relative: Array
    overflow: NDArray[np.bool_]


def _total_error(softmax: BlockWeights, excess: Array, keys: int, arithmetic: Arithmetic) -> TotalError:
    """Error of the row sum, whose terms are off by `excess` (r, n) before they are cast and added up (theorem
    normaliser_relative).
    """
    changes = rescales(keys, arithmetic)
    flush = arithmetic.flush_to_zero
    casting = arithmetic.probabilities.unit if arithmetic.sum_of_cast else 0.0
    eta = exponential_lost(arithmetic)
    adding = additions(keys, changes, arithmetic.normaliser.unit) + arithmetic.row_sum_error
    terms = softmax.visible.sum(axis=1) + np.isfinite(softmax.sink_distance)
    cost = softmax.top + softmax.constant + casting + adding
    lost = underflow(keys, changes, terms, eta, underflow_unit(arithmetic.normaliser, flush), cost)
    if arithmetic.sum_of_cast:
        lost += cast_underflow(changes, terms, underflow_unit(arithmetic.probabilities, flush), eta, cost)
    sum_excess = common_excess(excess.sum(axis=1) + softmax.sink_excess(softmax.sink_error), 1.0, casting + adding)
    # exp(doubt): the computed maximum may exceed the exact one by `doubt`.
    underflowing = lost * np.exp(softmax.doubt) / softmax.total + split_lost(
        1.0, log_growth(sum_excess), keys, arithmetic
    )
    known = underflowing * (1 + sum_excess) < 1
    weight_formats = [arithmetic.scores.format] + [arithmetic.probabilities.format] * (arithmetic.cast == "before")
    in_range = largest_numerator(1.0, 0.0, softmax.top + softmax.constant, eta) <= min(
        format.max_finite for format in weight_formats
    )
    in_range &= largest_numerator(terms, 0.0, cost, lost) <= arithmetic.normaliser.format.max_finite
    return TotalError(
        scores=(softmax.weights * softmax.score).sum(axis=1),
        exp=(softmax.weights * (softmax.argument + softmax.constant)).sum(axis=1) + softmax.sink * softmax.sink_error,
        adding=adding,
        casting=casting,
        lost=lost,
        least=least_normaliser(cost, lost),
        grown=log_growth(sum_excess),
        underflow=underflowing,
        relative=np.where(known, normaliser_error(sum_excess, underflowing), np.inf),
        overflow=~in_range,
    )


@dataclass(frozen=True, eq=False)
class _Numerator:
    """Costs and absolute parts of sum_j p_j v_j, the latter (r, Dv) in the kernel's own coordinates.

    casting is the log-error of P when it meets a value (cast, dropout, division), adding that of the additions. lost is
    the underflow before the division by the row sum, late that after it, where P is divided first; largest bounds every
    partial sum.
    """

    casting: float
    adding: float
    lost: Array
    late: Array
    largest: Array


def _numerator(
    softmax: BlockWeights, visible_size: Array, gain: float | None, keys: int, arithmetic: Arithmetic
) -> _Numerator:
    """seen (r, Dv) is the sum of |v| over the visible keys; gain is dropout's factor, None without dropout."""
    changes = rescales(keys, arithmetic)
    flush = arithmetic.flush_to_zero
    casting = arithmetic.probabilities.unit
    adding = additions(keys, changes, arithmetic.accumulator.unit)
    if gain is not None:
        casting += constant_unit(arithmetic) + arithmetic.accumulator.unit
    if arithmetic.cast == "after":
        casting += arithmetic.scores.unit
    eta_s = exponential_lost(arithmetic)
    eta_p = underflow_unit(arithmetic.probabilities, flush)
    eta_o = underflow_unit(arithmetic.accumulator, flush) * (1.0 if gain is None else gain)
    cost = (softmax.top + softmax.constant + casting + adding)[:, None]
    if arithmetic.cast == "after":
        # Weights underflow before the division; quotients, casts and sums after it.
        lost = underflow(0, changes, visible_size, eta_s, 0.0, cost)
        late = underflow(keys, changes, visible_size, underflow_unit(arithmetic.scores, flush) + eta_p, eta_o, cost)
        return _Numerator(casting, adding, lost, late, largest_numerator(visible_size, 0.0, cost, lost + late))
    lost = underflow(keys, changes, visible_size, eta_s, eta_o, cost) + cast_underflow(
        changes, visible_size, eta_p, eta_s, cost
    )
    return _Numerator(casting, adding, lost, np.zeros_like(lost), largest_numerator(visible_size, 0.0, cost, lost))


def _output_error(
    softmax: BlockWeights,
    excess: Array,
    value: Array,
    keep: Array | None,
    gain: float,
    total: TotalError,
    keys: int,
    arithmetic: Arithmetic,
) -> tuple[dict[str, Array], Array, Array]:
    """Parts of the bound, the bound, and the output itself (theorems weighted_mean_error, hull, output_bounded)."""
    weights = softmax.weights if keep is None else softmax.weights * keep
    size = np.abs(value) * gain
    out = (weights @ value) * gain
    spread = weights @ size
    magnitude = np.abs(out)
    sums = _numerator(
        softmax,
        # As numbers: NumPy multiplies a matrix of booleans without BLAS.
        (softmax.visible if keep is None else softmax.visible * keep).astype(np.float64) @ size,
        None if keep is None else gain,
        keys,
        arithmetic,
    )
    error = common_excess((excess if keep is None else excess * keep) @ size, spread, sums.casting + sums.adding)
    linear = {
        "scores": (weights * softmax.score) @ size,
        "exp": (weights * softmax.argument) @ size + softmax.constant * spread,
        "probabilities": sums.casting * spread,
        "accumulation": sums.adding * spread,
    }
    relative = total.relative[:, None]
    stretch = error * (1 + relative) / np.maximum(sum(linear.values()), np.finfo(np.float64).tiny)
    lost = sums.lost * (np.exp(softmax.doubt) / softmax.total)[:, None]
    grown = total.grown[:, None] + _apart(softmax, total, sums, arithmetic)
    lost = lost + split_lost(size.max(axis=0, initial=0.0), grown, keys, arithmetic)
    pieces = {
        "scores": linear["scores"] * stretch + magnitude * total.scores[:, None],
        "exp": linear["exp"] * stretch + magnitude * total.exp[:, None],
        "probabilities": linear["probabilities"] * stretch + magnitude * total.casting,
        "accumulation": linear["accumulation"] * stretch,
        "normaliser": magnitude * np.maximum(total.relative - total.scores - total.exp - total.casting, 0.0)[:, None],
        "underflow": lost * (1 + relative) + sums.late,
    }
    before = quotient_error(error + lost, relative, magnitude) + sums.late
    if keep is None:
        before = np.fmin(before, _hull(softmax, out, value, total, sums, keys, arithmetic))
    unit = arithmetic.accumulator.unit
    flush = arithmetic.flush_to_zero
    dividing = (1 + gain) * underflow_unit(arithmetic.accumulator, flush)
    ending = (arithmetic.output.unit, underflow_unit(arithmetic.output, flush))
    bound = output_error(before, magnitude, 2 * unit, dividing, *ending)
    pieces["output"] = bound - before
    return pieces, _in_range(bound, magnitude, sums.largest, arithmetic), out


def _apart(softmax: BlockWeights, total: TotalError, sums: _Numerator, arithmetic: Arithmetic) -> Array:
    """Log-error that numerator and row sum do not share, (r, 1).

    With splits each part is divided by its own row sum, then weighted and added up anew (theorem hull_of_parts).
    """
    shared = total.casting if arithmetic.cast == "before" else 0.0
    apart = sums.casting - shared + sums.adding + total.adding
    if arithmetic.splits > 1:
        apart += arithmetic.splits * (arithmetic.accumulator.unit + arithmetic.normaliser.unit)
    return (softmax.combining + apart)[:, None]


def _hull(
    softmax: BlockWeights,
    out: Array,
    value: Array,
    total: TotalError,
    sums: _Numerator,
    keys: int,
    arithmetic: Arithmetic,
) -> Array:
    """Bound from the convex hull of the values: weights are non-negative, and numerator and row sum share them
    (theorems hull, hull_distance).
    """
    apart = _apart(softmax, total, sums, arithmetic)
    largest = np.abs(value).max(axis=0, initial=0.0)
    lost, lost_sum = sums.lost, total.lost[:, None]
    if arithmetic.splits > 1:
        # Outputs may be weighted by other exponentials than those that were summed.
        lost = lost + 2 * split_lost(largest, apart, keys, arithmetic)
        lost_sum = lost_sum + split_lost(1.0, apart, keys, arithmetic)
    # A sink is a key whose value is 0.
    none = 0.0 if np.isfinite(softmax.sink_distance).any() else np.inf
    top = value.max(axis=0, initial=-none)
    bottom = value.min(axis=0, initial=none)
    beyond = hull_error(apart, largest, lost, lost_sum, total.least[:, None]) + sums.late
    return np.where(total.least[:, None] > 0, np.maximum(top - out, out - bottom) + beyond, np.inf)


def _in_range(bound: Array, magnitude: Array, largest: Array, arithmetic: Arithmetic) -> Array:
    """inf where the accumulator or the output can overflow."""
    bound = claimed_in_range(bound, magnitude + bound, arithmetic.output.format.max_finite)
    return claimed_in_range(bound, largest, arithmetic.accumulator.format.max_finite)


def _lse_in_range(bound: Array, softmax: BlockWeights, arithmetic: Arithmetic) -> Array:
    """inf where the log-sum-exp can leave its format's range."""
    size = np.abs(softmax.maximum) + np.log(softmax.total) + bound
    return claimed_in_range(bound, size, arithmetic.lse.format.max_finite)


def _lse_error(softmax: BlockWeights, total: TotalError, arithmetic: Arithmetic) -> dict[str, Array]:
    """Parts of the log-sum-exp's bound (theorem lse_bounded): the normaliser's error, and the roundings."""
    everything = log_growth(total.relative)
    shares = total.scores + total.exp
    summing = np.minimum(everything, log_growth(total.adding + total.underflow + total.casting))
    rest = np.maximum(everything - summing, 0.0)
    scores = np.minimum(everything * np.where(shares > 0, total.scores / np.maximum(shares, 1e-300), 0.0), rest)
    logarithm = np.log(softmax.total)
    bound = lse_error(
        total.relative,
        softmax.doubt + arithmetic.lag,
        np.abs(softmax.maximum),
        np.abs(logarithm),
        np.abs(softmax.maximum + logarithm),
        reference_turn(arithmetic),
        compound(arithmetic.log_error, arithmetic.lse.unit),
        arithmetic.lse.unit,
        underflow_unit(arithmetic.lse, arithmetic.flush_to_zero),
    )
    return {"scores": scores, "exp": rest - scores, "normaliser": summing, "output": bound - everything}


def _lse_mean_square(softmax: BlockWeights, arithmetic: Arithmetic) -> Array:
    logarithm = np.log(softmax.total)
    lse = softmax.maximum + logarithm
    stage = arithmetic.lse
    # The last rounding's error is uniform within the result's ulp, whatever the significand.
    last = stage.format.ulp(lse) ** 2 / (12 if stage.rounding == "nearest" else 3)
    return np.asarray(
        total_mean_square(softmax, arithmetic)
        + log_mean_square(arithmetic) * logarithm**2
        + last
        + stage.mean_square * lse**2 / 4
    )
