"""Exact softmax weights of one block and the log-errors of their computation, from which the other bounds follow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refattn.bounds.splits import split_apart, split_error
from refattn.bounds.stages import argument_error, constant_unit, exp_log_error, rescales, score_errors
from refattn.contract.arithmetic import Arithmetic
from refattn.contract.scores import Block
from refattn.contract.spec import AttentionSpec

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BlockWeights:
    """Exact weights of one block (to float64) and the certified log-errors of their computation, (r, n).

    weights sum to 1 - sink; total (r,) is the normaliser relative to `maximum`; `score` and `argument` are log-errors;
    `constant` is the log-error common to all keys: the exponentials of the key and of the rescales after it. doubt (r,)
    is the largest `score`, a bound of the computed maximum's distance from `maximum`; top (r,) bounds the argument's
    log-error of a key whose own score is the reference, plus the logarithm of its weight there; combining (r,) is the
    log-error of combining splits that output and normaliser do not share. sink, sink_distance and sink_error (r,) are
    the sink's weight, distance and log-error: 0, inf and 0 where there is none.
    """

    weights: Array
    distance: Array
    maximum: Array
    total: Array
    scores: Array
    score: Array
    argument: Array
    constant: float
    doubt: Array
    top: Array
    combining: Array
    score_square: Array
    score_drift: Array
    visible: NDArray[np.bool_]
    sink: Array
    sink_distance: Array
    sink_error: Array
    overflow: NDArray[np.bool_]
    empty: NDArray[np.bool_]

    def log_error(self) -> Array:
        """|t| of every weight p e^t, relative to the computed maximum."""
        return self.score + self.argument + self.constant

    def excess(self, log_error: Array) -> Array:
        """The most that errors of up to e^t, t = log_error (r, n), can add to each weight."""
        return _excess(self.weights, self.distance, self.total[:, None], log_error)

    def sink_excess(self, log_error: Array) -> Array:
        """The most that such errors can add to the sink's weight, (r,)."""
        return _excess(self.sink, self.sink_distance, self.total, log_error)


def _excess(weights: Array, distance: Array, total: Array, t: Array) -> Array:
    """w (e^t - 1) for w = e^-distance / total, whether or not that underflows; inf where it overflows."""
    small = weights * np.expm1(np.minimum(t, 1e-3))
    if not (t >= 1e-3).any():
        return small
    return np.where(t < 1e-3, small, np.exp(t - distance) / total - weights)


def block_weights(block: Block, spec: AttentionSpec, scale: float, arithmetic: Arithmetic, keys: int) -> BlockWeights:
    """Weights of one block and their log-errors (theorem any_schedule)."""
    logits = score_errors(block, spec, scale, arithmetic)
    hidden = np.isneginf(logits.scores)
    sink = spec.sinks[block.head] if spec.sinks is not None else -np.inf
    maximum = np.maximum(logits.scores.max(axis=1, initial=-np.inf), sink)
    maximum = np.where(np.isneginf(maximum), 0.0, maximum)
    distance = np.where(hidden, np.inf, maximum[:, None] - logits.scores)
    unnormalised = np.exp(-distance)
    total = unnormalised.sum(axis=1) + np.exp(sink - maximum)
    empty = np.asarray(hidden.all(axis=1))
    visible_scores = np.where(hidden, maximum[:, None], logits.scores)
    constant = (1 + rescales(keys, arithmetic)) * exp_log_error(arithmetic, scale)
    score = np.where(hidden, 0.0, logits.certified)
    doubt = score.max(axis=1, initial=0.0, keepdims=True)
    logit = np.where(np.isneginf(sink), maximum, sink)[:, None]
    sink_doubt = constant_unit(arithmetic) * np.abs(logit)
    # The sink's score errs too, and may be the maximum.
    doubt = np.maximum(doubt, np.where(np.isneginf(sink), 0.0, sink_doubt))

    # A stale reference lies within this of `maximum`.
    reference_doubt = doubt + arithmetic.lag

    def argument(scores: Array) -> Array:
        error = argument_error(scores, maximum[:, None], arithmetic, reference_doubt)
        return error + split_error(scores, maximum, doubt + error + constant, keys, arithmetic)

    arguments, top = argument(visible_scores), argument(maximum[:, None])
    combining = np.zeros(len(total))
    if arithmetic.exponent == "fma" or arithmetic.splits > 1:
        lowest = np.minimum(visible_scores.min(axis=1, initial=np.inf), maximum)[:, None]
        # A key far below may once have been the maximum, whose product with the constant was rounded.
        top = np.maximum(top, argument_error(lowest, lowest, arithmetic, reference_doubt))
        before = doubt + argument_error(lowest, maximum[:, None], arithmetic, reference_doubt) + constant
        combining = split_apart(lowest[:, 0], maximum, before[:, 0], keys, arithmetic)
    return BlockWeights(
        weights=unnormalised / np.where(total > 0, total, 1.0)[:, None],
        distance=distance,
        maximum=maximum,
        total=np.where(total > 0, total, 1.0),
        scores=visible_scores,
        score=score,
        argument=arguments,
        constant=constant,
        doubt=doubt[:, 0],
        # A stale reference leaves weights above 1.
        top=top[:, 0] + arithmetic.lag,
        combining=combining,
        visible=~hidden,
        sink=np.exp(sink - maximum) / np.where(total > 0, total, 1.0),
        sink_distance=maximum - sink,
        sink_error=np.where(np.isneginf(sink), 0.0, (sink_doubt + argument(logit))[:, 0] + constant),
        score_square=np.where(hidden, 0.0, logits.mean_square),
        score_drift=np.where(hidden, 0.0, logits.drift),
        overflow=logits.overflow,
        empty=empty,
    )
