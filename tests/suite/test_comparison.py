"""Judging one array: nobody is accused who may be right, NaN and infinities count, and the worst element is named."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from refattn.bounds import ErrorBudget
from refattn.oracle.enclosure import Enclosure
from refattn.suite.comparison import compare, describe
from refattn.suite.findings import Evidence

NAN, INF = math.nan, math.inf


def judged(actual: Any, mid: Any, bound: Any, rad: Any = 0.0, **options: Any) -> Evidence:
    arrays = [np.atleast_1d(np.asarray(x, np.float64)) for x in (actual, mid, bound, rad)]
    found, exact, certified, radius = np.broadcast_arrays(*arrays)
    budget = ErrorBudget(certified, options.pop("rms", None), options.pop("parts", {}))
    return compare("out", found, Enclosure(exact, radius, options.pop("low", None)), budget)


def test_an_error_within_the_bound_conforms_and_one_beyond_it_does_not() -> None:
    assert not judged(1.5, 1.0, 0.5 + 2.0**-49).violated
    assert judged(1.5, 1.0, 0.5 - 2.0**-49).violated
    assert judged(0.5, 1.0, 0.5 - 2.0**-49).violated


def test_the_share_is_the_error_in_units_of_the_bound() -> None:
    found = judged([1.0, 1.25, 0.75], 1.0, [1.0, 0.5, 1.0])
    # The distance is rounded up by 2**-50 of itself.
    assert 0.5 <= found.share <= 0.5 * (1 + 2.0**-49)
    assert found.worst is not None
    assert found.worst.index == (1,)
    assert (found.worst.actual, found.worst.exact, found.worst.bound) == (1.25, 1.0, 0.5)


def test_the_radius_of_the_truth_is_not_the_kernels_error() -> None:
    # |1.5 - 1| <= 0.25 + 0.25: some exact value inside the enclosure makes it conform.
    assert not judged(1.5, 1.0, 0.25 * (1 + 2.0**-40), rad=0.25).violated
    assert judged(1.5, 1.0, 0.25, rad=0.25 - 2.0**-40).violated
    inside = judged(1.2, 1.0, 0.0, rad=0.25)
    assert not inside.violated
    assert inside.share == 0.0


def test_the_low_part_of_the_truth_counts() -> None:
    low = np.array([2.0**-60])
    assert not judged(1.0, 1.0, 2.0**-60 * (1 + 2.0**-40), low=low).violated
    assert judged(1.0, 1.0, 2.0**-61, low=low).violated


def test_no_error_is_allowed_where_the_bound_is_zero() -> None:
    assert not judged(1.0, 1.0, 0.0).violated
    found = judged(np.nextafter(1.0, 2.0), 1.0, 0.0)
    assert found.violated
    assert found.share == INF
    assert found.worst is not None
    assert "with no error allowed" in describe(found.worst)


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_special_value_conforms_only_to_itself(value: float) -> None:
    assert not judged(value, value, 0.0).violated
    for other in (NAN, INF, -INF, 0.0, 1e300):
        same = np.array_equal([other], [value], equal_nan=True)
        # However large a bound was computed for it.
        assert judged(other, value, 1e308).violated != same
        assert judged(other, value, INF).violated != same


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_special_value_where_a_finite_one_is_exact_violates(value: float) -> None:
    found = judged([1.0, value, 5.0], [1.0, 2.0, 1.0], [1.0, 1e308, 5.0])
    assert found.violated
    assert found.worst is not None
    assert found.worst.index == (1,)
    assert describe(found.worst) == f"out[1] is {value:.9g} and the exact value is 2."


@pytest.mark.parametrize("actual", [0.0, 1e300, NAN, INF])
def test_nothing_is_held_against_what_nothing_is_claimed_of(actual: float) -> None:
    found = judged(actual, 1.0, INF)
    assert not found.violated
    assert found.share == 0.0


@pytest.mark.parametrize("mid", [0.0, NAN, INF])
@pytest.mark.parametrize("actual", [0.0, NAN, INF])
def test_nothing_is_held_against_a_kernel_whose_truth_is_unknown(mid: float, actual: float) -> None:
    assert not judged(actual, mid, 1.0, rad=INF).violated


def test_an_array_without_elements_conforms() -> None:
    found = compare(
        "out", np.zeros((0, 3)), Enclosure(np.zeros((0, 3)), np.zeros((0, 3))), ErrorBudget(np.zeros((0, 3)))
    )
    assert (found.violated, found.share, found.worst, found.rms_z, found.max_z) == (False, 0.0, None, None, None)


def test_the_message_names_element_values_error_bound_and_part() -> None:
    actual = np.zeros((2, 3))
    actual[1, 2] = 0.75
    parts = {"scores": np.full((2, 3), 0.1), "exp": np.full((2, 3), 0.4)}
    found = judged(actual, np.zeros((2, 3)), 0.5, parts=parts)
    assert found.worst is not None
    assert found.worst.part == "exp"
    assert describe(found.worst) == (
        "out[1, 2] is 0.75 and the exact value is 0: the error 0.75 is 1.5 times the bound 0.5, "
        "whose largest part is exp."
    )


def test_the_first_of_equally_bad_elements_is_named() -> None:
    found = judged([3.0, 3.0], 1.0, 1.0)
    assert found.worst is not None
    assert found.worst.index == (0,)


# Errors in units of their rms


def test_z_is_the_signed_error_in_units_of_the_rms() -> None:
    found = judged([1.5, 0.0, 2.0], [1.0, 1.0, 2.0], 10.0, rms=np.array([0.25, 0.5, 1.0]))
    assert found.max_z == 2.0
    assert found.rms_z == math.sqrt(8.0 / 3.0)


def test_z_grows_no_larger_for_the_truths_radius() -> None:
    found = judged(2.0, 1.0, 10.0, rad=0.5, rms=np.array([0.5]))
    assert (found.rms_z, found.max_z) == (1.0, 1.0)


def test_z_is_of_the_elements_that_have_one() -> None:
    rms = np.array([1.0, 0.0, INF, NAN, 1.0, 1.0])
    found = judged([2.0, 2.0, 2.0, 2.0, NAN, 2.0], [1.0, 1.0, 1.0, 1.0, 1.0, INF], 10.0, rms=rms)
    assert (found.rms_z, found.max_z) == (1.0, 1.0)
    none = judged([2.0], 1.0, 10.0, rms=np.zeros(1))
    assert (none.rms_z, none.max_z) == (None, None)
    assert judged([2.0], 1.0, 10.0).max_z is None
