"""Reports as JSON that comes back, as JUnit XML, and the files that they are written to."""

from __future__ import annotations

import json as stdlib_json
import math
import os
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from refattn.errors import InvalidValue
from refattn.reports import files, json, junit, schema
from refattn.suite.findings import Evidence, Worst
from tests.support.sample_reports import INF, REPLAY, attention_case, full_report, good_report, softmax_case


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
        for name in (set(vars(first)) | set(vars(first.evidence))) - {"evidence", "worst", "case", "hung"}:
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


@pytest.mark.needs("jsonschema")
def test_the_schema_is_a_json_schema_that_agrees() -> None:
    import jsonschema

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
    worst = Worst("lse", (np.int64(1),), *[np.float32(1)] * 4)
    report.findings[0].evidence = Evidence(share=np.float64(0.25), worst=worst)
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
