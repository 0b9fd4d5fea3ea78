"""Reports as a table, and live."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from refattn.errors import RefattnError
from refattn.reports import terminal
from refattn.reports.progress import LiveProgress
from refattn.suite import findings
from refattn.suite.findings import Evidence, Finding, Report, Verdict
from tests.support.sample_reports import INF, NAN, REPLAY, full_report, good_report


def printed(report: Report, width: int = 160, quiet: bool = False, colour: bool = False) -> str:
    stream = io.StringIO()
    out = Console(file=stream, width=width, force_terminal=colour, color_system="truecolor" if colour else None)
    out._highlight, out._markup = False, False
    terminal.render(report, out, quiet=quiet)
    return stream.getvalue()


# Terminal


def test_a_row_of_the_table_says_what_was_checked_and_how_well() -> None:
    row = next(line for line in printed(full_report()).splitlines() if line.startswith("values/generic"))
    assert row.split() == ["values/generic", "bf16", "conforms", "42%", "1.01", "4.20", "30", "1.5"]


def test_the_formats_of_a_property_stand_together() -> None:
    report = good_report()
    cells = [("b", "bf16"), ("a", "bf16"), ("b", "fp32"), ("a", "fp32")]
    report.findings = [Finding(name, dtype, Evidence()) for name, dtype in cells]
    rows = [line.split()[:2] for line in printed(report).splitlines() if line.startswith(("a  ", "b  "))]
    assert rows == [["b", "bf16"], ["b", "fp32"], ["a", "bf16"], ["a", "fp32"]]


def test_an_element_that_the_message_names_is_not_told_twice() -> None:
    report = full_report()
    finding = report.findings[1]
    finding.evidence = replace(finding.evidence, message="out[0, 0, 3, 17] is wrong.")
    assert "exactly 0.5" not in printed(report)


def test_each_failure_comes_with_its_evidence() -> None:
    text = printed(full_report(), width=200)
    assert "values/needle in bf16: violates" in text
    assert "out[0, 0, 3, 17] is nan, exactly 0.5: error inf is inf times the bound 0" in text
    assert "the largest part is scores" in text
    assert "needle in bf16: B=1 H=1 Hkv=1 Nq=2 Nk=2" in text
    assert "passes unexpectedly" in text
    assert "expected: no gradients yet" in text
    assert "warning: known.txt:1: stale" in text


def test_the_replay_line_can_be_copied_whole() -> None:
    assert f"  replay: {REPLAY}\n" in printed(full_report(), width=60)


def test_a_replay_line_that_nobody_would_copy_is_not_shown() -> None:
    report = good_report()
    report.findings = [Finding("values/needle", "bf16", Evidence(Verdict.VIOLATES), replay="x" * 100_000)]
    text = printed(report)
    assert "the case is too large for a command line" in text
    assert len(text) < 2000


def test_messages_are_printed_as_they_are_but_for_control_characters() -> None:
    text = printed(full_report())
    assert "One key is lost [/bold] <&> \ufffd[31m\ufffd." in text
    assert "\x1b" not in text


def test_what_is_not_claimed_is_summarised_in_one_line() -> None:
    lines = [line for line in printed(full_report()).splitlines() if "not claimed, so" in line]
    assert lines == [
        "not claimed, so not checked (1): sinks/values",
        "not claimed, so not checked in fp32 (1): window/values",
    ]


def test_the_closing_line_counts_verdicts_and_says_the_outcome() -> None:
    assert printed(full_report(), width=300).splitlines()[-1] == (
        "kernels.attention:flash does not conform: conforms 1, violates 1, suspect 1, error 1, violates as expected 1, "
        "violates (not gating) 1, passes unexpectedly 1, not claimed 3, in 12.5 s"
    )
    assert printed(good_report()).splitlines()[-1] == "kernels.attention:flash conforms: conforms 1, in 12.5 s"


def test_a_report_of_nothing_does_not_conform() -> None:
    report = good_report()
    report.findings = []
    assert "does not conform: nothing was checked" in printed(report)


@pytest.mark.parametrize("width", [30, 60, 79, 80, 100, 120, 200])
def test_the_table_fits_the_terminal(width: int) -> None:
    lines = printed(full_report(), width=width).splitlines()
    assert all(len(line) <= width for line in lines if not line.startswith(("  replay:", "  explain:")))
    assert ("rms z" in "\n".join(lines)) == (width >= terminal.ROOM_FOR_STATISTICS)
    assert ("worst case" in "\n".join(lines)) == (width > 110)
    assert any("42%" in line for line in lines)


def test_quiet_prints_failures_and_the_closing_line_only() -> None:
    text = printed(full_report(), quiet=True)
    assert "bound used" not in text
    assert "NaN leaks." not in text
    assert "not claimed, so" not in text
    assert "One key is lost" in text
    assert printed(good_report(), quiet=True).count("\n") == 1


def test_colours_are_used_on_a_terminal_unless_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[1;31mviolates" in printed(full_report(), colour=True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "31m" not in printed(good_report(), colour=True)


@pytest.mark.parametrize(
    ("value", "text"), [(None, ""), (0.0, "0%"), (1.0, "100%"), (1.25, "1.25x"), (INF, "beyond"), (NAN, "beyond")]
)
def test_a_share_is_a_percentage_inside_the_bound_and_a_factor_beyond(value: float | None, text: str) -> None:
    assert terminal.share(value) == text


# Progress


def observe(out: Console) -> None:
    with LiveProgress(out) as progress:
        progress.started(4, "bf16, fp32")
        for finding in full_report().findings[:4]:
            progress.stepped(finding.property, finding.dtype)
            progress.found(finding)
        progress.finished(full_report())


def test_progress_off_a_terminal_is_silent_but_for_the_first_violation() -> None:
    stream = io.StringIO()
    observe(Console(file=stream, width=200, force_terminal=False, highlight=False, markup=False))
    assert stream.getvalue() == "values/needle in bf16: violates\n  One key is lost [/bold] <&> \ufffd[31m\ufffd.\n"


def test_progress_on_a_terminal_shows_the_property_at_work() -> None:
    stream = io.StringIO()
    observe(Console(file=stream, width=200, force_terminal=True, highlight=False, markup=False))
    assert "fp32 backward/dq" in stream.getvalue()
    assert "4/4" in stream.getvalue()
    assert "values/needle in bf16: " in stream.getvalue()


# JSON


def test_a_report_that_nothing_can_render_yet_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "RENDERERS", {})
    with pytest.raises(RefattnError, match=r"cannot be shown as junit yet: expected `import refattn.reports` before"):
        good_report().to_junit()
