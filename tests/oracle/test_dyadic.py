"""Numbers of any length round to the nearest number of a format, and intervals say what they decide."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refattn.numbers import formats
from refattn.oracle.exact.dyadic import TIE_BITS, Dyadic, round_interval, round_intervals, round_nearest

FORMATS = st.sampled_from(formats.ALL)


def moved(x: float, sign: int, bits: int) -> Dyadic:
    """x plus sign * 2**-bits of its last place."""
    man, exp = Dyadic.of(x)
    return Dyadic((man << bits) + sign, exp - bits)


@given(st.floats(allow_nan=False, allow_infinity=False), FORMATS)
def test_float64_numbers_round_as_the_format_rounds_them(x: float, format: formats.Format):
    # A Dyadic zero has no sign.
    np.testing.assert_equal(round_nearest(Dyadic.of(x), format), float(format.round(x + 0.0)))


@given(st.integers(1, 2**6), st.integers(-200, 200), FORMATS, st.sampled_from([-1, 0, 1]), st.booleans())
def test_the_last_of_many_bits_breaks_a_tie(man, exponent, format, sign, negative):
    low = float(format.round(math.ldexp(man, exponent)))
    high = float(format.next_up(low))
    if not math.isfinite(low) or not math.isfinite(high) or math.isinf(2 * high):
        return
    middle = Dyadic.of(low).plus(Dyadic.of(high))
    exact = Dyadic((middle.man << 500) + sign, middle.exp - 501)
    even = low if (np.float64(low) / float(format.ulp(low))) % 2 == 0 else high
    wanted = {-1: low, 0: even, 1: high}[sign]
    if negative:
        exact, wanted = Dyadic(-exact.man, exact.exp), -wanted
    assert round_nearest(exact, format) == wanted


@pytest.mark.parametrize("format", formats.ALL, ids=lambda f: f.name)
def test_overflow_starts_half_an_ulp_above_the_largest_number(format):
    top = Dyadic.of(format.max_finite)
    ulp = Dyadic(1, format.emax - format.precision + 1)
    half = top.plus(Dyadic(ulp.man, ulp.exp - 1))
    below = half.plus(Dyadic(-1, ulp.exp - 300))
    assert round_nearest(below, format) == format.max_finite
    above = round_nearest(half.plus(Dyadic(1, ulp.exp - 300)), format)
    assert math.isnan(above) if not format.has_infinity else above == math.inf


@pytest.mark.parametrize("format", formats.ALL, ids=lambda f: f.name)
def test_underflow_ends_at_half_the_smallest_number(format):
    half = Dyadic.of(format.smallest_subnormal)
    half = Dyadic(half.man, half.exp - 1)
    assert round_nearest(half, format) == 0.0
    assert round_nearest(half.plus(Dyadic(1, half.exp - 300)), format) == format.smallest_subnormal
    assert math.copysign(1.0, round_nearest(Dyadic(-half.man, half.exp), format)) == -1.0
    assert round_nearest(Dyadic(1, -(10**30)), format) == 0.0


def test_an_interval_decides_a_tie_only_when_it_is_a_point():
    middle = 1.0 + 2.0**-8
    point = Dyadic.of(middle)
    assert round_interval(point, point, formats.bf16) == (1.0, True, False)
    narrow = (moved(middle, -1, TIE_BITS), moved(middle, 1, TIE_BITS))
    assert round_interval(*narrow, formats.bf16) == (1.0, False, True)
    assert round_interval(*(Dyadic(-x.man, x.exp) for x in reversed(narrow)), formats.bf16) == (-1.0, False, True)
    odd = 1.0 + 3 * 2.0**-8
    assert round_interval(moved(odd, -1, TIE_BITS), moved(odd, 1, TIE_BITS), formats.bf16) == (1 + 2.0**-6, False, True)
    wide = (moved(middle, -1, TIE_BITS - 20), moved(middle, 1, TIE_BITS - 20))
    assert round_interval(*wide, formats.bf16)[1:] == (False, False)


def test_intervals_about_zero_are_decided_once_they_underflow():
    assert round_interval(Dyadic(-1, -2000), Dyadic(1, -2000), formats.fp64)[1]
    assert round_interval(Dyadic(-1, -(10**30)), Dyadic(1, 0), formats.fp64)[1:] == (False, False)
    assert round_interval(Dyadic(1, -(10**30)), Dyadic(1, 0), formats.fp64)[1:] == (False, False)


def test_unknown_ends_decide_nothing():
    ends = np.full(3, None, dtype=object)
    ends[0] = Dyadic(1, 0)
    values, decided, ties = round_intervals(ends, ends, formats.fp16)
    np.testing.assert_array_equal(values, [1.0, 0.0, 0.0])
    np.testing.assert_array_equal(decided, [True, False, False])
    assert not ties.any()
