"""The certified bounds of softmax, log_softmax and logsumexp: never exceeded, nearly reached, monotone."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refattn import bounds, models, oracle
from refattn.bounds import rows
from refattn.contract.arithmetic import Arithmetic, Stage
from refattn.contract.spec import SoftmaxSpec
from refattn.errors import InvalidType, InvalidValue
from refattn.inputs.cases import SoftmaxCase
from refattn.inputs.strategies import softmax_cases
from refattn.numbers import formats
from refattn.suite.comparison import compare
from refattn.suite.findings import Evidence
from tests.support.worst_roundings import Row, by_unit

KINDS = ("softmax", "log_softmax", "logsumexp")
# By kind: the models that keep to an Arithmetic, and how many keys they take at a time (None: as it says).
MODELS: dict[str, tuple[Any, str, int | None]] = {
    "safe": (models.safe_softmax, "softmax", None),
    "online": (models.online_softmax, "softmax", 1),
    "tiled": (models.tiled_softmax, "softmax", 4),
    "log_softmax": (models.log_softmax, "log_softmax", 4),
    "logsumexp": (models.logsumexp, "logsumexp", 4),
}


def arithmetics(dtype: str) -> dict[str, Arithmetic]:
    narrow = dict.fromkeys(("scores", "normaliser", "lse"), dtype)
    truncating = {
        name: Stage(formats.get(dtype if name == "output" else "fp32"), "truncate")
        for name in ("scores", "normaliser", "lse", "output")
    }
    return {
        "flash": Arithmetic.flash(dtype),
        "scores narrow": Arithmetic.flash(dtype, scores=dtype),
        "everything narrow": Arithmetic.flash(dtype, **narrow),
        "truncating": Arithmetic.flash(dtype, exp_ulps=2.0, **truncating),
        "flushing": Arithmetic.flash(dtype, flush_to_zero=True),
    }


def judged(case: SoftmaxCase, model: str, arithmetic: Arithmetic) -> Evidence:
    function, kind, tile = MODELS[model]
    spec = SoftmaxSpec(axis=case.spec.axis, kind=kind)
    arithmetic = arithmetic.replace(tile=tile)
    if kind == "logsumexp":
        arithmetic = arithmetic.replace(output=arithmetic.lse)
    actual = function(case.x.astype(case.format.storage), axis=spec.axis, arithmetic=arithmetic)
    budget = bounds.softmax(case.x, spec, arithmetic)
    return compare(kind, np.asarray(actual, np.float64), oracle.softmax(case.x, spec=spec), budget)


@settings(max_examples=12)
@given(st.data())
@pytest.mark.parametrize("dtype", ["bf16", "fp16", "fp32"])
@pytest.mark.parametrize("name", arithmetics("bf16"))
@pytest.mark.parametrize("model", MODELS)
def test_models_that_keep_to_an_arithmetic_stay_within_it(model: str, name: str, dtype: str, data: Any) -> None:
    case = data.draw(softmax_cases(dtype))
    comparison = judged(case, model, arithmetics(dtype)[name])
    assert not comparison.violated, comparison.worst


@settings(max_examples=20)
@given(st.lists(st.floats(-8.0, 8.0, width=16), min_size=1, max_size=9))
def test_the_naive_softmax_stays_within_it_where_nothing_overflows(x: list[float]) -> None:
    case = SoftmaxCase(np.array(x), SoftmaxSpec(), formats.fp16)
    arithmetic = Arithmetic.flash("fp16", tile=None)
    actual = models.naive_softmax(case.x.astype(np.float16), arithmetic=arithmetic)
    budget = bounds.softmax(case.x, case.spec, arithmetic)
    assert not compare("softmax", np.asarray(actual, np.float64), oracle.softmax(case.x), budget).violated


def test_a_difference_from_the_maximum_is_rounded_to_the_scores() -> None:
    """A log_softmax far below the maximum errs by the rounding of x - m, in the scores' format."""
    x = np.array([0.0, -257.0, -300.5])
    case = SoftmaxCase(x, SoftmaxSpec(kind="log_softmax"), formats.fp32)
    arithmetic = Arithmetic.flash("fp32", scores="bf16", exp_ulps=0.0)
    comparison = judged(case, "log_softmax", arithmetic)
    assert comparison.worst is not None
    # Halfway between the numbers of bf16 that surround it.
    assert 0.99 < comparison.worst.error <= 1.0
    assert not comparison.violated


# Worst roundings, as attention's: a softmax is the output for the values (1, 0, 0, ...)


NARROW = ("scores", "normaliser", "lse")
WORST = {
    "flash": (Arithmetic.flash("bf16", tile=2, probabilities="fp64", accumulator="fp64"), 0.99, 0.45),
    "narrow": (
        Arithmetic.flash("bf16", tile=2, probabilities="fp64", accumulator="fp64", **dict.fromkeys(NARROW, "bf16")),
        0.7,
        0.45,
    ),
}


def worst_shares(arithmetic: Arithmetic, seeds: range) -> tuple[float, float]:
    """The largest shares of the bounds of softmax and logsumexp that worst roundings reach."""
    shares = [0.0, 0.0]
    # The scores are given: no product is rounded.
    exact = arithmetic.replace(dot="fp64", lse="fp64", log_ulps=0.0)
    for seed in seeds:
        rng = np.random.default_rng(seed)
        x = formats.bf16.round(rng.standard_normal(int(rng.integers(1, 7))) * rng.choice([0.1, 1.0, 5.0]))
        row = Row(np.ones(1), x[:, None], np.eye(len(x))[0], arithmetic, by_unit, 1.0)
        row.scores = lambda sides, x=x: x
        weights = models.safe_softmax(x, arithmetic=Arithmetic.float64())
        truth, budget = oracle.softmax(x), bounds.softmax(x, SoftmaxSpec(), arithmetic)
        error = max(abs(row.output(way) - truth.mid[0]) for way in (1.0, -1.0))
        assert abs(weights[0] - truth.mid[0]) <= error
        shares[0] = max(shares[0], error / budget.certified[0])
        truth, budget = oracle.logsumexp(x), bounds.logsumexp(x, exact.replace(output="fp64"))
        row.arithmetic = exact
        error = max(abs(row.log_sum_exp(way) - truth.mid) for way in (1.0, -1.0))
        shares[1] = max(shares[1], float(error / budget.certified))
    return shares[0], shares[1]


@pytest.mark.parametrize("name", WORST)
def test_worst_roundings_nearly_reach_the_bounds_and_never_exceed_them(name: str) -> None:
    arithmetic, softmax, logsumexp = WORST[name]
    shares = worst_shares(arithmetic, range(200))
    assert softmax <= shares[0] <= 1.0
    assert logsumexp <= shares[1] <= 1.0


@pytest.mark.parametrize("attribute", ["exp_log_error", "argument_error", "additions"])
def test_a_weaker_bound_is_exceeded_by_worst_roundings(attribute: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, attribute, lambda first, *rest: 0.0 * np.abs(first) if rest else 0.0)
    shares = [
        worst_shares(Arithmetic.flash("bf16", tile=1, output="fp64", **{stage: "bf16"}), range(60))
        for stage in ("scores", "normaliser")
    ]
    assert max(map(max, shares)) > 1.0


@pytest.mark.parametrize(("dtype", "least"), [("bf16", 0.95), ("fp16", 0.95), ("fp32", 0.1)])
def test_a_correct_softmax_reaches_most_of_the_bound(dtype: str, least: float) -> None:
    format = formats.get(dtype)
    x = format.round(np.random.default_rng(0).standard_normal((500, 8)))
    share = judged(SoftmaxCase(x, SoftmaxSpec(), format), "safe", Arithmetic.flash(dtype)).share
    assert least <= share <= 1.0


# Shape, parts, order, exactness


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_the_axis_is_the_one_that_the_spec_says(kind: Any, axis: int) -> None:
    x = np.random.default_rng(0).standard_normal((3, 4, 5))
    arithmetic = Arithmetic.flash("fp16")
    budget = bounds.softmax(x, SoftmaxSpec(axis=axis, kind=kind), arithmetic)
    wanted = bounds.softmax(np.moveaxis(x, axis, -1), SoftmaxSpec(kind=kind), arithmetic)
    assert budget.rms is not None
    assert wanted.rms is not None
    for a, b in ((budget.certified, wanted.certified), (budget.rms, wanted.rms)):
        np.testing.assert_array_equal(a if kind == "logsumexp" else np.moveaxis(a, axis, -1), b)


@pytest.mark.parametrize("kind", KINDS)
def test_parts_add_up_to_the_bound(kind: Any) -> None:
    x = np.random.default_rng(0).standard_normal((3, 40))
    for arithmetic in arithmetics("fp16").values():
        budget = bounds.softmax(x, SoftmaxSpec(kind=kind), arithmetic)
        np.testing.assert_array_equal(sum(budget.parts.values()), budget.certified)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_of_nothing_has_no_error_nor_has_an_entry_of_minus_infinity(kind: Any) -> None:
    x = np.array([[-np.inf, -np.inf], [1.0, -np.inf]])
    certified = bounds.softmax(x, SoftmaxSpec(kind=kind), Arithmetic.flash("fp16")).certified
    assert not certified[0].any()
    assert (certified[1] > 0).any()
    if kind != "logsumexp":
        assert certified[1, 1] == 0.0


LARGER = {
    "exp_ulps": (8.0, KINDS),
    "exp_relative": (0.01, KINDS),
    "log_ulps": (50.0, KINDS[1:]),
    "tile": (1, KINDS),
    "flush_to_zero": (True, KINDS),
    "exponent": ("fma", KINDS),
    "scores": ("bf16", KINDS),
    "normaliser": ("bf16", KINDS),
    "row_sum": ("bf16", KINDS),
    "output": ("e5m2", KINDS),
    "lse": ("bf16", KINDS[1:]),
}


@pytest.mark.parametrize("field", LARGER)
@pytest.mark.parametrize("kind", KINDS)
def test_a_worse_promise_never_has_a_smaller_bound(field: str, kind: Any) -> None:
    x = np.random.default_rng(0).standard_normal((3, 70)) + 2.0
    base = Arithmetic.flash("fp16")
    value, kinds = LARGER[field]
    better, worse = (
        bounds.softmax(x, SoftmaxSpec(kind=kind), each).certified for each in (base, base.replace(**{field: value}))
    )
    assert (better <= worse).all()
    assert (better < worse).any() == (kind in kinds)


@pytest.mark.parametrize(("kind", "output", "x"), [("logsumexp", "e4m3", 500.0), ("log_softmax", "e4m3", -500.0)])
def test_nothing_is_claimed_where_the_output_overflows(kind: Any, output: str, x: float) -> None:
    row = np.array([0.0, x])
    arithmetic = Arithmetic.flash("fp32", output=output)
    assert np.isinf(bounds.softmax(row, SoftmaxSpec(kind=kind), arithmetic).certified).any()
    assert np.isfinite(bounds.softmax(row / 2, SoftmaxSpec(kind=kind), arithmetic).certified).all()


# Arguments


def test_numbers_that_have_no_softmax_are_refused() -> None:
    arithmetic = Arithmetic.flash("fp32")
    for value in (math.nan, math.inf):
        with pytest.raises(InvalidValue, match=r"^x holds NaN or \+inf: expected finite numbers or -inf"):
            bounds.softmax(np.array([1.0, value]), SoftmaxSpec(), arithmetic)
    with pytest.raises(InvalidValue, match=r"^axis is 1: expected one of x's 1 axes"):
        bounds.logsumexp(np.ones(3), arithmetic, axis=1)
    with pytest.raises(InvalidType, match=r"^x "):
        bounds.softmax(object(), SoftmaxSpec(), arithmetic)
    assert bounds.softmax(np.ones(3, ml_dtypes.bfloat16), SoftmaxSpec(), arithmetic).certified.shape == (3,)
