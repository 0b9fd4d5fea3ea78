"""refattn.models.softmax: every way of computing softmax keeps to its derived bound, and fails where it must."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refattn import models
from refattn.contract.arithmetic import Arithmetic
from refattn.contract.spec import SoftmaxSpec
from refattn.numbers import formats
from refattn.oracle.exact import definition
from tests.support.hand_derived_bounds import distance, gamma

SHIFTED = (models.safe_softmax, models.online_softmax, models.tiled_softmax)
DTYPES = (ml_dtypes.bfloat16, np.float16, np.float32, np.float64)


def names(function: Any) -> str:
    return str(function.__name__)


def total_errors(x: Any, arithmetic: Arithmetic, rescales: int) -> tuple[Any, Any, Any]:
    """Exact weights, log-errors of the unnormalised ones, and the relative error of the row sum."""
    m = x.max(axis=-1, keepdims=True)
    gap = m - x
    t = arithmetic.scores.unit * gap + (1 + rescales) * arithmetic.exp_error
    weights = np.exp(-gap) / np.exp(-gap).sum(axis=-1, keepdims=True)
    rho = (weights * np.expm1(t)).sum(axis=-1, keepdims=True)
    total = (1 + rho) * (1 + gamma(x.shape[-1] + 2 * rescales, arithmetic.normaliser.unit)) - 1
    return weights, t, total


def softmax_bound(x: Any, arithmetic: Arithmetic, rescales: int) -> Any:
    weights, t, total = total_errors(x, arithmetic, rescales)
    inside = weights * (np.exp(t) / (1 - total) - 1)
    lost = 2 * arithmetic.scores.format.smallest_subnormal + arithmetic.output.format.smallest_subnormal
    return inside + arithmetic.output.unit * (weights + inside) + lost


@pytest.mark.parametrize("dtype", DTYPES, ids=names)
@pytest.mark.parametrize("function", SHIFTED, ids=names)
@given(
    seed=st.integers(0, 2**32 - 1), n=st.integers(1, 40), size=st.sampled_from([0.1, 1.0, 30.0]), tile=st.integers(1, 9)
)
def test_softmax_is_within_its_bound(function: Any, dtype: Any, seed: int, n: int, size: float, tile: int) -> None:
    x = (np.random.default_rng(seed).standard_normal((2, n)) * size).astype(dtype)
    arithmetic = Arithmetic.flash(dtype, tile=tile)
    weights = function(x, arithmetic=arithmetic)
    held = x.astype(np.float64)
    assert weights.dtype == x.dtype
    exact = definition.softmax(held, bits=80)
    assert (distance(weights, exact) <= softmax_bound(held, arithmetic, n)).all()


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 40), offset=st.sampled_from([0.0, 1e4, -1e6]))
def test_log_sum_exp_and_log_softmax_are_within_their_bounds(seed: int, n: int, offset: float) -> None:
    x = (np.random.default_rng(seed).standard_normal((2, n)) + offset).astype(np.float32)
    held, arithmetic = x.astype(np.float64), Arithmetic.flash("fp32", tile=7)
    _, _, total = total_errors(held, arithmetic, n)
    u = formats.fp32.unit_roundoff
    largest, log_n = np.abs(held).max(axis=-1), np.log(n) + 1e-6
    logarithm = -np.log1p(-total[..., 0]) + arithmetic.log_error * log_n
    lse = definition.softmax(held, SoftmaxSpec(kind="logsumexp"), bits=80)
    bound = logarithm + 2 * u * (largest + log_n)
    assert (distance(models.logsumexp(x, arithmetic=arithmetic), lse) <= bound).all()
    log_softmax = definition.softmax(held, SoftmaxSpec(kind="log_softmax"), bits=80)
    # The offset itself must not appear in this bound: only the range of x does.
    reach = np.ptp(held, axis=-1) + log_n
    computed = models.log_softmax(x, arithmetic=arithmetic)
    assert (distance(computed, log_softmax) <= (logarithm + 4 * u * reach)[..., None]).all()


@pytest.mark.parametrize("function", SHIFTED, ids=names)
def test_equal_logits_give_exactly_one_nth(function: Any) -> None:
    weights = function(np.full((2, 64), 3.0, np.float32))
    assert np.array_equal(weights, np.full((2, 64), 1 / 64, np.float32))


@pytest.mark.parametrize("function", SHIFTED, ids=names)
def test_a_common_offset_changes_no_bit(function: Any) -> None:
    x = np.random.default_rng(0).integers(-20, 20, (3, 50)).astype(np.float32)
    assert np.array_equal(function(x), function(x + np.float32(2.0**20)))


def test_the_naive_softmax_overflows_where_the_shifted_ones_do_not() -> None:
    x = np.array([100.0, 99.0], np.float32)
    assert np.isnan(models.naive_softmax(x)).all()
    for function in SHIFTED:
        assert np.isfinite(function(x)).all()


@pytest.mark.parametrize("function", [models.online_softmax, models.tiled_softmax], ids=names)
def test_a_prefix_of_minus_infinity_changes_no_bit(function: Any) -> None:
    x = np.random.default_rng(1).standard_normal((2, 20)).astype(np.float32)
    padded = np.concatenate([np.full((2, 16), -np.inf, np.float32), x], axis=-1)
    arithmetic = Arithmetic.flash("fp32", tile=8)
    weights = function(padded, arithmetic=arithmetic)
    assert np.array_equal(weights[:, 16:], function(x, arithmetic=arithmetic))
    assert np.array_equal(weights[:, :16], np.zeros((2, 16)))


@pytest.mark.parametrize("function", SHIFTED, ids=names)
def test_special_rows_read_as_ieee_754_says(function: Any) -> None:
    inf, nan = np.inf, np.nan
    x = np.array([[-inf, -inf], [inf, 0.0], [nan, 0.0], [inf, nan], [0.0, -inf]])
    assert np.isnan(function(x)[:4]).all()
    assert function(x)[4].tolist() == [1.0, 0.0]
    lse = models.logsumexp(x)
    assert lse[:2].tolist() == [-inf, inf]
    assert np.isnan(lse[2:4]).all()
    assert lse[4] == 0.0


def test_log_softmax_keeps_the_logarithm_beside_a_large_maximum() -> None:
    logarithms = models.log_softmax(np.full(1000, 2.0**30, np.float32))
    assert np.array_equal(logarithms, np.full(1000, -np.log(np.float64(1000)), np.float32))


def test_an_fp16_row_sum_stalls_at_2048() -> None:
    """Each of 4096 equal weights comes out twice too large, as in a real kernel with such an accumulator."""
    arithmetic = Arithmetic.flash("fp16", normaliser="fp16", tile=None)
    x = np.zeros(4096, np.float16)
    assert np.array_equal(models.tiled_softmax(x, arithmetic=arithmetic), np.full(4096, 1 / 2048, np.float16))
    assert np.array_equal(models.tiled_softmax(x), np.full(4096, 1 / 4096, np.float16))


@pytest.mark.parametrize("function", [*SHIFTED, models.log_softmax], ids=names)
def test_any_axis_may_be_the_row(function: Any) -> None:
    x = np.random.default_rng(2).standard_normal((3, 4, 5))
    assert np.array_equal(function(x, 1), np.moveaxis(function(np.moveaxis(x, 1, -1)), -1, 1))
    assert models.logsumexp(x, 0).shape == (4, 5)
