"""The certified bounds of the gradients: never exceeded, tight where casts dominate, inf where something overflows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refattn import bounds
from refattn.bounds import backward
from refattn.contract.arithmetic import Arithmetic
from refattn.contract.spec import AttentionSpec
from refattn.errors import InvalidValue
from refattn.inputs.cases import AttentionCase
from refattn.inputs.strategies import attention_cases
from refattn.numbers import formats
from tests.support.attention_problems import SPECS, float64, inputs
from tests.support.kernels_by_arithmetic import arithmetics, judged_gradients, kernel_of

NAMES = tuple(name for name, arithmetic in arithmetics("bf16").items() if arithmetic.cast == "before")
GRADIENTS = ("dq", "dk", "dv", "dbias", "dsinks")


def normal(dtype: str, queries: int = 5, keys: int = 9, d: int = 4, seed: int = 0, **factors: float) -> AttentionCase:
    """One key-value head for two query heads; factors multiply q, k, v or do."""
    rng, format = np.random.default_rng(seed), formats.get(dtype)
    shapes = {"q": (1, 2, queries, d), "k": (1, 1, keys, d), "v": (1, 1, keys, 3), "do": (1, 2, queries, 3)}
    arrays = {name: format.round(rng.standard_normal(shape) * factors.get(name, 1.0)) for name, shape in shapes.items()}
    return AttentionCase(**arrays, spec=AttentionSpec(), format=format)


def budget_of(case: AttentionCase, arithmetic: Arithmetic) -> Any:
    return bounds.attention_backward(case.q, case.k, case.v, case.do, case.spec, arithmetic, dlse=case.dlse)


def assert_within(case: AttentionCase, arithmetic: Arithmetic) -> None:
    for comparison in judged_gradients(case, kernel_of(arithmetic)).values():
        assert not comparison.violated, comparison.worst


@settings(max_examples=10)
@given(st.data())
@pytest.mark.parametrize("dtype", ["bf16", "fp16", "fp32"])
@pytest.mark.parametrize("name", NAMES)
def test_kernels_that_keep_to_an_arithmetic_stay_within_it(name: str, dtype: str, data: Any) -> None:
    assert_within(data.draw(attention_cases(dtype, upstream=True)), arithmetics(dtype)[name])


@pytest.mark.parametrize("name", SPECS)
def test_every_feature_stays_within_its_bound(name: str) -> None:
    format = formats.bf16
    q, k, v, do, dlse = (float64(x) for x in inputs(format.storage))
    assert_within(AttentionCase(q, k, v, SPECS[name], format, do=do, dlse=dlse), Arithmetic.flash("bf16", tile=4))


ENDS = {
    # dP = dO V^T, or Delta, leaves the range of the sums.
    "dP overflows": ("flash", "bf16", {"v": 2.0**126}),
    "dP overflows, truncated": ("truncating", "bf16", {"v": 2.0**126}),
    "dS overflows as it is cast": ("flash", "fp16", {"v": 2.0**10, "do": 2.0**8}),
    # The sum is scaled only in the end.
    "dS K overflows before it is scaled": ("flash", "fp32", {"v": 2.0**60, "k": 2.0**64, "q": 2.0**-70}),
    "dS underflows": ("flash", "fp16", {"v": 2.0**-12, "do": 2.0**-12, "k": 2.0**10, "q": 2.0**-10}),
    "dS underflows in fp32": ("flash", "fp32", {"v": 2.0**-70, "do": 2.0**-75, "k": 2.0**70, "q": 2.0**-70}),
    # NaN from inf - inf stays NaN when it is multiplied by 0.
    "scores overflow, do is 0": ("fma, scores narrow", "fp16", {"q": 2.0**9, "k": 2.0**9, "do": 0.0}),
    "weights far below 1": ("everything narrow", "bf16", {"q": 30.0, "k": 30.0}),
}


@pytest.mark.parametrize("name", ENDS)
@pytest.mark.parametrize("seed", range(3))
def test_ends_of_the_range_are_counted(name: str, seed: int) -> None:
    arithmetic, dtype, factors = ENDS[name]
    case = normal(dtype, seed=seed, d=16, **factors).replace(spec=AttentionSpec(sinks=np.array([-1.0, 0.5])))
    assert_within(case, arithmetics(dtype)[arithmetic])


def test_the_budget_of_a_sum_over_heads_is_that_of_its_own_format() -> None:
    case = normal("bf16")
    wide, narrow = (budget_of(case, Arithmetic.flash("bf16", group_sum=each)) for each in ("fp32", "e5m2"))
    np.testing.assert_array_equal(wide.dq.certified, narrow.dq.certified)
    assert (wide.dk.certified < narrow.dk.certified).all()
    assert (wide.dv.certified < narrow.dv.certified).all()
    alone = case.replace(q=case.q[:, :1], do=case.do[:, :1])
    wide, narrow = (budget_of(alone, Arithmetic.flash("bf16", group_sum=each)) for each in ("fp32", "e5m2"))
    np.testing.assert_array_equal(wide.dk.certified, narrow.dk.certified)


# Tight


# P and dS are cast once and the output is rounded: ordinary kernels reach this share on a few keys.
TIGHT = {"dq": 0.3, "dk": 0.3, "dv": 0.6}


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_a_correct_kernel_reaches_a_good_part_of_the_bound(dtype: str) -> None:
    shares = dict.fromkeys(TIGHT, 0.0)
    for seed in range(12):
        case = normal(dtype, queries=1, keys=2, d=8, seed=seed)
        for name, comparison in judged_gradients(case, kernel_of(Arithmetic.flash(dtype))).items():
            shares[name] = max(shares[name], comparison.share)
    assert all(least <= shares[name] <= 1.0 for name, least in TIGHT.items()), shares


# Parts, order, exactness


@pytest.mark.parametrize("name", NAMES)
def test_parts_add_up_to_the_bound(name: str) -> None:
    for budget in budget_of(normal("fp16"), arithmetics("fp16")[name])[:3]:
        total = np.asarray(sum(budget.parts.values()))
        # Four numbers of one sign, added up in another order.
        assert (np.abs(total - budget.certified) <= 2.0**-50 * total).all()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dot", "bf16"),
        ("scores", "bf16"),
        ("normaliser", "bf16"),
        ("probabilities", "bf16"),
        ("accumulator", "bf16"),
        ("output", "bf16"),
        ("lse", "bf16"),
        ("gradient_sum", "bf16"),
        ("exp_ulps", 9.0),
        ("log_ulps", 9.0),
        ("tanh_ulps", 90.0),
        ("flush_to_zero", True),
        ("exponent", "fma"),
        ("splits", 4),
        ("tile", 1),
    ],
)
def test_a_worse_promise_never_has_a_smaller_bound(field: str, value: Any) -> None:
    case = normal("fp16").replace(spec=AttentionSpec(softcap=3.0, bias=np.zeros((1, 9)), sinks=np.zeros(2)))
    base = Arithmetic.flash("fp16")
    pairs = list(zip(budget_of(case, base), budget_of(case, base.replace(**{field: value})), strict=True))
    assert all((better.certified <= worse.certified).all() for better, worse in pairs)
    assert any((better.certified < worse.certified).any() for better, worse in pairs)


def test_what_no_row_sees_has_a_gradient_of_exactly_zero() -> None:
    seen = np.arange(9) < 5
    case = normal("bf16").replace(spec=AttentionSpec(kept_keys=seen))
    budget = budget_of(case, Arithmetic.flash("bf16"))
    lost = 2.0**-100
    assert (budget.dk.certified[:, :, ~seen] <= lost).all()
    assert (budget.dv.certified[:, :, ~seen] <= lost).all()
    assert (budget.dk.certified[:, :, seen] > lost).all()


def test_nothing_is_claimed_where_the_gradient_overflows_and_no_more_than_that() -> None:
    case = normal("fp16", v=2.0**7, k=2.0**7, q=2.0**-7, do=2.0**8)
    assert np.isinf(budget_of(case, Arithmetic.flash("fp16")).dq.certified).any()
    for budget in budget_of(normal("fp16"), Arithmetic.flash("fp16"))[:3]:
        assert np.isfinite(budget.certified).all()


# A weaker bound is exceeded


def _no_slope_error(slope: Any) -> Any:
    return backward._Slope(slope.value, 0.0 * slope.error, slope.delta, 0.0 * slope.delta_error)


def _only_terms(budget: Any) -> Any:
    return bounds.ErrorBudget(budget.parts["weights"] + budget.parts["slope"], None, budget.parts)


# The replaced function, its replacement, and an arithmetic and a number of keys for which it matters.
WEAKER: dict[str, tuple[Any, str, Any, dict[str, Any], int]] = {
    "the error of P": (backward._Backward, "_recomputed", lambda log_error: 0.0 * log_error, {"scores": "bf16"}, 6),
    "the error of dP and Delta": (backward._Backward, "_slope", _no_slope_error, {"dot": "bf16"}, 1),
    "the rounding of the result": (backward._Sums, "budget", _only_terms, {"output": "e5m2"}, 6),
}


@pytest.mark.parametrize("name", WEAKER)
def test_a_weaker_bound_is_exceeded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, attribute, weaken, changes, keys = WEAKER[name]
    case = normal("bf16", queries=keys, keys=keys, d=16)
    kernel = kernel_of(Arithmetic.flash("bf16", **({"output": "fp32"} | changes)))
    assert max(comparison.share for comparison in judged_gradients(case, kernel).values()) <= 1.0
    original = getattr(owner, attribute)
    monkeypatch.setattr(owner, attribute, lambda self, *rest: weaken(original(self, *rest)))
    assert max(comparison.share for comparison in judged_gradients(case, kernel).values()) > 1.0


# Arguments


def test_upstream_gradients_that_do_not_fit_are_refused() -> None:
    case = normal("fp32")
    arithmetic = Arithmetic.flash("fp32")
    problem = (case.q, case.k, case.v)
    with pytest.raises(InvalidValue, match=r"^do has shape \(1, 2, 5, 2\): expected \(1, 2, 5, 3\)"):
        bounds.attention_backward(*problem, case.do[..., :2], case.spec, arithmetic)
    with pytest.raises(InvalidValue, match=r"^dlse has shape \(5,\): expected \(1, 2, 5\)"):
        bounds.attention_backward(*problem, case.do, case.spec, arithmetic, dlse=np.zeros(5))
    with pytest.raises(InvalidValue, match=r"^do holds NaN or infinities"):
        bounds.attention_backward(*problem, case.do * math.nan, case.spec, arithmetic)
    assert budget_of(case, arithmetic).dbias is None
    assert budget_of(case, arithmetic).dsinks is None
