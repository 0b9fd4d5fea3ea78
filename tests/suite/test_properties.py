"""Every property of the suite finds a planted fault alone, with a case that replays; an honest kernel passes it."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import replace
from typing import Any

import pytest

from refattn.inputs import replay
from refattn.inputs.cases import AttentionCase, SoftmaxCase
from refattn.suite import checking, properties, replaying
from refattn.suite.findings import Finding, Verdict
from refattn.suite.profile import PROFILES
from refattn.suite.properties import ALL
from refattn.suite.property import Property
from tests.support.faults_by_property import FAULTS, SMALL, Fault, examined

BY_NAME = {prop.name: prop for prop in ALL}
EXACT = [prop.name for prop in ALL if not prop.name.startswith("statistics/")]


@pytest.fixture(autouse=True)
def _small_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROFILES, SMALL.name, SMALL)


def test_the_first_word_of_a_property_is_the_name_of_its_file() -> None:
    names: list[str] = []
    for entry in pkgutil.iter_modules(properties.__path__):
        module = importlib.import_module(f"{properties.__name__}.{entry.name}")
        of_file = [prop.name for value in vars(module).values() for prop in _properties(value)]
        assert of_file, f"{entry.name} declares no property"
        assert {name.split("/")[0] for name in of_file} == {entry.name}
        names += of_file
    assert sorted(names) == sorted(BY_NAME)
    assert len(ALL) == len(BY_NAME)


def _properties(value: Any) -> list[Property]:
    return [each for each in value if isinstance(each, Property)] if isinstance(value, tuple) else []


def test_there_is_a_fault_for_every_property() -> None:
    assert FAULTS.keys() == BY_NAME.keys()
    assert all(prop.needs <= set(FAULTS[name].all_claims) for name, prop in BY_NAME.items())


@pytest.mark.parametrize("name", EXACT)
def test_a_planted_fault_is_found_and_its_case_replays(name: str) -> None:
    fault, prop = FAULTS[name], BY_NAME[name]
    kernel = fault.make()
    finding = examined(name, kernel, fault)
    assert finding.verdict is Verdict.VIOLATES, finding.message
    assert finding.fails
    assert finding.message.endswith(".")
    assert_replays(prop, fault, finding)


def assert_replays(prop: Property, fault: Fault, finding: Finding) -> None:
    assert finding.case is not None
    token = replay.token(finding.case)
    assert finding.replay is not None
    assert token in finding.replay
    assert prop.name in finding.replay
    again = replayed(prop.name, fault, fault.make(), token)
    assert again.verdict is finding.verdict
    assert again.kind == finding.kind
    assert isinstance(again.case, SoftmaxCase if prop.quantity == "softmax" else AttentionCase)
    honest = replayed(prop.name, fault, fault.honest(), token)
    assert honest.verdict is Verdict.CONFORMS, honest.message


def replayed(name: str, fault: Fault, kernel: Any, token: str) -> Finding:
    return replaying.replay(kernel, fault.call, token, property=name, claims=fault.all_claims)


@pytest.mark.parametrize("name", [prop.name for prop in ALL if prop.needs])
def test_a_property_whose_claims_are_missing_is_not_examined(name: str) -> None:
    calls: list[Any] = []
    call = FAULTS[name].call
    report = checking.check(lambda *given, **named: calls.append(given), call=call, claims=(), only=name)
    (finding,) = report.findings
    assert finding.verdict is Verdict.NOT_CLAIMED
    assert finding.message == f"the kernel does not claim {', '.join(sorted(BY_NAME[name].needs))}"
    assert not finding.fails
    assert not report.conforms
    assert not calls


@pytest.mark.parametrize("name", [prop.name for prop in ALL if prop.gate and not prop.needs])
def test_a_failure_that_nobody_claimed_away_is_shown_and_does_not_fail(name: str) -> None:
    prop, fault = BY_NAME[name], FAULTS[name]
    unclaimed = replace(fault, claims=tuple(claim for claim in fault.claims if claim != prop.gate))
    finding = examined(name, fault.make(), unclaimed)
    assert finding.verdict is Verdict.VIOLATES
    assert finding.kind in ("poison", "ieee")
    assert not finding.gating
    assert not finding.fails
