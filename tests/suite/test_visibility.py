"""Properties of visibility fill keys that each feature hides by itself, and find a leak through any of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import refattn
from refattn.contract.features import HIDING, TABLE, used
from refattn.contract.spec import AttentionSpec, problem_shape
from refattn.contract.visibility import visible
from refattn.models import TiledAttention
from refattn.suite.profile import PROFILES
from refattn.suite.properties import ALL
from tests.mutants import MUTANTS, Mutant

NAMES = tuple(prop.name for prop in ALL if prop.name.startswith("visibility/"))
FIELDS = {field for row in TABLE if row.hides is not None for field in row.fields}
# What is no feature, but gives room to hide by any: keys that no query stands at, rows that see nothing.
ROOM = ("cross", "empty_rows")
LEAKS = [pytest.param(mutant, id=mutant.name) for mutant in MUTANTS if mutant.family == "leak"]


@pytest.fixture(autouse=True)
def _seeded_cases_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROFILES, "quick", replace(PROFILES["quick"], examples=0, shrinks=0))


def filled(name: str, claims: Iterable[str]) -> list[AttentionSpec]:
    """The specs under which the property fills keys, once it is certain that a row sees none of those that it fills."""
    honest, calls = TiledAttention(), []

    def kernel(q: Any, k: Any, v: Any, *, spec: AttentionSpec) -> Any:
        calls.append((spec, problem_shape(q, k, v, spec), np.array(v, np.float64)))
        return honest(q, k, v, spec=spec)

    report = refattn.check(kernel, claims=tuple(claims), only=name)
    assert not [finding.message for finding in report.findings if finding.fails]
    found = []
    for (spec, shape, before), (_, _, after) in zip(calls[::2], calls[1::2], strict=True):
        slots = np.repeat((before != after).any(axis=-1), shape.group, axis=1)
        assert slots.any()
        assert not (visible(spec, shape) & slots[:, :, None]).any(axis=-1).all()
        found.append(spec)
    return found


def alone(specs: Iterable[AttentionSpec]) -> set[str]:
    """The features that some spec has and no other beside, and the fields that say so alone."""
    found = set()
    for spec in specs:
        if len(used(spec)) == 1:
            (row,) = used(spec)
            fields = row.fields.keys() & spec.features().keys()
            found |= {row.name, *(fields if len(fields) == 1 else ())}
    return found


@pytest.mark.parametrize("name", NAMES)
def test_each_feature_and_field_that_hides_keys_does_so_alone(name: str) -> None:
    assert alone(filled(name, TiledAttention.refattn_claims)) >= {*HIDING, *FIELDS}


@pytest.mark.parametrize("feature", HIDING)
@pytest.mark.parametrize("name", NAMES)
def test_a_kernel_of_one_feature_is_examined_by_it(name: str, feature: str) -> None:
    (row,) = (row for row in TABLE if row.name == feature)
    assert alone(filled(name, (feature, *ROOM))) == {feature, *row.fields}


@pytest.mark.parametrize("feature", HIDING)
def test_without_room_only_what_leaves_each_row_a_key_is_tried(feature: str) -> None:
    """Under a strict causal mask the first query needs a key before it, and slots stay unused just among more keys."""
    expected = set() if feature in ("strict_causal", "paged") else {feature}
    assert alone(filled("visibility/garbage", (feature,))) & set(HIDING) == expected


@pytest.mark.parametrize("mutant", LEAKS)
@pytest.mark.parametrize("others", [(), TiledAttention.refattn_claims], ids=["alone", "with all features"])
def test_a_leak_is_found(mutant: Mutant, others: tuple[str, ...]) -> None:
    name = "visibility/nan" if "nan_safe" in mutant.claims else "visibility/garbage"
    report = refattn.check(mutant.make(), claims={*mutant.claims, *others}, only=name)
    assert [finding.verdict for finding in report.findings] == [refattn.Verdict.VIOLATES]
    assert not report.conforms
