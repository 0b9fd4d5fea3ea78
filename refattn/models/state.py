"""The state of a softmax-weighted sum, and the monoid of its merges: it allows tiles of any size in any order.

A set of (score, value) pairs is summarised by (m, l, acc) = (max s, sum exp(s - m), sum exp(s - m) v). Over the reals
merging is associative and commutative, with the empty set's state as identity; in floating point it is so up to a few
roundings a merge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from refattn.contract.arithmetic import Arithmetic
from refattn.models.rounding import Stages
from refattn.numbers.formats import Array


@dataclass(frozen=True, eq=False)
class State:
    """(m, l, acc) of rows of any leading shape (...,): maximum and normaliser (...,), accumulator (..., Dv)."""

    maximum: Array
    normaliser: Array
    accumulator: Array

    @classmethod
    def empty(cls, rows: tuple[int, ...], d_v: int) -> State:
        """The state of the empty set, (-inf, 0, 0): the identity of `merge`."""
        return cls(np.full(rows, -np.inf), np.zeros(rows), np.zeros((*rows, d_v)))

    @classmethod
    def of_tile(cls, scores: Any, values: Any, arithmetic: Arithmetic) -> State:
        """The state of scores (..., N) with values (N, Dv) or (..., N, Dv); a score of -inf counts for nothing."""
        stages = Stages.of(arithmetic)
        s, v = np.asarray(scores, np.float64), np.asarray(values, np.float64)
        maximum = s.max(axis=-1, initial=-np.inf)
        p = stages.scores(np.exp(stages.scores(s - guarded(maximum)[..., None])))
        operand = stages.probabilities(p)
        accumulator = stages.accumulator.product(operand[..., None, :], v)[..., 0, :]
        return cls(maximum, stages.normaliser.sum(p), accumulator)

    def merge(self, other: State, arithmetic: Arithmetic) -> State:
        """The state of the union of two sets of pairs that have no pair in common."""
        stages = Stages.of(arithmetic)
        maximum = np.maximum(self.maximum, other.maximum)
        normaliser, accumulator = np.zeros_like(maximum), np.zeros_like(self.accumulator)
        for part in (self, other):
            factor = stages.scores(np.exp(stages.scores(part.maximum - guarded(maximum))))
            normaliser = stages.normaliser(normaliser + stages.normaliser(part.normaliser * factor))
            scaled = stages.accumulator(part.accumulator * factor[..., None])
            accumulator = stages.accumulator(accumulator + scaled)
        return State(maximum, normaliser, accumulator)

    def finalize(self, arithmetic: Arithmetic) -> tuple[Array, Array]:
        """(out, lse): acc / l and m + log(l); 0 and -inf for the empty set."""
        stages = Stages.of(arithmetic)
        empty = self.normaliser == 0.0
        out = stages.output(stages.accumulator(self.accumulator / np.where(empty, 1.0, self.normaliser)[..., None]))
        with np.errstate(divide="ignore"):
            logarithm = stages.lse(np.log(self.normaliser))
        return out, stages.lse(guarded(self.maximum) + logarithm)


def guarded(maximum: Array) -> Array:
    """The maximum to subtract: 0 where there is none, as (-inf) - (-inf) would be NaN."""
    return np.where(np.isneginf(maximum), 0.0, maximum)
