"""The command line: arguments, exit codes, files; on an engine of a few lines, which stands in for the real one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import refattn
from refattn import cli, options
from refattn.contract.spec import AttentionSpec
from refattn.errors import InvalidValue
from refattn.inputs import replay
from refattn.inputs.cases import AttentionCase
from refattn.numbers.formats import bf16
from refattn.suite import checking, properties, replaying
from refattn.suite.findings import Evidence, Finding, Report, Verdict

ONE = np.ones((1, 1, 1, 1))
TOKEN = replay.token(AttentionCase(ONE, ONE, ONE, AttentionSpec(), bf16))


class Engine:
    """Stands in for the suite: notes its arguments and returns the findings that it is given."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.findings = [Finding("values/generic", "bf16", Evidence())]
        self.error: BaseException | None = None

    def properties(self) -> list[SimpleNamespace]:
        return [
            SimpleNamespace(name="values/generic", summary="outputs are right", needs=frozenset()),
            SimpleNamespace(name="causal/values", summary="masks are right", needs=frozenset({"causal", "lse"})),
        ]

    def check(self, kernel: Any, call: str, dtypes: Any, claims: Any, profile: str, **rest: Any) -> Report:
        self.calls.append(
            {"kernel": kernel, "call": call, "dtypes": dtypes, "claims": claims, "profile": profile, **rest}
        )
        if self.error is not None:
            raise self.error
        report = Report(rest["target_name"], call, dtypes, claims or (), profile, rest["seed"])
        observer = rest["observer"]
        if observer is not None:
            observer.started(len(self.findings), "bf16")
        for finding in self.findings:
            report.findings.append(finding)
            if observer is not None:
                observer.stepped(finding.property, finding.dtype)
                observer.found(finding)
        if observer is not None:
            observer.finished(report)
        return report

    def replay(self, kernel: Any, call: str, token: str, name: str | None, **rest: Any) -> Finding:
        self.calls.append({"kernel": kernel, "call": call, "token": token, "property": name, **rest})
        replay.case_of(token, AttentionCase)
        return self.findings[0]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Engine:
    """The stand-in, and a module `kernels` with kernels to name."""
    fake = Engine()
    monkeypatch.setattr(checking, "check", fake.check)
    monkeypatch.setattr(replaying, "replay", fake.replay)
    monkeypatch.setattr(properties, "ALL", fake.properties())
    (tmp_path / "kernels.py").write_text("def good(q, k, v, *, spec):\n    return v\nnumber = 7\n")
    (tmp_path / "broken.py").write_text("import no_such_library\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "kernels", raising=False)
    return fake


def failing(case: AttentionCase | None = None) -> Finding:
    return Finding("values/generic", "bf16", Evidence(Verdict.VIOLATES, "It is wrong.", case=case))


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    code = cli.main(args)
    out, err = capsys.readouterr()
    return code, out, err


Capture = pytest.CaptureFixture[str]


def test_a_kernel_that_conforms_exits_with_0(engine: Engine, capsys: Capture) -> None:
    code, out, err = run(capsys, "check", "kernels:good")
    assert (code, err) == (0, "")
    assert "kernels:good conforms" in out
    (call,) = engine.calls
    assert call["kernel"].__name__ == "good"
    assert {name: call[name] for name in ("call", "dtypes", "claims", "profile", "seed", "time_limit")} == {
        "call": "native",
        "dtypes": ("bf16", "fp16", "fp32"),
        "claims": None,
        "profile": "quick",
        "seed": 0,
        "time_limit": 30.0,
    }


def test_a_kernel_that_does_not_exits_with_1_and_is_announced_at_once(engine: Engine, capsys: Capture) -> None:
    engine.findings.append(failing())
    code, out, err = run(capsys, "check", "kernels:good")
    assert code == 1
    assert "kernels:good does not conform" in out
    assert err == "values/generic in bf16: violates\n  It is wrong.\n"


def test_without_a_target_the_projects_own_model_is_checked(engine: Engine, capsys: Capture) -> None:
    assert run(capsys, "check")[0] == 0
    assert engine.calls[0]["kernel"] is refattn.models.tiled_attention
    assert engine.calls[0]["target_name"] == options.DEFAULT_TARGET


def test_every_option_reaches_the_engine(engine: Engine, capsys: Capture) -> None:
    arguments = "--call sdpa --dtype float32,bf16 --profile ci --seed 9 --time-limit 2.5 --only values/* --fail-fast"
    assert run(capsys, "check", "kernels:good", *arguments.split(), "--xfails", "known.txt")[0] == 0
    (call,) = engine.calls
    assert (call["call"], call["dtypes"], call["profile"], call["seed"]) == ("sdpa", ("fp32", "bf16"), "ci", 9)
    assert (call["time_limit"], call["only"], call["fail_fast"]) == (2.5, "values/*", True)
    assert call["xfails"] == "known.txt"


def test_claims_are_added_and_taken_away_from_left_to_right(engine: Engine, capsys: Capture) -> None:
    run(
        capsys,
        "check",
        "kernels:good",
        "--claim",
        "none,causal",
        "--claim",
        "lse",
        "--claim",
        "no-causal,strict-causal",
    )
    assert engine.calls[0]["claims"] == ("lse", "strict_causal")


def test_claims_start_from_the_usual_ones() -> None:
    assert options.claims({"causal", "gqa"}, ["no-gqa"]) == ("causal",)
    assert options.claims({"causal"}, "gqa, gqa") == ("causal", "gqa")
    with pytest.raises(InvalidValue, match=r"^--claim has 'no-gqq': did you mean gqa"):
        options.claims((), "no-gqq")


BAD_USAGE = [
    ([], "", "no command is given: expected one of check, explain, properties, replay"),
    ([], "chekc", "command 'chekc' is not known: did you mean check?"),
    (["check", "kernels:good"], "--dtpye bf16", "option '--dtpye' is not known: did you mean --dtype?"),
    (["check", "kernels:good"], "--quite", "option '--quite' is not known: did you mean --quiet or --junit?"),
    (["check", "kernels:good"], "--dtype", "option '--dtype' has no value: expected one"),
    (["check", "kernels:good"], "--dtype bf61", "--dtype has 'bf61': did you mean bf16?"),
    (["check", "kernels:good"], "--dtype ,", "--dtype is empty: expected at least one format"),
    (["check", "kernels:good"], "--call sdpaa", "--call is 'sdpaa': did you mean sdpa?"),
    (["check", "kernels:good"], "--claim causual", "--claim has 'causual': did you mean causal or strict_causal?"),
    (["check", "kernels:good"], "--profile qiuck", "--profile is 'qiuck': did you mean quick?"),
    (["check", "kernels:good"], "--profile x", "--profile is 'x': expected one of quick, ci, deep"),
    (["check", "kernels:good"], "--seed x", "--seed is 'x': expected an integer of at least 0"),
    (["check", "kernels:good"], "--seed -1", "--seed is '-1': expected an integer of at least 0"),
    (["check", "kernels:good"], "--largest 2.5", "--largest is '2.5': expected an integer of at least 1"),
    (["check", "kernels:good"], "--largest 0", "--largest is '0': expected an integer of at least 1"),
    (["check", "kernels:good"], "--time-limit ten", "--time-limit is 'ten': expected a positive number of seconds"),
    (["check", "kernels:good"], "--time-limit 0", "--time-limit is '0': expected a positive number of seconds"),
    (["check", "kernels:good"], "--only value/generic", "did you mean values/generic?"),
    (["check", "kernels:good"], "--only xyz", "--only is 'xyz', which matches no property: `refattn properties`"),
    (["check", "kernels:good"], "--json nowhere/report.json", "--json 'nowhere/report.json' cannot be written"),
    (["check", "kernels:good"], "--junit .", "--junit '.' is a folder"),
    (["check", "a:b"], "c:d", "argument 'c:d' is one too many: expected one kernel, package.module:callable"),
    (["replay", "a:b"], "c:d --case x", "argument 'c:d' is one too many: expected one kernel"),
    (["properties"], "x", "argument 'x' is one too many: expected none"),
    (["replay", "kernels:good"], "", "--case is missing: expected the case, as a failure message gives it"),
    (["replay"], "", "target is missing: expected a kernel, package.module:callable"),
    (["replay", "kernels:good"], f"--case {TOKEN} --property value/generic", "did you mean values/generic?"),
    (["replay", "kernels:good"], "--case rubbish", "token 'rubbish'"),
]


@pytest.mark.parametrize(("start", "rest", "message"), BAD_USAGE, ids=[case[1][:30] for case in BAD_USAGE])
@pytest.mark.usefixtures("engine")
def test_a_wrong_argument_exits_with_2_and_one_sentence(
    start: list[str], rest: str, message: str, capsys: Capture
) -> None:
    code, out, err = run(capsys, *start, *rest.split())
    assert (code, out) == (2, "")
    assert message in err
    assert err.startswith("refattn: ")
    assert err.count("\n") == 1


BAD_TARGETS = [
    ("kernels", "kernel 'kernels' is malformed: expected package.module:callable"),
    ("kernels.good", "kernel 'kernels.good' is malformed: expected package.module:callable, such as kernels:good"),
    ("kernel:good", "module 'kernel' is not found: did you mean kernels?"),
    ("refattn.modles:good", "module 'refattn.modles' is not found: did you mean refattn.models or"),
    ("zzz:good", "module 'zzz' is not found: expected one that can be imported from"),
    ("kernels:god", "has no attribute 'god': did you mean good?"),
    ("kernels:number", "cannot be called"),
    ("broken:good", "importing 'broken' failed with ModuleNotFoundError: No module named 'no_such_library'"),
]


@pytest.mark.parametrize(("target", "message"), BAD_TARGETS)
@pytest.mark.parametrize("command", ["check", "replay"])
@pytest.mark.usefixtures("engine")
def test_a_target_that_cannot_be_imported_exits_with_3(
    command: str, target: str, message: str, capsys: Capture
) -> None:
    case = ["--case", TOKEN] if command == "replay" else []
    code, out, err = run(capsys, command, target, *case)
    assert (code, out) == (3, "")
    assert message in err
    assert err.count("\n") == 1


def test_a_kernel_of_which_no_call_comes_back_exits_with_3(engine: Engine, capsys: Capture) -> None:
    engine.findings = [Finding("values/generic", "bf16", Evidence(Verdict.ERROR, "TypeError: no.", kind="call"))] * 2
    assert run(capsys, "check", "kernels:good")[0] == 3
    engine.findings = [*engine.findings, Finding("values/other", "bf16", Evidence(share=0.5))]
    assert run(capsys, "check", "kernels:good")[0] == 1


def test_a_bad_argument_found_by_the_engine_exits_with_2(engine: Engine, capsys: Capture) -> None:
    engine.error = InvalidValue("xfails file 'known.txt' cannot be read: No such file or directory")
    assert run(capsys, "check", "kernels:good") == (2, "", f"refattn: {engine.error}\n")


def test_a_fault_of_refattns_own_is_no_verdict(engine: Engine, capsys: Capture) -> None:
    engine.error = ZeroDivisionError("oops")
    code, out, err = run(capsys, "check", "kernels:good")
    assert (code, out) == (cli.OWN_FAULT, "")
    assert "Traceback" in err
    assert err.endswith("please report it with the lines above\n")


def test_an_interruption_is_no_verdict(engine: Engine, capsys: Capture) -> None:
    engine.error = KeyboardInterrupt()
    code, _, err = run(capsys, "check", "kernels:good")
    assert (code, err.splitlines()[-1]) == (cli.INTERRUPTED, "refattn: interrupted")


def test_reports_are_written_whatever_the_verdict(engine: Engine, capsys: Capture, tmp_path: Path) -> None:
    engine.findings.append(failing())
    assert run(capsys, "check", "kernels:good", "--json", "r.json", "--junit", "r.xml")[0] == 1
    assert json.loads((tmp_path / "r.json").read_text())["conforms"] is False
    assert ElementTree.parse(tmp_path / "r.xml").getroot().get("failures") == "1"


def test_no_report_is_touched_when_the_run_breaks_off(engine: Engine, capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text("old")
    engine.error = ZeroDivisionError()
    run(capsys, "check", "kernels:good", "--json", "r.json")
    assert (tmp_path / "r.json").read_text() == "old"


def test_quiet_prints_one_line_for_a_kernel_that_conforms(engine: Engine, capsys: Capture) -> None:
    code, out, err = run(capsys, "check", "kernels:good", "--quiet")
    assert (code, out.count("\n"), err) == (0, 1, "")
    assert engine.calls[0]["observer"] is None


def test_replay_runs_one_case_and_shows_it(engine: Engine, capsys: Capture) -> None:
    case = replay.case_of(TOKEN, AttentionCase)
    engine.findings = [failing(case=case)]
    code, out, err = run(capsys, "replay", "kernels:good", "--case", TOKEN, "--property", "values/generic")
    assert (code, err) == (1, "")
    assert "It is wrong." in out
    assert "Nq=1" in out
    assert (engine.calls[0]["token"], engine.calls[0]["property"]) == (TOKEN, "values/generic")
    engine.findings = [Finding("values/generic", "bf16", Evidence(case=case))]
    assert run(capsys, "replay", "kernels:good", "--case", TOKEN)[0] == 0


@pytest.mark.usefixtures("engine")
def test_properties_are_listed_with_what_they_need(capsys: Capture) -> None:
    code, out, _ = run(capsys, "properties")
    assert code == 0
    row = next(line for line in out.splitlines() if line.startswith("causal/values"))
    assert row.split() == ["causal/values", "causal,", "lse", "masks", "are", "right"]


@pytest.mark.parametrize("command", [[], ["check"], ["replay"], ["properties"], ["explain"]])
def test_help_exits_with_0(command: list[str], capsys: Capture) -> None:
    code, out, err = run(capsys, *command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith("Usage: refattn")


def test_the_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "refattn", "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"refattn, version {refattn.__version__}\n", "")
    done = subprocess.run([sys.executable, "-m", "refattn", "chekc"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
