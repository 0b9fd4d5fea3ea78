"""Dot products, scores, exponentials and their arguments: searches for steps that err more than the theorems say.

Every trial carries a computation out in exact Fractions (logarithms and tanh to 300 bits), each operation rounded as a
format does or as badly as the theorem allows, and gives the error and the arguments of the function that bounds it.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from random import Random
from statistics import median
from typing import Any

import pytest
from mpmath import mp

from refattn.bounds.theorems import dot, exponential, scores
from refattn.numbers.roundoff import compound
from tests.support.exact_steps import CASES, Step, format_step, number, sign, transcendental, worst_step

Trial = tuple[Fraction, tuple[Any, ...]]
ONE = Fraction(1)
# Error of computations to 300 bits.
SLACK = 1 + Fraction(1, 2**250)


def steps(rng: Random, worst: bool, count: int) -> list[Step]:
    """Steps that a trial takes: all of them worst ones, or each whatever comes."""
    return [worst_step(rng) if worst or rng.random() < 0.3 else format_step(rng) for _ in range(count)]


def ways(rng: Random, worst: bool) -> Callable[[], int]:
    """The side to which each step errs: up, or any."""
    return (lambda: 1) if worst else (lambda: rng.choice((-1, 1)))


def constant(rng: Random, exact: Fraction, unit: Fraction, way: int) -> Fraction:
    """A number as a kernel may store it."""
    return exact * (1 + way * unit * rng.choice((1, 1, Fraction(1, 3))))


# Dot products


def added(rng: Random, terms: list[tuple[Fraction, Fraction]], step: Step, way: Callable[[], int]) -> Fraction:
    """A sum of products by a random tree."""
    a, b = terms[0]
    if len(terms) == 1:
        return step.factor(a * b, way())
    if rng.random() < 0.4:
        return step.factor(a * b + added(rng, terms[1:], step, way), way())
    cut = rng.randrange(1, len(terms))
    return step.factor(added(rng, terms[:cut], step, way) + added(rng, terms[cut:], step, way), way())


def chain(terms: list[tuple[Fraction, Fraction]], step: Step) -> Fraction:
    """One after another: the first product is rounded as often as there are terms."""
    total = None
    for a, b in terms:
        product = step.factor(a * b)
        total = product if total is None else step.factor(total + product)
    assert total is not None
    return total


def dot_any_order(rng: Random, worst: bool) -> Trial:
    (step,) = steps(rng, worst, 1)
    # The Fraction above growth(t) exists for t < 2.
    count = rng.randint(1, min(8, int(1 / step.unit)))
    terms = [(number(rng, signed=not worst), number(rng, signed=not worst)) for _ in range(count)]
    if worst:
        # All the weight on the product that is rounded most often.
        terms = [terms[0]] + [(a / 2**20, b) for a, b in terms[1:]]
    total = chain(terms, step) if worst else added(rng, terms, step, ways(rng, worst))
    size = sum((abs(a * b) for a, b in terms), Fraction(0))
    return abs(total - sum(a * b for a, b in terms)), (len(terms), step.unit, size, step.lost)


# Scores


def scaled_score(rng: Random, worst: bool) -> Trial:
    store, step = steps(rng, worst, 2)
    store = Step(store.unit, step.lost) if worst or rng.random() < 0.5 else step
    way, held_unit = ways(rng, worst), rng.choice((step.unit, Fraction(1, 2**24), Fraction(1, 77)))
    exact, scale = number(rng, 20), number(rng, signed=not worst)
    error = abs(number(rng, low=-20, high=-4))
    side = sign(exact * scale) if worst else way()
    kept = store(exact + side * sign(scale) * error, side * sign(scale))
    held = constant(rng, scale, held_unit, 1 if worst else way())
    score = step(kept * held, side)
    size = abs(exact * scale)
    return abs(score - exact * scale), (error, size, abs(scale), store.unit, step.unit, held_unit, step.lost)


def scaled_query_score(rng: Random, worst: bool) -> Trial:
    wide, narrow, step, store = steps(rng, worst, 4)
    way, held_unit = ways(rng, worst), rng.choice((wide.unit, Fraction(1, 2**24), Fraction(1, 77)))
    scale = number(rng, signed=not worst)
    pairs = [(number(rng, signed=not worst), number(rng, signed=not worst)) for _ in range(rng.randint(1, 4))]
    held = constant(rng, scale, held_unit, 1 if worst else way())
    terms = [(narrow(wide(q * held, way()), way()), k) for q, k in pairs]
    total = store(added(rng, terms, step, way), way())
    exact = sum((q * scale * k for q, k in pairs), Fraction(0))
    size = sum((abs(q * scale * k) for q, k in pairs), Fraction(0))
    keys = sum((abs(k) for _, k in pairs), Fraction(0))
    query = scores.scaled_query(size, keys, wide.unit, held_unit, wide.lost, narrow.unit, narrow.lost)
    return abs(total - exact), (query, len(pairs), step.unit, size, step.lost, abs(exact), store.unit, store.lost)


def scaled_query(rng: Random, worst: bool) -> Trial:
    wide, narrow = steps(rng, worst, 2)
    way, held_unit = ways(rng, worst), rng.choice((wide.unit, Fraction(1, 2**24), Fraction(1, 77)))
    scale, q, k = number(rng, signed=not worst), number(rng, signed=not worst), number(rng)
    held = constant(rng, scale, held_unit, 1 if worst else way())
    error = abs(k) * abs(narrow(wide(q * held, way()), way()) - q * scale)
    return error, (abs(scale * q * k), abs(k), wide.unit, held_unit, wide.lost, narrow.unit, narrow.lost)


def quotient(rng: Random, worst: bool) -> tuple[Any, ...]:
    """A score, its error, the cap, the computed quotient, and what is charged for that."""
    (step,) = steps(rng, worst, 1)
    way, held_unit = ways(rng, worst), rng.choice((step.unit, Fraction(1, 2**24), Fraction(1, 77)))
    exact, cap = number(rng, 20), number(rng, low=1, high=6, signed=False)
    error = abs(number(rng, low=-20, high=-4))
    side = rng.choice((-1, 1)) if not worst else sign(exact)
    computed = step((exact + side * error) * constant(rng, 1 / cap, held_unit, 1 if worst else way()), side)
    charged = (error, abs(exact), cap, step.unit, held_unit, step.lost)
    return exact, cap, computed, charged, step, held_unit, way


def divided_score(rng: Random, worst: bool) -> Trial:
    exact, cap, computed, charged, *_ = quotient(rng, worst)
    return abs(cap * computed - exact), charged


def capped_score(rng: Random, worst: bool) -> Trial:
    exact, cap, computed, charged, step, held_unit, way = quotient(rng, worst)
    divided = scores.divided_score(*charged)
    nearest = max(abs(exact) - divided, Fraction(0)) / cap
    slope = transcendental(lambda x: mp.sech(x) ** 2, nearest)
    tanh_unit = Fraction(1, rng.choice((2**21, 2**9, 50)))
    side = sign(exact) if worst else way()
    value = transcendental(mp.tanh, computed)
    value += side * (tanh_unit * abs(value) + step.lost)
    result = step(value * constant(rng, cap, held_unit, 1 if worst else way()), side)
    wanted = cap * transcendental(mp.tanh, exact / cap)
    return abs(result - wanted), (divided, slope, abs(wanted), cap, tanh_unit, step.unit, held_unit, step.lost)


def additions(rng: Random, worst: bool) -> tuple[Any, ...]:
    """A score, its error, the step, what is held, and what is added: alike in sign where the worst is wanted."""
    (step,) = steps(rng, worst, 1)
    way, held_unit = ways(rng, worst), rng.choice((step.unit, Fraction(1, 2**24), Fraction(1, 77)))
    exact, bias, slope = (number(rng, signed=not worst) for _ in range(3))
    error = abs(number(rng, low=-20, high=-4))
    return step, held_unit, way, exact, exact + way() * error, error, bias, slope, Fraction(rng.randrange(100))


def biased_score(rng: Random, worst: bool) -> Trial:
    step, held_unit, way, exact, score, error, bias, *_ = additions(rng, worst)
    result = step(score + constant(rng, bias, held_unit, way()), way())
    return abs(result - exact - bias), (error, abs(exact + bias), abs(bias), step.unit, held_unit, step.lost)


def alibi_score(rng: Random, worst: bool) -> Trial:
    step, held_unit, way, exact, score, error, _, slope, distance = additions(rng, worst)
    term = step(constant(rng, slope, held_unit, way()) * distance, way())
    whole = exact + slope * distance
    charged = (error, abs(whole), abs(slope * distance), step.unit, held_unit, step.lost)
    return abs(step(score + term, way()) - whole), charged


def biased_alibi_score(rng: Random, worst: bool) -> Trial:
    step, held_unit, way, exact, score, error, bias, slope, distance = additions(rng, worst)
    between = step(score + constant(rng, bias, held_unit, way()), way())
    term = step(constant(rng, slope, held_unit, way()) * distance, way())
    whole = exact + bias + slope * distance
    additive = abs(bias) + abs(slope * distance)
    return abs(step(between + term, way()) - whole), (error, abs(exact), additive, step.unit, held_unit, step.lost)


# Arguments: a key's own, and those of the rescales after it, with references that may be stale


LN2 = transcendental(mp.ln, Fraction(2))


def references(rng: Random, worst: bool) -> tuple[Fraction, Fraction, list[Fraction]]:
    """A score, how stale references may be, and references that only grow."""
    x, tau = number(rng, 12), rng.choice((Fraction(0), abs(number(rng))))
    if worst:
        tau = Fraction(0)
    first = x if worst and rng.random() < 0.5 else x - tau + abs(number(rng, 12)) * rng.choice((0, 1))
    maxima = [first]
    for _ in range(rng.randint(0, 4)):
        maxima.append(maxima[-1] + abs(number(rng, 12)))
    return x, tau, maxima


def own_and_rescales(x: Fraction, ms: list[Fraction]) -> list[tuple[Fraction, Fraction]]:
    """The differences that are exponentiated: x - m, then m - m' for every rescale."""
    return list(zip([x, *ms[:-1]], ms, strict=True))


def argument_subtract(rng: Random, worst: bool) -> Trial:
    step = Step(steps(rng, worst, 1)[0].unit, Fraction(0))
    x, tau, ms = references(rng, worst)
    way = ways(rng, worst)
    computed = sum((step(a - b, way()) for a, b in own_and_rescales(x, ms)), Fraction(0))
    return abs(computed - (x - ms[-1])), (ms[-1] - x + 2 * tau, step.unit)


def in_base_2(difference: Fraction, factor: Fraction, step: Step, way: Callable[[], int]) -> Fraction:
    """fl(fl(a - b) c) ln 2."""
    return step(step(difference, way()) * factor, way()) * LN2


def log2_e(rng: Random, unit: Fraction, way: int) -> Fraction:
    return constant(rng, 1 / LN2, unit, way)


def argument_subtract_exp2(rng: Random, worst: bool) -> Trial:
    step = Step(steps(rng, worst, 1)[0].unit, Fraction(0))
    x, tau, ms = references(rng, worst)
    held_unit, way = rng.choice((step.unit, Fraction(1, 77))), (lambda: -1) if worst else ways(rng, False)
    factor = log2_e(rng, held_unit, 1 if worst else way())
    computed = sum((in_base_2(a - b, factor, step, way) for a, b in own_and_rescales(x, ms)), Fraction(0))
    return abs(computed - (x - ms[-1])), (ms[-1] - x + 2 * tau, step.unit, held_unit)


def argument_fma(rng: Random, worst: bool) -> Trial:
    step = Step(steps(rng, worst, 1)[0].unit, Fraction(0))
    x, tau, ms = references(rng, worst)
    held_unit, way = rng.choice((step.unit, Fraction(1, 77))), (lambda: -1) if worst else ways(rng, False)
    factor = log2_e(rng, held_unit, 1 if worst else way())
    offset = step(ms[0] * factor, 1 if worst else way())
    computed = step(x * factor - offset, way()) * LN2
    rescales = own_and_rescales(x, ms)[1:]
    computed += sum((in_base_2(a - b, factor, step, way) for a, b in rescales), Fraction(0))
    reach = max(abs(x) + tau, abs(ms[-1]))
    return abs(computed - (x - ms[-1])), (ms[-1] - x + 2 * tau, reach, step.unit, held_unit)


def argument_lost(rng: Random, worst: bool) -> Trial:
    """What is left of the error when the largest of the relative parts is taken off: tiny arguments, all of it lost."""
    step = worst_step(rng)
    step = Step(step.unit, step.lost + Fraction(1, 2**20))
    held_unit, scale = Fraction(1, rng.choice((77, 2**24))), rng.choice((ONE, abs(number(rng, high=9)) + 1))
    way = ways(rng, worst)
    factor = scale * log2_e(rng, held_unit, way())
    x = m = Fraction(0)
    if rng.random() < 0.5 or worst:
        z = in_base_2(x - m, factor, step, way)
    else:
        z = step(x * factor - step(m * factor, -way()), way()) * LN2
    return abs(z), (scale, step.unit, held_unit, step.lost)


# Exponentials: their errors are in the logarithm


def exponential_error(rng: Random, worst: bool) -> Trial:
    """e^z for z off by `lost`, itself off by `relative`: |log| of what that multiplies e^w by."""
    relative = Fraction(1, rng.choice((2**22, 2**9, 50, 3)))
    lost = Fraction(rng.choice((0, 0, 1)), 10**6)
    factor = 1 - relative if worst else 1 + relative * rng.choice((-1, 1))
    computed = transcendental(mp.log, factor)
    return abs(computed - lost if worst else computed + rng.choice((-1, 1)) * lost), (relative, lost)


def polynomial_exp2(rng: Random, worst: bool) -> Trial:
    """A polynomial of Maclaurin's, at a rounded argument, as far off as its evaluation may be."""
    step = worst_step(rng)
    terms = rng.randint(1, 6)

    def polynomial(x: Fraction) -> Fraction:
        return sum((LN2**n * x**n / transcendental(mp.factorial, Fraction(n)) for n in range(terms)), Fraction(0))

    def power(x: Fraction) -> Fraction:
        return transcendental(lambda y: mp.power(2, y), x)

    # The truncated series falls short of 2^x by the more, the larger x: relatively most at 1.
    largest = 1 - polynomial(ONE) / 2
    x = 1 / (1 + step.unit) if worst else Fraction(rng.randrange(2**11), 2**11) / (1 + step.unit)
    way = -1 if worst else rng.choice((-1, 1))
    reduced = x * (1 + rng.choice((-1, 1)) * step.unit) if not worst else x * (1 - step.unit)
    computed = polynomial(reduced) * (1 + way * step.unit)
    return abs(computed / power(x) - 1), (largest, step.unit, step.unit * x * LN2 * SLACK)


TRIALS: dict[str, Callable[[Random, bool], Trial]] = {
    trial.__name__: trial
    for trial in (
        *(dot_any_order, scaled_score, scaled_query, scaled_query_score, divided_score, capped_score),
        *(biased_score, alibi_score, biased_alibi_score, argument_subtract, argument_subtract_exp2, argument_fma),
        *(argument_lost, exponential_error, polynomial_exp2),
    )
}


def bound_of(name: str) -> Any:
    """The function of the theorem."""
    return next(getattr(module, name) for module in (dot, scores, exponential) if name in vars(module))


@cache
def trials(name: str, worst: bool, cases: int) -> list[Trial]:
    """Trials of a theorem; their seeds are its name and their number."""
    return [TRIALS[name](Random(f"{name} {worst} {seed}"), worst) for seed in range(cases)]


def share(trial: Trial, bound: Callable[..., Any]) -> Fraction:
    """The error as a share of its bound."""
    error, arguments = trial
    return error / bound(*arguments) if error else Fraction(0)


@pytest.mark.parametrize("name", TRIALS)
def test_no_case_is_beyond_the_bound(name: str) -> None:
    for seed in range(CASES):
        worst = seed % 2 == 0
        trial = TRIALS[name](Random(f"{name} {worst} {seed}"), worst)
        assert share(trial, bound_of(name)) <= SLACK, (worst, seed)


# The share of the bound that half of the adversarial trials reach.
TIGHTNESS: dict[str, float] = {
    "dot_any_order": 0.99,
    "scaled_score": 0.999,
    "scaled_query": 0.999,
    "scaled_query_score": 0.96,
    "divided_score": 0.999,
    "capped_score": 0.99,
    "biased_score": 0.999,
    "alibi_score": 0.999,
    "biased_alibi_score": 0.99,
    "argument_subtract": 0.999,
    "argument_subtract_exp2": 0.999,
    "argument_fma": 0.84,
    "argument_lost": 0.84,
    "exponential_error": 0.98,
    "polynomial_exp2": 0.85,
}


@pytest.mark.parametrize("name", TRIALS)
def test_the_bound_is_nearly_reached(name: str) -> None:
    assert median(share(trial, bound_of(name)) for trial in trials(name, True, 300)) >= TIGHTNESS[name]


@pytest.mark.parametrize(
    ("name", "argument"), [(name, n) for name in TRIALS for n in range(len(trials(name, True, 1)[0][1]))]
)
def test_a_bound_with_half_of_an_argument_is_exceeded(name: str, argument: int) -> None:
    """No term can be left out, no constant halved."""

    def weaker(*arguments: Any) -> Any:
        return bound_of(name)(*(x / Fraction(2) if n == argument else x for n, x in enumerate(arguments)))

    cases = trials(name, True, 300) + trials(name, False, 300)
    assert any(error > weaker(*arguments) for error, arguments in cases)


# Further ways to be too small: what the proofs were needed for

WEAKER: dict[str, tuple[str, Callable[..., Any]]] = {
    "no n in a dot product": ("dot_any_order", lambda n, u, size, h: dot.dot_any_order(1, u, size, h)),
    "additions lose nothing": ("dot_any_order", lambda n, u, size, h: dot.dot_any_order(n, u, size, h / 2)),
    "losses do not grow": ("dot_any_order", lambda n, u, size, h: n * u * size + 2 * n * h),
    "the scale is exact": ("scaled_score", lambda e, s, c, a, u, k, h: scores.scaled_score(e, s, c, a, u, 0 * k, h)),
    "errors are not rounded again": ("scaled_score", lambda e, s, c, a, u, k, h: c * e + (a + u + k) * s + (1 + c) * h),
    "tanh is flat": ("capped_score", lambda e, slope, *rest: scores.capped_score(e, slope**2, *rest)),
    "offsets cost nothing": ("argument_fma", lambda d, m, u, k: exponential.argument_subtract_exp2(d, u, k)),
    "a relative error is a log-error": ("exponential_error", lambda r, h: r + h),
    "evaluation is exact": ("polynomial_exp2", lambda p, v, u: compound(p, u)),
}


@pytest.mark.parametrize("fault", WEAKER)
def test_a_weaker_bound_is_exceeded(fault: str) -> None:
    name, weaker = WEAKER[fault]
    cases = trials(name, True, 300) + trials(name, False, 300)
    assert any(error > weaker(*arguments) for error, arguments in cases)
