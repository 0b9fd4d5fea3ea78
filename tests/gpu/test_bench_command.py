"""Contract: the benchmark's commands say what they could not do, and interpreted they do all but time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.extras import needed, skip_without

torch = needed("torch")
skip_without("triton")

from refattn_gpu.bench import results
from refattn_gpu.bench.__main__ import main

ROOT = Path(__file__).parents[2]


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
        assert compare.startswith("-m refattn_interpreter.compare --time-limit 12 ")
        assert bench.startswith(f"-m refattn_gpu.bench --output {folder} --time-limit ")
        assert 0 < int(bench.split()[-1]) <= 85
        assert "aims" in ran.stdout
        assert (folder / "bench.log").read_text() == "aims\n"
