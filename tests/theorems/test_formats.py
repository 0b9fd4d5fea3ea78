"""Theorems on formats and casts: every number of 8 and 16 bits, and how near the worst of them comes to its bound."""

from __future__ import annotations

import math
import os
from fractions import Fraction

import numpy as np
import pytest

from refattn.bounds.stages import underflow_unit
from refattn.bounds.theorems import formats as constants
from refattn.contract.arithmetic import Stage
from refattn.numbers.formats import ALL, Array, Format, bf16, e4m3, e5m2, fp16, fp32
from tests.support.float64_evaluation import EVALUATION

NARROW = [e4m3, e5m2, bf16, fp16]
STAGES = [Stage(f, rounding) for f in NARROW for rounding in ("nearest", "truncate")]
CASES = int(os.environ.get("REFATTN_THEOREM_CASES", "3000"))

# Theorem -> the share of its bound that the worst known case reaches.
TIGHTNESS = {
    "nearest_relative": 0.998,
    "nearest_absolute": 1.0,
    "truncated_relative": 0.996,
    "truncated_absolute": 0.999999,
    "flush_ok": 0.998,
    "declared_exponential": 0.95,
    "flushed_declared_exponential": 0.99,
    "cast_error": 0.999,
}


def name(stage: Stage) -> str:
    return f"{stage.format.name}-{stage.rounding}"


def numbers(fmt: Format) -> Array:
    """The positive numbers of a format, in increasing order, 0 first."""
    unsigned = np.dtype(f"u{fmt.storage.itemsize}")
    patterns = np.arange(2 ** (8 * unsigned.itemsize - 1), dtype=unsigned)
    with np.errstate(invalid="ignore"):
        values = patterns.view(fmt.storage).astype(np.float64)
    return np.sort(values[np.isfinite(values)])


def worst_between(stage: Stage) -> tuple[Array, Array]:
    """(x, rounded x) where a rounding of numbers between two neighbours errs most: midway to nearest, else just below
    the upper one. All of it is exact in float64.
    """
    held = numbers(stage.format)
    low, high = held[:-1], held[1:]
    if stage.rounding == "nearest":
        middle = (low + high) / 2
        return middle, stage.format.round(middle, "nearest")
    below = np.nextafter(high, 0.0)
    return below, stage.format.round(below, "truncate")


def exactly(x: Array) -> list[Fraction]:
    return [Fraction(value) for value in x.tolist()]


@pytest.mark.parametrize("stage", STAGES, ids=name)
def test_unit_and_underflow_unit_bound_every_rounding(stage: Stage) -> None:
    unit, lost = Fraction(stage.unit), Fraction(underflow_unit(stage, False))
    normal = Fraction(stage.format.smallest_normal)
    worst_relative = worst_absolute = Fraction(0)
    for x, y in zip(*map(exactly, worst_between(stage)), strict=True):
        error = abs(y - x)
        if x >= normal:
            worst_relative = max(worst_relative, error / x)
        else:
            worst_absolute = max(worst_absolute, error)
    assert worst_relative <= unit / (1 + unit)
    assert worst_absolute <= lost
    # In the log metric the share is that of ln (1 + unit), which the worst number reaches.
    share = -math.log1p(-float(worst_relative)) / stage.unit
    kind = "nearest" if stage.rounding == "nearest" else "truncated"
    if stage.format.precision >= 8:
        assert share >= TIGHTNESS[f"{kind}_relative"]
    assert worst_absolute / lost >= TIGHTNESS[f"{kind}_absolute"]
    # Half of either would be too small, and so would the unit of the other rounding.
    assert worst_relative > unit / 2
    assert worst_absolute > lost / 2


@pytest.mark.parametrize("stage", STAGES, ids=name)
def test_flushed_results_lose_less_than_the_smallest_normal_number(stage: Stage) -> None:
    x, y = worst_between(stage)
    tiny = x < stage.format.smallest_normal
    flushed = np.where(np.abs(y) < stage.format.smallest_normal, 0.0, y)
    lost = np.abs(flushed - x)[tiny].max()
    assert lost <= underflow_unit(stage, True)
    largest = float(numbers(stage.format)[tiny.nonzero()[0].max()])
    assert largest / underflow_unit(stage, True) >= 1 - 2 * stage.unit
    assert lost > underflow_unit(stage, False)


@pytest.mark.parametrize("fmt", NARROW, ids=lambda f: f.name)
def test_sums_lose_nothing_to_underflow_unless_it_is_flushed(fmt: Format) -> None:
    rng = np.random.default_rng(7)
    held = numbers(fmt)
    few = held[held < 4 * fmt.smallest_normal]
    a, b = rng.choice(few, CASES), -rng.choice(few, CASES)
    tiny = np.abs(a + b) < fmt.smallest_normal
    assert tiny.any()
    np.testing.assert_array_equal(fmt.round(a + b)[tiny], (a + b)[tiny])
    lost = np.abs(a + b)[tiny].max()
    assert (1 - 2 * fmt.unit_roundoff) * fmt.smallest_normal <= lost < fmt.smallest_normal


@pytest.mark.parametrize("fmt", ALL, ids=lambda f: f.name)
def test_constants_are_those_of_the_proofs(fmt: Format) -> None:
    precision, emin = Fraction(fmt.precision), Fraction(fmt.emin)
    assert constants.format_unit(precision) == Fraction(Stage(fmt).unit)
    assert constants.format_truncation_unit(precision) == Fraction(Stage(fmt, "truncate").unit)
    assert constants.format_smallest_normal(emin) == Fraction(fmt.smallest_normal)
    assert constants.format_smallest_subnormal(precision, emin) == Fraction(fmt.smallest_subnormal)
    assert constants.max_finite_of(precision, emin) == Fraction(fmt.max_finite)
    top = Fraction(fmt.max_finite) / Fraction(2) ** (fmt.emax - fmt.precision + 1)
    assert constants.format_max_finite(top, Fraction(fmt.emax - fmt.precision + 1)) == Fraction(fmt.max_finite)
    assert 2 ** (fmt.precision - 1) <= top < 2**fmt.precision


def test_constants_take_floats() -> None:
    assert constants.format_smallest_subnormal(fp32.precision, fp32.emin) == fp32.smallest_subnormal
    assert constants.max_finite_of(4, -6) == 448.0


@pytest.mark.parametrize("fmt", NARROW, ids=lambda f: f.name)
def test_products_of_narrow_numbers_are_exact_in_fp32(fmt: Format) -> None:
    held = numbers(fmt)
    rng = np.random.default_rng(3)
    a, b = rng.choice(held, CASES), rng.choice(held, CASES)
    exact = a * b
    in_range = exact <= fp32.max_finite
    if fmt is bf16:
        in_range &= (exact >= fp32.smallest_normal) | (exact == 0)
        smallest = held[1] * held[2]
        assert fp32.round(smallest) != smallest
    np.testing.assert_array_equal(fp32.round(exact)[in_range], exact[in_range])


@pytest.mark.parametrize("fmt", [e4m3, e5m2, fp16], ids=lambda f: f.name)
@pytest.mark.parametrize("ulps", [0.5, 1.0, 2.0])
def test_a_subnormal_exponential_is_off_by_ulps_of_the_smallest_number(fmt: Format, ulps: float) -> None:
    exact = np.concatenate([fmt.smallest_normal * np.geomspace(1e-4, 1.0 - 1e-9, CASES), numbers(fmt)[:8]])
    exact = exact[(exact > 0) & (exact < fmt.smallest_normal)]
    held = numbers(fmt)
    near = np.clip(np.searchsorted(held, exact) + np.arange(-3, 4)[:, None], 0, len(held) - 1)
    allowed = np.where(np.abs(held[near] - exact) <= ulps * fmt.ulp(exact), np.abs(held[near] - exact), 0.0)
    bound = constants.weight_lost(ulps, 0.0, fmt.smallest_subnormal, fmt.smallest_normal)
    assert TIGHTNESS["declared_exponential"] * bound <= allowed.max() <= bound
    # What one rounding loses is less, when the exponential errs by more than a rounding.
    assert allowed.max() > underflow_unit(Stage(fmt), False) or ulps == 0.5


@pytest.mark.parametrize("fmt", [e4m3, e5m2, bf16, fp16], ids=lambda f: f.name)
def test_a_flushed_exponential_may_have_been_a_normal_number(fmt: Format) -> None:
    # Two ulps above the largest subnormal number, which the kernel finds and flushes.
    exact = fmt.smallest_normal + fmt.smallest_subnormal
    below = fmt.smallest_normal - fmt.smallest_subnormal
    assert exact - below == 2 * fmt.ulp(exact)
    relative = 2 * 2 * fmt.unit_roundoff
    bound = constants.flushed_weight_lost(relative, fmt.smallest_normal)
    assert underflow_unit(Stage(fmt), True) < exact <= bound
    if fmt.precision >= 8:
        assert exact >= TIGHTNESS["flushed_declared_exponential"] * bound


CASTS = [(fp32, bf16), (fp32, fp16), (fp32, e4m3), (bf16, e4m3), (fp16, e5m2), (fp16, e4m3)]


def log_error_with_loss(exact: Array, computed: Array, unit: float) -> Array:
    """The absolute part of an error that remains after a factor of e^t, |t| <= unit."""
    return np.asarray(np.maximum(np.maximum(computed - exact * np.exp(unit), exact * np.exp(-unit) - computed), 0.0))


@pytest.mark.parametrize(("first", "second"), CASTS, ids=lambda f: f.name)
def test_two_casts_are_two_roundings(first: Format, second: Format) -> None:
    rng = np.random.default_rng(11)
    near = numbers(second)
    near = (near[:-1] + near[1:]) / 2
    near = near[near <= 1]
    p = np.concatenate([np.exp(-rng.uniform(0, 30, CASES)), near * (1 + rng.uniform(-1, 1, near.size) * 2**-10)])
    twice = second.round(first.round(p))
    units = first.unit_roundoff, second.unit_roundoff
    before, lost = first.smallest_subnormal / 2, second.smallest_subnormal / 2
    left = log_error_with_loss(p, twice, sum(units))
    assert (left <= constants.cast_lost(before, units[1], lost) * (1 + EVALUATION)).all()
    assert ((twice >= 0) & (twice <= 1)).all()  # theorem cast_of_weight: P never overflows


def test_two_casts_reach_their_bound() -> None:
    # Just above midway in fp16 to a tie of e4m3's, from which e4m3 rounds away again.
    share = 0.0
    for tie in (1 + 2.0**-4, 1 + 3 * 2.0**-4):
        for way in (-1, 1):
            p = tie + way * 2.0**-11 * (1 - 2.0**-20)
            twice = float(e4m3.round(fp16.round(p)))
            share = max(share, abs(math.log(twice / p)) / (e4m3.unit_roundoff + fp16.unit_roundoff))
            assert abs(math.log(twice / p)) <= e4m3.unit_roundoff + fp16.unit_roundoff
    assert share >= 0.96
    # Underflow: half a spacing of e4m3's and half of fp16's, which is 2^-15 of it.
    p = e4m3.smallest_subnormal / 2 + fp16.smallest_subnormal / 2 * (1 - 2.0**-20)
    twice = float(e4m3.round(fp16.round(p)))
    bound = constants.cast_lost(fp16.smallest_subnormal / 2, e4m3.unit_roundoff, e4m3.smallest_subnormal / 2)
    assert twice == 0.0
    assert TIGHTNESS["cast_error"] * bound <= p <= bound
    assert p > e4m3.smallest_subnormal / 2  # the first cast's loss counts too
