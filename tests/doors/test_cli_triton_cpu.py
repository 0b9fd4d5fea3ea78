"""The option --triton-cpu, on a stand-in for the interpreter: when it is active, which calls it wraps, its errors."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from refattn import cli
from refattn.adapters import interpreting
from refattn.contract.spec import AttentionSpec
from refattn.inputs import replay
from refattn.inputs.cases import AttentionCase
from refattn.numbers.formats import bf16
from refattn.suite import checking, replaying
from refattn.suite.findings import Evidence, Finding, Report, Verdict

ONE = np.ones((1, 1, 1, 1))
TOKEN = replay.token(AttentionCase(ONE, ONE, ONE, AttentionSpec(), bf16))
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happened, in order: the interpreter's life, the target's import, calls of the kernel."""
    seen: list[str] = []
    interpreter = ModuleType("refattn_interpreter")

    @contextmanager
    def active() -> Iterator[None]:
        seen.append("active")
        yield
        seen.append("undone")

    def in_any_thread(kernel: Callable[..., Any]) -> Callable[..., Any]:
        seen.append("wrapped")
        return kernel

    interpreter.active, interpreter.in_any_thread = active, in_any_thread  # type: ignore[attr-defined]
    offered = [SimpleNamespace(load=lambda: interpreter)]
    monkeypatch.setattr(interpreting.metadata, "entry_points", lambda **_: offered)

    def kernel(q: Any, k: Any, v: Any, *, spec: Any) -> Any:
        del q, k, spec
        return v

    def import_target(target: str) -> Callable[..., Any]:
        seen.append(f"imported {target}")
        return kernel

    def check(kernel: Any, call: str, dtypes: Any, claims: Any, profile: str, **rest: Any) -> Report:
        del kernel
        seen.append("checked")
        report = Report(rest["target_name"], call, dtypes, claims or (), profile, rest["seed"])
        replay = "refattn replay kernels:good --call native --property values/needles --case 'x'"
        report.findings = [
            Finding("values/needles", "bf16", Evidence(Verdict.VIOLATES, "It is wrong."), replay=replay),
            Finding("values/needles", "fp16", Evidence()),
        ]
        return report

    monkeypatch.setattr("refattn.adapters.loading.import_target", import_target)
    monkeypatch.setattr(checking, "check", check)
    return seen


def test_the_interpreter_is_active_from_before_the_import_to_the_end(events: list[str], capsys: Capture) -> None:
    assert cli.main(["check", "kernels:good", "--triton-cpu", "--quiet"]) == 1
    assert events == ["active", "imported kernels:good", "wrapped", "checked", "undone"]
    lines = [line for line in capsys.readouterr().out.splitlines() if "refattn replay" in line]
    assert len(lines) == 1
    assert lines[0].endswith("--case 'x' --triton-cpu")


def test_without_the_option_nothing_is_interpreted(events: list[str], capsys: Capture) -> None:
    cli.main(["check", "kernels:good", "--quiet"])
    assert events == ["imported kernels:good", "checked"]
    assert "--triton-cpu" not in capsys.readouterr().out


def test_a_replay_is_interpreted_alike(events: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replaying, "replay", lambda *_, **__: Finding("values/needles", "bf16", Evidence()))
    assert cli.main(["replay", "kernels:good", "--case", TOKEN, "--triton-cpu"]) == 0
    assert events == ["active", "imported kernels:good", "wrapped", "undone"]


def test_a_missing_package_is_named_in_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(interpreting.metadata, "entry_points", lambda **_: [])
    assert cli.main(["check", "kernels:good", "--triton-cpu"]) == cli.NO_TARGET
    out, err = capsys.readouterr()
    message = "no interpreter of Triton kernels is installed: expected `pip install refattn[triton]`"
    assert (out, err) == ("", f"refattn: {message}\n")


def test_missing_triton_is_named_in_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert cli.main(["check", "kernels:good", "--triton-cpu"]) == cli.NO_TARGET
    assert capsys.readouterr() == ("", "refattn: triton is not installed: expected `pip install refattn[triton]`\n")
