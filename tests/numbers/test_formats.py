"""Formats: rounding, overflow, neighbours, ulps; all of 8 and 16 bits, against bit patterns and exact rationals."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import NamedTuple

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from refattn.errors import InvalidValue
from refattn.numbers import formats
from refattn.numbers.formats import ALL, Format, bf16, e4m3, e5m2, fp16, fp32, fp64, tf32

NARROW = [e4m3, e5m2, bf16, fp16]
ROUNDED = [f for f in ALL if f is not fp64]
FLOAT64_MAX = float(np.finfo(np.float64).max)


class Numbers(NamedTuple):
    """The finite numbers of a format in increasing order, zero once, and whether their last bit is 0."""

    value: np.ndarray
    even: np.ndarray


def every_pattern(fmt: Format) -> np.ndarray:
    unsigned = np.dtype(f"u{fmt.storage.itemsize}")
    patterns = np.arange(2 ** (8 * unsigned.itemsize), dtype=np.uint64).astype(unsigned)
    return patterns.view(fmt.storage)


def finite_numbers(fmt: Format) -> Numbers:
    stored = every_pattern(fmt)
    with np.errstate(invalid="ignore"):  # signalling NaNs
        values = stored.astype(np.float64)
    bits = stored.view(f"u{fmt.storage.itemsize}")
    keep = np.isfinite(values) & ~((values == 0.0) & np.signbit(values))
    order = np.argsort(values[keep])
    return Numbers(values[keep][order], ((bits[keep] & 1) == 0)[order])


def exact_round(fmt: Format, x: Fraction, rounding: str) -> float:
    """Rounding by exact integers, written from IEEE 754's text; x is within the format's range."""
    if x == 0:
        return 0.0
    size = abs(x)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    if size < Fraction(2) ** exponent:
        exponent -= 1
    unit = Fraction(2) ** (max(exponent, fmt.emin) - fmt.precision + 1)
    quotient, rest = divmod(x / unit, 1)
    if rounding == "nearest":
        up = rest > Fraction(1, 2) or (rest == Fraction(1, 2) and quotient % 2 == 1)
    else:
        up = rest > 0 and (rounding == "up" or (rounding == "truncate" and x < 0))
    return float((quotient + up) * unit)


def in_range(fmt: Format) -> st.SearchStrategy[float]:
    top = min(fmt.max_finite, FLOAT64_MAX)
    close_to_a_midpoint = st.builds(
        lambda number, half, nudge: float(fmt.round(number)) + half * float(fmt.ulp(fmt.round(number))) / 2 + nudge,
        st.floats(-top / 4, top / 4),
        st.integers(-3, 3),
        st.sampled_from([0.0, 2.0**-1074, -(2.0**-1074), 2.0**-60, -(2.0**-60)]),
    )
    subnormal = st.floats(-4 * fmt.smallest_normal, 4 * fmt.smallest_normal)
    return st.one_of(st.floats(-top, top), close_to_a_midpoint, subnormal)


@pytest.mark.parametrize("rounding", ["nearest", "truncate", "up", "down"])
@pytest.mark.parametrize("fmt", NARROW, ids=lambda f: f.name)
def test_every_number_is_a_fixed_point(fmt: Format, rounding: formats.Rounding) -> None:
    with np.errstate(invalid="ignore"):
        values = every_pattern(fmt).astype(np.float64)
    rounded = fmt.round(values, rounding)
    np.testing.assert_array_equal(rounded, values)
    ordinary = ~np.isnan(values)
    np.testing.assert_array_equal(np.signbit(rounded[ordinary]), np.signbit(values[ordinary]))
    assert fmt.contains(values).all()


@pytest.mark.parametrize("fmt", NARROW, ids=lambda f: f.name)
def test_points_between_neighbours_round_to_the_nearer_and_ties_to_even(fmt: Format) -> None:
    numbers = finite_numbers(fmt)
    low, high = numbers.value[:-1], numbers.value[1:]
    middle = (low + high) / 2
    np.testing.assert_array_equal(middle - low, high - middle)  # the midpoint itself is exact
    np.testing.assert_array_equal(fmt.round(middle), np.where(numbers.even[:-1], low, high))
    quarter, three_quarters = (low + middle) / 2, (middle + high) / 2
    for below in (quarter, np.nextafter(middle, low), np.nextafter(low, high)):
        np.testing.assert_array_equal(fmt.round(below), low)
        assert not fmt.contains(below).any()
    for above in (three_quarters, np.nextafter(middle, high), np.nextafter(high, low)):
        np.testing.assert_array_equal(fmt.round(above), high)
    for inside in (quarter, middle, three_quarters, np.nextafter(low, high), np.nextafter(high, low)):
        np.testing.assert_array_equal(fmt.round(inside, "up"), high)
        np.testing.assert_array_equal(fmt.round(inside, "down"), low)
        np.testing.assert_array_equal(fmt.round(inside, "truncate"), np.where(inside > 0, low, high))


@pytest.mark.parametrize("fmt", NARROW, ids=lambda f: f.name)
def test_a_result_of_zero_keeps_the_sign(fmt: Format) -> None:
    tiny = fmt.smallest_subnormal / 4
    assert not np.signbit(fmt.round(tiny))
    assert np.signbit(fmt.round(-tiny))
    assert np.signbit(fmt.round(-tiny, "up"))
    assert np.signbit(fmt.round(-0.0))


# ml_dtypes casts float64 by way of float32, which rounds twice: there the points are float32's own.
@pytest.mark.parametrize("fmt", NARROW, ids=lambda f: f.name)
def test_rounding_agrees_with_the_casts_of_the_storage_type(fmt: Format) -> None:
    numbers = finite_numbers(fmt).value
    middle = (numbers[:-1] + numbers[1:]) / 2
    wide = np.float64 if fmt is fp16 else np.float32
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        middle = middle.astype(wide)
        top = wide(fmt.max_finite)
        around = [middle, np.nextafter(middle, wide(np.inf)), np.nextafter(middle, wide(-np.inf))]
        beyond = np.array([top, top * wide(1.01), top * wide(1.1), top * wide(2), wide(np.inf), wide(np.nan)], wide)
        points = np.concatenate([*around, beyond, -beyond])
        cast = points.astype(fmt.storage).astype(np.float64)
    np.testing.assert_array_equal(fmt.round(points), cast)


@pytest.mark.parametrize("fmt", [f for f in ROUNDED if f.has_infinity], ids=lambda f: f.name)
def test_nearest_overflows_to_infinity_from_half_an_ulp_beyond_the_largest(fmt: Format) -> None:
    threshold = fmt.max_finite + float(fmt.ulp(fmt.max_finite)) / 2
    assert fmt.round(np.nextafter(threshold, 0.0)) == fmt.max_finite
    assert fmt.round(threshold) == np.inf
    assert fmt.round(-threshold) == -np.inf
    assert fmt.round(FLOAT64_MAX) == np.inf


def test_e4m3_overflows_to_nan_after_the_tie() -> None:
    assert e4m3.round(464.0) == 448.0
    assert np.isnan(e4m3.round([np.nextafter(464.0, 465.0), -1e300, np.inf, -np.inf])).all()


@pytest.mark.parametrize("fmt", ROUNDED, ids=lambda f: f.name)
@pytest.mark.parametrize("x", [1.5, FLOAT64_MAX], ids=["just beyond", "largest float64"])
def test_directed_rounding_stays_at_the_largest_when_it_points_inwards(fmt: Format, x: float) -> None:
    value = fmt.max_finite * x if x == 1.5 else x
    outside = np.inf if fmt.has_infinity else np.nan
    for rounding, positive, negative in [
        ("truncate", fmt.max_finite, -fmt.max_finite),
        ("up", outside, -fmt.max_finite),
        ("down", fmt.max_finite, -outside),
    ]:
        np.testing.assert_array_equal(fmt.round([value, -value], rounding), [positive, negative])


@pytest.mark.parametrize("fmt", ROUNDED, ids=lambda f: f.name)
def test_infinities_and_nan_stay_where_the_format_has_them(fmt: Format) -> None:
    specials = np.array([np.inf, -np.inf, np.nan])
    expected = specials if fmt.has_infinity else np.full(3, np.nan)
    for rounding in ("nearest", "truncate", "up", "down"):
        np.testing.assert_array_equal(fmt.round(specials, rounding), expected)


@pytest.mark.parametrize("rounding", ["nearest", "truncate", "up", "down"])
@pytest.mark.parametrize("fmt", ROUNDED, ids=lambda f: f.name)
def test_rounding_agrees_with_exact_rationals(fmt: Format, rounding: formats.Rounding) -> None:
    @given(in_range(fmt))
    @example(fmt.smallest_subnormal / 2)
    @example(-fmt.smallest_subnormal / 2)
    @example(np.nextafter(fmt.smallest_normal, 0.0))
    def agrees(x: float) -> None:
        assert fmt.round(x, rounding) == exact_round(fmt, Fraction(x), rounding)

    agrees()


@given(st.floats())
@example(2.0**-1074)
@example(FLOAT64_MAX)
@example(3.4028235677973366e38)
def test_fp32_agrees_with_numpy_casts(x: float) -> None:
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        np.testing.assert_array_equal(fp32.round(x), np.float64(np.float32(np.float64(x))))


@given(st.floats())
def test_fp64_rounds_nothing(x: float) -> None:
    np.testing.assert_array_equal(fp64.round(x), x)
    np.testing.assert_array_equal(fp64.round_sum(x, 0.0), x)


@pytest.mark.parametrize("fmt", ROUNDED, ids=lambda f: f.name)
def test_round_sum_is_one_rounding_of_the_exact_sum(fmt: Format) -> None:
    @given(
        in_range(fmt).filter(lambda x: abs(x) < fmt.max_finite / 2),
        st.one_of(st.sampled_from([1.0, -1.0, 2.0**-40, -(2.0**-40)]), st.floats(-1.0, 1.0)),
    )
    @example(1.0 + fmt.unit_roundoff, 2.0**-10)
    @example(1.0 + fmt.unit_roundoff, -(2.0**-10))
    @example(1.0 + 3 * fmt.unit_roundoff, -(2.0**-10))
    @example(fmt.smallest_subnormal / 2, 2.0**-10)
    def agrees(head: float, part: float) -> None:
        tail = part * math.ulp(head) / 2
        assert fmt.round_sum(head, tail) == exact_round(fmt, Fraction(head) + Fraction(tail), "nearest")

    agrees()


def test_round_sum_broadcasts_and_passes_specials_through() -> None:
    result = bf16.round_sum([[1.0], [np.inf], [np.nan]], [0.0, 2.0**-60])
    np.testing.assert_array_equal(result, [[1.0, 1.0], [np.inf, np.inf], [np.nan, np.nan]])
    assert bf16.round_sum(1.0, 0.0).shape == ()


@pytest.mark.parametrize("fmt", NARROW, ids=lambda f: f.name)
def test_neighbours_are_the_next_numbers(fmt: Format) -> None:
    numbers = finite_numbers(fmt).value
    np.testing.assert_array_equal(fmt.next_up(numbers[:-1]), numbers[1:])
    np.testing.assert_array_equal(fmt.next_down(numbers[1:]), numbers[:-1])
    outside = np.inf if fmt.has_infinity else np.nan
    np.testing.assert_array_equal(fmt.next_up(fmt.max_finite), outside)
    np.testing.assert_array_equal(fmt.next_down(-fmt.max_finite), -outside)


@pytest.mark.parametrize("fmt", [fp32, fp64], ids=lambda f: f.name)
def test_wide_neighbours_are_numpys(fmt: Format) -> None:
    top = fmt.max_finite
    values = np.array([0.0, 1.0, -1.0, fmt.smallest_normal, -fmt.smallest_subnormal, top, -top], fmt.storage)
    with np.errstate(over="ignore", under="ignore"):
        up = np.nextafter(values, fmt.storage.type(np.inf)).astype(np.float64)
        down = np.nextafter(values, fmt.storage.type(-np.inf)).astype(np.float64)
    np.testing.assert_array_equal(fmt.next_up(values), up)
    np.testing.assert_array_equal(fmt.next_down(values), down)


@pytest.mark.parametrize("fmt", NARROW, ids=lambda f: f.name)
def test_ulp_is_the_distance_to_the_next_number_away_from_zero(fmt: Format) -> None:
    numbers = finite_numbers(fmt).value
    magnitudes = numbers[numbers >= 0.0]
    gap = np.diff(magnitudes)
    for sign in (1.0, -1.0):
        np.testing.assert_array_equal(fmt.ulp(sign * magnitudes[:-1]), gap)
        np.testing.assert_array_equal(fmt.ulp(sign * (magnitudes[:-1] + gap * 0.75)), gap)
    assert fmt.ulp(fmt.max_finite) == gap[-1]


@pytest.mark.parametrize("fmt", ALL, ids=lambda f: f.name)
def test_ulp_of_zero_is_the_smallest_subnormal_and_of_specials_nan(fmt: Format) -> None:
    np.testing.assert_array_equal(fmt.ulp([0.0, -0.0]), [fmt.smallest_subnormal] * 2)
    np.testing.assert_array_equal(fmt.ulp([np.inf, -np.inf, np.nan]), [np.nan] * 3)


@pytest.mark.parametrize("fmt", [f for f in ALL if f is not tf32], ids=lambda f: f.name)
def test_constants_are_those_of_the_storage_type(fmt: Format) -> None:
    info = ml_dtypes.finfo(fmt.storage)
    assert fmt.max_finite == float(info.max)
    assert fmt.smallest_normal == float(info.smallest_normal)
    assert fmt.smallest_subnormal == float(info.smallest_subnormal)
    assert 2 * fmt.unit_roundoff == float(info.eps)


@pytest.mark.parametrize(
    ("name", "fmt"),
    [
        ("bf16", bf16),
        ("bfloat16", bf16),
        ("torch.bfloat16", bf16),
        ("half", fp16),
        ("float", fp32),
        ("double", fp64),
        ("tf32", tf32),
        (np.float32, fp32),
        (np.dtype(np.float16), fp16),
        (ml_dtypes.bfloat16, bf16),
        (np.dtype(ml_dtypes.float8_e4m3fn), e4m3),
        (e5m2, e5m2),
    ],
)
def test_a_format_is_found_by_any_of_its_names(name: object, fmt: Format) -> None:
    assert formats.get(name) is fmt


@pytest.mark.parametrize("name", ["bf17", "", None, np.int32, 7, [], "float8_e4m3fnuz"])
def test_an_unknown_format_is_refused_with_the_known_ones(name: object) -> None:
    with pytest.raises(InvalidValue, match=r"^format .* is not known: expected one of e4m3, e5m2, bf16"):
        formats.get(name)
