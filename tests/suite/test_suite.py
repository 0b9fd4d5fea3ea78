"""A run of the suite: what each bad kernel is told, that the run goes on, what is chosen, and what is refused."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import refattn
from refattn.contract.arithmetic import Arithmetic
from refattn.errors import InvalidType, InvalidValue, RefattnError
from refattn.inputs import replay
from refattn.models import TiledAttention, tiled_attention
from refattn.suite import checking, replaying
from refattn.suite.findings import Finding, Report, Verdict
from refattn.suite.profile import PROFILES
from refattn.suite.properties import ALL

CLAIMS = ("causal", "cross", "ragged", "scale")
FEW = "values/*s"


@pytest.fixture(autouse=True)
def _small_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROFILES, "small", replace(PROFILES["quick"], name="small", examples=5, shrinks=0, longest=128))


def honest(q: Any, k: Any, v: Any, *, spec: Any) -> Any:
    """The tiled model."""
    return tiled_attention(q, k, v, spec=spec)


def check(kernel: Any, **options: Any) -> Report:
    return checking.check(kernel, **({"claims": CLAIMS, "profile": "small", "only": "values/needles"} | options))


def wrong_on_causal(q: Any, k: Any, v: Any, *, spec: Any) -> Any:
    """Ignores the mask."""
    return tiled_attention(q, k, v, spec=spec.replace(causal=False))


# Kernels that cannot be judged


def raises(q: Any, k: Any, v: Any, *, spec: Any) -> Any:
    del q, k, v, spec
    raise RuntimeError("CUDA error: an illegal memory access was encountered\nand a long explanation")


def exits(q: Any, k: Any, v: Any, *, spec: Any) -> Any:
    del q, k, v, spec
    raise SystemExit(3)


def misses_an_argument(q: Any, k: Any, v: Any) -> Any:
    return q + k + v


def returns_nothing(q: Any, k: Any, v: Any, *, spec: Any) -> Any:
    del q, k, v, spec


def returns_a_list(q: Any, k: Any, v: Any, *, spec: Any) -> Any:
    return [np.asarray(x).tolist() for x in honest(q, k, v, spec=spec)]


def returns_three_values(q: Any, k: Any, v: Any, *, spec: Any) -> Any:
    return (*honest(q, k, v, spec=spec), None)


def returns_another_shape(q: Any, k: Any, v: Any, *, spec: Any) -> Any:
    return honest(q, k, v, spec=spec)[0].transpose(0, 2, 1, 3)[..., :-1]


def returns_another_dtype(q: Any, k: Any, v: Any, *, spec: Any) -> Any:
    return honest(q, k, v, spec=spec)[0].astype(np.float32)


def changes_its_inputs(q: Any, k: Any, v: Any, *, spec: Any) -> Any:
    out = honest(q, k, v, spec=spec)
    k[:] = 0
    return out


def changes_the_spec(q: Any, k: Any, v: Any, *, spec: Any) -> Any:
    out = honest(q, k, v, spec=spec)
    if spec.mask is not None:
        spec.mask[:] = True
    return out


SENTENCES = {
    raises: "the kernel raised RuntimeError: CUDA error: an illegal memory access was encountered (test_suite.py, line",
    exits: "the kernel raised SystemExit: 3 (test_suite.py, line",
    misses_an_argument: "the kernel cannot be called this way: TypeError:",
    returns_nothing: "the kernel returned builtins.NoneType as out: expected a NumPy array",
    returns_a_list: "the kernel returned builtins.list as out: expected a NumPy array",
    returns_three_values: "the kernel returned 3 values: expected out or (out, lse)",
    returns_another_shape: "the kernel returned out of shape (",
    returns_another_dtype: "the kernel returned out in float32: expected bfloat16",
    changes_its_inputs: "the kernel left its input k changed",
    changes_the_spec: "the kernel left spec.mask changed",
}


@pytest.mark.parametrize("kernel", SENTENCES, ids=lambda kernel: kernel.__name__)
def test_what_a_kernel_does_wrong_is_said_in_one_sentence_and_the_run_goes_on(kernel: Any) -> None:
    report = check(kernel, call="native", only="values/*", claims=(*CLAIMS, "mask"))
    assert [finding.property for finding in report.findings] == [p.name for p in ALL if p.name.startswith("values/")]
    errors = [finding for finding in report.findings if finding.verdict is Verdict.ERROR]
    assert errors
    for finding in errors:
        assert finding.message.startswith(SENTENCES[kernel])
        assert "\n" not in finding.message
        assert finding.kind == "call"
        assert finding.gating
        assert finding.fails
        assert finding.case is not None
        assert finding.replay is not None
    if kernel is not changes_the_spec:
        assert len(errors) == len(report.findings)
    assert not report.conforms


def test_an_error_gates_where_a_wrong_value_would_not() -> None:
    report = check(raises, only="visibility/nan")
    assert report.findings[0].verdict is Verdict.ERROR
    assert report.findings[0].fails


def test_a_kernel_that_hangs_ends_neither_the_run_nor_takes_its_time_for_each_property() -> None:
    def hangs(q: Any, k: Any, v: Any, *, spec: Any) -> Any:
        del q, k, v, spec
        time.sleep(3600)

    start = time.perf_counter()
    report = check(hangs, only="values/[!m]*", time_limit=0.05, claims=(*CLAIMS, "sinks"))
    assert time.perf_counter() - start < 10
    assert len(report.findings) > 5
    assert {finding.verdict for finding in report.findings} == {Verdict.ERROR}
    assert report.findings[0].message == "the kernel did not return within 0.05 s: expected a result"
    assert report.findings[-1].message == "the kernel hung 3 times: it is not called again"


# What a run reports


def test_an_honest_kernel_conforms() -> None:
    report = check(honest, only=FEW, seed=5)
    assert report.conforms
    assert (report.call, report.dtypes, report.profile, report.seed) == ("native", ("bf16",), "small", 5)
    assert report.claims == CLAIMS
    assert report.arithmetics == {"bf16": "flash(bf16)"}
    assert report.target.endswith("test_suite:honest")
    assert report.seconds >= sum(finding.seconds for finding in report.findings) > 0
    assert set(report.environment) >= {"python", "numpy", "refattn"}


def test_the_public_check_is_the_suites() -> None:
    assert refattn.check is checking.check


def test_a_kernel_may_claim_and_declare_for_itself() -> None:
    kernel = TiledAttention(arithmetic=Arithmetic.flash("bf16", accumulator="bf16", name="mine"))
    report = check(kernel, claims=None)
    assert report.arithmetics == {"bf16": "mine"}
    assert set(report.claims) > {"lse", "gqa", "nan_safe"}
    assert check(kernel, arithmetic=Arithmetic.flash("bf16")).arithmetics == {"bf16": "flash(bf16)"}


def test_every_format_is_examined_stage_by_stage() -> None:
    report = check(honest, dtypes=("bfloat16", "fp16", "bf16"), only="values/[ns]e*")
    assert report.dtypes == ("bf16", "fp16")
    assert [(finding.property, finding.dtype) for finding in report.findings] == [
        ("values/needles", "bf16"),
        ("values/needles", "fp16"),
        ("values/search", "bf16"),
        ("values/search", "fp16"),
    ]


def test_only_the_properties_of_the_convention_are_examined() -> None:
    report = checking.check(lambda x, axis: x, call="softmax", profile="small", only="*/*s*")
    quantities = {prop.name: prop.quantity for prop in ALL}
    assert {quantities[finding.property] for finding in report.findings} == {"softmax"}


def test_what_is_not_claimed_is_reported_as_that() -> None:
    report = check(honest, only="gradients/*")
    assert {finding.verdict for finding in report.findings} == {Verdict.NOT_CLAIMED}
    assert all("backward" in finding.message for finding in report.findings)
    # Nothing was checked, so nothing conforms.
    assert not report.conforms


@pytest.mark.parametrize("fail_fast", [False, True])
def test_fail_fast_stops_at_the_first_failure(fail_fast: bool) -> None:
    report = check(wrong_on_causal, only="values/*", fail_fast=fail_fast)
    fails = [finding.fails for finding in report.findings]
    assert any(fails)
    assert (fails.index(True) == len(fails) - 1) == fail_fast
    assert not report.conforms


def test_fail_fast_goes_on_after_what_does_not_gate() -> None:
    leaky = TiledAttention(nan_safe=False)
    report = check(lambda q, k, v, *, spec: leaky(q, k, v, spec=spec), only="visibility/*", fail_fast=True)
    assert len(report.findings) == 3


@pytest.mark.parametrize("kernel", [honest, wrong_on_causal], ids=lambda kernel: kernel.__name__)
def test_a_seed_gives_the_same_findings_again(kernel: Any) -> None:
    def essence(report: Report) -> list[Any]:
        return [
            (f.property, f.verdict, f.message, f.share, f.rms_z, f.cases, f.replay and f.replay.replace("--seed 4", ""))
            for f in report.findings
        ]

    first, again, other = (essence(check(kernel, only="values/[ns]e*", seed=seed)) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_an_observer_sees_every_step() -> None:
    seen: list[tuple[Any, ...]] = []

    class Watcher:
        def started(self, total_steps: int, dtype: str) -> None:
            seen.append(("started", total_steps, dtype))

        def stepped(self, property: str, dtype: str) -> None:
            seen.append(("stepped", property, dtype))

        def found(self, finding: Finding) -> None:
            seen.append(("found", finding.property))

        def finished(self, report: Report) -> None:
            seen.append(("finished", len(report.findings)))

    check(honest, only="values/[nt]*s", observer=Watcher())
    assert seen == [
        ("started", 3, "bf16"),
        ("stepped", "values/needles", "bf16"),
        ("found", "values/needles"),
        ("stepped", "values/ties", "bf16"),
        ("found", "values/ties"),
        ("stepped", "values/terms", "bf16"),
        ("found", "values/terms"),
        ("finished", 3),
    ]


def test_expected_failures_are_excused_and_stale_expectations_are_not(tmp_path: Any) -> None:
    path = tmp_path / "known.txt"
    path.write_text("values/features bf16 it ignores the mask\n")
    report = check(wrong_on_causal, only="values/features", xfails=str(path))
    assert report.findings[0].expected == "it ignores the mask"
    assert report.conforms
    assert not check(honest, only="values/features", xfails=str(path)).conforms


# Replaying


def test_a_finding_replays_from_its_line() -> None:
    report = check(wrong_on_causal, only="values/features")
    (finding,) = report.findings
    assert finding.case is not None
    assert finding.replay is not None
    token = replay.token(finding.case)
    assert finding.replay.endswith(f"--property values/features --case '{token}'")
    again = replaying.replay(wrong_on_causal, "native", token, "values/features")
    assert (again.verdict, again.message, again.worst) == (finding.verdict, finding.message, finding.worst)
    assert replaying.replay(honest, "native", token, "values/features").verdict is Verdict.CONFORMS
    # Without a property, values are compared.
    assert replaying.replay(wrong_on_causal, "native", token).verdict is Verdict.VIOLATES


def test_a_replay_of_what_was_no_case_is_refused() -> None:
    with pytest.raises(InvalidValue, match="token"):
        replaying.replay(honest, "native", "no token")
    token = replay.token(check(wrong_on_causal, only="values/features").findings[0].case)
    with pytest.raises(InvalidValue, match="property is 'values/none': expected one of values/needles"):
        replaying.replay(honest, "native", token, "values/none")
    with pytest.raises(InvalidValue, match="expected a softmax case's"):
        replaying.replay(honest, "softmax", token)


# Arguments


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"call": "nativ"}, InvalidValue, r"^call is 'nativ': expected one of "),
        ({"dtypes": ()}, InvalidValue, r"^dtypes is empty: expected at least one input format$"),
        ({"dtypes": ("fp12",)}, InvalidValue, r"^format 'fp12' is not known: expected one of "),
        ({"dtypes": ("tf32",)}, InvalidValue, r"^dtypes holds tf32: expected some of "),
        ({"dtypes": 16}, InvalidType, r"^dtypes is 16: expected "),
        ({"claims": ("causal", "fast")}, InvalidValue, r"^claim 'fast' is not known: expected some of "),
        ({"claims": "causal"}, InvalidType, r"^claims is 'causal': expected "),
        ({"profile": "slow"}, InvalidValue, r"^profile is 'slow': expected one of quick, ci, deep"),
        ({"arithmetic": "flash"}, InvalidType, r"^arithmetic is str: expected an Arithmetic or None$"),
        (
            {"only": "vlaues/*"},
            InvalidValue,
            r"^only is 'vlaues/\*': no property of this calling convention matches it$",
        ),
        ({"only": 3}, InvalidType, r"^only is 3: expected "),
        ({"seed": -1}, InvalidValue, r"^seed is -1: expected "),
        ({"seed": "0"}, InvalidType, r"^seed is '0': expected "),
        ({"time_limit": 0.0}, InvalidValue, r"^time_limit is 0.0: expected a positive number of seconds$"),
        ({"time_limit": "long"}, InvalidType, r"^time_limit is 'long': expected a positive number of seconds$"),
        ({"xfails": "/no/such/file"}, InvalidValue, r"/no/such/file"),
        ({"library": "cupy"}, InvalidValue, r"cupy"),
    ],
)
def test_a_bad_argument_is_refused_in_one_sentence(options: dict[str, Any], error: Any, sentence: str) -> None:
    calls: list[Any] = []
    with pytest.raises(error, match=sentence) as caught:
        checking.check(lambda *given, **named: calls.append(given), **options)
    assert isinstance(caught.value, RefattnError)
    assert "\n" not in str(caught.value)
    assert not calls


def test_a_kernel_must_be_callable() -> None:
    with pytest.raises(InvalidType, match=r"^kernel is int: expected a callable$"):
        checking.check(3)
