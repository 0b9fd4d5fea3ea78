"""Every property of the suite lets an honest kernel pass, whatever is claimed besides."""

from __future__ import annotations

import pytest

from refattn.suite.findings import Verdict
from refattn.suite.profile import PROFILES
from refattn.suite.properties import ALL
from tests.support.faults_by_property import FAULTS, SMALL, examined

EXACT = [prop.name for prop in ALL if not prop.name.startswith("statistics/")]


@pytest.fixture(autouse=True)
def _small_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROFILES, SMALL.name, SMALL)


@pytest.mark.parametrize("name", EXACT)
def test_an_honest_kernel_passes(name: str) -> None:
    fault = FAULTS[name]
    finding = examined(name, fault.honest(), fault)
    assert finding.verdict is Verdict.CONFORMS, finding.message
    assert not finding.fails
    assert finding.cases > 0
    assert finding.replay is None
