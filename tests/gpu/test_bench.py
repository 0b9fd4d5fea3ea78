"""Contract: only what is right is timed, against whoever takes the same inputs."""

from __future__ import annotations

import dataclasses
import fnmatch
import math
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.extras import needed, skip_without

torch = needed("torch")
skip_without("triton")

import refattn_interpreter as interpreter
from refattn.suite.properties import ALL
from refattn_gpu import attention, softmax
from refattn_gpu.bench import aims, checking, dense, inputs, judging, machine, results, rivals, run, table
from refattn_gpu.bench.__main__ import main
from refattn_gpu.bench.row import FIRST, OURS, Unavailable
from refattn_gpu.launching import placement
from refattn_gpu.row_softmax import rows as row_softmax
from tests.support.gpu.bench_cases import HEADER, Fake, begun, rival, stopped_clock


@pytest.fixture
def clock(monkeypatch: Any) -> list[str]:
    """The names of whom a stopped clock has timed."""
    asked: list[str] = []
    monkeypatch.setattr(run, "timed", stopped_clock(asked))
    return asked


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


def test_a_call_outside_its_bound_is_not_timed(tmp_path: Path, clock: list[str]) -> None:
    found = list(begun(tmp_path / "r.json").measure([Fake(outcome=AssertionError("out[0] is 1")), Fake(number=1)]))
    assert [entry["status"] for entry in found] == ["not timed: out[0] is 1", "measured"]
    assert clock == [OURS]


def test_a_kernel_that_fails_the_suite_is_not_timed(tmp_path: Path, clock: list[str]) -> None:
    path = tmp_path / "r.json"
    results_of = begun(path)
    for format, verdict in (("bf16", checking.CONFORMS), ("fp32", checking.FAILS)):
        part = checking.Part(Fake.target, format, "v*")
        results_of.results.put_check(checking.as_entry(checking.Check(part, "ci", verdict)))
    assert [entry["suite"] for entry in results_of.measure([Fake()])] == [checking.FAILS]
    assert clock == []
    assert (
        results.Results.opened(path, HEADER).rows["fake 0"]["status"].startswith("not timed: the kernel does not pass")
    )


@pytest.mark.parametrize(
    ("verdicts", "verdict"),
    [
        ([], checking.UNCHECKED),
        ([checking.CONFORMS, checking.CONFORMS], checking.CONFORMS),
        ([checking.UNFINISHED, checking.CONFORMS], checking.UNFINISHED),
        ([checking.UNFINISHED, checking.FAILS], checking.FAILS),
    ],
)
def test_the_worst_verdict_counts(verdicts: list[str], verdict: str) -> None:
    found = [{"target": "a:b", "verdict": each} for each in verdicts]
    assert checking.verdict_on("a:b", [*found, {"target": "c:d", "verdict": checking.FAILS}]) == verdict


def test_the_suite_runs_in_processes_and_what_does_not_end_is_said(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    del tmp_path
    pattern = "values/needles"
    right, wrong = (checking.Part(f"refattn.models:{name}", "bf16", pattern) for name in ("tiled_attention", "nothing"))
    found = {each.part: each for each in checking.checks([right, wrong], "quick", math.inf)}
    assert [found[part].verdict for part in (right, wrong)] == [checking.CONFORMS, checking.FAILS]
    assert "has no attribute 'nothing'" in found[wrong].failures[0]
    late = list(checking.checks([right, wrong], "quick", time.monotonic() - 1))
    assert [each.verdict for each in late] == [checking.UNFINISHED] * 2


def test_the_parts_of_the_suite_are_the_suite() -> None:
    for prop in ALL:
        assert sum(fnmatch.fnmatchcase(prop.name, pattern) for pattern in checking.PARTS) == 1
    assert [part.pattern for part in checking.parts("refattn_gpu:attention", "bf16")] == list(checking.PARTS)
    assert [part.pattern for part in checking.parts("refattn_gpu:softmax", "bf16")] == ["s*"]
    assert "refattn_gpu:attention" in checking.targets()


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
    monkeypatch.setattr(
        checking, "checks", lambda wanted, *_, **__: [checking.Check(wanted[0], "ci", checking.CONFORMS)]
    )
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
