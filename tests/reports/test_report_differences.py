"""Two reports compared: seconds do not count, more cases explain a larger share, and nothing else passes."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from refattn.reports import json as report_json
from tests.benchmarks.report_differences import differences, main
from tests.support.sample_reports import full_report

BEFORE: dict[str, Any] = json.loads(report_json.render(full_report()))


def changed(**fields: Any) -> dict[str, Any]:
    """The report with other fields in its first finding."""
    document = copy.deepcopy(BEFORE)
    document["findings"][0] |= fields
    return document


def test_seconds_and_machines_do_not_count() -> None:
    after = changed(seconds=1e9) | {"seconds": 1e9, "environment": {}}
    assert differences(BEFORE, after) == ([], [])


def test_more_cases_explain_a_larger_share_and_fewer_do_not() -> None:
    cases = BEFORE["findings"][0]["cases"]
    added, other = differences(BEFORE, changed(cases=cases + 1, share=0.75))
    assert [place.rpartition(" ")[2] for place, *_ in added] == ["cases", "share"]
    assert not other
    assert len(differences(BEFORE, changed(cases=cases - 1, share=0.75))[1]) == 2


@pytest.mark.parametrize("fields", [{"verdict": "not claimed"}, {"message": "Other."}, {"share": 0.123}])
def test_every_other_field_counts(fields: dict[str, Any]) -> None:
    assert len(differences(BEFORE, changed(**fields))[1]) == 1
    more = {"cases": BEFORE["findings"][0]["cases"] + 1}
    assert len(differences(BEFORE, changed(**fields, **more))[1]) == (0 if "share" in fields else 1)


def test_findings_that_come_go_or_change_places_count() -> None:
    fewer = copy.deepcopy(BEFORE)
    fewer["findings"].pop()
    turned = copy.deepcopy(BEFORE)
    turned["findings"].reverse()
    for before, after in ((BEFORE, fewer), (fewer, BEFORE), (BEFORE, turned)):
        assert differences(before, after)[1]


def test_the_exit_code_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / name for name in ("before.json", "after.json")]
    for file, document in zip(files, (BEFORE, changed(message="Other.")), strict=True):
        file.write_text(json.dumps(document))
    assert main([str(files[0])] * 2) == 0
    assert main([str(file) for file in files]) == 1
    assert "differs: " in capsys.readouterr().out
    assert main([]) == 2
