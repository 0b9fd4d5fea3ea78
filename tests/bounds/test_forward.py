"""The certified bounds of output and log-sum-exp: never exceeded, nearly reached, and split by source."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refattn import bounds, oracle
from refattn.bounds import forward, stages, weights
from refattn.bounds.budget import AttentionBudget
from refattn.bounds.theorems import scores
from refattn.bounds.theorems.dot import dot_any_order
from refattn.contract.arithmetic import Arithmetic, Stage
from refattn.contract.spec import AttentionSpec
from refattn.errors import InvalidType, InvalidValue
from refattn.inputs.cases import AttentionCase
from refattn.inputs.strategies import attention_cases
from refattn.models.rounding import Rounder
from refattn.numbers import formats
from refattn.numbers.roundoff import compound
from tests.support.kernels_by_arithmetic import arithmetics, judged, kernel_of
from tests.support.worst_roundings import Nudge, Row, by_format, by_unit

NAMES = tuple(arithmetics("bf16"))


def normal(dtype: str, queries: int = 5, keys: int = 9, d: int = 4, seed: int = 0, size: float = 1.0) -> AttentionCase:
    rng, format = np.random.default_rng(seed), formats.get(dtype)
    shapes = ((1, 2, queries, d), (1, 1, keys, d), (1, 1, keys, 3))
    q, k, v = (format.round(rng.standard_normal(shape) * size) for shape in shapes)
    return AttentionCase(q, k, v, AttentionSpec(), format)


def budget_of(case: AttentionCase, arithmetic: Arithmetic) -> AttentionBudget:
    return bounds.attention(case.q, case.k, case.v, case.spec, arithmetic)


# Never exceeded by a kernel that keeps to the arithmetic


@settings(max_examples=8)
@given(st.data())
@pytest.mark.parametrize("dtype", ["bf16", "fp16", "fp32"])
@pytest.mark.parametrize("name", NAMES)
def test_kernels_that_keep_to_an_arithmetic_stay_within_it(name: str, dtype: str, data: Any) -> None:
    case = data.draw(attention_cases(dtype))
    for quantity, comparison in judged(case, kernel_of(arithmetics(dtype)[name])).items():
        assert not comparison.violated, (quantity, comparison.worst)


FOUND = {
    # A scaled query that underflows loses more than its relative rounding.
    "scaled query underflows": ("query scaled", "fp16", 2.0**-14, 2.0**10, 1.0),
    # The raw product is stored in fp16 before it is scaled.
    "raw product overflows": ("naive", "fp16", 300.0, 100.0, 1.0),
    "accumulator overflows": ("accumulator narrow", "fp16", 1.0, 1.0, 20000.0),
}


@pytest.mark.parametrize("fault", FOUND)
@pytest.mark.parametrize("seed", range(4))
def test_ends_of_the_range_are_counted(fault: str, seed: int) -> None:
    name, dtype, q, k, v = FOUND[fault]
    case = normal(dtype, seed=seed, d=16)
    scaled = {part: case.format.round(getattr(case, part) * factor) for part, factor in (("q", q), ("k", k), ("v", v))}
    for comparison in judged(case.replace(**scaled), kernel_of(arithmetics(dtype)[name])).values():
        assert not comparison.violated, comparison.worst


# Never exceeded by the worst roundings, and nearly reached by them


BF16 = ("dot", "scores", "normaliser", "row_sum", "accumulator", "lse")
TRUNCATING = Stage(formats.bf16, "truncate")
WORST: dict[str, tuple[Arithmetic, Nudge, float, float]] = {
    # The least shares of the bounds of the output and of the log-sum-exp that are reached.
    "flash": (Arithmetic.flash("bf16", tile=2), by_unit, 0.99, 0.7),
    "narrow": (Arithmetic.flash("bf16", tile=2, **dict.fromkeys(BF16, "bf16")), by_unit, 0.85, 0.6),
    "naive": (Arithmetic.naive("bf16", tile=1, cast="before"), by_unit, 0.99, 0.9),
    "truncating": (
        Arithmetic.flash("bf16", tile=2, **dict.fromkeys((*BF16, "probabilities", "output"), TRUNCATING)),
        by_format,
        0.29,
        0.3,
    ),
}


def worst_shares(arithmetic: Arithmetic, nudge: Nudge, seeds: range) -> tuple[float, float]:
    """The largest shares of the bounds that worst roundings reach: of the output and of the log-sum-exp."""
    shares = [0.0, 0.0]
    for seed in seeds:
        rng, format = np.random.default_rng(seed), formats.bf16
        n, d, size = int(rng.integers(1, 7)), int(rng.integers(1, 4)), rng.choice([0.1, 1.0, 3.0, 10.0])
        q, k, v = (format.round(rng.standard_normal(shape) * size) for shape in (d, (n, d), n))
        v = format.round(v / size + rng.choice([0.0, 2.0, -2.0]))
        scale = rng.choice([1.0 / math.sqrt(d), -1.0])
        sink = float(format.round(rng.standard_normal() * size)) if rng.random() < 0.5 else None
        spec = AttentionSpec(scale=scale, sinks=None if sink is None else np.array([sink]))
        problem = (q[None, None, None], k[None, None], v[None, None, :, None], spec)
        budget, truth = bounds.attention(*problem, arithmetic), oracle.attention(*problem)
        row = Row(q, k, v, arithmetic, nudge, scale, sink)
        for part, (computed, exact, allowed) in enumerate(
            ((row.output, truth.out, budget.out), (row.log_sum_exp, truth.lse, budget.lse))
        ):
            error = max(abs(computed(way) - exact.mid.item()) for way in (1.0, -1.0))
            shares[part] = max(shares[part], error / allowed.certified.item())
    return shares[0], shares[1]


@pytest.mark.parametrize("name", WORST)
def test_worst_roundings_nearly_reach_the_bounds_and_never_exceed_them(name: str) -> None:
    arithmetic, nudge, out, lse = WORST[name]
    shares = worst_shares(arithmetic, nudge, range(200))
    assert out <= shares[0] <= 1.0
    assert lse <= shares[1] <= 1.0


def test_a_sink_pulls_the_output_out_of_the_values_hull() -> None:
    """Where scores are off by nats, the sink may take any weight: the hull of the values, {1}, does not bound it."""
    arithmetic = Arithmetic.naive("bf16", cast="before")
    q, k, v = np.array([16.0]), np.array([[16.0], [16.0]]), np.array([1.0, 1.0])
    spec = AttentionSpec(scale=1.0, sinks=np.array([253.0]))
    problem = (q[None, None, None], k[None, None], v[None, None, :, None], spec)
    row = Row(q, k, v, arithmetic, by_unit, 1.0, 253.0)
    _, exact = row.exact()
    error = exact - row.output(-1.0)
    assert error > 1.0 - exact
    assert error <= bounds.attention(*problem, arithmetic).out.certified.item()


# Tight: recorded so that nobody loosens a bound unnoticed

# Two keys with values 0 and 1: the weight of the second and the quotient round by half an ulp of significands near 1.
TIGHT = {"bf16": 0.9, "fp16": 0.9}


@pytest.mark.parametrize("dtype", TIGHT)
def test_a_correct_kernel_reaches_most_of_the_bound(dtype: str) -> None:
    format = formats.get(dtype)
    q = format.round(np.random.default_rng(0).uniform(0.0, 4.0, (1, 1, 20000, 2)))
    k = np.array([[0.0, 0.0], [-1.0, -(2.0**-8)]]).reshape(1, 1, 2, 2)
    case = AttentionCase(q, k, np.array([0.0, 1.0]).reshape(1, 1, 2, 1), AttentionSpec(scale=1.0), format)
    share = judged(case, kernel_of(Arithmetic.flash(dtype)))["out"].share
    assert TIGHT[dtype] <= share <= 1.0


@pytest.mark.parametrize(("dtype", "least"), [("bf16", 0.3), ("fp16", 0.3), ("fp32", 0.015)])
def test_the_bound_is_not_far_beyond_what_ordinary_inputs_give(
    dtype: str, least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Sums of fp32 add one term after another, too: BLAS has an order of its own on each processor.
    monkeypatch.setattr(Rounder, "_native", None)
    case = normal(dtype, queries=64, keys=64, d=32)
    assert least <= judged(case, kernel_of(Arithmetic.flash(dtype)))["out"].share <= 1.0


# Parts


@settings(max_examples=25)
@given(attention_cases("bf16"), st.sampled_from(NAMES))
def test_parts_add_up_to_at_least_the_bound(case: AttentionCase, name: str) -> None:
    for budget in budget_of(case, arithmetics("bf16")[name]):
        total = sum(budget.parts.values())
        claimed = np.isfinite(budget.certified)
        # Seven numbers of one sign are added up in another order.
        assert (np.asarray(total)[claimed] * (1 + 2.0**-49) >= budget.certified[claimed]).all()
        assert all((part[claimed] >= 0).all() for part in budget.parts.values())


def test_parts_add_up_to_the_bound_where_the_hull_does_not_cap_it() -> None:
    for name, arithmetic in arithmetics("fp16").items():
        for budget in budget_of(normal("fp16"), arithmetic):
            total = np.asarray(sum(budget.parts.values()))
            assert (total <= budget.certified * (1 + 2.0**-49)).all(), name


def test_the_hull_caps_the_bound_where_nothing_is_known_of_the_weights() -> None:
    case = normal("bf16", size=100.0)
    budget = budget_of(case, Arithmetic.naive("bf16")).out
    spread = np.ptp(case.v, axis=2).max()
    assert (sum(budget.parts.values()) > 10 * budget.certified).any()
    # The whole of the hull, and roundings of at most 3 u |v| of the cast, the sums and the output.
    assert budget.certified.max() <= spread + 4 * 2.0**-8 * np.abs(case.v).max()


def test_the_largest_part_is_the_stage_that_is_narrow() -> None:
    case = normal("bf16", keys=40, d=32, size=2.0)
    for change, part in (
        ({"scores": "bf16"}, "scores"),
        ({"accumulator": "bf16", "tile": 1}, "accumulation"),
        ({"normaliser": "bf16", "tile": 1}, "normaliser"),
        ({"exp_relative": 0.2}, "exp"),
        ({"probabilities": "e5m2"}, "probabilities"),
        ({"output": "e5m2"}, "output"),
    ):
        budget = budget_of(case, Arithmetic.flash("fp16", **change)).out
        largest = np.unravel_index(int(budget.certified.argmax()), budget.certified.shape)
        assert budget.dominating_part(tuple(map(int, largest))) == part


# Monotone


STAGES = ("dot", "scores", "normaliser", "row_sum", "probabilities", "accumulator", "output", "lse")
LARGER = {
    "exp_ulps": 8.0,
    "exp_relative": 0.01,
    "tanh_ulps": 50.0,
    "log_ulps": 50.0,
    "tile": 1,
    "splits": 4,
    "flush_to_zero": True,
    "sum_of_cast": True,
    "exponent": "fma",
}
FEATURES = AttentionSpec(softcap=4.0, bias=np.array([[0.5]]), sinks=np.array([0.25, -1.0]), causal=True)


@pytest.mark.parametrize("spec", [AttentionSpec(), FEATURES], ids=["plain", "features"])
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("wider", ["e5m2", "fp16", "tf32"])
def test_a_wider_stage_never_has_a_larger_bound(stage: str, wider: str, spec: AttentionSpec) -> None:
    case = normal("fp16", d=16).replace(spec=spec)
    # From the same range up: fp16 and tf32 differ in their underflow.
    chain = {"e5m2": "fp16", "fp16": "fp32", "tf32": "fp32"}
    base = Arithmetic.flash("fp16", output="fp32", probabilities="fp32", scores="fp32" if stage != "dot" else "e5m2")
    for narrow, wide in zip(
        *(budget_of(case, base.replace(**{stage: each})) for each in (wider, chain[wider])), strict=True
    ):
        assert (wide.certified <= narrow.certified).all()


@pytest.mark.parametrize("stage", STAGES)
def test_truncating_never_has_a_smaller_bound(stage: str) -> None:
    case = normal("fp16").replace(spec=FEATURES)
    nearest = Arithmetic.flash("fp16", row_sum="bf16")
    truncating = nearest.replace(**{stage: Stage(getattr(nearest, stage).format, "truncate")})
    for one, other in zip(budget_of(case, nearest), budget_of(case, truncating), strict=True):
        assert (one.certified <= other.certified).all()
    assert any(
        (a.certified < b.certified).any()
        for a, b in zip(budget_of(case, nearest), budget_of(case, truncating), strict=True)
    )


@pytest.mark.parametrize("field", LARGER)
def test_a_worse_promise_never_has_a_smaller_bound(field: str) -> None:
    case = normal("fp16").replace(spec=FEATURES)
    base = Arithmetic.flash("fp16")
    pairs = list(zip(budget_of(case, base), budget_of(case, base.replace(**{field: LARGER[field]})), strict=True))
    assert all((better.certified <= worse.certified).all() for better, worse in pairs)
    assert any((better.certified < worse.certified).any() for better, worse in pairs)


# The bound is inf exactly where something overflows


@pytest.mark.parametrize(
    ("changes", "quantity", "q", "v"),
    [
        ({"scores": "fp16"}, "out", 1000.0, 1.0),
        ({"dot": "fp16"}, "out", 1000.0, 1.0),
        ({"accumulator": "fp16"}, "out", 1.0, 60000.0),
        ({"output": "e4m3"}, "out", 1.0, 500.0),
        ({"lse": "e4m3"}, "lse", 600.0, 1.0),
    ],
)
def test_nothing_is_claimed_where_a_declared_format_overflows(
    changes: dict[str, Any], quantity: str, q: float, v: float
) -> None:
    arrays = [np.full((1, 1, n, 1), x) for n, x in ((1, q), (3, 100.0), (3, v))]
    arithmetic = Arithmetic.flash("fp32", **changes)
    spec = AttentionSpec(scale=0.01)
    certified = getattr(bounds.attention(*arrays, spec, arithmetic), quantity).certified
    assert np.isinf(certified).all()
    within = [arrays[0] / 1024, arrays[1], arrays[2] / 1024]
    for budget in bounds.attention(*within, spec, arithmetic):
        assert np.isfinite(budget.certified).all()


def test_rows_that_see_nothing_have_no_error() -> None:
    case = normal("bf16").replace(spec=AttentionSpec(kept_queries=np.arange(5) % 2 == 0))
    for budget in budget_of(case, Arithmetic.flash("bf16")):
        assert not budget.certified[:, :, 1::2].any()
        assert (budget.certified[:, :, ::2] > 0).all()
        assert budget.rms is not None
        assert not budget.rms[:, :, 1::2].any()


# A weaker bound is exceeded


def _without_length(terms: float, unit: float, magnitude: Any, lost: float) -> Any:
    return dot_any_order(min(terms, 1.0), unit, magnitude, lost)


WEAKER: dict[str, tuple[Any, str, Callable[..., Any]]] = {
    "no n in sums": (forward, "additions", lambda keys, changes, unit: 2 * unit),
    "no n in scores": (stages, "dot_any_order", _without_length),
    "no exponential": (weights, "exp_log_error", lambda *rest: 0.0),
    "no rounding of the argument": (weights, "argument_error", lambda scores, *rest: np.zeros_like(scores)),
    "no rescales": (weights, "rescales", lambda keys, arithmetic: 0),
    "one rounding of the scaling": (scores, "compound", lambda *units: compound(*units[:1])),
}


@pytest.mark.parametrize("name", WEAKER)
def test_a_weaker_bound_is_exceeded_by_worst_roundings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, attribute, weaker = WEAKER[name]
    monkeypatch.setattr(module, attribute, weaker)
    base = Arithmetic.flash("bf16", tile=1, output="fp32", probabilities="fp32")
    changes = (dict.fromkeys(BF16, "bf16"), {"scores": "bf16"}, {"accumulator": "bf16"})
    shares = [share for each in changes for share in worst_shares(base.replace(**each), by_unit, range(100))]
    assert max(shares) > 1.0


# Arguments


@pytest.mark.parametrize("name", ["q", "k", "v"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_inputs_that_are_not_finite_are_refused(name: str, value: float) -> None:
    case = normal("fp32")
    arrays = {"q": case.q.copy(), "k": case.k.copy(), "v": case.v.copy()}
    arrays[name][..., 0] = value
    with pytest.raises(InvalidValue, match=rf"^{name} holds NaN or infinities: expected finite numbers"):
        bounds.attention(*arrays.values(), AttentionSpec(), Arithmetic.flash("fp32"))


def test_arrays_that_are_not_are_refused() -> None:
    case = normal("fp32")
    with pytest.raises(InvalidType, match=r"^v "):
        bounds.attention(case.q, case.k, object(), AttentionSpec(), Arithmetic.flash("fp32"))
    with pytest.raises(InvalidValue, match=r"^k has head dimension"):
        bounds.attention(case.q, case.k[..., :2], case.v, AttentionSpec(), Arithmetic.flash("fp32"))
