"""Elementwise arithmetic of the interpreter: one rounding an operation, NaN, signed zeros, subnormals."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from refattn_interpreter import arithmetic
from tests.support.gpu.number_cases import (
    BF16,
    E4M3,
    E5M2,
    FP16,
    FP32,
    FP64,
    NARROW,
    drawn,
    every,
    pairs,
    rounded,
    same,
    special,
    wide,
)

OPERATIONS = [np.add, np.subtract, np.multiply, np.divide]
ALL = (*NARROW, FP32, FP64)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.__name__)
@pytest.mark.parametrize("dtype", [BF16, FP16], ids=str)
def test_16_bit_operations_round_once(operation: np.ufunc, dtype: np.dtype) -> None:
    a, b = pairs(dtype, 20000, seed=1)
    with np.errstate(all="ignore"):
        # Float64 has over twice the precision and two bits, so rounding to it first does no harm.
        exact = operation(a.astype(np.float64), b.astype(np.float64))
    same(arithmetic.rounded_once(operation, a, b), rounded(exact, dtype))


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.__name__)
@pytest.mark.parametrize("dtype", [E4M3, E5M2], ids=["e4m3", "e5m2"])
def test_every_pair_of_fp8_numbers(operation: np.ufunc, dtype: np.dtype) -> None:
    a, b = (each.ravel() for each in np.meshgrid(every(dtype), every(dtype)))
    with np.errstate(all="ignore"):
        exact = operation(a.astype(np.float64), b.astype(np.float64))
    same(arithmetic.rounded_once(operation, a, b), rounded(exact, dtype))


@pytest.mark.parametrize("dtype", [FP32, FP64], ids=str)
def test_wide_operations_are_those_of_the_processor(dtype: np.dtype) -> None:
    a, b = pairs(dtype, 2000, seed=2)
    with np.errstate(all="ignore"):
        same(arithmetic.rounded_once(np.multiply, a, b), a * b)


@pytest.mark.parametrize("dtype", ALL, ids=str)
@pytest.mark.parametrize("propagate", [False, True])
def test_maximum_and_minimum(dtype: np.dtype, propagate: bool) -> None:
    a, b = pairs(dtype, 2000, seed=3)
    expected = [maximum(*pair, propagate) for pair in zip(wide(a).tolist(), wide(b).tolist(), strict=True)]
    same(arithmetic.larger(a, b, propagate), np.array(expected).astype(dtype))
    expected = [-maximum(-x, -y, propagate) for x, y in zip(wide(a).tolist(), wide(b).tolist(), strict=True)]
    same(arithmetic.smaller(a, b, propagate), np.array(expected).astype(dtype))


def maximum(x: float, y: float, propagate: bool) -> float:
    """max of PTX, by cases."""
    if x != x or y != y:
        other = y if x != x else x
        return float("nan") if propagate else other
    if x == y == 0:
        return x if np.copysign(1, x) > 0 else y
    return max(x, y)


@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_comparisons_are_those_of_the_numbers(dtype: np.dtype) -> None:
    a, b = pairs(dtype, 2000, seed=4)
    for operation in (np.less, np.less_equal, np.equal, np.not_equal, np.greater, np.greater_equal):
        assert np.array_equal(arithmetic.compared(operation, a, b), operation(wide(a), wide(b)))


@pytest.mark.parametrize("dtype", [BF16, FP16, FP32, FP64], ids=str)
def test_a_fused_multiply_add_rounds_once(dtype: np.dtype) -> None:
    a, b = pairs(dtype, 1500, seed=6)
    with np.errstate(all="ignore"):
        # Near -a b the sum is what the product's rounding leaves out, and half of it makes ties.
        c = np.concatenate([drawn(dtype, len(a), seed=7)[: len(a) // 2], (-(a * b))[len(a) // 2 :]])
        plain = wide(a) * wide(b) + wide(c)
    found = arithmetic.fused(a, b, c)
    for x, y, z, actual, loose in zip(wide(a), wide(b), wide(c), wide(found), plain, strict=True):
        if np.isfinite([x, y, z]).all():
            exact = Fraction(x) * Fraction(y) + Fraction(z)
            assert nearest(exact, actual, dtype), (x, y, z, actual)
            assert exact or np.signbit(actual) == np.signbit(loose)
        else:
            assert actual == loose or (np.isnan(actual) and np.isnan(loose))


def nearest(exact: Fraction, actual: float, dtype: np.dtype) -> bool:
    """No neighbour in the format is nearer, and a tie has gone to the even number."""
    value = np.array([actual]).astype(dtype)
    with np.errstate(all="ignore"):
        neighbours = [wide(np.nextafter(value, np.array(towards).astype(dtype)))[0] for towards in (-np.inf, np.inf)]
    if np.isinf(actual):
        inner = next(each for each in neighbours if np.isfinite(each))
        step = abs(inner - wide(np.nextafter(np.array([inner]).astype(dtype), np.zeros(1, dtype)))[0])
        return abs(exact) >= Fraction(abs(inner)) + Fraction(step) / 2
    gap = abs(exact - Fraction(actual))
    gaps = [abs(exact - Fraction(each)) for each in neighbours if np.isfinite(each)]
    even = value.view(f"u{dtype.itemsize}")[0] % 2 == 0
    return all(gap < each or (gap == each and even) for each in gaps)


def test_a_remainder_has_a_rounded_quotient() -> None:
    a = np.array([5.5, -5.5, 1e10, 7.0, np.inf, 3.0], np.float32)
    b = np.array([2.0, 2.0, 3.0, np.inf, 2.0, 0.0], np.float32)
    found = arithmetic.remainder(a, b)
    quotient = np.trunc(np.float32(1e10) / np.float32(3))
    assert found[:4].tolist() == [1.5, -1.5, float(Fraction(1e10) - Fraction(float(quotient)) * 3), 7.0]
    assert np.isnan(found[4:]).all()


def test_flushing_keeps_the_sign_and_every_normal_number() -> None:
    values = np.concatenate([special(FP32), drawn(FP32, 2000, seed=8)])
    found = arithmetic.flushed(values)
    subnormal = (np.abs(values) < np.finfo(np.float32).tiny) & (values != 0)
    assert subnormal.any()
    assert np.array_equal(np.signbit(found), np.signbit(values))
    assert np.array_equal(found[subnormal], np.zeros(subnormal.sum()))
    same(found[~subnormal], values[~subnormal])
