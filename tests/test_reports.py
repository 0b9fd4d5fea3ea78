"""Reports: the same findings as a table, as JSON that comes back, as JUnit XML, and live."""

from __future__ import annotations

import io
import json as stdlib_json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from rich.console import Console

from refattn.cases import AttentionCase, SoftmaxCase
from refattn.errors import InvalidValue
from refattn.formats import bf16, fp32
from refattn.judge import Finding, Report, Verdict, Worst
from refattn.reports import files, json, junit, schema, terminal
from refattn.reports.progress import LiveProgress
from refattn.spec import AttentionSpec, SoftmaxSpec

INF, NAN = float("inf"), float("nan")
REPLAY = "refattn replay kernels.attention:flash --call native --case " + "x" * 300


def attention_case() -> AttentionCase:
    ones = np.ones((1, 1, 2, 1))
    return AttentionCase(ones, ones, ones, AttentionSpec(causal=True), bf16, regime="needle")


def softmax_case() -> SoftmaxCase:
    return SoftmaxCase(np.array([0.0, -np.inf]), SoftmaxSpec(), fp32, regime="ties")


def full_report() -> Report:
    """One finding of every kind, with every awkward number and letter."""
    worst = Worst("out", (0, 0, 3, 17), actual=NAN, exact=0.5, error=INF, bound=0.0, part="scores")
    return Report(
        target="kernels.attention:flash",
        call="native",
        dtypes=("bf16", "fp32"),
        claims=("causal", "lse"),
        profile="quick",
        seed=7,
        arithmetics={"bf16": "flash(bf16)", "fp32": "flash(fp32)"},
        environment={"python": "3.11.7", "numpy": "2.4.6"},
        warnings=["known.txt:1: stale"],
        seconds=12.5,
        findings=[
            Finding(
                "values/generic", "bf16", Verdict.CONFORMS, share=0.42, rms_z=1.01, max_z=4.2, cases=30, seconds=1.5
            ),
            Finding(
                "values/needle",
                "bf16",
                Verdict.VIOLATES,
                message="One key is lost [/bold] <&> \x1b[31m\x00.",
                share=INF,
                worst=worst,
                case=attention_case(),
                replay=REPLAY,
            ),
            Finding("values/spread", "fp32", Verdict.SUSPECT, message="Biased.", share=0.3, rms_z=2.5, max_z=NAN),
            Finding("backward/dq", "fp32", Verdict.ERROR, message="ValueError: no.", kind="call", case=softmax_case()),
            Finding("backward/dk", "fp32", Verdict.VIOLATES, message="Wrong.", expected="no gradients yet"),
            Finding("visibility/nan", "bf16", Verdict.VIOLATES, message="NaN leaks.", kind="poison", gating=False),
            Finding("values/ties", "bf16", Verdict.CONFORMS, unexpected_pass=True),
            Finding("sinks/values", "bf16", Verdict.NOT_CLAIMED, message="needs the claim sinks"),
            Finding("sinks/values", "fp32", Verdict.NOT_CLAIMED, message="needs the claim sinks"),
            Finding("window/values", "fp32", Verdict.NOT_CLAIMED, message="needs the claim window"),
        ],
    )


def good_report() -> Report:
    report = full_report()
    report.findings = report.findings[:1]
    report.warnings = []
    return report


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
    report.findings = [Finding(name, dtype, Verdict.CONFORMS) for name, dtype in cells]
    rows = [line.split()[:2] for line in printed(report).splitlines() if line.startswith(("a  ", "b  "))]
    assert rows == [["b", "bf16"], ["b", "fp32"], ["a", "bf16"], ["a", "fp32"]]


def test_an_element_that_the_message_names_is_not_told_twice() -> None:
    report = full_report()
    report.findings[1].message = "out[0, 0, 3, 17] is wrong."
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
    report.findings = [Finding("values/needle", "bf16", Verdict.VIOLATES, replay="x" * 100_000)]
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
    assert all(len(line) <= width for line in lines if "replay:" not in line)
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


def same(first: Any, second: Any) -> bool:
    if isinstance(first, float) and math.isnan(first):
        return isinstance(second, float) and math.isnan(second)
    return bool(first == second)


def test_json_comes_back_as_the_same_report() -> None:
    report, back = full_report(), json.load(json.render(full_report()))
    for name in ("target", "call", "dtypes", "claims", "profile", "seed", "arithmetics", "environment", "warnings"):
        assert getattr(back, name) == getattr(report, name)
    assert (back.conforms, back.seconds) == (False, 12.5)
    for first, second in zip(report.findings, back.findings, strict=True):
        for name in set(vars(first)) - {"worst", "case"}:
            assert same(getattr(first, name), getattr(second, name)), name
        assert (first.case is None) == (second.case is None)
    worst = back.findings[1].worst
    assert worst is not None
    assert math.isnan(worst.actual)
    assert (worst.index, worst.error, worst.ratio) == ((0, 0, 3, 17), INF, INF)
    assert back.findings[1].case is not None
    assert attention_case().same_as(back.findings[1].case)
    assert softmax_case().same_as(back.findings[3].case)
    assert json.render(back) == json.render(report)


def test_json_is_strict_and_follows_the_schema() -> None:
    text = json.render(full_report())
    document = stdlib_json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    schema.check(document, json.SCHEMA)
    assert document["findings"][1]["share"] == "inf"
    assert document["findings"][1]["worst"]["actual"] == "nan"
    assert document["conforms"] is False
    assert [entry["fails"] for entry in document["findings"][:3]] == [False, True, True]


def test_the_schema_is_a_json_schema_that_agrees() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(json.SCHEMA)
    validator.check_schema(json.SCHEMA)
    validator.validate(stdlib_json.loads(json.render(full_report())))
    for bad in bad_documents().values():
        assert not validator.is_valid(bad)


def test_every_field_is_documented() -> None:
    assert json.__doc__ is not None
    words = json.__doc__.replace(",", " ").replace("(", " ").replace(":", " ").split()
    fields = [
        *json.SCHEMA["properties"],
        *json._FINDING["properties"],
        *json._WORST["properties"],
        "token",
        "description",
    ]
    assert not [field for field in fields if field not in words]


def bad_documents() -> dict[str, Any]:
    def changed(**fields: Any) -> Any:
        return {**stdlib_json.loads(json.render(good_report())), **fields}

    finding = changed()["findings"][0]
    without = {name: value for name, value in changed().items() if name != "seed"}
    return {
        r"^report is array: expected object": [],
        r"^report has no 'seed'": without,
        r"^report has 'colour': expected only ": changed(colour="red"),
        r"^report\.seed is string: expected integer": changed(seed="7"),
        r"^report\.seed is boolean: expected integer": changed(seed=True),
        r"^report\.schema_version is 2: expected 1": changed(schema_version=2),
        r"^report\.claims\[1\] is integer: expected string": changed(claims=["causal", 3]),
        r"^report\.environment\.python is null: expected string": changed(environment={"python": None}),
        r"^report\.findings\[0\]\.verdict is 'fine': expected one of 'conforms'": changed(
            findings=[{**finding, "verdict": "fine"}]
        ),
        r"^report\.findings\[0\]\.share is string: expected number": changed(findings=[{**finding, "share": "much"}]),
        r"^report\.findings\[0\]\.worst has no 'quantity'": changed(findings=[{**finding, "worst": {}}]),
    }


@pytest.mark.parametrize("message", bad_documents())
def test_a_document_that_is_no_report_is_refused_with_the_place(message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        json.load(stdlib_json.dumps(bad_documents()[message]))


def test_text_that_is_not_json_is_refused() -> None:
    with pytest.raises(InvalidValue, match=r"^report is not JSON: "):
        json.load("<xml/>")


def test_a_case_that_cannot_be_made_again_is_left_out_with_a_warning() -> None:
    document = stdlib_json.loads(json.render(full_report()))
    document["findings"][1]["case"]["token"] = "a!"
    report = json.load(stdlib_json.dumps(document))
    assert report.findings[1].case is None
    assert report.warnings[-1].startswith("the case of values/needle in bf16 cannot be made again: ")


def test_numpy_numbers_are_written_as_numbers() -> None:
    report = good_report()
    report.findings = [
        replace(report.findings[0], share=np.float64(0.25), worst=Worst("lse", (np.int64(1),), *[np.float32(1)] * 4))
    ]
    entry = stdlib_json.loads(json.render(report))["findings"][0]
    assert (entry["share"], entry["worst"]["index"], entry["worst"]["error"]) == (0.25, [1], 1.0)


def test_the_report_renders_itself() -> None:
    assert full_report().to_json() == json.render(full_report())
    assert full_report().to_junit() == junit.render(full_report())


# JUnit


def test_junit_counts_what_its_cases_say() -> None:
    root = ElementTree.fromstring(junit.render(full_report()))
    suite = root[0]
    assert (root.tag, suite.tag) == ("testsuites", "testsuite")
    counts = {name: int(suite.get(name, "-1")) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": 10, "failures": 3, "errors": 1, "skipped": 4}
    assert {name: int(root.get(name, "-1")) for name in counts} == counts


def test_junit_says_of_each_finding_what_the_report_says() -> None:
    root = ElementTree.fromstring(junit.render(full_report()))
    outcomes = {}
    for case in root.iter("testcase"):
        child = next(iter(case), None)
        outcomes[case.get("name"), case.get("classname")] = (
            None if child is None else (child.tag, child.get("type"), child.get("message"))
        )
    assert outcomes == {
        ("values/generic", "refattn.bf16"): None,
        ("values/needle", "refattn.bf16"): ("failure", "violates", "One key is lost [/bold] <&> \ufffd[31m\ufffd."),
        ("values/spread", "refattn.fp32"): ("failure", "suspect", "Biased."),
        ("backward/dq", "refattn.fp32"): ("error", "error", "ValueError: no."),
        ("backward/dk", "refattn.fp32"): ("skipped", "expected failure", "expected failure: no gradients yet"),
        ("visibility/nan", "refattn.bf16"): ("system-out", None, None),
        ("values/ties", "refattn.bf16"): (
            "failure",
            "unexpected pass",
            "the xfails file expects this property to fail, and it passes",
        ),
        ("sinks/values", "refattn.bf16"): ("skipped", "not claimed", "needs the claim sinks"),
        ("sinks/values", "refattn.fp32"): ("skipped", "not claimed", "needs the claim sinks"),
        ("window/values", "refattn.fp32"): ("skipped", "not claimed", "needs the claim window"),
    }


def test_junit_keeps_the_evidence_and_the_environment() -> None:
    root = ElementTree.fromstring(junit.render(full_report()))
    failure = next(case for case in root.iter("testcase") if case.get("name") == "values/needle")[0]
    assert failure.text is not None
    assert REPLAY in failure.text
    assert "needle in bf16: B=1" in failure.text
    properties = {entry.get("name"): entry.get("value") for entry in root.iter("property")}
    assert properties["seed"] == "7"
    assert properties["numpy"] == "2.4.6"
    assert root.findtext("testsuite/system-err") == "known.txt:1: stale"


# Files


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")
    files.write(path, "new", "--json")
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["report.json"]


def test_a_write_that_breaks_off_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")

    def breaks(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", breaks)
    with pytest.raises(InvalidValue, match=r"^--json '.*report\.json' cannot be written: No space left on device$"):
        files.write(path, "new", "--json")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["report.json"]


def test_a_link_is_followed_and_a_device_is_written_to(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    files.write(tmp_path / "link", "text", "--json")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "text"
    files.write("/dev/null", "text", "--json")
    assert not Path("/dev/null").is_file()


def test_a_place_that_cannot_be_written_is_refused_beforehand(tmp_path: Path) -> None:
    files.check_writable(tmp_path / "new.json", "--json")
    with pytest.raises(InvalidValue, match=r"^--json '.*' is a folder: expected a file to write$"):
        files.check_writable(tmp_path, "--json")
    with pytest.raises(InvalidValue, match=r"^--json '.*' cannot be written: its folder does not exist$"):
        files.check_writable(tmp_path / "nowhere" / "new.json", "--json")
