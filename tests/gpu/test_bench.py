"""Contract: only what is right is timed, what is not measured is said to be so, and figures are printed from files."""

from __future__ import annotations

import dataclasses
import fnmatch
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton", reason="Triton is not installed")

from refattn.errors import InvalidValue  # noqa: E402
from refattn.suite import properties  # noqa: E402
from refattn_gpu import attention, interpreter, placement, row_softmax, softmax  # noqa: E402
from refattn_gpu.bench import aims, dense, inputs, judging, machine, results, rivals, run, suite, table  # noqa: E402
from refattn_gpu.bench.__main__ import main  # noqa: E402
from refattn_gpu.bench.row import FIRST, OURS, Contender, Problem, Rival, Row, Unavailable  # noqa: E402
from refattn_gpu.bench.timing import Timing, summary  # noqa: E402

ROOT = Path(__file__).parents[2]
HEADER = {
    "interpreted": False,
    "date": "2026-01-02T03:04:05+00:00",
    "command": [],
    "machine": {"device": "a GPU"},
    "versions": {"torch": "2", "triton": "3"},
    "sources": {"kernels": "abc", "commit": None},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fake(Row):
    """A row that solves nothing; `share` of its bound, or what `judge` raises."""

    number: int = 0
    outcome: Any = 0.5
    rivals: tuple[Rival, ...] = ()

    group: ClassVar[str] = "fake"
    target: ClassVar[str] = "refattn_gpu:attention"
    unit: ClassVar[str] = "TFLOP/s"
    scale: ClassVar[float] = 1e12

    @property
    def name(self) -> str:
        return f"fake {self.number}"

    @property
    def sizes(self) -> dict[str, Any]:
        return {"number": self.number}

    def shrunk(self) -> Fake:
        return self

    def problem(self, device: str) -> Problem:
        def judge() -> float:
            if isinstance(self.outcome, Exception):
                raise self.outcome
            return float(self.outcome)

        return Problem(Contender(OURS, lambda: device, 3e12), self.rivals, judge)


@pytest.fixture
def clock(monkeypatch: Any) -> list[str]:
    """A clock that finds one second for us and two for others; the names of whom it has timed."""
    asked: list[str] = []

    def timed(contender: Contender) -> Timing:
        asked.append(contender.name)
        contender.call()
        seconds = 1e3 if contender.name == OURS else 2e3
        return Timing(seconds, seconds, seconds, 10)

    monkeypatch.setattr(run, "timed", timed)
    return asked


def rival(name: str = "SDPA flash", reason: str | None = None, shared: str | None = None) -> Rival:
    """One that takes two seconds, or refuses."""

    def start() -> Contender:
        if reason is not None:
            raise Unavailable(reason)
        return Contender(name, lambda: None, 3e12)

    return Rival(name, start, shared)


def begun(path: Path, deadline: float = math.inf, report: Callable[[str], None] = lambda line: None) -> run.Run:
    """A run into a file."""
    return run.Run(results.Results.opened(path, HEADER), "cpu", False, deadline, report)


# What is timed


def test_rows_have_names_of_their_own_and_cover_what_they_claim() -> None:
    rows = run.all_rows()
    assert len({row.name for row in rows}) == len(rows)
    for kind in (dense.Forward, dense.Backward):
        sizes = {(row.d, row.causal, row.tokens) for row in rows if isinstance(row, kind)}
        assert sizes == {
            (d, c, n) for d in (64, 128) for c in (False, True) for n in (512, 1024, 2048, 4096, 8192, 16384)
        }
    sparse = [row.sizes for row in rows if row.group == "sparse"]
    for tokens in (512, 1024, 2048, 4096, 8192, 16384, 32768):
        here = [size for size in sparse if size["tokens"] == tokens]
        assert {size.get("dropped") for size in here} == {None, 20, 30, 40, 50, 60, 70, 80}
        assert {size.get("buckets") for size in here} == {None, 2, 4, 8, 16, 32, 64}


def test_every_aim_is_about_some_rows_and_the_first_ones_are_about_aims() -> None:
    rows = run.all_rows()
    for aim in aims.AIMS:
        assert any(aim.about(row.group, row.sizes) for row in rows), aim.figure
    for row in run.selected(None, quick=True):
        assert row.tier == FIRST
        assert any(aim.about(row.group, row.sizes) for aim in aims.AIMS), row.name
    assert [row.tier for row in rows] == sorted(row.tier for row in rows)


def test_operations_are_counted_as_is_said() -> None:
    row = dense.Forward(d=64, causal=True, tokens=1024, batch=16, heads=32)
    assert row.operations == 4 * 64 * 16 * 32 * 1024 * 1024 / 2
    assert dataclasses.replace(row, causal=False).operations == 2 * row.operations


# Correct first


def test_a_call_outside_its_bound_is_not_timed(tmp_path: Path, clock: list[str]) -> None:
    found = list(begun(tmp_path / "r.json").measure([Fake(outcome=AssertionError("out[0] is 1")), Fake(number=1)]))
    assert [entry["status"] for entry in found] == ["not timed: out[0] is 1", "measured"]
    assert clock == [OURS]


def test_a_kernel_that_fails_the_suite_is_not_timed(tmp_path: Path, clock: list[str]) -> None:
    path = tmp_path / "r.json"
    results_of = begun(path)
    for format, verdict in (("bf16", suite.CONFORMS), ("fp32", suite.FAILS)):
        part = suite.Part(Fake.target, format, "v*")
        results_of.results.put_check(suite.as_entry(suite.Check(part, "ci", verdict)))
    assert [entry["suite"] for entry in results_of.measure([Fake()])] == [suite.FAILS]
    assert clock == []
    assert (
        results.Results.opened(path, HEADER).rows["fake 0"]["status"].startswith("not timed: the kernel does not pass")
    )


@pytest.mark.parametrize(
    ("verdicts", "verdict"),
    [
        ([], suite.UNCHECKED),
        ([suite.CONFORMS, suite.CONFORMS], suite.CONFORMS),
        ([suite.UNFINISHED, suite.CONFORMS], suite.UNFINISHED),
        ([suite.UNFINISHED, suite.FAILS], suite.FAILS),
    ],
)
def test_the_worst_verdict_counts(verdicts: list[str], verdict: str) -> None:
    found = [{"target": "a:b", "verdict": each} for each in verdicts]
    assert suite.verdict_on("a:b", [*found, {"target": "c:d", "verdict": suite.FAILS}]) == verdict


def test_the_suite_runs_in_processes_and_what_does_not_end_is_said(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(ROOT)
    del tmp_path
    pattern = "values/needles"
    right, wrong = (suite.Part(f"refattn.models:{name}", "bf16", pattern) for name in ("tiled_attention", "nothing"))
    found = {each.part: each for each in suite.checks([right, wrong], "quick", math.inf)}
    assert [found[part].verdict for part in (right, wrong)] == [suite.CONFORMS, suite.FAILS]
    assert "has no attribute 'nothing'" in found[wrong].failures[0]
    late = list(suite.checks([right, wrong], "quick", time.monotonic() - 1))
    assert [each.verdict for each in late] == [suite.UNFINISHED] * 2


def test_the_parts_of_the_suite_are_the_suite() -> None:
    for prop in properties():
        assert sum(fnmatch.fnmatchcase(prop.name, pattern) for pattern in suite.PARTS) == 1
    assert [part.pattern for part in suite.parts("refattn_gpu:attention", "bf16")] == list(suite.PARTS)
    assert [part.pattern for part in suite.parts("refattn_gpu:softmax", "bf16")] == ["s*"]
    assert "refattn_gpu:attention" in suite.targets()
    assert "refattn_gpu:interpreter" not in suite.targets()


def heads_of(q: Any, k: Any, v: Any, spec: Any) -> list[judging.Head]:
    return [judging.Head.of(q, k, v, place, spec) for place in judging.ends(q)]


def test_the_judge_sees_a_row_that_is_off_and_a_key_that_is_left_out() -> None:
    row = dense.Forward(d=32, causal=True, tokens=40, batch=1, heads=2)
    q, k, v, do = row.drawn("cpu", "q", "k", "v", "do")
    arithmetic, heads = attention.arithmetic_for("bf16"), heads_of(q, k, v, row.spec)
    with interpreter.active():
        out, lse = attention(q, k, v, spec=row.spec)
        timed = attention.backward(q, k, v, do, spec=row.spec)
        only = attention.backward(q, k, v, judging.only_rows(do), spec=row.spec)
    assert 0 < judging.judged_outputs(arithmetic, heads, out, lse) <= 1
    assert 0 < judging.judged_gradients(arithmetic, heads, do, timed, only) <= 1
    last = out.clone()
    last[0, 1, -1] *= 1.03
    with pytest.raises(AssertionError, match=r"out\[.* times the bound"):
        judging.judged_outputs(arithmetic, heads, last, lse)
    with pytest.raises(AssertionError, match=r"lse\["):
        judging.judged_outputs(arithmetic, heads, out, lse + 0.01)
    for place, name in enumerate(("dq", "dk", "dv")):
        wrong = [x.clone() for x in only[:3]]
        wrong[place][0, 0, 20] += 0.5
        with pytest.raises(AssertionError, match=rf"{name}\["):
            judging.judged_gradients(arithmetic, heads, do, timed, wrong)
    with pytest.raises(AssertionError, match=r"dq\["):
        judging.judged_gradients(arithmetic, heads, do, [timed[0] * 1.05, *timed[1:]], only)
    with pytest.raises(AssertionError, match=r"out\[.* is nan"):
        judging.judged_outputs(arithmetic, heads, torch.full_like(out, math.nan), lse)


def test_the_judge_sees_softmax_gradients_that_are_off() -> None:
    x, dy = (inputs.normal(name, (3, 700), "cpu") for name in ("x", "dy"))
    with interpreter.active():
        y = softmax(x)
        dx = softmax.backward(y, dy)
    assert 0 < judging.judged_softmax_gradient(y, dy, dx) <= 1
    with pytest.raises(AssertionError, match=r"dx\["):
        judging.judged_softmax_gradient(y, dy, dx * 1.01)


def test_inputs_are_the_same_whenever_they_are_drawn() -> None:
    first, second = (inputs.normal("q", (2, 3), "cpu") for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, inputs.normal("k", (2, 3), "cpu"))


# Against whom


def test_a_backend_that_refuses_is_unavailable_and_not_zero(tmp_path: Path, clock: list[str]) -> None:
    row = Fake(rivals=(rival(), rival("SDPA cuDNN", "no such device")))
    (entry,) = begun(tmp_path / "r.json").measure([row])
    assert entry["ratios"] == {"SDPA flash": 2.0}
    assert entry["entries"]["SDPA cuDNN"] == {"unavailable": "no such device"}
    assert entry["entries"][OURS]["rate"] == 3.0
    assert clock == [OURS, "SDPA flash"]


def test_torch_says_why_it_refuses() -> None:
    q = inputs.normal("q", (1, 1, 8, 16), "cpu")
    refused = rivals.forward("SDPA cuDNN", rivals.backends("cpu")["SDPA cuDNN"], q, q, q, 1.0, is_causal=False)
    with pytest.raises(Unavailable, match=r"No available kernel|No viable backend"):
        refused.start()


def test_what_rows_share_is_timed_once(tmp_path: Path, clock: list[str]) -> None:
    rows = [Fake(number=number, rivals=(rival(shared="dense"),)) for number in range(3)]
    found = list(begun(tmp_path / "r.json").measure(rows))
    assert [entry["ratios"] for entry in found] == [{"SDPA flash": 2.0}] * 3
    assert clock == [OURS, "SDPA flash", OURS, OURS]


def test_the_way_through_a_gpu_is_walked(tmp_path: Path, clock: list[str], monkeypatch: Any) -> None:
    """But for the clock and the generator of random numbers; "cuda" is what the interpreter makes of it."""
    monkeypatch.setattr(inputs, "generator", lambda name, device: torch.Generator().manual_seed(len(name + device)))
    patterns = (
        "forward d=64 causal N=512",
        "backward d=64 N=512",
        "decode paged B=64*",
        "sparse *=16 N=512",
        "softmax*4096",
    )
    rows = [row.shrunk() for pattern in patterns for row in run.selected(pattern, quick=False)]
    with interpreter.active():
        header = HEADER | {"machine": machine.description("cuda"), "versions": machine.versions()}
        this = run.Run(results.Results.opened(tmp_path / "r.json", header), "cuda", False, math.inf, lambda line: None)
        found = list(this.measure(rows))
    assert [entry["status"] for entry in found] == ["measured"] * len(rows)
    assert {name for entry in found for name in entry["ratios"]} == {"SDPA flash", "copy", "torch"}
    assert header["machine"]["capability"] == "9.0"
    assert len(clock) == 2 * len(rows)


def test_the_whole_command_ends_with_the_table(tmp_path: Path, clock: list[str], monkeypatch: Any, capsys: Any) -> None:
    row = run.selected("softmax columns=4096", quick=False)[0]
    monkeypatch.setattr(inputs, "generator", lambda name, device: torch.Generator().manual_seed(len(name + device)))
    monkeypatch.setattr(placement, "compiled", lambda: True)
    monkeypatch.setattr(row_softmax, "check_placed", lambda name, tensor: None)
    monkeypatch.setattr(run, "selected", lambda only, quick: [row.shrunk(), Fake(outcome=AssertionError("wrong"))])
    monkeypatch.setattr(suite, "checks", lambda wanted, *_, **__: [suite.Check(wanted[0], "ci", suite.CONFORMS)])
    monkeypatch.setenv("TRITON_DEFAULT_FP_FUSION", "1")
    with interpreter.active():
        assert main(["--output", str(tmp_path), "--commit", "abc"]) == 1
    (path,) = tmp_path.glob(table.NAMES)
    contents = results.loaded(path)
    assert [entry["status"] for entry in contents["rows"]] == ["measured", "not timed: wrong"]
    assert contents["sources"]["commit"] == "abc"
    assert contents["checks"][0]["target"] == row.target
    printed = capsys.readouterr().out
    assert printed.index("softmax") < printed.index("not timed: wrong") < printed.index("| not yet |")
    assert printed.splitlines()[-1] == f"results: {path}"
    assert clock == [OURS, "torch"]


# What is written


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


# What is printed


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
    text = (ROOT / "README.md").read_text()
    first, last = "<!-- printed by python -m refattn_gpu.bench.table -->\n", "<!-- end of what is printed -->\n"
    files = sorted(table.RESULTS.glob(table.NAMES))
    assert text.partition(first)[2].partition(last)[0] == table.readme_table(files)


# The command


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """python -m refattn_gpu.bench where Triton compiles and there is no GPU."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"PYTHONPATH": os.pathsep.join([str(ROOT / "gpu"), str(ROOT)]), "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        [sys.executable, "-m", "refattn_gpu.bench", *arguments],
        env=environment | {"HIP_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_without_a_gpu_it_says_so() -> None:
    ran = command()
    assert ran.returncode == 2
    assert ran.stderr == "this machine has no GPU that torch and Triton can use: expected one, or --interpret\n"


def test_patterns_that_match_nothing_are_refused(capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("TRITON_DEFAULT_FP_FUSION", "1")
    assert main(["--only", "foward*"]) == 2
    assert "--only is 'foward*', which matches no row" in capsys.readouterr().err
    assert main(["--only", "forward*", "--list"]) == 0
    assert "forward d=64 causal N=512" in capsys.readouterr().out.splitlines()


def test_interpreted_it_runs_all_but_the_clock(tmp_path: Path) -> None:
    trace, found = tmp_path / "trace.json", tmp_path / "r.json"
    ran = command(
        *("--interpret", "--checks", "none", "--only", "decode*", "--output", str(found), "--profile", str(trace))
    )
    assert ran.returncode == 0, ran.stderr
    contents = results.loaded(found)
    assert contents["interpreted"] is True
    assert {row["status"] for row in contents["rows"]} == {"run"}
    assert all(0 < row["share"] <= 1 and not row["ratios"] for row in contents["rows"])
    assert "decode" in trace.read_text()


def test_the_script_for_a_gpu_compares_checks_and_times_and_says_if_something_is_wrong(tmp_path: Path) -> None:
    stub = tmp_path / "bin" / "python3"
    stub.parent.mkdir()
    stub.write_text(
        '#!/bin/sh\necho "$@" >>"$CALLS"\ncase "$*" in *refattn_gpu.bench*) echo aims; exit $WRONG;; esac\n'
    )
    stub.chmod(0o755)
    calls, folder = tmp_path / "calls", tmp_path / "results"
    for wrong in ("0", "1"):
        calls.write_text("")
        environment = {"PATH": f"{stub.parent}:/usr/bin:/bin", "CALLS": str(calls), "WRONG": wrong}
        script = [str(ROOT / "gpu" / "run_on_gpu"), str(folder), "100"]
        ran = subprocess.run(script, env=environment, capture_output=True, text=True, check=False, timeout=60)
        assert ran.returncode == int(wrong), ran.stderr
        compare, bench = (line for line in calls.read_text().splitlines() if line.startswith("-m"))
        assert compare.startswith("-m refattn_gpu.interpreter.compare --time-limit 12 ")
        assert bench.startswith(f"-m refattn_gpu.bench --output {folder} --time-limit ")
        assert 0 < int(bench.split()[-1]) <= 85
        assert "aims" in ran.stdout
        assert (folder / "bench.log").read_text() == "aims\n"
