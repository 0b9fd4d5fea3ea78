"""A run of short sequences only, for kernels that are slow: none is longer, and what is left out for that is said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from refattn.errors import InvalidType, InvalidValue
from refattn.models import safe_softmax, tiled_attention
from refattn.reports import json, junit, terminal
from refattn.suite import checking
from refattn.suite.findings import Report, Verdict
from refattn.suite.profile import PROFILES
from refattn.suite.properties import ALL

CLAIMS = ("causal", "cross", "ragged", "scale", "bias", "mask", "lse", "gqa", "dv")
LARGEST = 40


@pytest.fixture(autouse=True)
def _small_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROFILES, "small", replace(PROFILES["quick"], name="small", examples=5, shrinks=0))


class Noting:
    """The tiled model, which notes the lengths and the number of pairs that it is given."""

    def __init__(self) -> None:
        self.lengths: set[int] = set()
        self.pairs = 0

    def __call__(self, q: Any, k: Any, v: Any, *, spec: Any) -> Any:
        self.lengths |= {q.shape[2], k.shape[2]}
        self.pairs = max(self.pairs, q.shape[0] * q.shape[1] * q.shape[2] * k.shape[2])
        return tiled_attention(q, k, v, spec=spec)


def check(kernel: Any, only: str | None = None, **options: Any) -> Report:
    return checking.check(kernel, **{"claims": CLAIMS, "profile": "small", "only": only, "largest": LARGEST} | options)


@pytest.fixture(scope="module")
def run() -> tuple[Noting, Report]:
    PROFILES["small"] = replace(PROFILES["quick"], name="small", examples=5, shrinks=0)
    kernel = Noting()
    return kernel, check(kernel)


def test_no_sequence_is_longer(run: tuple[Noting, Report]) -> None:
    kernel, report = run
    assert report.conforms
    assert LARGEST // 2 < max(kernel.lengths) <= LARGEST
    # Heads that share memory, and each batch element alone, are derived from a case: up to three batches of two heads.
    assert kernel.pairs <= 6 * LARGEST**2


def test_every_property_is_in_the_report(run: tuple[Noting, Report]) -> None:
    _, report = run
    expected = {prop.name for prop in ALL if prop.quantity == "attention" and prop.of != "approximate"}
    assert {finding.property for finding in report.findings} == expected
    verdicts = {finding.property: finding.verdict for finding in report.findings}
    statistics = {name: verdict for name, verdict in verdicts.items() if name.startswith("statistics/")}
    assert {statistics[f"statistics/{name}"] for name in ("rms", "bias", "lse", "long")} == {Verdict.NOT_RUN}
    others = [verdict for name, verdict in verdicts.items() if name not in statistics]
    assert Verdict.NOT_RUN not in others


def test_what_is_left_out_of_a_property_is_said(run: tuple[Noting, Report]) -> None:
    _, report = run
    (warning,) = report.warnings
    assert warning.startswith("no sequence is longer than 40, which leaves out ")
    assert {"flat/over-256", "bias of 384 keys"} <= set(warning.split("leaves out ")[1].split(", "))


def test_a_whole_run_says_nothing_of_it() -> None:
    report = check(Noting(), "values/needles", largest=None)
    assert report.warnings == []
    assert report.largest is None


@pytest.mark.parametrize("largest", [256, 1024])
def test_a_statistic_is_run_where_all_of_its_inputs_are_short_enough(largest: int) -> None:
    (finding,) = check(Noting(), "statistics/rms", largest=largest).findings
    assert finding.verdict is (Verdict.CONFORMS if largest == 1024 else Verdict.NOT_RUN)


def test_a_run_of_what_is_too_long_does_not_conform() -> None:
    assert not check(Noting(), "statistics/long").conforms


def test_rows_of_a_softmax_are_short_too() -> None:
    lengths = set()

    def noting(x: Any, axis: int) -> Any:
        lengths.add(x.shape[axis])
        return safe_softmax(x, axis)

    report = check(noting, "softmax/values", call="softmax", claims=None, dtypes=("fp32",))
    assert LARGEST // 2 < max(lengths) <= LARGEST
    assert report.conforms
    (warning,) = report.warnings
    assert warning.endswith("which leaves out softmax/flat-over-256, softmax/flat-over-2048")


@pytest.mark.parametrize(
    ("largest", "error", "complaint"),
    [
        (23, InvalidValue, "largest is 23: expected at least 24 for this kernel"),
        (True, InvalidType, "largest is True: expected an integer or None"),
        ("40", InvalidType, "largest is '40': expected an integer or None"),
    ],
)
def test_a_length_that_leaves_no_case_is_refused(largest: Any, error: type[Exception], complaint: str) -> None:
    with pytest.raises(error, match=complaint):
        check(Noting(), largest=largest)


def test_a_kernel_of_whole_tiles_needs_one() -> None:
    with pytest.raises(InvalidValue, match="largest is 40: expected at least 64"):
        check(Noting(), claims=("causal", "cross"))


def test_reports_say_so(run: tuple[Noting, Report]) -> None:
    _, report = run
    assert json.load(json.render(report)).largest == LARGEST
    assert 'name="largest" value="40"' in junit.render(report)
    assert 'message="its inputs are up to 1024 keys long, and the largest is 40" type="not run"' in junit.render(report)
    lines = terminal.unchecked(report)
    assert any(line.startswith("not run, as nothing is short enough (4): statistics/rms") for line in lines)


def test_a_failure_too_long_for_a_command_line_is_run_again_at_the_same_lengths() -> None:
    report = check(lambda q, k, v, *, spec: np.zeros_like(v[:, : q.shape[1], : q.shape[2]]), "values/generic")
    (finding,) = report.findings
    assert finding.replay is not None
    assert ("--case" in finding.replay) != finding.replay.endswith("--largest 40")
