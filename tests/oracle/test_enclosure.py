"""An enclosure contains what it should to the last bit, and rounds only where it can."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp, mpf

from refattn.numbers import formats
from refattn.oracle.enclosure import Enclosure
from refattn.oracle.exact.dyadic import Dyadic, round_nearest

FINITE = st.floats(allow_nan=False, allow_infinity=False)
MIDDLING = st.floats(-1e6, 1e6)
TAIL = st.floats(-0.5, 0.5)


def one(mid: float, rad: float, low: float | None = None) -> Enclosure:
    return Enclosure(np.array([mid]), np.array([rad]), None if low is None else np.array([low]))


def with_tail(mid: float, tail: float) -> tuple[float, float]:
    """mid and a low part of at most half an ulp of it."""
    return mid, tail * float(np.spacing(np.abs(mid)))


@given(FINITE, FINITE, st.floats(0.0, allow_infinity=False))
def test_containment_is_exact(x: float, mid: float, rad: float):
    inside = abs(Fraction(x) - Fraction(mid)) <= Fraction(rad)
    assert one(mid, rad).contains(x).item() == inside
    assert one(mid, rad).contains(mpf(x)).item() == inside


def test_containment_sees_one_unit_beyond_float64_at_any_working_precision():
    with mp.workprec(500):
        edge = 1 + mpf(2) ** -80 + mpf(2) ** -300
        beyond = edge + mpf(2) ** -450
    enclosure = one(1.0, 2.0**-300, 2.0**-80)
    with mp.workprec(20):
        assert enclosure.contains(edge).item()
        assert not enclosure.contains(beyond).item()


@pytest.mark.parametrize("sign", [1, -1])
def test_exponents_far_beyond_float64_compare_at_once(sign):
    tiny, huge = sign * mpf(2) ** -(10**30), sign * mpf(2) ** (10**30)
    assert not one(0.0, 0.0).contains(tiny).item()
    assert one(0.0, 2.0**-1074).contains(tiny).item()
    assert one(-sign * 2.0**-1074, 2.0**-1074).contains(0.0).item()
    assert not one(-sign * 2.0**-1074, 2.0**-1074).contains(tiny).item()
    assert not one(0.0, 1.7e308).contains(huge).item()
    assert one(0.0, math.inf).contains(huge).item()


@pytest.mark.parametrize("mid", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("x", [math.nan, math.inf, -math.inf, 1.0])
def test_a_special_midpoint_contains_itself_alone(mid, x):
    same = mid == x or (math.isnan(mid) and math.isnan(x))
    assert one(mid, 0.0).contains(x).item() == same
    assert one(mid, 0.0).contains(mpf(x)).item() == same
    assert one(mid, 0.0).distance(np.array([x])).item() == (0.0 if same else math.inf)
    assert not one(1.0, 1.0).contains(mid).item()


def test_nothing_known_contains_everything():
    enclosure = Enclosure(np.zeros(4), np.full(4, math.inf))
    assert enclosure.contains([math.nan, math.inf, 1e300, 0.0]).all()
    assert not enclosure.correctly_rounded(formats.bf16)[1].any()


@given(FINITE, MIDDLING, TAIL)
def test_the_distance_is_rounded_up_a_little(x: float, mid: float, tail: float):
    mid, low = with_tail(mid, tail)
    exact = abs(Fraction(x) - Fraction(mid) - Fraction(low))
    distance = one(mid, 0.0, low).distance(np.array([x])).item()
    assert math.isinf(distance) or exact <= Fraction(distance) <= exact * (1 + Fraction(2) ** -48)


def nearest(x: Fraction, format: formats.Format) -> float:
    exponent = x.denominator.bit_length() - 1
    return round_nearest(Dyadic(x.numerator, -exponent), format)


@given(MIDDLING, TAIL, st.floats(0.0, 1e6), st.floats(-1.0, 1.0), st.sampled_from(formats.ALL))
def test_what_is_decided_is_right_for_every_number_inside(mid, tail, rad, where, format):
    mid, low = with_tail(mid, tail)
    values, decided = one(mid, rad, low).correctly_rounded(format)
    inside = Fraction(mid) + Fraction(low) + Fraction(rad) * Fraction(where)
    if decided.item():
        np.testing.assert_equal(abs(values.item()), abs(nearest(inside, format)))


@given(MIDDLING, TAIL, st.floats(0.0, 1e6), st.sampled_from(formats.ALL))
def test_what_is_not_decided_needs_a_narrower_radius(mid, tail, rad, format):
    """The ends are pushed outwards by one rounding of low + rad, so by at most 2**-52 of its size or 2**-1074."""
    mid, low = with_tail(mid, tail)
    _, decided = one(mid, rad, low).correctly_rounded(format)
    if not decided.item():
        reach = Fraction(rad) + (abs(Fraction(low)) + Fraction(rad)) / 2**52 + Fraction(2) ** -1074
        ends = [nearest(Fraction(mid) + Fraction(low) + sign * reach, format) for sign in (-1, 1)]
        assert ends[0] != ends[1]


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_overflow_of_a_format_without_infinity_is_decided(sign):
    values, decided = one(sign * 1000.0, 1.0).correctly_rounded(formats.e4m3)
    assert np.isnan(values.item())
    assert decided.item()
    assert not one(0.0, 1000.0).correctly_rounded(formats.e4m3)[1].item()


def test_the_low_part_breaks_a_tie():
    middle = 1.0 + 2.0**-8
    for low, wanted in ((2.0**-70, 1.0 + 2.0**-7), (-(2.0**-70), 1.0), (0.0, 1.0)):
        values, decided = one(middle, 0.0, low).correctly_rounded(formats.bf16)
        assert (values.item(), decided.item()) == (wanted, True)
    assert not one(middle, 2.0**-70, 2.0**-71).correctly_rounded(formats.bf16)[1].item()


def test_an_index_takes_all_three_parts():
    whole = Enclosure(np.arange(4.0), np.arange(4.0) / 8, np.arange(4.0) / 2**60)
    part = whole[1:3]
    assert part.shape == (2,)
    np.testing.assert_array_equal(part.rad, [1 / 8, 2 / 8])
    np.testing.assert_array_equal(part.tail(), np.array([1.0, 2.0]) / 2**60)
    np.testing.assert_array_equal(Enclosure(np.ones(2), np.ones(2))[:1].tail(), [0.0])
