"""Expected failures: what a file may say, and what it makes of a report."""

from __future__ import annotations

from pathlib import Path

import pytest

from refattn.errors import InvalidValue
from refattn.suite import xfails
from refattn.suite.findings import Evidence, Finding, Report, Verdict


def report_of(*findings: tuple[str, str, Verdict], dtypes: tuple[str, ...] = ("bf16", "fp32")) -> Report:
    report = Report("pkg:kernel", "native", dtypes, ("causal",), "quick", 0)
    report.findings = [Finding(name, dtype, Evidence(verdict)) for name, dtype, verdict in findings]
    return report


LINES = """
# known faults
values/needle   bf16      https://example.org/12: the last tile   is skipped
  backward/*    *         no gradients yet
values/tie?     bfloat16  ties
"""


def test_a_line_is_a_pattern_a_format_and_the_rest_is_the_reason() -> None:
    lines = xfails.parse(LINES, "known.txt")
    assert [(line.property, line.format, line.reason, line.source) for line in lines] == [
        ("values/needle", "bf16", "https://example.org/12: the last tile   is skipped", "known.txt:3"),
        ("backward/*", "*", "no gradients yet", "known.txt:4"),
        ("values/tie?", "bf16", "ties", "known.txt:5"),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("values/needle bf16", r"^known.txt:2: 'values/needle bf16' gives no reason: expected"),
        ("values/needle", r"^known.txt:2: 'values/needle' gives no reason: expected"),
        ("values/needle bf17 a reason", r"^known.txt:2: format 'bf17' is not known: .* fp64, or \*$"),
    ],
)
def test_a_bad_line_is_refused_with_file_and_line(line: str, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        xfails.parse(f"# first\n{line}\n", "known.txt")


def test_a_file_is_read_and_named_in_errors(tmp_path: Path) -> None:
    path = tmp_path / "known.txt"
    path.write_text("values/* * everything – for now\n", encoding="utf-8")
    assert xfails.load(path)[0].reason == "everything – for now"
    path.write_bytes(b"values/* * \xff\xfe")
    with pytest.raises(InvalidValue, match=r"known.txt' cannot be read: expected UTF-8 text$"):
        xfails.load(path)
    with pytest.raises(InvalidValue, match=r"missing.txt' cannot be read: No such file"):
        xfails.load(tmp_path / "missing.txt")


def test_a_failure_that_is_expected_does_not_fail_the_run() -> None:
    report = report_of(("values/needle", "bf16", Verdict.VIOLATES), ("values/generic", "bf16", Verdict.CONFORMS))
    assert not report.conforms
    xfails.apply(report, xfails.parse("values/needle bf16 known"))
    assert report.conforms
    assert [finding.expected for finding in report.findings] == ["known", None]
    assert not report.warnings


@pytest.mark.parametrize("verdict", [Verdict.SUSPECT, Verdict.VIOLATES, Verdict.ERROR])
def test_every_bad_verdict_can_be_expected(verdict: Verdict) -> None:
    report = report_of(("values/needle", "bf16", verdict))
    xfails.apply(report, xfails.parse("values/needle bfloat16 known"))
    assert report.conforms


def test_a_failure_in_another_format_or_property_still_fails() -> None:
    report = report_of(("values/needle", "fp32", Verdict.VIOLATES), ("values/needles", "bf16", Verdict.VIOLATES))
    xfails.apply(report, xfails.parse("values/needle bf16 known"))
    assert [finding.fails for finding in report.findings] == [True, True]


def test_an_unexpected_pass_fails_the_run() -> None:
    report = report_of(("values/needle", "bf16", Verdict.CONFORMS))
    xfails.apply(report, xfails.parse("values/* * known"))
    assert report.findings[0].unexpected_pass
    assert not report.conforms


def test_what_is_not_claimed_neither_passes_nor_fails() -> None:
    report = report_of(("backward/dq", "bf16", Verdict.NOT_CLAIMED), ("values/generic", "bf16", Verdict.CONFORMS))
    xfails.apply(report, xfails.parse("backward/* * no gradients"))
    assert report.conforms
    assert not report.warnings


def test_the_first_line_that_matches_gives_the_reason() -> None:
    report = report_of(("values/needle", "bf16", Verdict.VIOLATES))
    xfails.apply(report, xfails.parse("values/needle * first\nvalues/* * second"))
    assert report.findings[0].expected == "first"
    assert not report.warnings


def test_a_line_that_matches_nothing_is_stale() -> None:
    report = report_of(("values/generic", "bf16", Verdict.CONFORMS))
    lines = xfails.parse("values/gone bf16 known\nvalues/gone fp16 a format that was not run\n", "known.txt")
    xfails.apply(report, lines)
    assert report.warnings == ["known.txt:1: 'values/gone' in format bf16 matches no property: the line is stale"]
    assert report.conforms


def test_nothing_is_called_stale_when_only_a_part_was_run() -> None:
    report = report_of(("values/generic", "bf16", Verdict.CONFORMS))
    xfails.apply(report, xfails.parse("values/gone bf16 known"), whole=False)
    assert not report.warnings


def test_marking_twice_changes_nothing() -> None:
    lines = xfails.parse("values/* * known")
    finding = Finding("values/needle", "bf16", Evidence(Verdict.VIOLATES))
    xfails.mark(finding, lines)
    xfails.mark(finding, lines)
    assert (finding.expected, finding.unexpected_pass, finding.fails) == ("known", False, False)
