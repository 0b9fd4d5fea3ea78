"""Both front doors on the real engine: a right kernel, a wrong one, one that cannot be called, and the way back."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest

import refattn
from refattn import cli
from refattn.inputs import replay
from refattn.reports import json as report_json
from refattn.suite.findings import Verdict
from refattn.suite.properties import ALL

KERNELS = '''
from refattn.models import tiled_attention

def right(q, k, v, *, spec):
    return tiled_attention(q, k, v, spec=spec)

def top_left(q, k, v, *, spec):
    """A causal mask aligned with the wrong corner."""
    return tiled_attention(q, k, v, spec=spec.replace(alignment="top_left"))

def no_spec(q, k, v):
    return v
'''
ONE_PROPERTY = ["--dtype", "bf16", "--only", "values/needles"]


@pytest.fixture
def kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module of kernels, which is the current one."""
    (tmp_path / "kernels_end_to_end.py").write_text(KERNELS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_right_kernel_conforms(kernels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "kernels_end_to_end:right", *ONE_PROPERTY, "--json", "r.json"]) == 0
    assert "kernels_end_to_end:right conforms" in capsys.readouterr().out
    (finding,) = report_json.load((kernels / "r.json").read_text()).findings
    assert finding.verdict is Verdict.CONFORMS
    assert finding.cases > 0
    assert finding.share is not None
    assert 0.0 < finding.share <= 1.0


def test_a_wrong_kernel_is_found_and_its_replay_line_finds_it_again(
    kernels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check", "kernels_end_to_end:top_left", *ONE_PROPERTY, "--json", "r.json"]) == 1
    line = re.search(r"replay: refattn (replay .*)", capsys.readouterr().out)
    assert line is not None
    command = shlex.split(line[1])
    assert cli.main(command) == 1
    assert "values/needles in bf16: violates" in capsys.readouterr().out
    innocent = [word.replace("top_left", "right") for word in command]
    assert cli.main(innocent) == 0
    (finding,) = report_json.load((kernels / "r.json").read_text()).findings
    assert finding.case is not None
    assert replay.token(finding.case) in command


@pytest.mark.usefixtures("kernels")
def test_an_expected_failure_conforms_and_a_stale_expectation_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    Path("known.txt").write_text("values/needles bf16 the mask is aligned with the wrong corner\n")
    arguments = [*ONE_PROPERTY, "--xfails", "known.txt"]
    assert cli.main(["check", "kernels_end_to_end:top_left", *arguments]) == 0
    assert "violates as expected 1" in capsys.readouterr().out
    assert cli.main(["check", "kernels_end_to_end:right", *arguments]) == 1
    assert "passes unexpectedly 1" in capsys.readouterr().out


@pytest.mark.usefixtures("kernels")
def test_a_kernel_that_cannot_be_called_exits_with_3(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "kernels_end_to_end:no_spec", "--call", "native", *ONE_PROPERTY]) == 3
    assert "unexpected keyword argument 'spec'" in capsys.readouterr().out


def test_pytest_reaches_the_same_verdict(
    kernels: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(kernels), str(Path(refattn.__file__).parent.parent)]))
    options = ["-p", "no:refattn", "-p", "refattn.pytest_plugin", "-p", "no:cacheprovider", "-k", "needles"]
    options += ["--refattn-dtype", "bf16", "--pyargs", "refattn.conformance"]
    exact = [each for each in ALL if each.quantity == "attention" and each.of != "approximate"]
    others = [each for each in exact if each.name != "values/needles"]
    wrong = pytester.runpytest_subprocess(*options, "--refattn-target", "kernels_end_to_end:top_left")
    wrong.assert_outcomes(failed=1, deselected=len(others))
    wrong.stdout.fnmatch_lines(["values/needles in bf16: violates", "*replay: refattn replay *"])
