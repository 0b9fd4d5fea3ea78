"""Budgets of attention's output and log-sum-exp: certified for every order of summation, and rms.

May import: numpy, refattn.arithmetic, refattn.roundoff, refattn.scores, refattn.spec, refattn.bounds.*.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refattn.arithmetic import Arithmetic
from refattn.bounds.budget import AttentionBudget, ErrorBudget
from refattn.bounds.rms import log_mean_square, output_mean_square, total_mean_square
from refattn.bounds.splits import split_error
from refattn.bounds.stages import argument_error, constant_unit, exp_log_error, rescales, score_errors, underflow_unit
from refattn.roundoff import compound, gamma
from refattn.scores import Block, blocks, dropout_keep, scale_of
from refattn.spec import AttentionSpec, Shape

Array = NDArray[np.float64]

PARTS = ("scores", "exp", "probabilities", "accumulation", "normaliser", "output", "underflow")
LSE_PARTS = ("scores", "exp", "normaliser", "output")


@dataclass(frozen=True, eq=False)
class BlockWeights:
    """Exact weights of one block (to float64) and the certified log-errors of their computation, (r, n).

    weights sum to 1 - sink; total (r,) is the normaliser relative to `maximum`; `score` and `argument` are log-errors;
    `constant` is the log-error common to all keys: the exponentials of the key and of the rescales after it. sink,
    sink_distance and sink_error (r,) are the sink's weight, distance and log-error: 0, inf and 0 where there is none.
    """

    weights: Array
    distance: Array
    maximum: Array
    total: Array
    scores: Array
    score: Array
    argument: Array
    constant: float
    score_square: Array
    sink: Array
    sink_distance: Array
    sink_error: Array
    overflow: NDArray[np.bool_]
    empty: NDArray[np.bool_]

    def log_error(self) -> Array:
        """|t| of every weight p e^t, relative to the computed maximum."""
        return self.score + self.argument + self.constant

    def excess(self, log_error: Array) -> Array:
        """What errors of up to e^t, t = log_error (r, n), can add to each weight."""
        return _excess(self.weights, self.distance, self.total[:, None], log_error)

    def sink_excess(self, log_error: Array) -> Array:
        """The same of the sink, (r,)."""
        return _excess(self.sink, self.sink_distance, self.total, log_error)


def _excess(weights: Array, distance: Array, total: Array, t: Array) -> Array:
    """w (e^t - 1) for w = e^-distance / total, whether or not that underflows, and without overflow."""
    grown = np.exp(np.minimum(t - distance, 700.0)) / total
    return np.where(t < 1e-3, weights * np.expm1(np.minimum(t, 1e-3)), grown - weights)


def block_weights(block: Block, spec: AttentionSpec, scale: float, arithmetic: Arithmetic, keys: int) -> BlockWeights:
    """Weights of one block and their log-errors (theorem any_schedule)."""
    found = score_errors(block, spec, scale, arithmetic)
    hidden = np.isneginf(found.scores)
    sink = spec.sinks[block.head] if spec.sinks is not None else -np.inf
    maximum = np.maximum(found.scores.max(axis=1, initial=-np.inf), sink)
    maximum = np.where(np.isneginf(maximum), 0.0, maximum)
    distance = np.where(hidden, np.inf, maximum[:, None] - found.scores)
    unnormalised = np.exp(-distance)
    total = unnormalised.sum(axis=1) + np.exp(sink - maximum)
    empty = np.asarray(hidden.all(axis=1))
    visible_scores = np.where(hidden, maximum[:, None], found.scores)
    constant = (1 + rescales(keys, arithmetic)) * exp_log_error(arithmetic)
    score = np.where(hidden, 0.0, found.certified)
    doubt = score.max(axis=1, initial=0.0, keepdims=True)
    logit = np.where(np.isneginf(sink), maximum, sink)[:, None]
    held = constant_unit(arithmetic) * np.abs(logit)

    def argument(scores: Array) -> Array:
        error = argument_error(scores, maximum[:, None], arithmetic, doubt)
        return error + split_error(scores, maximum, doubt + error + constant, keys, arithmetic)

    of_keys = argument(visible_scores)
    return BlockWeights(
        weights=unnormalised / np.where(total > 0, total, 1.0)[:, None],
        distance=distance,
        maximum=maximum,
        total=np.where(total > 0, total, 1.0),
        scores=visible_scores,
        score=score,
        argument=of_keys,
        constant=constant,
        sink=np.exp(sink - maximum) / np.where(total > 0, total, 1.0),
        sink_distance=maximum - sink,
        sink_error=np.where(np.isneginf(sink), 0.0, (held + argument(logit))[:, 0] + constant),
        score_square=np.where(hidden, 0.0, found.mean_square),
        overflow=found.overflow,
        empty=empty,
    )


def attention(
    q: Array, k: Array, v: Array, spec: AttentionSpec, shape: Shape, arithmetic: Arithmetic, *, with_rms: bool = True
) -> AttentionBudget:
    """Budgets of the output (B, H, Nq, Dv) and of the log-sum-exp (B, H, Nq), for finite float64 arrays.

    Where an intermediate result can overflow the declared formats the bound is inf: nothing is claimed there.
    """
    scale = scale_of(spec, shape.d_qk)
    size = (shape.batch, shape.heads, shape.queries, shape.d_v)
    parts = {name: np.zeros(size) for name in PARTS}
    lse_parts = {name: np.zeros(size[:3]) for name in LSE_PARTS}
    certified, square = np.zeros(size), np.zeros(size)
    lse_certified, lse_square = np.zeros(size[:3]), np.zeros(size[:3])
    with np.errstate(over="ignore", invalid="ignore", under="ignore", divide="ignore"):
        for block in blocks(q, k, spec, shape):
            place = (block.batch, block.head, block.rows)
            found = block_weights(block, spec, scale, arithmetic, shape.keys)
            value = v[block.batch, block.kv_head, block.keys]
            kept, gain = None, 1.0
            if spec.keep is not None:
                kept, gain = dropout_keep(block, spec), 1.0 / (1.0 - spec.dropout)
            total = _total_error(found, shape.keys, arithmetic)
            pieces, bound, out = _output_error(found, value, kept, gain, total, shape.keys, arithmetic)
            for name, piece in pieces.items():
                parts[name][place] = piece
            certified[place] = bound
            for name, piece in _lse_error(found, total, arithmetic).items():
                lse_parts[name][place] = piece
            lse_bound = np.asarray(sum(lse_parts[name][place] for name in LSE_PARTS))
            lse_certified[place] = _lse_in_range(lse_bound, found, arithmetic)
            if with_rms:
                square[place] = output_mean_square(found, value, kept, gain, out, arithmetic)
                lse_square[place] = _lse_mean_square(found, arithmetic)
            blank = found.empty
            for array in (certified, square, *parts.values()):
                array[place][blank] = 0.0
            if spec.sinks is None:
                for array in (lse_certified, lse_square, *lse_parts.values()):
                    array[place][blank] = 0.0
            certified[place][found.overflow & ~blank] = np.inf
            lse_certified[place][found.overflow & ~blank] = np.inf
    return AttentionBudget(
        ErrorBudget(_claimed(certified), np.sqrt(square) if with_rms else None, parts),
        ErrorBudget(_claimed(lse_certified), np.sqrt(lse_square) if with_rms else None, lse_parts),
    )


def _claimed(bound: Array) -> Array:
    """NaN comes from inf - inf or 0 * inf after an overflow: nothing is claimed there."""
    return np.where(np.isnan(bound), np.inf, bound)


@dataclass(frozen=True, eq=False)
class TotalError:
    """Certified relative error of the row sum: excess is sum_j w_j (e^t_j - 1), adding is what summation adds."""

    scores: Array
    exp: Array
    adding: float
    casting: float
    underflow: Array
    excess: Array

    @property
    def relative(self) -> Array:
        """D with |L^ - L| <= D L and |L^ - L| <= D L^ (theorem normaliser_error)."""
        return np.asarray((1 + self.excess) * (1 + self.adding + self.underflow) / max(1 - self.adding, 0.0) - 1)


def _total_error(found: BlockWeights, keys: int, arithmetic: Arithmetic) -> TotalError:
    changes = rescales(keys, arithmetic)
    casting = arithmetic.probabilities.unit if arithmetic.sum_of_cast else 0.0
    eta = underflow_unit(arithmetic.scores, arithmetic.flush_to_zero)
    if arithmetic.sum_of_cast:
        eta += underflow_unit(arithmetic.probabilities, arithmetic.flush_to_zero)
    adding = gamma(keys + 1 + changes, arithmetic.normaliser.unit) * (1 + arithmetic.row_sum_error)
    adding += arithmetic.row_sum_error
    return TotalError(
        scores=(found.weights * found.score).sum(axis=1),
        exp=(found.weights * (found.argument + found.constant)).sum(axis=1) + found.sink * found.sink_error,
        adding=adding if adding < 1 else np.inf,
        casting=casting,
        underflow=2 * (keys + changes) * eta / found.total,
        excess=found.excess(found.log_error() + casting).sum(axis=1) + found.sink_excess(found.sink_error),
    )


def _output_error(
    found: BlockWeights,
    value: Array,
    kept: Array | None,
    gain: float,
    total: TotalError,
    keys: int,
    arithmetic: Arithmetic,
) -> tuple[dict[str, Array], Array, Array]:
    """Parts of the bound, the bound, and the output itself (theorem output_error).

    With N^ = sum_j p_j e^t_j v_j + rounding and L^ likewise, |N^/L^ - N/L| <= |N^ - N| / L (1 + D) + |N/L| D.
    """
    weights = found.weights if kept is None else found.weights * kept
    masked = 1.0 if kept is None else kept
    size = np.abs(value) * gain
    casting = arithmetic.probabilities.unit + (2 * arithmetic.accumulator.unit if kept is not None else 0.0)
    if arithmetic.cast == "after":
        casting += arithmetic.scores.unit
    out = (weights @ value) * gain
    spread = weights @ size
    magnitude = np.abs(out)
    relative = total.relative
    grow = 1 + relative[:, None]
    unit = arithmetic.accumulator.unit
    changes = rescales(keys, arithmetic)
    numerator = (found.excess(found.log_error() + casting) * masked) @ size
    adding = gamma(keys + 1 + changes, unit) * (spread + numerator)
    linear = _linear_parts(found, weights, size, casting, spread)
    stretch = numerator / np.maximum(sum(linear.values()), np.finfo(np.float64).tiny)
    eta_p = underflow_unit(arithmetic.probabilities, arithmetic.flush_to_zero)
    eta_s = underflow_unit(arithmetic.scores, arithmetic.flush_to_zero)
    eta_o = underflow_unit(arithmetic.accumulator, arithmetic.flush_to_zero)
    divisor = found.total[:, None] if arithmetic.cast == "before" else 1.0
    seen = (np.isfinite(found.distance) * masked) @ size
    lost = (2 * (eta_p + eta_s) * (1 + changes) * seen + 2 * (keys + changes) * eta_o) / divisor
    pieces = {
        "scores": linear["scores"] * stretch * grow + magnitude * total.scores[:, None],
        "exp": linear["exp"] * stretch * grow + magnitude * total.exp[:, None],
        "probabilities": linear["probabilities"] * stretch * grow + magnitude * total.casting,
        "accumulation": adding * grow,
        "normaliser": magnitude * np.maximum(relative - total.scores - total.exp - total.casting, 0.0)[:, None],
        "underflow": lost * grow,
    }
    before = sum(pieces.values())
    # A sink is a key whose value is 0.
    none = 0.0 if found.sink_error.any() else np.inf
    top = value.max(axis=0, initial=-none) * gain
    bottom = value.min(axis=0, initial=none) * gain
    if kept is None:
        # Whatever the weights are, they are non-negative and their quotients sum to 1 but for roundings (theorem hull).
        own = casting + gamma(keys + 1 + changes, unit) + total.adding
        reach = np.maximum(top - out, out - bottom) + (own / max(1 - own, 0.5)) * size.max(axis=0, initial=0.0)
        before = np.minimum(before, np.where(own < 0.5, reach + lost, np.inf))
    final = 2 * unit * (magnitude + before)
    rounding = arithmetic.output.unit * (magnitude + before + final)
    pieces["output"] = final + rounding + underflow_unit(arithmetic.output, arithmetic.flush_to_zero)
    bound = before + pieces["output"]
    return pieces, _in_range(bound, magnitude, spread * found.total[:, None], arithmetic), out


def _linear_parts(found: BlockWeights, weights: Array, size: Array, casting: float, spread: Array) -> dict[str, Array]:
    return {
        "scores": (weights * found.score) @ size,
        "exp": (weights * found.argument) @ size + found.constant * spread,
        "probabilities": casting * spread,
    }


def _in_range(bound: Array, magnitude: Array, numerator: Array, arithmetic: Arithmetic) -> Array:
    """inf where the accumulator or the output can overflow."""
    beyond = magnitude + bound > arithmetic.output.format.max_finite
    beyond |= 2 * numerator > arithmetic.accumulator.format.max_finite
    return np.where(beyond, np.inf, bound)


def _lse_in_range(bound: Array, found: BlockWeights, arithmetic: Arithmetic) -> Array:
    """inf where the log-sum-exp can leave its format's range."""
    size = np.abs(found.maximum) + np.log(found.total) + bound
    return np.where(size > arithmetic.lse.format.max_finite, np.inf, bound)


def _lse_error(found: BlockWeights, total: TotalError, arithmetic: Arithmetic) -> dict[str, Array]:
    """Parts of the log-sum-exp's bound (theorem lse_error): log1p(D), and the roundings of m + log(l)."""
    logarithm = np.abs(np.log(found.total))
    size = np.abs(found.maximum)
    everything = np.log1p(total.relative)
    shares = total.scores + total.exp
    scores = everything * np.where(shares > 0, total.scores / np.maximum(shares, 1e-300), 0.0)
    summing = np.minimum(everything, np.log1p(total.adding + total.underflow + total.casting))
    rest = np.maximum(everything - summing, 0.0)
    scores = np.minimum(scores, rest)
    unit = arithmetic.lse.unit
    # The computed maximum is off by `doubt`, and the logarithm by as much in the other direction.
    doubt = found.score.max(axis=1, initial=0.0)
    rounding = compound(arithmetic.log_error, unit) * (logarithm + everything + doubt)
    rounding = rounding + compound(unit, unit) * (size + doubt)
    rounding = rounding + unit * (size + logarithm + everything + rounding)
    return {
        "scores": scores,
        "exp": rest - scores,
        "normaliser": summing,
        "output": rounding + underflow_unit(arithmetic.lse, arithmetic.flush_to_zero),
    }


def _lse_mean_square(found: BlockWeights, arithmetic: Arithmetic) -> Array:
    logarithm = np.log(found.total)
    lse = found.maximum + logarithm
    stage = arithmetic.lse
    # The last rounding has the ulp of the result, whatever its significand.
    last = stage.format.ulp(lse) ** 2 / 12
    return np.asarray(
        total_mean_square(found, arithmetic)
        + log_mean_square(arithmetic) * logarithm**2
        + last
        + stage.mean_square * lse**2 / 4
    )
