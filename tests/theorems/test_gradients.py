"""The theorems of the backward pass, step by step with the worst roundings, in exact arithmetic: never exceeded, nearly
reached, and exceeded with half of any of their arguments. From end to end: test_theorem_gradients_composed.py.

REFATTN_THEOREM_CASES sets how many cases the searches take: 3000 unless told.
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import Any, NamedTuple

import pytest

from refattn.bounds.theorems import gradients
from refattn.numbers.roundoff import growth

CASES = int(os.environ.get("REFATTN_THEOREM_CASES", "3000"))

# Of each theorem, the share of its bound that some worst rounding below reaches.
TIGHTNESS: dict[str, float] = {
    "p_recompute": 0.99,
    "weight_error": 0.99,
    "delta_error": 0.99,
    "probability_gradient_error": 0.99,
    "slope_error": 0.99,
    "score_gradient_error": 0.99,
    "softcap_gradient": 0.99,
    "through_softcap": 0.99,
    "value_weight_error": 0.99,
    "gradient_sum": 0.99,
    "gradient_additions": 0.99,
    "gradient_underflow": 0.99,
}


class Step(NamedTuple):
    """The error of one worst rounding of a step, and the arguments of its theorem."""

    error: Fraction
    arguments: tuple[Fraction, ...]


class Draw:
    """Random exact numbers: units of roundings, losses to underflow, factors."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def unit(self) -> Fraction:
        return Fraction(1, self.rng.choice([2**24, 2**11, 2**8, 2**4, 9]))

    def lost(self) -> Fraction:
        return Fraction(self.rng.choice([0, 0, 1, 2**16]), 2**20)

    def small(self) -> Fraction:
        """An error that some earlier step left."""
        return Fraction(self.rng.randrange(17), self.rng.choice([2**5, 2**9, 2**20]))

    def number(self) -> Fraction:
        return Fraction(self.rng.randrange(-64, 65), 16)

    def positive(self) -> Fraction:
        return Fraction(self.rng.randrange(65), 64)

    def count(self) -> int:
        return self.rng.randrange(1, 6)

    def way(self) -> int:
        return self.rng.choice([-1, 1])


def pushed(x: Fraction, unit: Fraction, lost: Fraction | int, way: int) -> Fraction:
    """x after a rounding that errs as much as it may, up (way = 1) or down."""
    return x + way * (abs(x) * unit / (1 + unit) + lost)


def sign(x: Fraction) -> int:
    return -1 if x < 0 else 1


def factor(t: Fraction, way: int) -> Fraction:
    """A factor within e^t and e^-t, near one of them."""
    return 1 + way * t / (1 + t)


def summed(terms: list[Fraction], unit: Fraction, lost: Fraction, way: int) -> Fraction:
    total = terms[0]
    for term in terms[1:]:
        total = pushed(total + term, unit, lost, way)
    return total


def p_recompute(draw: Draw) -> Step:
    """The logarithm of P: score, LSE, a rounded difference and the exponential all err to one side."""
    s, lse, way, unit, lost = draw.number(), draw.number(), draw.way(), draw.unit(), draw.lost()
    score, lse_error, exponential = draw.small(), draw.small(), draw.unit()
    z = pushed(s + way * score - (lse - way * lse_error), unit, lost, way)
    argument = unit * (abs(s - lse) + score + lse_error) + lost
    return Step(abs(z + way * exponential - (s - lse)), (score, lse_error, argument, exponential))


def weight_error(draw: Draw) -> Step:
    """A weight that underflowed, multiplied and rounded twice."""
    weight, t, unit, lost, way = draw.positive(), draw.unit(), draw.unit(), draw.lost(), draw.way()
    p = weight * factor(t, way) + way * lost
    for _ in range(2):
        p = pushed(p, unit, 0, way)
    return Step(abs(p - weight), (weight * growth(t + 2 * unit), 2 * unit, lost))


def delta_error(draw: Draw) -> Step:
    width, unit, lost, way = draw.count(), draw.unit(), draw.lost(), draw.way()
    do, out, doubt = ([make() for _ in range(width)] for make in (draw.number, draw.number, draw.small))
    off = [o + way * sign(x) * e for x, o, e in zip(do, out, doubt, strict=True)]
    delta = summed([pushed(x * o, unit, lost, way) for x, o in zip(do, off, strict=True)], unit, lost, way)
    products = [x * o for x, o in zip(do, out, strict=True)]
    reach, doubts = sum(map(abs, products)), sum(abs(x) * e for x, e in zip(do, doubt, strict=True))
    return Step(abs(delta - sum(products)), (Fraction(width), unit, Fraction(reach), Fraction(doubts), lost))


def probability_gradient_error(draw: Draw) -> Step:
    """dP = dO V^T times 1 / (1 - p), of which both roundings are constants'."""
    width, unit, lost, way = draw.count(), draw.unit(), draw.lost(), draw.way()
    constant, last, gain_lost = draw.unit(), draw.unit(), draw.lost()
    kept = Fraction(10, draw.rng.randrange(5, 10))
    products = [draw.number() * draw.number() for _ in range(width)]
    dp = summed([pushed(x, unit, lost, way) for x in products], unit, lost, way)
    side = way * sign(dp)
    held = pushed(1 / pushed(1 / kept, constant, 0, -side), constant, 0, side)
    error = abs(pushed(dp * held, last, gain_lost, way) - kept * sum(products))
    reach = Fraction(sum(map(abs, products)))
    return Step(error, (Fraction(width), unit, reach, lost, kept, 2 * constant + last, gain_lost))


def slope_error(draw: Draw) -> Step:
    """dP - (Delta - dLSE) or (dP - Delta) + dLSE, but for the last factor."""
    dp, delta, dlse, ep, ed = draw.number(), draw.number(), draw.number(), draw.small(), draw.small()
    if draw.rng.random() < 0.1:
        # Only underflow is left.
        dp = delta = dlse = ep = ed = Fraction(0)
    unit, lost, way = draw.unit(), draw.lost(), draw.way()
    if draw.rng.random() < 0.5:
        inner = pushed(delta - way * ed - dlse, unit, lost, -way)
        s = dp + way * ep - inner
    else:
        s = pushed(dp + way * ep - (delta - way * ed), unit, lost, way) + dlse
    s += way * lost / (1 - unit / (1 + unit))
    height = abs(dp) + ep + abs(delta) + ed + abs(dlse)
    return Step(abs(s - (dp - delta + dlse)), (ep, ed, height, unit, unit, lost))


def score_gradient_error(draw: Draw) -> Step:
    weight, t, unit, weight_lost, way = draw.positive(), draw.unit(), draw.unit(), draw.lost(), draw.way()
    slope, e, lost = draw.number(), draw.small(), draw.lost()
    s = pushed(slope + way * e, unit, 0, way)
    side = way * sign(s)
    ds = pushed((weight * factor(t, side) + side * weight_lost) * s, unit, lost, way)
    off = gradients.weight_error(weight * growth(t + 2 * unit), 2 * unit, weight_lost)
    return Step(abs(ds - weight * slope), (weight, off, abs(slope), e, lost))


def softcap_gradient(draw: Draw) -> Step:
    tanh, e, unit, constant = draw.positive(), draw.small(), draw.unit(), draw.unit()
    lost, way = draw.lost(), draw.way()
    cap = Fraction(5, 2)
    capped = cap * (tanh - way * e)
    side = -way * sign(capped)
    x = pushed(capped / pushed(cap, constant, 0, -side), unit, lost, -way)
    slope = pushed(1 - pushed(x * x, unit, lost, -way), unit, lost, way)
    return Step(abs(slope - (1 - tanh * tanh)), (tanh, e, unit, constant, lost))


def through_softcap(draw: Draw) -> Step:
    ds, e, slope, doubt = draw.number(), draw.small(), draw.positive(), draw.small()
    unit, lost, way = draw.unit(), draw.lost(), draw.way()
    off = ds + way * e
    x = pushed(off * (slope + way * sign(off) * doubt), unit, lost, way)
    return Step(abs(x - ds * slope), (e, abs(ds), slope, doubt, unit, lost))


def value_weight_error(draw: Draw) -> Step:
    weight, t, constant, unit, cast = draw.positive(), draw.unit(), draw.unit(), draw.unit(), draw.unit()
    weight_lost, gain_lost, cast_lost, way = draw.lost(), draw.lost(), draw.lost(), draw.way()
    kept = Fraction(10, 9)
    p = weight * factor(t, way) + way * weight_lost
    held = pushed(1 / pushed(1 / kept, constant, 0, -way), constant, 0, way)
    operand = pushed(pushed(p * held, unit, gain_lost, way), cast, cast_lost, way)
    roundings = 2 * constant + unit + cast
    off = gradients.weight_error(weight * growth(t + roundings), roundings, weight_lost)
    return Step(abs(operand - weight * kept), (off, kept, cast, gain_lost, cast_lost))


class Summation(NamedTuple):
    """A gradient's sum, its terms' size and error, and the arguments of the two theorems on its roundings."""

    error: Fraction
    magnitude: Fraction
    doubt: Fraction
    additions: tuple[Fraction, ...]
    underflow: tuple[Fraction, ...]


def summation(draw: Draw) -> Summation:
    """Products, sums over tiles that are rounded again, a scale, a sum over heads."""
    terms, heads, tile, way = draw.count(), draw.rng.randrange(1, 4), draw.count(), draw.way()
    unit, again, group, constant = (draw.unit() for _ in range(4))
    lost, again_lost, group_lost = (draw.lost() for _ in range(3))
    scale = Fraction(draw.rng.randrange(1, 9), 8)
    total, exact, magnitude, doubt = [], Fraction(0), Fraction(0), Fraction(0)
    roundings = -(-terms // tile)
    for _ in range(heads):
        head = Fraction(0)
        for n in range(terms):
            a, b, e = draw.number(), draw.number(), draw.small()
            term = pushed((a + way * sign(b) * e) * b, unit, lost, way)
            head = pushed(head + term, unit, lost, way) if n else term
            if (n + 1) % tile == 0 or n + 1 == terms:
                head = pushed(head, again, again_lost, way)
            exact += a * b * scale
            magnitude += abs(a * b) * scale
            doubt += e * abs(b) * scale
        held = pushed(scale, constant, 0, way * sign(head))
        total.append(pushed(head * held, unit, lost, way))
    if heads > 1:
        result = summed([pushed(x, group, group_lost, way) for x in total], group, group_lost, way)
    else:
        result, group, group_lost = total[0], Fraction(0), Fraction(0)
    counts = (Fraction(terms), Fraction(roundings), Fraction(heads))
    additions = (counts[0], unit, constant + unit, counts[1], again, counts[2], group)
    underflow = (counts[0], lost, scale, lost, counts[1], again_lost, counts[2], group_lost)
    return Summation(abs(result - exact), magnitude, doubt, additions, underflow)


def gradient_sum(draw: Draw) -> Step:
    drawn = summation(draw)
    additions = gradients.gradient_additions(*drawn.additions)
    return Step(drawn.error, (drawn.magnitude, drawn.doubt, additions, gradients.gradient_underflow(*drawn.underflow)))


STEPS: dict[str, Callable[[Draw], Step]] = {
    step.__name__: step
    for step in (
        *(p_recompute, weight_error, delta_error, probability_gradient_error, slope_error, score_gradient_error),
        *(softcap_gradient, through_softcap, value_weight_error, gradient_sum),
    )
}


def share(error: Fraction, bound: Fraction) -> float:
    if bound == 0:
        return math.inf if error else 0.0
    return float(error / bound)


@cache
def cases_of(name: str, cases: int = max(300, CASES // 10)) -> list[Any]:
    """The Steps, or Summations, of the search."""
    make: Callable[[Draw], Any] = summation if name == "summation" else STEPS[name]
    return [make(Draw(seed)) for seed in range(cases)]


def reached(name: str, bound: Callable[..., Fraction]) -> float:
    """The largest share of a bound that the search reaches."""
    return max(share(step.error, bound(*step.arguments)) for step in cases_of(name))


@pytest.mark.parametrize("name", STEPS)
def test_worst_roundings_nearly_reach_each_theorem_and_never_exceed_it(name: str) -> None:
    assert TIGHTNESS[name] <= reached(name, getattr(gradients, name)) <= 1.0


def halved(arguments: tuple[Fraction, ...], place: int) -> list[Fraction]:
    return [x / 2 if n == place else x for n, x in enumerate(arguments)]


def _places() -> list[tuple[str, int]]:
    return [(name, place) for name in STEPS for place in range(len(STEPS[name](Draw(0)).arguments))]


@pytest.mark.parametrize(("name", "place"), _places())
def test_a_theorem_with_half_of_one_argument_is_exceeded(name: str, place: int) -> None:
    """So that each argument matters, and by what it is."""
    theorem = getattr(gradients, name)
    assert reached(name, lambda *arguments: theorem(*halved(arguments, place))) > 1.0


@pytest.mark.parametrize(("name", "places"), [("gradient_additions", 7), ("gradient_underflow", 8)])
def test_a_sum_with_half_of_one_kind_of_rounding_is_exceeded(name: str, places: int) -> None:
    whole = gradients.gradient_additions, gradients.gradient_underflow

    def bound(drawn: Summation, place: int) -> Fraction:
        given = {"gradient_additions": drawn.additions, "gradient_underflow": drawn.underflow}
        given[name] = tuple(halved(given[name], place))
        additions, lost = (theorem(*given[theorem.__name__]) for theorem in whole)
        return Fraction(gradients.gradient_sum(drawn.magnitude, drawn.doubt, additions, lost))

    sums = cases_of("summation")
    assert TIGHTNESS[name] <= max(share(summed.error, bound(summed, places)) for summed in sums) <= 1.0
    for place in range(places):
        assert max(share(summed.error, bound(summed, place)) for summed in sums) > 1.0, place
