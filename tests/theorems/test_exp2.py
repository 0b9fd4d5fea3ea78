"""The computed part of the proof of polynomial exponentials: each polynomial's error against 2^f and the error of its
evaluation, both enclosed on the whole of [0, 1] by intervals.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from mpmath import mp

from refattn.bounds.theorems.exponential import polynomial_exp2
from refattn.contract.arithmetic import Stage
from refattn.models.exp2 import COEFFICIENTS, EVALUATION_ULPS, MAX_RELATIVE_ERROR
from refattn.numbers import formats
from tests.support.exact_steps import transcendental

DEGREES = sorted(COEFFICIENTS)
FP32 = formats.fp32


def horner(coefficients: list[Fraction], x: Fraction) -> list[Fraction]:
    """The partial results of Horner's rule, first to last; the last is the polynomial's value."""
    partial = [coefficients[-1]]
    for coefficient in reversed(coefficients[:-1]):
        partial.append(partial[-1] * x + coefficient)
    return partial


def coefficients_of(degree: int) -> list[Fraction]:
    return [Fraction(c) for c in COEFFICIENTS[degree]]


# The polynomial: p / 2^f rises or falls wherever p' - log(2) p has no zero, and so on down to a constant

LOG_2 = transcendental(mp.ln, Fraction(2))
TINY = Fraction(1, 2**70)


def sign_changes(coefficients: list[Fraction]) -> list[tuple[Fraction, Fraction]]:
    """Intervals of length at most TINY that hold all of a polynomial's changes of sign on [0, 1], in order."""
    if len(coefficients) == 1:
        return []
    turns = sign_changes([n * c for n, c in enumerate(coefficients)][1:])
    changes = list(turns)
    ends = [Fraction(0), *(end for turn in turns for end in turn), Fraction(1)]
    for low, high in zip(ends[::2], ends[1::2], strict=True):
        # Monotonic from `low` to `high`.
        rising = horner(coefficients, low)[-1] < 0
        if rising == (horner(coefficients, high)[-1] < 0):
            continue
        while high - low > TINY:
            middle = (low + high) / 2
            low, high = (middle, high) if (horner(coefficients, middle)[-1] < 0) == rising else (low, middle)
        changes.append((low, high))
    return sorted(changes)


def relative_error(coefficients: list[Fraction], x: Fraction) -> Fraction:
    """|p(x) / 2^x - 1|."""
    return abs(horner(coefficients, x)[-1] / transcendental(lambda y: mp.power(2, y), x) - 1)


def largest_relative_error(coefficients: list[Fraction]) -> Fraction:
    """Above |p / 2^f - 1| on [0, 1]: its derivative (p' - log(2) p) / 2^f is below 4 everywhere."""
    slopes = [(n + 1) * c for n, c in enumerate(coefficients[1:])] + [Fraction(0)]
    turns = sign_changes([slope - LOG_2 * c for slope, c in zip(slopes, coefficients, strict=True)])
    ends = [Fraction(0), *(end for turn in turns for end in turn), Fraction(1)]
    return max(relative_error(coefficients, end) for end in ends) + 4 * TINY


@pytest.mark.parametrize("degree", DEGREES)
def test_the_polynomial_is_as_near_to_2_to_the_f_as_declared(degree: int) -> None:
    largest = largest_relative_error(coefficients_of(degree))
    assert (
        Fraction(MAX_RELATIVE_ERROR[degree]) / Fraction(1001, 1000) <= largest <= Fraction(MAX_RELATIVE_ERROR[degree])
    )


# Its evaluation: all coefficients are positive, so partial results grow with f


def spacing(x: Fraction) -> Fraction:
    """The spacing of fp32 at a number that rounding has not moved out of its binade by more than 2^-20."""
    return Fraction(float(FP32.ulp(float(x * (1 + Fraction(1, 2**20))))))


def largest_evaluation_error(degree: int, stage: Stage) -> tuple[Fraction, Fraction]:
    """Relative error of Horner's rule, and the error of the reduced argument in nats, where they are largest together.

    `high` is rounded to at most 1; below 1 the spacing is at most 2^-24.
    """
    share = Fraction(1, 2) if stage.rounding == "nearest" else Fraction(1)
    coefficients = coefficients_of(degree)
    worst = Fraction(0), Fraction(0)
    for low, high in pairwise(Fraction(n, 1024) for n in range(1025)):
        rounded = [share * spacing(each) for each in horner(coefficients, high)[1:]]
        # Each later step multiplies an error of a partial result by f.
        total = sum(error * high**after for after, error in enumerate(reversed(rounded)))
        evaluation = total / horner(coefficients, low)[-1] * (1 + Fraction(1, 2**20))
        worst = max(worst, (evaluation, share * min(spacing(high), Fraction(1, 2**24)) * LOG_2), key=sum)
    return worst


@pytest.mark.parametrize("degree", DEGREES)
@pytest.mark.parametrize("rounding", ["nearest", "truncate"])
def test_the_evaluation_is_as_good_as_declared(degree: int, rounding: str) -> None:
    evaluation, reduction = largest_evaluation_error(degree, Stage(FP32, rounding))
    polynomial = largest_relative_error(coefficients_of(degree))
    error = polynomial_exp2(polynomial, evaluation, reduction)
    assert error <= Fraction(MAX_RELATIVE_ERROR[degree]) + Fraction(EVALUATION_ULPS) * 2 * Fraction(FP32.unit_roundoff)
