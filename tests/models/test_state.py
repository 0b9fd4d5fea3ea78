"""refattn.models.state: (m, l, acc) is a monoid, up to roundings that are bounded here."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refattn.contract.arithmetic import Arithmetic
from refattn.models import State
from tests.support.hand_derived_bounds import gamma

FP32 = Arithmetic.flash("fp32")
SEEDS = st.integers(0, 2**32 - 1)


def pairs(seed: int, n: int, size: float = 5.0) -> tuple[Any, Any]:
    """Scores (2, n) and values (n, 3), numbers of fp32."""
    rng = np.random.default_rng(seed)
    scores, values = rng.standard_normal((2, n)) * size, rng.standard_normal((n, 3))
    return scores.astype(np.float32).astype(np.float64), values.astype(np.float32).astype(np.float64)


def exact(scores: Any, values: Any) -> tuple[Any, Any]:
    """Output and log-sum-exp in float64, whose own error is 2**29 times smaller than fp32's."""
    m = scores.max(axis=-1, keepdims=True)
    p = np.exp(scores - m)
    return (p @ values) / p.sum(axis=-1, keepdims=True), (m + np.log(p.sum(axis=-1, keepdims=True)))[..., 0]


def bounds(scores: Any, values: Any, merges: int, arithmetic: Arithmetic = FP32) -> tuple[Any, Any]:
    """Worst-case errors of out and lse after at most `merges` merges, in any order and bracketing.

    Each weight passes at most `merges` factors exp(m - m'), whose arguments' rounding errors add up to at most u times
    the distance to the final maximum, as no maximum ever falls; two roundings and an exponential come with each.
    """
    u = arithmetic.scores.unit
    reach = np.ptp(scores, axis=-1, keepdims=True)
    t = u * reach + (1 + merges) * arithmetic.exp_error
    rho = np.expm1(t)
    length = gamma(scores.shape[-1] + 3 * merges + 2, u)
    up, down = (1 + rho) * (1 + length), (1 - rho) * (1 - length)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights = weights / weights.sum(axis=-1, keepdims=True)
    magnitude = weights @ np.abs(values)
    size = np.abs(scores).max(axis=-1) + np.log(scores.shape[-1]) + 1
    return (up / down - 1 + 3 * u) * magnitude, -np.log(down)[..., 0] + (2 * u + arithmetic.log_error) * size


def same(a: State, b: State) -> bool:
    return all(
        np.array_equal(x, y)
        for x, y in ((a.maximum, b.maximum), (a.normaliser, b.normaliser), (a.accumulator, b.accumulator))
    )


@given(seed=SEEDS, n=st.integers(1, 20))
def test_the_empty_state_is_the_identity_bit_for_bit(seed: int, n: int) -> None:
    scores, values = pairs(seed, n)
    state, empty = State.of_tile(scores, values, FP32), State.empty((2,), 3)
    assert same(state.merge(empty, FP32), state)
    assert same(empty.merge(state, FP32), state)
    assert same(empty.merge(empty, FP32), empty)


def test_a_tile_of_minus_infinity_is_the_empty_state() -> None:
    tile = State.of_tile(np.full((2, 4), -np.inf), np.ones((4, 3)), FP32)
    assert same(tile, State.empty((2,), 3))


@given(seed=SEEDS, n=st.integers(2, 20), cut=st.integers(1, 19))
def test_merging_is_commutative_bit_for_bit(seed: int, n: int, cut: int) -> None:
    scores, values = pairs(seed, n)
    cut = min(cut, n - 1)
    left = State.of_tile(scores[:, :cut], values[:cut], FP32)
    right = State.of_tile(scores[:, cut:], values[cut:], FP32)
    assert same(left.merge(right, FP32), right.merge(left, FP32))


@given(seed=SEEDS, sizes=st.lists(st.integers(1, 6), min_size=2, max_size=7), data=st.data())
def test_any_order_and_bracketing_is_within_the_bound(seed: int, sizes: list[int], data: st.DataObject) -> None:
    scores, values = pairs(seed, sum(sizes))
    stops = np.cumsum(sizes)
    states = [State.of_tile(scores[:, b - n : b], values[b - n : b], FP32) for n, b in zip(sizes, stops, strict=True)]
    while len(states) > 1:
        first = states.pop(data.draw(st.integers(0, len(states) - 1)))
        second = states.pop(data.draw(st.integers(0, len(states) - 1)))
        states.append(first.merge(second, FP32))
    out, lse = states[0].finalize(FP32)
    exact_out, exact_lse = exact(scores, values)
    out_bound, lse_bound = bounds(scores, values, len(sizes))
    assert (np.abs(out - exact_out) <= out_bound).all()
    assert (np.abs(lse - exact_lse) <= lse_bound).all()


@given(seed=SEEDS)
def test_merging_is_associative_within_the_bound(seed: int) -> None:
    scores, values = pairs(seed, 30)
    a, b, c = (State.of_tile(scores[:, i : i + 10], values[i : i + 10], FP32) for i in (0, 10, 20))
    left = a.merge(b, FP32).merge(c, FP32).finalize(FP32)
    right = a.merge(b.merge(c, FP32), FP32).finalize(FP32)
    for one, other, bound in zip(left, right, bounds(scores, values, 2), strict=True):
        assert (np.abs(one - other) <= 2 * bound).all()


def test_a_merge_that_forgets_to_rescale_is_outside_the_bound() -> None:
    scores, values = pairs(7, 20)
    left, right = (State.of_tile(scores[:, i : i + 10], values[i : i + 10], FP32) for i in (0, 10))
    careless = State(
        np.maximum(left.maximum, right.maximum),
        left.normaliser + right.normaliser,
        left.accumulator + right.accumulator,
    )
    out, lse = careless.finalize(FP32)
    exact_out, exact_lse = exact(scores, values)
    out_bound, lse_bound = bounds(scores, values, 1)
    assert (np.abs(out - exact_out) > out_bound).any()
    assert (np.abs(lse - exact_lse) > lse_bound).any()


def test_the_empty_state_ends_as_zero_and_minus_infinity() -> None:
    out, lse = State.empty((2,), 3).finalize(FP32)
    assert np.array_equal(out, np.zeros((2, 3)))
    assert np.array_equal(lse, np.full(2, -np.inf))


@pytest.mark.parametrize("n", [1, 3, 16, 100])
def test_equal_scores_and_values_of_one_give_exactly_one(n: int) -> None:
    tiles = [State.of_tile(np.full((2, n), 1.5), np.ones((n, 3)), FP32) for _ in range(3)]
    out, _ = reduce(lambda a, b: a.merge(b, FP32), tiles).finalize(FP32)
    assert np.array_equal(out, np.ones((2, 3)))
