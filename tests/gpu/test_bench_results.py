"""Contract: what is not measured is said to be so, and figures are printed from files."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.extras import needed, skip_without

torch = needed("torch")
skip_without("triton")

from refattn.errors import InvalidValue
from refattn_gpu.bench import aims, machine, results, run, table
from refattn_gpu.bench.row import OURS, Row
from refattn_gpu.bench.timing import Timing, summary
from tests.support.gpu.bench_cases import HEADER, Fake, begun, stopped_clock

ROOT = Path(__file__).parents[2]


@pytest.fixture
def clock(monkeypatch: Any) -> list[str]:
    """The names of whom a stopped clock has timed."""
    asked: list[str] = []
    monkeypatch.setattr(run, "timed", stopped_clock(asked))
    return asked


def test_a_second_run_goes_on_where_the_first_one_stopped(tmp_path: Path, clock: list[str]) -> None:
    path, told = tmp_path / "r.json", []
    rows = [Fake(number=number) for number in range(3)]
    assert [entry["status"] for entry in begun(path).measure(rows[:1])] == ["measured"]
    late = begun(path, deadline=time.monotonic() - 1, report=told.append)
    assert [entry["status"] for entry in late.measure(rows)] == [run.OUT_OF_TIME] * 2
    assert told == [f"2 rows {run.OUT_OF_TIME}"]
    assert [entry["name"] for entry in begun(path).measure(rows)] == ["fake 1", "fake 2"]
    assert clock == [OURS] * 3
    assert {row["status"] for row in json.loads(path.read_text())["rows"]} == {"measured"}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"sources": {"kernels": "def"}}, "sources.kernels 'abc', and here it is 'def'"),
        ({"machine": {"device": "another"}}, "machine.device 'a GPU', and here it is 'another'"),
        ({"interpreted": True}, "interpreted False, and here it is True"),
    ],
)
def test_results_of_something_else_are_not_continued(tmp_path: Path, change: Any, complaint: str) -> None:
    path = tmp_path / "r.json"
    begun(path).results.save()
    with pytest.raises(InvalidValue, match=complaint):
        results.Results.opened(path, HEADER | change)


def test_what_is_no_results_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    for text in ("{", "[]", '{"schema": 0}'):
        path.write_text(text)
        with pytest.raises(InvalidValue, match=r"r\.json"):
            results.loaded(path)


def test_the_kernels_files_have_a_digest(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "kernels").mkdir()
    for name in ("a.py", "kernels/b.py"):
        (tmp_path / name).write_text("1")
    monkeypatch.setattr(machine, "PACKAGE", tmp_path)
    before = machine.digest()
    (tmp_path / "kernels" / "b.py").write_text("2")
    assert machine.digest() != before
    assert machine.git_commit() is None
    assert machine.sources("given")["commit"] == "given"


def test_medians_and_quantiles() -> None:
    assert summary([4.0, 1.0, 2.0, 3.0, 5.0, 6.0]) == Timing(3.5, 2.0, 5.0, 6)
    assert summary([7.0]) == Timing(7.0, 7.0, 7.0, 1)


def test_files_are_named_by_device_and_date(tmp_path: Path) -> None:
    header = HEADER | {"machine": {"device": "NVIDIA H200"}}
    first = results.usual(tmp_path, header)
    first.save()
    assert first.path.name == "nvidia-h200-2026-01-02.json"
    assert results.usual(tmp_path, header).path == first.path
    others = results.usual(tmp_path, header | {"sources": {"kernels": "other"}})
    others.save()
    assert others.path.name == "nvidia-h200-2026-01-02-2.json"
    (tmp_path / "interpreter.json").write_text("{}")
    assert sorted(tmp_path.glob(table.NAMES)) == sorted([first.path, others.path])


def measured(path: Path, ratio: Callable[[Row], float | None], **changes: Any) -> Path:
    """A file in which every row for which there is a ratio was measured with it, against everyone."""
    written = results.Results.opened(path, HEADER | changes)
    for row in run.all_rows():
        value = ratio(row)
        names = ("SDPA flash", "SDPA cuDNN", "copy", "torch")
        entry = {"name": row.name, "group": row.group, "target": row.target, "status": "measured", "share": 0.5}
        entry |= {"entries": {OURS: {"ms": 1.0, "rate": 2.0}}, "unit": row.unit, "ratios": dict.fromkeys(names, value)}
        if value is not None:
            written.contents["rows"].append(entry)
    written.save()
    return path


def states(path: Path) -> list[tuple[str, float | None, float | None]]:
    wanted = [(row.name, row.group, row.sizes) for row in run.all_rows()]
    found = {row["name"]: row for row in results.loaded(path)["rows"]}
    return [(state.verdict, state.lowest, state.highest) for state in aims.states(wanted, found)]


def test_an_aim_is_met_by_its_slowest_row(tmp_path: Path) -> None:
    assert {verdict for verdict, _, _ in states(measured(tmp_path / "all", lambda row: 12.0))} == {"met"}
    slow = measured(tmp_path / "slow", lambda row: 1.29 if row.name == "forward d=64 causal N=512" else 13.0)
    assert states(slow)[:2] == [("missed", 1.29, 13.0), ("met", 1.29, 13.0)]
    part = measured(tmp_path / "part", lambda row: 13.0 if row.name.startswith("forward d=64") else None)
    assert states(part)[0] == ("met so far", 13.0, 13.0)
    assert set(states(part)[2:]) == {("unmeasured", None, None)}


def test_the_table_says_what_is_unmeasured_and_what_was_not_checked(tmp_path: Path) -> None:
    path = measured(tmp_path / "r", lambda row: 1.5 if row.group == "forward" else None)
    printed = table.readme_table([path])
    assert "| in bf16 | aim | a GPU, 2026-01-02 |" in printed
    assert "| 1.3 | 1.50 (met) |" in printed
    assert printed.count("| not yet |") == len(aims.AIMS) - 2
    assert "refattn_gpu:attention on a GPU: timed without the suite." in printed
    full = table.full_table(results.loaded(path))
    assert "| forward d=64 N=512 | 1.000 | 2.0 TFLOP/s | 0.50 | 1.50 of SDPA flash" in full
    assert "decode B=64 N=2048: unmeasured" in full


def test_interpreted_and_older_results_are_not_printed(tmp_path: Path) -> None:
    old = measured(tmp_path / "old", lambda row: 1.0)
    new = measured(tmp_path / "new", lambda row: 2.0, date="2026-02-02T00:00:00+00:00")
    smoke = measured(tmp_path / "smoke", lambda row: 9.0, date="2026-03-03T00:00:00+00:00", interpreted=True)
    printed = table.readme_table([new, smoke, old])
    assert "2.00 (met)" in printed
    assert "9.00" not in printed
    assert "1.00" not in printed
    assert table.readme_table([smoke]) == table.readme_table([])


def test_readme_has_the_table_that_is_printed() -> None:
    text = (ROOT / "gpu" / "README.md").read_text()
    first, last = "<!-- printed by python -m refattn_gpu.bench.table -->\n", "<!-- end of what is printed -->\n"
    files = sorted(table.RESULTS.glob(table.NAMES))
    assert text.partition(first)[2].partition(last)[0] == table.readme_table(files)
