"""The table of features agrees with specs and their visibility."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from refattn import adapters
from refattn.contract import features
from refattn.contract.features import CLAIMS, FEATURES, HIDING, OTHER_CLAIMS, TABLE, Feature
from refattn.contract.spec import AttentionSpec, Shape
from refattn.contract.visibility import Visibility, visible
from refattn.errors import InvalidValue
from refattn.inputs import regimes
from refattn.inputs.regimes import EVERY_CLAIM, draw_spec
from refattn.inputs.sources import SeededSource
from refattn.suite import properties

SIZES = Shape(2, 6, 3, 11, 13, 4, 5)
LENGTHS = {"b": SIZES.batch, "h": SIZES.heads, "q": SIZES.queries, "k": SIZES.keys}
ROWS = pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)


def drawn(*names: str, count: int = 12) -> Iterator[AttentionSpec]:
    """Some specs with just these features."""
    for seed in range(count):
        yield draw_spec(SeededSource(np.random.default_rng(seed)), SIZES, EVERY_CLAIM, features=names)


def arrays(row: Feature, spec: AttentionSpec) -> Iterator[tuple[str, object]]:
    """The axes and the array of each field of the feature, of each half of a pair."""
    for field, axes in row.fields.items():
        value = getattr(spec, field)
        if isinstance(axes, tuple):
            yield from zip(axes, value or (None, None), strict=True)
        else:
            yield axes, value


def test_each_field_of_a_spec_is_of_one_feature_or_unclaimed() -> None:
    claimed = [field for row in TABLE for field in row.fields]
    assert sorted([*claimed, *features.UNCLAIMED]) == sorted(field.name for field in dataclasses.fields(AttentionSpec))


def test_each_claim_is_said_once_in_a_line() -> None:
    assert not OTHER_CLAIMS.keys() & set(FEATURES)
    assert set(CLAIMS) == {*FEATURES, *OTHER_CLAIMS} == EVERY_CLAIM
    assert len(set(CLAIMS.values())) == len(CLAIMS)
    assert [row[0] for row in features.described()] == list(CLAIMS)


def test_what_properties_regimes_and_conventions_ask_for_are_claims() -> None:
    asked = [each.needs | ({each.gate} if each.gate else set()) for each in properties.ALL]
    asked += [each.needs | each.excludes for each in regimes.ALL]
    asked += [adapters.get(name).usual_claims(lambda q, k, v: v) for name in adapters.names()]
    assert not frozenset().union(*asked) - CLAIMS.keys()


@ROWS
def test_a_spec_drawn_with_a_feature_has_it_alone(row: Feature) -> None:
    for spec in drawn(row.name):
        assert [each.name for each in features.used(spec)] == [row.name]
        assert set(spec.features()) <= {*row.fields, *([row.refines] if row.refines else [])}


@ROWS
def test_the_axes_of_a_field_are_those_of_its_array(row: Feature) -> None:
    for spec in drawn(row.name):
        for axes, array in arrays(row, spec):
            assert isinstance(array, np.ndarray) == (axes != "" and array is not None)
            if isinstance(array, np.ndarray):
                full = [LENGTHS[axis] for axis in axes]
                assert np.broadcast_shapes(array.shape, tuple(full)) == tuple(full)


@ROWS
def test_a_feature_hides_keys_just_if_the_table_says_so(row: Feature) -> None:
    hidden = 0
    for spec in drawn(row.name):
        hides_some = not visible(spec, SIZES).all()
        assert features.hides(spec) or not hides_some
        assert features.hides(spec) == row.hides_in(spec)
        hidden += hides_some
    assert (hidden > 0) == (row.hides is not None) == (row.name in HIDING)


def test_a_bias_hides_keys_by_minus_infinity_only() -> None:
    assert not features.hides(AttentionSpec(bias=np.full((1, 13), -1e30)))
    assert features.hides(AttentionSpec(bias=np.array([0.0, -np.inf])))
    assert not features.hides(AttentionSpec(sinks=np.full(6, -np.inf)))


def test_features_that_exclude_each_other_are_never_in_one_spec() -> None:
    for first, second in itertools.combinations(FEATURES, 2):
        drawn_sets = {
            names for spec in drawn(first, second) for names in [tuple(row.name for row in features.used(spec))]
        }
        assert ((first, second) in drawn_sets) == features.compatible((first, second))


@pytest.mark.parametrize("row", [row for row in TABLE if row.excludes], ids=lambda row: row.name)
def test_a_spec_of_features_that_exclude_each_other_is_refused(row: Feature) -> None:
    (mine,) = drawn(row.name, count=1)
    for name in row.excludes:
        (other,) = drawn(name, count=1)
        with pytest.raises(InvalidValue, match="are both set"):
            mine.replace(**other.features())


def test_a_gradient_is_named_after_its_field() -> None:
    assert features.GRADIENTS == {"dbias": "bias", "dsinks": "sinks"}
    assert {row.gradient for row in TABLE} == {None, "dbias", "dsinks"}


def test_taking_along_an_axis_selects_what_is_visible() -> None:
    """Of any feature: the visibility of some queries, keys or batch elements is that part of the whole one."""
    parts = {"b": [1], "h": [4, 0], "q": [3, 3, 9], "k": [5, 0, 12, 7]}
    numbers = {"b": "batch", "h": "heads", "q": "queries", "k": "keys"}
    for row in TABLE:
        for spec in drawn(row.name):
            for place, (axis, index) in enumerate(parts.items()):
                if axis in "qk" and row.positional:
                    continue
                part = spec.replace(**features.taken(spec, axis, index))
                sizes = SIZES._replace(**{numbers[axis]: len(index)}, kv_heads=1 if axis == "h" else SIZES.kv_heads)
                assert np.array_equal(visible(part, sizes), np.take(visible(spec, SIZES), index, place))


def test_taking_leaves_what_has_no_such_axis() -> None:
    spec = AttentionSpec(
        mask=np.ones((1, 13), np.bool_), kept_queries=np.arange(11) > 3, sinks=np.zeros(6), softcap=2.0
    )
    assert features.along(spec, "q") == ("mask", "kept_queries")
    found = features.taken(spec, "q", [2, 4])
    assert found["mask"] is spec.mask
    assert found["kept_queries"].tolist() == [False, True]
    assert features.taken(spec, "b", [0])["kept_queries"] is spec.kept_queries
    assert not features.along(AttentionSpec(causal=True, softcap=2.0), "k")


def test_what_is_given_for_each_of_one_token_is_taken_as_often_as_asked() -> None:
    """Ids of documents and positions have no axis of size 1 that would stand for any number."""
    one = AttentionSpec(documents=(np.zeros(1, np.int64), np.zeros(3, np.int64)))
    assert features.taken(one, "q", [0, 0])["documents"][0].shape == (2,)
    assert features.taken(one, "q", [0, 0])["documents"][1].shape == (3,)


@ROWS
def test_the_order_of_keys_matters_to_positional_features_only(row: Feature) -> None:
    """Visibility and distance of keys in another order are those of the keys, in that order."""
    order = np.arange(SIZES.keys)[::-1]
    same = []
    for spec in drawn(row.name):
        before = Visibility.of(spec, SIZES)
        after = Visibility.of(spec.replace(**features.taken(spec, "k", order)), SIZES)
        same.append(np.array_equal(before.full()[..., order], after.full()))
        if spec.alibi_slopes is not None:
            same.append(np.array_equal(before.distance()[..., order], after.distance()))
    # The positions and documents that a spec gives go with the keys.
    assert all(same) == (not row.positional or bool(features.along(spec, "k")))
