"""Contract: the properties find what is planted in the Triton kernels, and each fault by the property named for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import refattn
from refattn.suite.findings import Verdict
from refattn.suite.profile import PROFILES
from tests.support.extras import skip_without

skip_without("torch", "triton")

import refattn_interpreter as interpreter
from tests.support.gpu.kernel_mutants import MUTANTS, Mutant, planted
from tests.support.gpu.small_tiles import KERNELS, LARGEST


def test_there_are_enough_and_no_two_are_alike() -> None:
    assert len(MUTANTS) >= 25
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert len({(mutant.module, mutant.old, mutant.new) for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-").replace(",", ""))
def test_a_planted_fault_is_found(mutant: Mutant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A failure is not shrunk: that takes most of the time where kernels are interpreted.
    monkeypatch.setitem(PROFILES, "mutants", replace(PROFILES["quick"], name="mutants", shrinks=0))
    kernel, call = KERNELS[mutant.kernel]
    with interpreter.active(), planted(mutant, tmp_path):
        report = refattn.check(
            interpreter.in_any_thread(kernel),
            call,
            (mutant.format,),
            profile="mutants",
            only=mutant.property,
            largest=LARGEST,
        )
    (finding,) = report.findings
    assert finding.fails, f"{mutant.name} is not found by {mutant.property}"
    assert finding.verdict is Verdict.VIOLATES, finding.message
