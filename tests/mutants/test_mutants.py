"""The mutants are mutants, a dozen of them are killed, and honest kernels live.

The whole list is scored by `python -m tests.benchmarks.mutant_scoreboard`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

import refattn
from refattn import bounds, oracle
from refattn.contract.arithmetic import Arithmetic
from refattn.contract.spec import Shape
from refattn.suite.comparison import compare
from refattn.suite.profile import PROFILES
from tests.mutants import HONEST, MUTANTS, Mutant, by_id, observed, peers
from tests.mutants.samples import FEATURES, draw

# One of each kind of evidence, and where to look where that is not among the first properties.
REPRESENTATIVE = {
    "S03": "*", "P64": "*", "P74": "*", "M06": "*", "L04": "*", "M08": "*", "P151": "*", "P90": "*", "P03": "*",
    "B05": "gradients/*", "G03": "gradients/*", "T05": "*/nan", "P154": "determinism/*", "Z01": "determinism/*",
}  # fmt: skip
# The properties of one kind that an honest kernel is put before here; the scoreboard puts it before all.
SURVIVING = {"H04": "values/features", "H09": "lse/*", "H10": "values/needles", "H20": "*", "H22": "*"}


def _named(mutants: list[Mutant]) -> list[object]:
    return [pytest.param(mutant, id=f"{mutant.id}-{mutant.name}") for mutant in mutants]


@pytest.fixture(autouse=True)
def _no_search_for_the_smallest_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a mutant is killed does not depend on it."""
    monkeypatch.setitem(PROFILES, "quick", replace(PROFILES["quick"], shrinks=0))


def _report(mutant: Mutant, only: str) -> refattn.Report:
    return refattn.check(
        mutant.make(), mutant.call, mutant.formats, claims=mutant.claims, profile="quick", only=only, fail_fast=True
    )


def test_there_are_sixty_mutants_and_no_id_is_used_twice() -> None:
    assert len(MUTANTS) >= 60
    assert not [id for id, count in Counter(each.id for each in (*MUTANTS, *HONEST)).items() if count > 1]


def test_every_mutant_says_in_a_line_what_is_wrong() -> None:
    assert not [each.id for each in (*MUTANTS, *HONEST) if not 10 < len(each.title) <= 120]


@pytest.mark.parametrize("mutant", _named(MUTANTS))
def test_a_mutant_differs_from_the_kernel_without_the_fault(mutant: Mutant) -> None:
    honest = observed(mutant, mutant.honest)
    assert not [outcome for outcome in honest if isinstance(outcome, str)]
    assert observed(mutant, mutant.make) != honest


@pytest.mark.parametrize("mutant", _named(HONEST))
def test_an_honest_kernel_gives_the_same_bits_again(mutant: Mutant) -> None:
    first = observed(mutant, mutant.make)
    assert not [outcome for outcome in first if isinstance(outcome, str)]
    assert observed(mutant, mutant.make) == first


@pytest.mark.parametrize("mutant", _named([by_id(id) for id in REPRESENTATIVE]))
def test_a_mutant_is_killed(mutant: Mutant) -> None:
    report = _report(mutant, REPRESENTATIVE[mutant.id])
    assert not report.conforms
    assert [finding for finding in report.findings if finding.fails and finding.message]


@pytest.mark.parametrize("mutant", _named([by_id(id) for id in SURVIVING]))
def test_an_honest_kernel_survives(mutant: Mutant) -> None:
    report = _report(mutant, SURVIVING[mutant.id])
    assert not [(finding.property, finding.message) for finding in report.findings if finding.fails]
    assert report.conforms


@pytest.mark.parametrize("feature", [(), *((name,) for name in FEATURES)], ids=lambda names: "+".join(names) or "plain")
def test_the_reference_of_the_peers_is_right(feature: tuple[str, ...]) -> None:
    """It keeps within the budget of float64 arithmetic that scales K first and normalises P before P V."""
    case = draw(np.random.default_rng(0), Shape(2, 4, 2, 33, 70, 24, 16), feature, "fp64", upstream=True)
    results = peers.dense(case, peers.exactly)
    arithmetic = Arithmetic.naive("fp64", scale_query=True)
    inputs, spec = (case.q, case.k, case.v), case.spec
    forward = (oracle.attention(*inputs, spec), bounds.attention(*inputs, spec, arithmetic))
    backward = (
        oracle.attention_backward(*inputs, case.do, spec, dlse=case.dlse),
        bounds.attention_backward(*inputs, case.do, spec, arithmetic, dlse=case.dlse),
    )
    compared = [
        compare(name, values, getattr(exact, name), getattr(allowed, name))
        for exact, allowed in (forward, backward)
        for name, values in results.items()
        if getattr(exact, name, None) is not None
    ]
    assert len(compared) == len(results)
    assert not [comparison.worst for comparison in compared if comparison.violated]
