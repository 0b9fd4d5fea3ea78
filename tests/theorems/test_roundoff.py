"""The factors of refattn/numbers/roundoff.py: no errors beyond them, and errors that reach them (proofs/README.md)."""

from __future__ import annotations

import os
from collections.abc import Callable
from fractions import Fraction
from random import Random

import mpmath
import pytest

from refattn.numbers.roundoff import compound, growth, log_error, log_growth, rounded
from tests.support.float64_evaluation import EVALUATION

CASES = int(os.environ.get("REFATTN_THEOREM_CASES", "3000"))
# The share of each bound that the worst known example reaches.
TIGHTNESS = {"growth": 0.999, "log_growth": 0.999, "log_error": 0.99, "compound": 0.999, "rounded": 0.999}

# An error, the bound, and the bound with one of its arguments made smaller.
Trial = tuple[mpmath.mpf, mpmath.mpf, mpmath.mpf]


def real(x: Fraction) -> mpmath.mpf:
    return mpmath.mpf(x.numerator) / x.denominator


def size(random: Random) -> Fraction:
    return Fraction(random.randint(1, 999), random.choice([1000, 2**16, 2**24]))


def part(random: Random) -> Fraction:
    """Of an error within its limits: often all of it, either way."""
    return random.choice([Fraction(-1), Fraction(1), Fraction(random.randint(-99, 99), 100)])


def of_growth(random: Random) -> Trial:
    """A number times e^t, and how far that is from it."""
    t = size(random)
    return abs(mpmath.expm1(real(t * part(random)))), growth(float(t)), growth(float(t / 2))


def of_log_growth(random: Random) -> Trial:
    """log(y / x) where y - x is within d of both."""
    d = size(random)
    y = random.choice([1 / (1 + d), 1 + d / (1 + d), 1 + d / (1 + d) * part(random)])
    return abs(mpmath.log1p(real(y - 1))), log_growth(float(d)), log_growth(float(d / 2))


def of_log_error(random: Random) -> Trial:
    r = size(random)
    return abs(mpmath.log1p(real(r * part(random)))), real(log_error(r)), real(log_error(r / 2))


def of_compound(random: Random) -> Trial:
    units = [size(random) for _ in range(random.randint(1, 4))]
    sign = random.choice([Fraction(1), part(random)])
    product = Fraction(1)
    for unit in units:
        product *= 1 + sign * unit
    return real(abs(product - 1)), real(compound(*units)), real(compound(units[0] / 2, *units[1:]))


def of_rounded(random: Random) -> Trial:
    exact, error, relative, lost = (size(random) for _ in range(4))
    computed = exact + error * part(random)
    result = computed + (relative * abs(computed) + lost) * part(random)
    return (
        real(abs(result - exact)),
        real(rounded(error, exact, relative, lost)),
        real(rounded(error, exact, relative / 2, lost)),
    )


SEARCHES: dict[str, Callable[[Random], Trial]] = {
    "growth": of_growth,
    "log_growth": of_log_growth,
    "log_error": of_log_error,
    "compound": of_compound,
    "rounded": of_rounded,
}


@pytest.mark.parametrize("name", TIGHTNESS)
def test_no_error_is_beyond_its_bound_and_one_reaches_it(name: str) -> None:
    random = Random(0)
    trials = [SEARCHES[name](random) for _ in range(CASES)]
    shares = [error / bound for error, bound, _ in trials]
    assert TIGHTNESS[name] <= max(shares) <= 1 + EVALUATION


@pytest.mark.parametrize("name", TIGHTNESS)
def test_a_smaller_bound_is_exceeded(name: str) -> None:
    random = Random(0)
    assert any(error > smaller for error, _, smaller in (SEARCHES[name](random) for _ in range(CASES)))
