"""refattn.models.exp2: the coefficients are the best ones, and the evaluation stays within the declared error."""

from __future__ import annotations

import inspect
import itertools
import math

import mpmath
import numpy as np
import pytest
from mpmath import mp, mpf

from refattn.contract.arithmetic import Stage
from refattn.models.exp2 import COEFFICIENTS, EVALUATION_ULPS, MAX_RELATIVE_ERROR, polynomial_exp2
from refattn.models.rounding import Rounder
from refattn.numbers import formats

FP32 = Rounder(Stage(formats.fp32))
DEGREES = sorted(COEFFICIENTS)


def relative_error(degree: int, x: mpf) -> mpf:
    """p(x) / 2**x - 1."""
    return mp.fsum(mpf(c) * x**k for k, c in enumerate(COEFFICIENTS[degree])) / mpmath.power(2, x) - 1


def polynomial_roots(coefficients: list[mpf]) -> list[mpf]:
    """The polynomial whose coefficient of x**k is the k-th: mpmath 1.3 takes them in the opposite order, and 1.4 warns
    unless it is told which way.
    """
    ascending = "asc" in inspect.signature(mp.polyroots).parameters
    order = {"asc": True} if ascending else {}
    return mp.polyroots(coefficients if ascending else coefficients[::-1], 200, extraprec=200, **order)


def extrema(degree: int) -> list[mpf]:
    """The relative error at 1 and where its derivative vanishes: p' = log(2) p there, a polynomial. At 0 it is 0."""
    coefficients = [mpf(c) for c in COEFFICIENTS[degree]]
    slopes = [(k + 1) * c for k, c in enumerate(coefficients[1:])] + [mpf(0)]
    roots = polynomial_roots([s - mp.log(2) * c for s, c in zip(slopes, coefficients, strict=True)])
    inside = sorted(mp.re(r) for r in roots if abs(mp.im(r)) < mpf(2) ** -100 and 0 <= mp.re(r) <= 1)
    return [relative_error(degree, x) for x in (*inside, mpf(1))]


@pytest.mark.parametrize("degree", DEGREES)
def test_the_stored_error_is_the_largest_one(degree: int) -> None:
    with mp.workprec(200):
        largest = max(abs(e) for e in extrema(degree))
        assert largest <= mpf(MAX_RELATIVE_ERROR[degree]) <= largest * mpf(1.001)


@pytest.mark.parametrize("degree", DEGREES)
def test_no_polynomial_with_constant_term_one_is_much_better(degree: int) -> None:
    """The error alternates degree + 1 times: its smallest extremum bounds what the best can do (de la Vallee Poussin).

    Rounding the coefficients to fp32 moves the error by at most degree * 2**-24.
    """
    with mp.workprec(200):
        errors = extrema(degree)
        assert len(errors) == degree + 1
        assert all(a * b < 0 for a, b in itertools.pairwise(errors))
        spread = max(map(abs, errors)) - min(map(abs, errors))
        assert spread <= 2 * degree * mpf(2) ** -24


@pytest.mark.parametrize("degree", DEGREES)
def test_coefficients_are_fp32_numbers(degree: int) -> None:
    assert formats.fp32.contains(COEFFICIENTS[degree]).all()


@pytest.mark.parametrize("degree", DEGREES)
@pytest.mark.parametrize("rounding", ["nearest", "truncate"])
def test_evaluation_keeps_to_its_ulps_down_to_the_smallest_subnormal(degree: int, rounding: str) -> None:
    rng = np.random.default_rng(degree)
    x = np.concatenate(
        [-rng.exponential(20.0, 300), rng.uniform(-150, -125, 100), rng.uniform(0, 8, 100), -(2.0 ** -np.arange(40))]
    )
    x = formats.fp32.round(x)
    powers = polynomial_exp2(x, degree, Rounder(Stage(formats.fp32, rounding)))
    u = formats.fp32.unit_roundoff
    lost = formats.fp32.smallest_subnormal * (1 if rounding == "truncate" else mpf("0.5"))
    with mp.workprec(120):
        for argument, value in zip(x, powers, strict=True):
            exact = mpmath.power(2, mpf(float(argument)))
            allowed = exact * (mpf(MAX_RELATIVE_ERROR[degree]) + mpf(EVALUATION_ULPS) * 2 * u) * (1 + mpf(2) ** -20)
            below = exact < formats.fp32.smallest_normal
            assert abs(mpf(float(value)) - exact) <= allowed + (lost if below else 0), argument


@pytest.mark.parametrize("degree", DEGREES)
def test_integers_give_exact_powers_and_underflow_ends_in_zero(degree: int) -> None:
    n = np.arange(-149.0, 9.0)
    assert np.array_equal(polynomial_exp2(n, degree, FP32), np.ldexp(1.0, n.astype(int)))
    assert polynomial_exp2([-151.0, -1e30, -math.inf], degree, FP32).tolist() == [0.0, 0.0, 0.0]


def test_infinity_and_nan_pass_through() -> None:
    powers = polynomial_exp2([math.inf, -math.inf, math.nan], 3, FP32)
    assert powers[0] == math.inf
    assert powers[1] == 0.0
    assert np.isnan(powers[2])
