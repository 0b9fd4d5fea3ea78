"""refattn.models.rounding: one rounding an operation."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refattn.contract.arithmetic import Stage
from refattn.models import Rounder
from refattn.numbers import formats

FORMATS = (formats.e4m3, formats.e5m2, formats.bf16, formats.fp16, formats.tf32, formats.fp32, formats.fp64)


@pytest.mark.parametrize("format", FORMATS, ids=lambda f: f.name)
@pytest.mark.parametrize("rounding", ["nearest", "truncate"])
@given(x=st.floats())
def test_rounding_is_that_of_the_format(format: formats.Format, rounding: str, x: float) -> None:
    with np.errstate(all="ignore"):
        rounded = Rounder(Stage(format, rounding))(x)
    np.testing.assert_array_equal(rounded, format.round(x, rounding))


def test_values_of_fp64_are_rounded_to_bf16_once() -> None:
    """1 + 2**-8 + 2**-40 lies above a midpoint; by way of fp32 it would fall on it, and go down to even."""
    assert float(Rounder(Stage(formats.bf16))(1 + 2.0**-8 + 2.0**-40)) == 1 + 2.0**-7


def test_subnormal_results_are_flushed_with_their_sign() -> None:
    flushed = Rounder(Stage(formats.fp16), flush_to_zero=True)(np.array([-(2.0**-15), 2.0**-14, 2.0**-20]))
    assert flushed.tolist() == [0.0, 2.0**-14, 0.0]
    assert np.signbit(flushed).tolist() == [True, False, False]


@pytest.mark.parametrize("format", [formats.bf16, formats.fp16, formats.fp32], ids=lambda f: f.name)
@given(a=st.integers(-128, 128), b=st.integers(-128, 128), c=st.integers(-(2**12), 2**12), e=st.integers(0, 30))
def test_fma_rounds_once(format: formats.Format, a: int, b: int, c: int, e: int) -> None:
    x, y, z = (float(format.round(n)) for n in (a, b, c))
    z *= 2.0**-e
    rounded = Fraction(float(Rounder(Stage(format)).fma(x, y, z)))
    exact = Fraction(x) * Fraction(y) + Fraction(z)
    neighbours = [Fraction(float(f(float(rounded)))) for f in (format.next_down, format.next_up)]
    assert all(abs(rounded - exact) <= abs(other - exact) for other in neighbours)


@given(a=st.floats(-1e8, 1e8), b=st.floats(-1e8, 1e8))
def test_fma_in_fp64_recovers_the_rounding_error_of_a_product(a: float, b: float) -> None:
    product = a * b
    exact = Fraction(a) * Fraction(b) - Fraction(product)
    computed = Fraction(float(Rounder(Stage(formats.fp64)).fma(a, b, -product)))
    assert abs(computed - exact) <= abs(exact) * Fraction(1, 2**50) + Fraction(1, 2**1000)


@pytest.mark.parametrize("rounding", ["nearest", "truncate"])
def test_fma_of_an_infinity_is_that_infinity(rounding: str) -> None:
    rounder = Rounder(Stage(formats.fp32, rounding))
    with np.errstate(invalid="ignore"):
        assert rounder.fma(-np.inf, 1.5, 3.0) == -np.inf
        assert rounder.fma(2.0, 1.5, np.inf) == np.inf


def test_a_narrow_accumulator_stalls_and_a_wide_one_does_not() -> None:
    ones = np.ones((1, 4096))
    assert float(Rounder(Stage(formats.fp16)).sum(ones)[0]) == 2048.0
    assert float(Rounder(Stage(formats.fp32)).sum(ones)[0]) == 4096.0
    assert float(Rounder(Stage(formats.bf16)).product(ones, ones.T)[0, 0]) == 256.0


@given(seed=st.integers(0, 2**32 - 1), name=st.sampled_from(["bf16", "fp16", "tf32", "fp32"]), truncate=st.booleans())
def test_products_err_by_no_more_than_gamma(seed: int, name: str, truncate: bool) -> None:
    stage = Stage(formats.get(name), "truncate" if truncate else "nearest")
    rng = np.random.default_rng(seed)
    a, b = (formats.bf16.round(rng.standard_normal(shape)) for shape in ((2, 3, 20), (2, 20, 4)))
    product = Rounder(stage).product(a, b)
    bound = 20 * stage.unit / (1 - 20 * stage.unit) * (np.abs(a) @ np.abs(b))
    # Products of bf16 numbers are exact in float64, and its own error is 2**28 times smaller than fp32's.
    assert (np.abs(product - a @ b) <= bound * (1 + 2.0**-20)).all()
