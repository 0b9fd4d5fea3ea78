"""The pytest plugin: collected tests, verdicts as outcomes, written files; on an engine of a few lines."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import refattn
from refattn.reports import json as report_json
from refattn.suite import checking, choosing

# pytester forgets every module that is imported first inside of an inner run, and a second copy of refattn's classes
# would meet the first in later tests: so these are imported before.
for _name in (
    "adapters.loading",
    "assertions",
    "cli",
    "conformance.session",
    "inputs.replay",
    "suite.checking",
    "suite.choosing",
):
    importlib.import_module(f"refattn.{_name}")

ENGINE = """
import types
from refattn.suite import checking, choosing
from refattn.suite.findings import Evidence, Finding, Report, Verdict

VERDICTS = {
    "values/generic": Verdict.CONFORMS,
    "values/needle": Verdict.VIOLATES,
    "values/spread": Verdict.SUSPECT,
    "backward/dq": Verdict.ERROR,
    "visibility/nan": Verdict.VIOLATES,
    "sinks/values": Verdict.NOT_CLAIMED,
}

def check(kernel, call, dtypes, claims, profile, *, seed, target_name, only, largest):
    (dtype,) = dtypes
    report = Report(target_name, call, dtypes, claims or (), profile, seed, largest, {dtype: f"flash({dtype})"})
    verdict = VERDICTS[only]
    if verdict is Verdict.VIOLATES and dtype == "fp32":
        verdict = Verdict.CONFORMS
    message = "the kernel does not claim sinks" if verdict is Verdict.NOT_CLAIMED else f"{only} says {verdict.value}"
    report.findings = [Finding(only, dtype, Evidence(verdict, message), gating=only != "visibility/nan", seconds=0.5)]
    report.seconds = 0.5
    return report

checking.check = check
choosing.applicable = lambda adapter, kernel: [
    types.SimpleNamespace(name=name)
    for name in (VERDICTS if adapter.quantity == "attention" else ["softmax/values"])
]
"""
# This process has imported the plugin before the inner run marks it: only old releases of pytest warn of that.
INI = """
[pytest]
filterwarnings =
    error
    ignore:Module already imported:pytest.PytestAssertRewriteWarning
"""
# Loaded by its module's name, whether or not the package is installed with its entry point.
PLUGINS = ["-p", "no:refattn", "-p", "engine", "-p", "refattn.pytest_plugin", "-p", "no:cacheprovider"]


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """An adopter's folder, with a kernel and the engine's stand-in."""
    pytester.makepyfile(kernels="def good(q, k, v, *, spec):\n    return v\n", engine=ENGINE)
    pytester.makeini(INI)
    pytester.syspathinsert()
    monkeypatch.setenv("PYTHONPATH", str(Path(refattn.__file__).parent.parent))
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    monkeypatch.setattr(checking, "check", checking.check)
    monkeypatch.setattr(choosing, "applicable", choosing.applicable)
    return pytester


def run(project: pytest.Pytester, *args: str, target: str | None = "kernels:good") -> pytest.RunResult:
    options = [*PLUGINS, "-rsfx", *args]
    if target is not None:
        options += ["--refattn-target", target]
    return project.runpytest_inprocess("--pyargs", "refattn.conformance", *options)


def test_each_property_and_format_is_a_test_and_each_verdict_an_outcome(project: pytest.Pytester) -> None:
    result = run(project, "--refattn-dtype", "bf16,fp32", "-v")
    result.assert_outcomes(passed=5, failed=5, skipped=2)
    result.stdout.fnmatch_lines(
        [
            "*test_property?values/generic-bf16? PASSED*",
            "*test_property?values/needle-bf16? FAILED*",
            "*test_property?visibility/nan-bf16? PASSED*",
            "*test_property?sinks/values-bf16? SKIPPED*",
            "*test_property?values/needle-fp32? PASSED*",
        ]
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_a_failure_shows_the_evidence_and_no_traceback(project: pytest.Pytester) -> None:
    result = run(project, "--refattn-dtype", "bf16", "-k", "needle")
    result.stdout.fnmatch_lines(["values/needle in bf16: violates", "  values/needle says violates"])
    result.stdout.no_fnmatch_line("*refattn_check.run()*")


def test_what_is_not_claimed_is_skipped_with_the_reason(project: pytest.Pytester) -> None:
    result = run(project, "--refattn-dtype", "bf16", "-k", "sinks")
    result.stdout.fnmatch_lines(["SKIPPED*the kernel does not claim sinks"])


def test_what_does_not_gate_is_noted_at_the_end(project: pytest.Pytester) -> None:
    result = run(project, "--refattn-dtype", "bf16", "-k", "nan")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["visibility/nan in bf16: violates. visibility/nan says violates"])


def test_an_expected_failure_is_an_xfail_and_strict(project: pytest.Pytester) -> None:
    project.makefile(".txt", known="values/needle * the last tile\nvisibility/nan bf16 known\nvalues/gone * old")
    result = run(project, "--refattn-dtype", "bf16,fp32", "--refattn-xfails", "known.txt")
    result.assert_outcomes(passed=3, failed=5, skipped=2, xfailed=2)
    text = result.stdout.str()
    assert "the xfails file expects this property to fail, and it passes" in text
    assert "warning: known.txt:3: 'values/gone' in format * matches no property: the line is stale" in text
    assert "the last tile" in text


def test_only_what_the_convention_computes_is_collected(project: pytest.Pytester) -> None:
    result = run(project, "--refattn-dtype", "bf16", "--collect-only", "-q")
    assert "softmax/values" not in result.stdout.str()
    result = run(project, "--refattn-dtype", "bf16", "--refattn-call", "softmax", "--collect-only", "-q")
    result.stdout.fnmatch_lines(["*softmax/values-bf16*"])
    assert "values/needle" not in result.stdout.str()


def written(project: pytest.Pytester) -> dict[tuple[str, str], str]:
    report = report_json.load((project.path / "r.json").read_text())
    assert (report.target, report.dtypes, report.claims) == ("kernels:good", ("bf16", "fp32"), ("lse",))
    assert (report.profile, report.seed, report.conforms) == ("ci", 3, False)
    return {(finding.property, finding.dtype): finding.verdict.value for finding in report.findings}


ARGUMENTS = [
    "--refattn-dtype=bf16,fp32",
    "--refattn-claim=none,lse",
    "--refattn-profile=ci",
    "--refattn-seed=3",
]


def test_the_report_is_written_with_every_finding(project: pytest.Pytester) -> None:
    run(project, *ARGUMENTS, "--refattn-json", "r.json")
    verdicts = written(project)
    assert len(verdicts) == 12
    assert verdicts["values/needle", "bf16"] == "violates"
    assert verdicts["sinks/values", "fp32"] == "not claimed"


@pytest.mark.needs("xdist")
def test_the_report_is_whole_under_xdist_too(project: pytest.Pytester) -> None:
    options = [*PLUGINS, "--refattn-target", "kernels:good", "-n", "2"]
    result = project.runpytest_subprocess(
        "--pyargs", "refattn.conformance", *options, *ARGUMENTS, "--refattn-json", "r.json"
    )
    result.assert_outcomes(passed=5, failed=5, skipped=2)
    assert len(written(project)) == 12


def test_without_a_kernel_nothing_is_collected_and_the_reason_is_said(project: pytest.Pytester) -> None:
    result = run(project, target=None)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*refattn.conformance has no kernel to check: expected --refattn-target *"])
    result.assert_outcomes(errors=1)
    result.stdout.no_fnmatch_line("*Error: *")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--refattn-target", "kernels:god"], "*did you mean good*"),
        (["--refattn-target", "kernels"], "*malformed*"),
        (["--refattn-dtype", "bf61"], "*--refattn-dtype has 'bf61': did you mean bf16?*"),
        (["--refattn-claim", "causual"], "*--refattn-claim has 'causual': did you mean causal*"),
        (["--refattn-call", "sdpaa"], "*--refattn-call is 'sdpaa': did you mean sdpa?*"),
        (["--refattn-profile", "fast"], "*--refattn-profile is 'fast': expected one of quick, ci, deep*"),
        (["--refattn-seed", "-1"], "*--refattn-seed is '-1': expected an integer*"),
        (["--refattn-xfails", "gone.txt"], "*xfails file 'gone.txt' cannot be read*"),
        (["--refattn-json", "gone/r.json"], "*--refattn-json 'gone/r.json' cannot be written*"),
    ],
)
def test_a_wrong_option_is_a_usage_error_in_one_sentence(
    project: pytest.Pytester, args: list[str], message: str
) -> None:
    target = None if "--refattn-target" in args else "kernels:good"
    result = run(project, *args, target=target)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
    assert "Traceback" not in result.stderr.str()


def test_the_assertions_are_fixtures(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_own="""
        import refattn

        def test_fixtures(assert_attention, assert_softmax):
            assert assert_attention is refattn.assert_attention
            assert assert_softmax is refattn.assert_softmax
        """
    )
    project.runpytest_inprocess(*PLUGINS, "test_own.py").assert_outcomes(passed=1)


def test_the_plugin_loads_nothing_but_pytest() -> None:
    code = "import pytest, sys; old = set(sys.modules); import refattn.pytest_plugin; print(*set(sys.modules) - old)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"refattn", "refattn.pytest_plugin"}
