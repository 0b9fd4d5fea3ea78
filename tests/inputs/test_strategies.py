"""Contract: drawn cases reach the faults that they are for, obey the claims, and shrink to a readable case."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from refattn.contract.spec import Shape, SoftmaxSpec
from refattn.contract.visibility import visible
from refattn.errors import InvalidValue
from refattn.inputs import regimes, replay, strategies
from refattn.inputs.cases import AttentionCase, SoftmaxCase
from refattn.inputs.regimes import EVERY_CLAIM, Limits
from refattn.inputs.sources import DrawnSource, SeededSource
from refattn.numbers import formats

SMALL = [regime for regime in regimes.ALL if regime.available(formats.fp32, Limits(), EVERY_CLAIM)]
KINDS = ("value", "nan", "ieee", "poison")
SEARCH = settings(
    derandomize=True, max_examples=2000, database=None, suppress_health_check=list(HealthCheck), deadline=None
)


def smallest(condition, **options):
    return find(strategies.attention_cases("bf16", **options), condition, settings=SEARCH)


def hides(case):
    return not visible(case.spec, case.shape).all()


@pytest.mark.parametrize(
    ("condition", "sizes"),
    [
        (lambda case: case.shape.keys >= 2, (1, 1, 1, 1, 2, 1, 1)),
        (lambda case: case.shape.queries >= 3, (1, 1, 1, 3, 1, 1, 1)),
        (lambda case: case.shape.heads > case.shape.kv_heads, (1, 2, 1, 1, 1, 1, 1)),
        (lambda case: case.shape.d_v > 1 and case.shape.batch > 1, (2, 1, 1, 1, 1, 1, 2)),
    ],
)
def test_a_fault_of_sizes_shrinks_to_the_smallest_such_sizes_and_zeros(condition, sizes):
    case = smallest(lambda case: condition(case) and case.shape.keys > 0)
    assert case.shape == Shape(*sizes)
    assert not case.spec.features()
    assert not any(array.any() for array in case.arrays().values())
    assert case.regime == "generic/x1"


def test_a_fault_of_masking_shrinks_to_one_feature_and_a_key_or_two():
    case = smallest(lambda case: hides(case) and visible(case.spec, case.shape).any())
    assert case.shape.queries * case.shape.keys <= 4
    assert len(regimes.claimed_features(case.spec)) <= 2
    assert len(case.describe()) < 400
    assert len(replay.token(case)) < 120


def test_a_fault_of_two_features_shrinks_to_these_two():
    case = smallest(lambda case: case.spec.sinks is not None and case.spec.window != (None, None))
    assert set(regimes.claimed_features(case.spec)) == {"sinks", "window"}
    assert case.shape.queries * case.shape.keys * case.shape.heads <= 4


def test_a_fault_of_values_shrinks_to_a_small_whole_number():
    names = ["generic/x1", "generic/x30", "scores/mean-of-k"]
    case = smallest(lambda case: np.abs(case.v).max(initial=0) > 1, regimes=names)
    assert np.count_nonzero(case.v) == 1
    assert abs(case.v[case.v != 0][0]) in (2, 3)


def test_a_softmax_fault_shrinks_too():
    case = find(strategies.softmax_cases("fp16"), lambda case: case.x.max() > case.x.min(), settings=SEARCH)
    assert case.x.shape == (2,)
    assert sorted(np.abs(case.x))[0] == 0


@given(st.data(), strategies.formats(), st.frozensets(st.sampled_from(sorted(EVERY_CLAIM))), st.booleans())
def test_drawn_cases_obey_the_claims_and_limits(data, format, claims, upstream):
    case = data.draw(
        strategies.attention_cases(format, claims=claims, max_length=5, multiple=4, upstream=upstream, kinds=KINDS)
    )
    shape = case.shape
    assert case.format is format
    assert not case.generic
    assert set(regimes.claimed_features(case.spec)) <= claims
    assert shape.queries == shape.keys or "cross" in claims
    assert shape.heads == shape.kv_heads or "gqa" in claims
    assert shape.d_qk == shape.d_v or "dv" in claims
    assert max(shape.queries, shape.keys) <= 5 if "ragged" in claims else shape.queries % 4 == shape.keys % 4 == 0
    assert "empty_rows" in claims or visible(case.spec, shape).any(axis=-1).all()
    assert min(shape.queries, shape.keys) > 0 or "zero_length" in claims
    assert shape.batch <= 2
    assert shape.heads <= 4
    assert (case.do is not None) == upstream
    assert (case.dlse is not None) == (upstream and "lse" in claims)
    assert replay.case_of(replay.token(case), AttentionCase).same_as(case)


@given(strategies.softmax_cases("bf16", spec=SoftmaxSpec(axis=1, kind="logsumexp"), kinds=("value", "nan", "empty")))
def test_drawn_softmax_cases_have_the_spec_asked_for(case):
    assert case.spec == SoftmaxSpec(axis=1, kind="logsumexp")
    assert case.x.ndim >= 2
    assert case.x.shape[1] <= 40
    assert replay.case_of(replay.token(case), SoftmaxCase).same_as(case)


@given(st.data())
def test_only_the_regimes_and_features_asked_for_are_drawn(data):
    names = ["needle/first", "sinks/high"]
    case = data.draw(strategies.attention_cases(regimes=names, features={"causal"}))
    assert case.regime in names
    assert set(regimes.claimed_features(case.spec)) <= {"causal", "sinks"}
    assert case.spec.causal


@given(st.data())
def test_drawn_specs_fit_the_sizes(data):
    sizes = Shape(2, 4, 2, 3, 5, 2, 2)
    spec = data.draw(strategies.attention_specs(sizes, claims={"mask", "bias"}, features={"mask"}))
    assert regimes.claimed_features(spec) == ("mask",)
    assert not regimes.has_empty_rows(spec, sizes)
    free = data.draw(strategies.attention_specs(sizes))
    assert visible(free, sizes).shape == (2, 4, 3, 5)


@given(st.data(), st.sampled_from(SMALL))
def test_cases_of_any_regime_make_a_round_number_of_draws(data, regime):
    draws = []

    def draw(strategy):
        draws.append(strategy)
        return data.draw(strategy)

    regimes.make_case(regime, DrawnSource(draw), formats.fp32)
    assert len(draws) % 16 == 0


def test_every_regime_that_fits_in_a_small_case_can_be_drawn():
    assert {regime.name.split("/")[0] for regime in set(regimes.ALL) - set(SMALL)} <= {
        "lengths",
        "flat",
        "needle",
        "heads",
    }
    for regime in SMALL:
        assert regimes_drawn(regime.name) == {regime.name}


def regimes_drawn(name):
    drawn = set()

    @settings(max_examples=2, database=None, phases=[Phase.generate])
    @given(strategies.attention_cases("fp32", regimes=[name]))
    def collect(case):
        drawn.add(case.regime)

    collect()
    return drawn


def test_seeded_cases_depend_on_nothing_but_their_arguments():
    options = {"limits": Limits(length=40, long=300, heads=7, head_dims=(16, 8, 40), pairs=4096), "claims": EVERY_CLAIM}
    whole = strategies.seeded_cases("bf16", draws=2, **options)
    again = strategies.seeded_cases("bf16", draws=2, **options)
    assert all(first.same_as(second) for first, second in zip(whole, again, strict=True))
    alone = strategies.seeded_cases("bf16", draws=2, regimes=["needle/last"], **options)
    assert [case.regime for case in alone] == ["needle/last"] * 2
    assert all(case.same_as(next(c for c in whole if c.recipe == case.recipe)) for case in alone)
    assert not alone[0].same_as(alone[1])
    other = strategies.seeded_cases("bf16", seed=1, regimes=["needle/last"], **options)
    assert not alone[0].same_as(other[0])
    reached = {case.regime for case in whole}
    missing = {regime.name for regime in regimes.ALL if regime.kind == "value"} - reached
    assert missing == {"flat/over-2048"}


def test_seeded_softmax_cases_carry_their_recipes():
    limits = Limits(length=64, long=300)
    for case in strategies.seeded_softmax_cases("fp16", spec=SoftmaxSpec(axis=0), limits=limits):
        assert replay.case_of("recipe:" + case.recipe, SoftmaxCase).same_as(case)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"regimes": ["softmax/x1"]}, "is one of softmax"),
        ({"regimes": ["nonsense"]}, "not known"),
        ({"regimes": ["masks/band"], "claims": {"causal"}}, "at least one"),
        ({"kinds": ["tame"]}, "at least one"),
        ({"limits": Limits(), "regimes": ["flat/over-256"]}, "at least one"),
    ],
)
def test_asking_for_no_regime_is_refused(options, complaint):
    with pytest.raises(InvalidValue, match=complaint):
        strategies.seeded_cases("bf16", **options)


def test_asking_for_no_softmax_regime_is_refused():
    with pytest.raises(InvalidValue, match="at least one"):
        strategies.seeded_softmax_cases("e4m3", kinds=("ieee",))
    with pytest.raises(InvalidValue, match="is one of attention"):
        strategies.seeded_softmax_cases("bf16", regimes=["needle/last"])


@st.composite
def sources(draw):
    seed = draw(st.none() | st.integers(0, 100))
    return DrawnSource(draw) if seed is None else SeededSource(np.random.default_rng(seed))


@given(sources(), st.integers(0, 5), st.integers(-3, 3), st.integers(0, 1000))
def test_both_sources_keep_their_word(source, n, low, span):
    assert low <= source.integer(low, low + span) <= low + span
    assert source.choice("abc") in "abc"
    assert source.boolean() in (True, False)
    assert source.normal((n, 2), 2.0).shape == (n, 2)
    small = source.small((n, 3))
    assert (small * 8 == np.rint(small * 8)).all()
    assert (np.abs(small) <= 4).all()
    uniform = source.uniform((n,), -1.0, 3.0)
    assert ((uniform >= -1) & (uniform < 3)).all()
    integers = source.integers((3, n), low, low + span)
    assert integers.dtype == np.int64
    assert ((integers >= low) & (integers <= low + span)).all()
    assert source.booleans((n,), 1.0).all()
    assert not source.booleans((n,), 0.0).any()
    assert sorted(source.permutation(n)) == list(range(n))
