"""One row of attention in which every rounding errs as much as it may, in the direction that hurts.

An operation's result x becomes x (1 + u) or x (1 - u), u being the stage's unit, or x rounded up or down in the stage's
format where that unit allows it (a stage that truncates). The direction that hurts is known: to raise the output, raise
the weights of the values above it, lower the others, and so on for every sum and quotient. Shares nothing with
refattn.bounds or with the models.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from refattn.contract.arithmetic import Arithmetic, Stage

Nudge = Callable[[float, Stage, float], float]


def by_unit(x: float, stage: Stage, direction: float) -> float:
    """x moved by one unit of relative error, up or down."""
    return x + direction * abs(x) * stage.unit


def by_format(x: float, stage: Stage, direction: float) -> float:
    """x rounded up or down in the stage's format."""
    assert stage.rounding == "truncate"
    return float(stage.format.round(x, "up" if direction > 0 else "down"))


@dataclass
class Row:
    """One query: q (d,), k (n, d), v (n,), the scale and the sink (or None)."""

    q: Any
    k: Any
    v: Any
    arithmetic: Arithmetic
    nudge: Nudge
    scale: float
    sink: float | None = None

    def exact(self) -> tuple[Any, float]:
        """Scores and output, in float64."""
        scores = self.scale * (self.k @ self.q)
        top = max(scores.max(), -math.inf if self.sink is None else self.sink)
        weights = np.exp(scores - top)
        total = weights.sum() + (0.0 if self.sink is None else math.exp(self.sink - top))
        return scores, float(weights @ self.v / total)

    def output(self, way: float) -> float:
        """The output, pushed up (way = 1) or down (way = -1)."""
        arithmetic, nudge = self.arithmetic, self.nudge
        _, middle = self.exact()
        sides = np.where(self.v > middle, way, -way)
        # A sink's value is 0.
        sink_side = way if middle < 0 else -way
        weights, sink = self.weights(sides, sink_side)
        # A larger row sum makes the quotient smaller.
        total = self.sum([*sink, *weights], arithmetic.normaliser, -way if middle > 0 else way)
        accumulator = arithmetic.accumulator
        terms = []
        for weight, value in zip(weights, self.v, strict=True):
            cast = nudge(weight, arithmetic.probabilities, way * np.sign(value))
            terms.append(nudge(cast * value, accumulator, way))
        out = nudge(self.sum(terms, accumulator, way) / total, accumulator, way)
        return nudge(out, arithmetic.output, way)

    def log_sum_exp(self, way: float) -> float:
        """The log-sum-exp, pushed up or down."""
        arithmetic = self.arithmetic
        scores = self.scores(np.full(len(self.v), way))
        top = max(scores.max(), -math.inf if self.sink is None else self.sink)
        weights, sink = self.weights(np.full(len(self.v), way), way)
        total = self.sum([*sink, *weights], arithmetic.normaliser, way)
        logarithm = math.log(total)
        logarithm += way * abs(logarithm) * arithmetic.log_error
        return self.nudge(top + logarithm, arithmetic.lse, way)

    def scores(self, sides: Any) -> Any:
        """The scores, each pushed up or down."""
        arithmetic, nudge = self.arithmetic, self.nudge
        constant = Stage(Arithmetic.flash("fp32").scores.format)
        stored = arithmetic.scores.format.precision < arithmetic.dot.format.precision
        scores = []
        for key, side in zip(self.k, sides, strict=True):
            way = side * np.sign(self.scale)
            s = self.sum(
                [nudge(a * b, arithmetic.dot, way) for a, b in zip(self.q, key, strict=True)], arithmetic.dot, way
            )
            s = nudge(s, arithmetic.scores, way) if stored else s
            held = by_unit(self.scale, constant, way * np.sign(s) if self.scale > 0 else -way * np.sign(s))
            # A product with a power of two is exact.
            exact = abs(math.frexp(self.scale)[0]) == 0.5
            scores.append(s * self.scale if exact else nudge(s * held, arithmetic.scores, side))
        return np.array(scores)

    def weights(self, sides: Any, sink_side: float) -> tuple[list[float], list[float]]:
        """Unnormalised weights after all rescales, and the sink's, each pushed up or down."""
        scores = self.scores(sides)
        step = self.arithmetic.tile or len(scores)
        keys: list[float] = []
        sink = [] if self.sink is None else [1.0]
        maximum = -math.inf if self.sink is None else self.sink
        for start in range(0, len(scores), step):
            tile = scores[start : start + step]
            larger = max(maximum, float(tile.max()))
            if larger > maximum and (keys or sink):
                keys = [w * self.exp(maximum - larger, side) for w, side in zip(keys, sides, strict=False)]
                sink = [w * self.exp(maximum - larger, sink_side) for w in sink]
            maximum = larger
            keys += [self.exp(s - maximum, side) for s, side in zip(tile, sides[start : start + step], strict=True)]
        return keys, sink

    def exp(self, argument: float, side: float) -> float:
        """The exponential, its argument rounded; exp(0) is 1."""
        if argument == 0.0:
            return 1.0
        return math.exp(self.nudge(argument, self.arithmetic.scores, side)) * (1 + side * self.arithmetic.exp_error)

    def sum(self, terms: list[float], stage: Stage, way: float) -> float:
        """One term after the other."""
        total = terms[0]
        for term in terms[1:]:
            total = self.nudge(total + term, stage, way)
        return total
