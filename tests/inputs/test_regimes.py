"""Contract: each regime does what its summary says, as seen from the numbers of its cases, in every format.

A regime without one of regime_checks.CHECKS fails the tests.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from refattn.contract.spec import AttentionSpec, Shape
from refattn.errors import InvalidValue
from refattn.inputs import regimes, replay
from refattn.inputs.cases import AttentionCase
from refattn.inputs.regimes import EVERY_CLAIM, Limits, Recipe
from refattn.inputs.sources import SeededSource
from refattn.numbers import formats
from tests.inputs.regime_checks import CHECKS
from tests.inputs.regime_checks.figures import seen

LARGE = Limits(length=96, long=2600, batch=2, heads=8, head_dims=(16, 8, 40, 64), pairs=1 << 14)
SMALL = Limits(length=6, long=6, batch=2, heads=4, head_dims=(1, 2, 3, 4))
FORMATS = (formats.bf16, formats.fp16, formats.e4m3, formats.fp32)
NO_FEATURES = frozenset()
BOTH = ("bottom_right", "top_left")


def some_cases(regime, claims=EVERY_CLAIM, features=NO_FEATURES, alignments=BOTH, draws=2, among_formats=FORMATS):
    for format, limits, alignment, draw in itertools.product(among_formats, (LARGE, SMALL), alignments, range(draws)):
        if regime.available(format, limits, claims):
            recipe = Recipe(
                regime.name, format, 7, draw, limits=limits, features=features, claims=claims, alignment=alignment
            )
            yield recipe.case()


def test_every_regime_has_a_check():
    assert set(CHECKS) == {regime.name for regime in regimes.ALL}


@pytest.mark.parametrize("name", CHECKS)
def test_regime_does_what_it_says(name):
    cases = list(some_cases(regimes.get(name)))
    assert cases
    for case in cases:
        assert case.regime == name
        CHECKS[name](case)


@pytest.mark.parametrize("name", ["maxima/slow", "masks/left-padding", "needle/just-outside", "bias/infinite-prefix"])
def test_regimes_that_pick_a_tile_or_an_edge_do_what_they_say_whatever_they_pick(name):
    for case in some_cases(regimes.get(name), alignments=BOTH[:1], draws=12, among_formats=FORMATS[:1]):
        CHECKS[name](case)


@pytest.mark.parametrize("feature", ["causal", "window", "mask", "varlen", "paged", "sparse", "scale"])
@pytest.mark.parametrize("name", [name for name in CHECKS if name.startswith("needle/")])
def test_needles_hold_with_other_features(name, feature):
    for case in some_cases(regimes.get(name), features=frozenset({feature}), draws=1, among_formats=FORMATS[:3:2]):
        CHECKS[name](case)


@pytest.mark.parametrize("regime", regimes.ALL, ids=lambda regime: regime.name)
def test_arrays_of_the_spec_are_exact_in_the_formats_that_kernels_take(regime):
    for case in some_cases(regime, features=None, alignments=BOTH[:1], draws=1):
        spec = case.spec
        for values in (spec.sinks, spec.alibi_slopes, spec.scale, spec.softcap):
            assert values is None or formats.fp32.contains(values).all()
        assert spec.bias is None or case.format.contains(spec.bias).all()


@pytest.mark.parametrize("regime", regimes.ALL, ids=lambda regime: regime.name)
def test_no_row_is_empty_unless_that_is_claimed(regime):
    claims = EVERY_CLAIM - {"empty_rows"}
    for case in some_cases(regime, claims, features=None, draws=1, among_formats=FORMATS[:1]):
        assert seen(case).any(axis=-1).all()


@pytest.mark.parametrize("name", ["needle/just-outside", "window/narrow", "poison/nan-future", "garbage/window"])
def test_no_row_is_empty_for_want_of_keys(name):
    for case in some_cases(regimes.get(name), EVERY_CLAIM - {"empty_rows"}, draws=8, among_formats=FORMATS[:1]):
        assert seen(case).any(axis=-1).all()
        CHECKS[name](case)


@pytest.mark.parametrize("regime", regimes.ALL, ids=lambda regime: regime.name)
def test_what_is_not_claimed_does_not_occur(regime):
    for case in some_cases(regime, regime.needs, features=None, draws=1, among_formats=FORMATS[:1]):
        shape = case.shape
        assert set(regimes.claimed_features(case.spec)) <= regime.needs
        assert shape.queries == shape.keys or "cross" in regime.needs
        assert shape.heads == shape.kv_heads or "gqa" in regime.needs
        assert shape.d_qk == shape.d_v or "dv" in regime.needs
        assert "ragged" in regime.needs or shape.queries % 64 == shape.keys % 64 == 0


def test_kinds_say_where_there_is_nan_or_infinity():
    for regime in regimes.ALL:
        for case in some_cases(regime, alignments=BOTH[:1], draws=1, among_formats=FORMATS[:1]):
            arrays = (case.q, case.k, case.v)
            nan, inf = (any(test(array).any() for array in arrays) for test in (np.isnan, np.isinf))
            assert (nan or inf) == (regime.kind != "value") or case.shape.keys == 1
            assert regime.kind != "nan" or not inf
            assert regime.kind != "ieee" or not nan


def test_names_are_unique_and_summaries_are_sentences():
    assert len(CHECKS) == len(regimes.ALL)
    for regime in (*regimes.ALL, *regimes.SOFTMAX):
        assert regime.summary[0].isupper() or regime.summary[0].isdigit() or regime.summary.startswith("V ")
        assert regime.summary.endswith(".")


def test_only_seeded_cases_are_called_generic():
    generic = [regime.name for regime in regimes.ALL if regime.generic]
    assert "generic/x1" in generic
    assert not [name for name in generic if name.split("/")[0] not in ("generic", "lengths", "heads", "dims")]
    assert Recipe("generic/x1", formats.bf16).case().generic


def test_a_recipe_makes_the_same_case_again_from_its_line():
    for name in ("needle/just-inside", "generic/x1", "softmax/top-k", "garbage/unused-slots"):
        recipe = Recipe(name, formats.fp16, seed=5, draw=3, upstream=not name.startswith("softmax"), limits=LARGE)
        assert Recipe.parse(str(recipe)) == recipe
        assert regimes.rebuild(str(recipe)).same_as(recipe.case())
        assert not recipe.case().same_as(Recipe(name, formats.fp16, seed=6, limits=LARGE).case())


def test_a_large_case_travels_as_its_recipe_and_a_changed_one_as_its_numbers():
    case = Recipe("generic/x1", formats.bf16, features=frozenset({"causal"}), limits=LARGE).case()
    assert replay.token(case) == "recipe:" + case.recipe
    assert replay.case_of(replay.token(case), AttentionCase).same_as(case)
    changed = case.replace(v=-case.v)
    assert changed.recipe is None
    assert replay.case_of(replay.token(changed), AttentionCase).same_as(changed)
    lying = changed.replace(recipe=case.recipe)
    assert replay.case_of(replay.token(lying), AttentionCase).same_as(changed)


@pytest.mark.parametrize(
    ("recipe", "complaint"),
    [
        ("needle/frist,format=bf16", "needle/first"),
        ("needle/first", "no format"),
        ("needle/first,format=bf17", "bf17"),
        ("needle/first,format=bf16,seed=-1", "natural"),
        ("needle/first,format=bf16,length=99999999", "length is"),
        ("needle/first,format=bf16,head_dims=0", "head_dims"),
        ("needle/first,format=bf16,claims=flying", "flying"),
        ("needle/first,format=bf16,colour=red", "colour"),
        ("lengths/two-tiles,format=bf16", "does not exist"),
        ("masks/band,format=bf16,claims=causal", "does not exist"),
        ("special/inf-in-q,format=e4m3", "does not exist"),
        ("softmax/flat-over-256,format=bf16", "does not exist"),
        ("softmax/x1,format=bf16,axis=100", "axis"),
        ("softmax/x1,format=bf16,kind=hard", "kind"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(recipe, complaint):
    with pytest.raises(InvalidValue, match=complaint):
        regimes.rebuild(recipe)


def test_each_feature_and_pair_is_exercised_alone():
    source = SeededSource(np.random.default_rng(0))
    specs = regimes.feature_specs(source, Shape(2, 4, 2, 8, 12, 4, 4), EVERY_CLAIM, pairs=True)
    for feature in regimes.FEATURES:
        assert regimes.claimed_features(specs[feature]) == (feature,)
    together = list(itertools.combinations(regimes.FEATURES, 2))
    impossible = {("causal", "strict_causal"), ("varlen", "paged")}
    assert {tuple(name.split("+")) for name in specs if "+" in name} == set(together) - impossible


def test_exactly_the_wanted_features_are_drawn():
    for features in (set(), {"causal"}, {"window", "sinks", "dropout"}, {"mask", "varlen"}):
        case = Recipe("generic/x1", formats.bf16, features=frozenset(features), limits=LARGE).case()
        assert set(regimes.claimed_features(case.spec)) == features


def test_upstream_gradients_are_in_the_formats_that_kernels_take():
    case = Recipe("generic/x1", formats.bf16, upstream=True).case()
    assert case.do.shape == (*case.q.shape[:3], case.shape.d_v)
    assert formats.fp32.contains(case.dlse).all()
    assert not formats.bf16.contains(case.dlse).all()
    assert Recipe("generic/x1", formats.bf16, upstream=True, claims=EVERY_CLAIM - {"lse"}).case().dlse is None


def test_has_empty_rows_looks_at_every_row():
    sizes = Shape(1, 1, 1, 3, 2, 1, 1)
    assert regimes.has_empty_rows(AttentionSpec(causal=True), sizes)
    assert not regimes.has_empty_rows(AttentionSpec(causal=True, alignment="top_left"), sizes)
    mask = np.ones((1, 1, 3, 2), np.bool_)
    mask[..., 2, :] = False
    assert regimes.has_empty_rows(AttentionSpec(mask=mask), sizes)
