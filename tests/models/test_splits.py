"""refattn.models.splits: the parts of a split combine to the whole, and an empty part changes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refattn.contract.arithmetic import Arithmetic
from refattn.models import Stages, combine

FP32 = Arithmetic.flash("fp32")
STAGES = Stages.of(FP32)


def part(seed: int, rows: int = 4, size: float = 10.0) -> tuple[Any, Any]:
    """Output (rows, 3) and log-sum-exp (rows,) of one part, numbers of fp32."""
    rng = np.random.default_rng(seed)
    return STAGES.accumulator(rng.standard_normal((rows, 3))), STAGES.lse(rng.standard_normal(rows) * size)


def exact(parts: Any) -> tuple[Any, Any]:
    """The same in float64."""
    lse = np.stack([x for _, x in parts])
    m = lse.max(axis=0)
    w = np.exp(lse - m)
    out = sum(a[:, None] * o for a, (o, _) in zip(w, parts, strict=True)) / w.sum(axis=0)[:, None]
    return out, m + np.log(w.sum(axis=0))


@given(seed=st.integers(0, 2**32 - 10), n=st.integers(1, 6))
def test_the_union_is_within_the_bound(seed: int, n: int) -> None:
    parts = [part(seed + i) for i in range(n)]
    out, lse = combine(parts, STAGES)
    exact_out, exact_lse = exact(parts)
    u = FP32.scores.unit
    reach = np.ptp([x for _, x in parts], axis=0)
    # One rounded difference and one exponential a weight; product, n sums and a quotient for the output.
    t = u * reach + FP32.exp_error
    spread = np.max([np.abs(o) for o, _ in parts], axis=0)
    assert (np.abs(out - exact_out) <= (2 * np.expm1(t)[:, None] + (2 * n + 4) * u) * (1 + 2.0**-10) * spread).all()
    size = np.max([np.abs(x) for _, x in parts], axis=0) + np.log(n)
    assert (np.abs(lse - exact_lse) <= np.expm1(t) + (n + 3) * u + (u + FP32.log_error) * 2 * size).all()


@given(seed=st.integers(0, 2**32 - 1))
def test_one_part_alone_comes_back_bit_for_bit(seed: int) -> None:
    out, lse = part(seed)
    combined = combine([(out, lse)], STAGES)
    assert np.array_equal(combined[0], out)
    assert np.array_equal(combined[1], lse)


@pytest.mark.parametrize("scratch", [0.0, np.nan, np.inf, 1e30])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_an_empty_part_is_not_read_whatever_its_scratch_memory_holds(scratch: float, at: int) -> None:
    parts = [part(1), part(2)]
    empty = (np.full((4, 3), scratch), np.full(4, -np.inf))
    with_empty = combine([*parts[:at], empty, *parts[at:]], STAGES)
    for actual, expected in zip(with_empty, combine(parts, STAGES), strict=True):
        assert np.array_equal(actual, expected)


def test_nothing_but_empty_parts_is_empty() -> None:
    with np.errstate(divide="ignore"):
        out, lse = combine([(np.full((4, 3), np.nan), np.full(4, -np.inf))] * 3, STAGES)
    assert np.array_equal(out, np.zeros((4, 3)))
    assert np.array_equal(lse, np.full(4, -np.inf))


def test_two_equal_parts_have_the_same_output_and_log_two_more() -> None:
    out, lse = part(3)
    lse = np.zeros_like(lse)
    combined = combine([(out, lse), (out, lse)], STAGES)
    assert np.array_equal(combined[0], out)
    assert np.array_equal(combined[1], np.full(4, np.float32(np.log(2.0))))


def test_nan_and_plus_infinity_show() -> None:
    nan = (np.full((4, 3), np.nan), np.full(4, np.nan))
    assert all(np.isnan(x).all() for x in combine([part(1), nan], STAGES))
    infinite = (np.full((4, 3), np.nan), np.full(4, np.inf))
    with np.errstate(over="ignore", invalid="ignore"):
        out, lse = combine([part(1), infinite], STAGES)
    assert np.isnan(out).all()
    assert np.isposinf(lse).all()


def test_partial_log_sum_exps_in_bf16_are_outside_the_bound() -> None:
    parts = [part(5, size=100.0), part(6, size=100.0)]
    coarse = [(out, Stages.of(Arithmetic.flash("bf16")).inputs(lse)) for out, lse in parts]
    _, lse = combine(coarse, STAGES)
    assert (np.abs(lse - exact(parts)[1]) > 1e4 * FP32.lse.unit).any()
