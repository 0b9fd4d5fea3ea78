"""The backward pass of a small problem in which every rounding errs as much as it may, in the direction that hurts.

One element of one gradient is pushed up or down. Each of its terms, and each number that a term is made of, has a
direction in which it moves that element; what a whole row shares (its log-sum-exp, its Delta) has the direction that
moves the row's terms together the most. An operation's result x becomes x (1 + d) + h with d = u / (1 + u) and h what
underflow may lose, or x rounded up or down in the stage's format where the stage truncates. What the forward pass left
is as far off as its bounds allow, which the caller gives. Shares nothing with refattn.bounds or with the models.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from refattn.contract.arithmetic import Arithmetic, Stage
from refattn.numbers import formats

Nudge = Callable[[Any, Stage, Any], Any]

CONSTANT = Stage(formats.fp32)


def by_model(flush_to_zero: bool = False) -> Nudge:
    """The largest relative and absolute error that the stage allows, both at once."""

    def nudge(x: Any, stage: Stage, way: Any) -> Any:
        lost = stage.format.smallest_normal if flush_to_zero else stage.format.smallest_subnormal / 2
        return x + way * (np.abs(x) * stage.unit / (1 + stage.unit) + lost)

    return nudge


def by_format(x: Any, stage: Stage, way: Any) -> Any:
    """x rounded up or down in the stage's format, as truncation may: but to nearest where the stage rounds so."""
    if stage.rounding == "nearest":
        return stage.format.round(np.asarray(x, np.float64))
    values = np.asarray(x, np.float64)
    return np.where(np.asarray(way) > 0, stage.format.round(values, "up"), stage.format.round(values, "down"))


class Target(NamedTuple):
    """An element of a gradient: dq[head, query, column], dk[key, column], dv[key, column], dbias[key], dsinks[head]."""

    gradient: str
    index: tuple[int, ...]


class Exact(NamedTuple):
    """Exact values (to float64): (H, Nq, Nk), and (H, Nq) of rows; factor is the softcap's slope."""

    weights: Any
    slope: Any
    factor: Any
    lse: Any
    out: Any
    delta: Any
    sink: Any


@dataclass
class Worst:
    """q (H, Nq, D), k (Nk, D), v (Nk, Dv), do (H, Nq, Dv), one key-value head for all heads. dlse (H, Nq), cap, bias
    (Nk,), sinks (H,) and keep (H, Nq, Nk) may be None; out_error and lse_error are what the forward pass was off by.
    """

    q: Any
    k: Any
    v: Any
    do: Any
    scale: float
    arithmetic: Arithmetic
    nudge: Nudge
    dlse: Any = None
    cap: float | None = None
    bias: Any = None
    sinks: Any = None
    keep: Any = None
    dropout: float = 0.0
    out_error: Any = 0.0
    lse_error: Any = 0.0

    def exact(self) -> Exact:
        """Values in float64."""
        raw = self.scale * (self.q @ self.k.T)
        tanh = np.zeros_like(raw) if self.cap is None else np.tanh(raw / self.cap)
        scores = raw if self.cap is None else self.cap * tanh
        scores = scores if self.bias is None else scores + self.bias
        sinks = np.full(len(self.q), -math.inf) if self.sinks is None else self.sinks
        top = np.maximum(scores.max(axis=-1), sinks[:, None])
        lse = top + np.log(np.exp(scores - top[..., None]).sum(axis=-1) + np.exp(sinks[:, None] - top))
        weights = np.exp(scores - lse[..., None])
        kept = self.kept()
        out = (weights * kept) @ self.v
        delta = (self.do * out).sum(axis=-1) - self.direct()
        slope = (self.do @ self.v.T) * kept - delta[..., None]
        return Exact(weights, slope, 1 - tanh**2, lse, out, delta, np.exp(sinks[:, None] - lse))

    def kept(self) -> Any:
        """keep / (1 - p)."""
        return 1.0 if self.keep is None else self.keep / (1 - self.dropout)

    def direct(self) -> Any:
        """The upstream gradient of the log-sum-exp."""
        return 0.0 if self.dlse is None else self.dlse

    def value(self, target: Target) -> float:
        """The exact element."""
        e = self.exact()
        factors, signs = self.factors(target)
        if target.gradient == "dsinks":
            return float(-(e.sink * e.delta)[target.index[0]].sum())
        if target.gradient == "dv":
            return float((e.weights * self.kept() * factors * signs).sum())
        terms = e.weights * e.slope * (1.0 if target.gradient == "dbias" else e.factor)
        scale = 1.0 if target.gradient == "dbias" else self.scale
        return float((terms * factors * signs * scale).sum())

    def factors(self, target: Target) -> tuple[Any, Any]:
        """What the terms are multiplied by (H, Nq, Nk), and 1 for each term of the element, 0 for the others."""
        shape = (len(self.q), self.q.shape[1], len(self.k))
        chosen = np.zeros(shape)
        if target.gradient == "dq":
            head, query, column = target.index
            chosen[head, query] = 1.0
            return np.broadcast_to(self.k[:, column], shape), chosen
        if target.gradient == "dsinks":
            return np.ones(shape), chosen
        chosen[..., target.index[0]] = 1.0
        if target.gradient == "dbias":
            return np.ones(shape), chosen
        source = self.q if target.gradient == "dk" else self.do
        return np.broadcast_to(source[..., target.index[1], None], shape), chosen

    def pushed(self, target: Target, way: float) -> float:
        """The element, pushed up (way = 1) or down (way = -1)."""
        e, arithmetic = self.exact(), self.arithmetic
        factors, chosen = self.factors(target)
        if target.gradient == "dsinks":
            return self.pushed_sink(e, target.index[0], way)
        if target.gradient == "dv":
            sides = np.where(factors >= 0, way, -way)
            weights = self.weights(e, sides, np.where((sides * e.weights * chosen).sum(-1) > 0, -1.0, 1.0))
            operands = self.cast(self.dropped(weights, sides), sides)
            return self.total(operands, factors, chosen, None, way)
        scale = None if target.gradient == "dbias" else self.scale
        # The sum is pushed so that its product with the scale goes the right way.
        before = way if scale is None or scale > 0 else -way
        sides = np.where(factors >= 0, before, -before)
        terms = self.score_gradients(e, sides, chosen, capped=target.gradient != "dbias")
        if target.gradient == "dbias":
            return self.total(terms, factors, chosen, None, way, by_head=False, output=arithmetic.output)
        return self.total(self.cast(terms, sides), factors, chosen, scale, way)

    # A block of terms, (H, Nq, Nk)

    def score_gradients(self, e: Exact, sides: Any, chosen: Any, capped: bool) -> Any:
        """dS, times the softcap's slope if `capped`, each pushed to its side."""
        nudge, accumulator = self.nudge, self.arithmetic.accumulator
        factor = e.factor if capped else np.ones_like(e.factor)
        pull = (sides * chosen * e.weights * factor).sum(axis=-1)
        delta = self.delta(e, np.where(pull > 0, -1.0, 1.0))
        dp = self.probability_gradients(sides)
        slope = nudge(dp - delta[..., None], accumulator, sides)
        lift = (sides * chosen * e.weights * e.slope * factor).sum(axis=-1)
        weights = self.weights(e, sides * _sign(slope), np.where(lift > 0, -1.0, 1.0))
        terms = nudge(weights * slope, accumulator, sides)
        if self.cap is None or not capped:
            return terms
        return nudge(terms * self.slopes(sides * _sign(terms)), accumulator, sides)

    def delta(self, e: Exact, sides: Any) -> Any:
        """rowsum(dO O) - dLSE of outputs that are off, pushed; (H, Nq)."""
        nudge, accumulator = self.nudge, self.arithmetic.accumulator
        out = e.out + sides[..., None] * _sign(self.do) * self.out_error
        total = self.sum(nudge(self.do * out, accumulator, sides[..., None]), accumulator, sides)
        return total if self.dlse is None else nudge(total - self.dlse, accumulator, sides)

    def probability_gradients(self, sides: Any) -> Any:
        """dP, with dropout, pushed."""
        nudge, dot = self.nudge, self.arithmetic.dot
        products = nudge(self.do[:, :, None] * self.v[None, None], dot, sides[..., None])
        return self.dropped(self.sum(products, dot, sides), sides)

    def dropped(self, x: Any, sides: Any) -> Any:
        """x keep / (1 - p), pushed: 1 - p and its inverse are rounded as constants."""
        if self.keep is None:
            return x
        up = sides * _sign(x)
        held = self.nudge(1.0 - self.dropout, CONSTANT, -up)
        return self.nudge(x * self.keep * self.nudge(1.0 / held, CONSTANT, up), self.arithmetic.accumulator, sides)

    def weights(self, e: Exact, sides: Any, lse_sides: Any) -> Any:
        """exp(s - LSE), pushed; the log-sum-exps, (H, Nq), to sides of their own."""
        nudge, scores = self.nudge, self.arithmetic.scores
        s = self.capped_scores(sides)
        if self.bias is not None:
            held = nudge(self.bias, CONSTANT, sides)
            s = nudge(s + held, scores, sides)
        lse = (e.lse + lse_sides * self.lse_error)[..., None]
        return self.exponential(nudge(s - lse, scores, sides), sides)

    def exponential(self, argument: Any, sides: Any) -> Any:
        """exp, pushed."""
        lost = self.nudge(0.0, self.arithmetic.scores, sides)
        return np.exp(argument) * (1 + sides * self.arithmetic.exp_error) + lost

    def capped_scores(self, sides: Any) -> Any:
        """softcap(scale Q K^T), pushed."""
        nudge, arithmetic = self.nudge, self.arithmetic
        way = sides * _sign(self.scale)
        products = nudge(self.q[:, :, None] * self.k[None, None], arithmetic.dot, way[..., None])
        s = self.sum(products, arithmetic.dot, way)
        if arithmetic.scores.format.precision < arithmetic.dot.format.precision:
            s = nudge(s, arithmetic.scores, way)
        s = self.times(s, self.scale, arithmetic.scores, sides)
        if self.cap is None:
            return s
        tanh = np.tanh(self.times(s, self.cap, arithmetic.scores, sides, divide=True))
        error = arithmetic.tanh_ulps * 2 * arithmetic.scores.format.unit_roundoff
        tanh = tanh * (1 + sides * _sign(tanh) * error)
        return self.times(tanh, self.cap, arithmetic.scores, sides)

    def times(self, x: Any, factor: float, stage: Stage, sides: Any, divide: bool = False) -> Any:
        """x times a rounded factor, or divided by it, pushed: exactly, but for underflow, if that is a power of two."""
        if abs(math.frexp(factor)[0]) == 0.5:
            return (x / factor if divide else x * factor) + self.nudge(np.zeros_like(x), stage, sides)
        up = sides * _sign(x)
        held = self.nudge(factor, CONSTANT, -up if divide else up)
        return self.nudge(x / held if divide else x * held, stage, sides)

    def slopes(self, sides: Any) -> Any:
        """1 - tanh^2 from the capped score, pushed."""
        nudge, scores = self.nudge, self.arithmetic.scores
        assert self.cap is not None
        way = -sides * _sign(self.scale * (self.q @ self.k.T))
        capped = self.capped_scores(way)
        tanh = nudge(capped / nudge(self.cap, CONSTANT, sides), scores, way)
        return nudge(1 - nudge(tanh * tanh, scores, -sides), scores, sides)

    def cast(self, x: Any, sides: Any) -> Any:
        """P or dS as the operand of a product."""
        return self.nudge(x, self.arithmetic.probabilities, sides)

    def pushed_sink(self, e: Exact, head: int, way: float) -> float:
        """-sum_i p_sink (Delta - dLSE), pushed."""
        nudge, arithmetic = self.nudge, self.arithmetic
        delta = self.delta(e, np.full(e.delta.shape, -way))[head]
        sides = -way * _sign(delta)
        assert self.sinks is not None
        logit = nudge(self.sinks[head], CONSTANT, sides)
        lse = e.lse[head] - sides * (self.lse_error if np.isscalar(self.lse_error) else self.lse_error[head])
        p = self.exponential(nudge(logit - lse, arithmetic.scores, sides), sides)
        terms = nudge(-p * delta, arithmetic.accumulator, way)
        total = self.gathered(list(terms), way)
        return float(nudge(total, arithmetic.accumulator, way))

    # Sums

    def sum(self, terms: Any, stage: Stage, sides: Any) -> Any:
        """Along the last axis, one term after the other."""
        total = terms[..., 0]
        for n in range(1, terms.shape[-1]):
            total = self.nudge(total + terms[..., n], stage, sides)
        return total

    def gathered(self, terms: list[float], way: float) -> float:
        """One term after the other, rounded again after every tile of them."""
        arithmetic = self.arithmetic
        total = 0.0
        for n, term in enumerate(terms):
            total = self.nudge(total + term, arithmetic.accumulator, way) if n else term
            last = n + 1 == len(terms) or (n + 1) % arithmetic.gradient_tile == 0
            if last and arithmetic.gradient_sum != arithmetic.accumulator:
                total = float(self.nudge(total, arithmetic.gradient_sum, way))
        return float(total)

    def total(
        self,
        operands: Any,
        factors: Any,
        chosen: Any,
        scale: float | None,
        way: float,
        by_head: bool = True,
        output: Stage | None = None,
    ) -> float:
        """The element: products, sums, scale, the sum over heads and the output's rounding, pushed."""
        nudge, arithmetic = self.nudge, self.arithmetic
        before = way if scale is None or scale > 0 else -way
        products = nudge(operands * factors, arithmetic.accumulator, before) if by_head else operands
        heads = [products[h][chosen[h] > 0] for h in range(len(products))]
        heads = [head for head in heads if len(head)]
        if not by_head:
            heads = [np.concatenate(heads)]
        sums = [self.gathered(list(head), before) for head in heads]
        if scale is not None:
            sums = [float(self.times(x, scale, arithmetic.accumulator, way)) for x in sums]
        total = sums[0]
        if len(sums) > 1:
            stored = [nudge(x, arithmetic.group_sum, way) for x in sums]
            total = stored[0]
            for other in stored[1:]:
                total = nudge(total + other, arithmetic.group_sum, way)
        return float(nudge(total, output or arithmetic.output, way))


def _sign(x: Any) -> Any:
    return np.where(np.asarray(x) < 0, -1.0, 1.0)
