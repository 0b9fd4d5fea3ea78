"""Reports that tests print and write."""

from __future__ import annotations

import numpy as np

from refattn.contract.spec import AttentionSpec, SoftmaxSpec
from refattn.inputs.cases import AttentionCase, SoftmaxCase
from refattn.numbers.formats import bf16, fp32
from refattn.suite.findings import Evidence, Finding, Report, Verdict, Worst

INF, NAN = float("inf"), float("nan")
REPLAY = "refattn replay kernels.attention:flash --call native --case " + "x" * 300


def attention_case() -> AttentionCase:
    ones = np.ones((1, 1, 2, 1))
    return AttentionCase(ones, ones, ones, AttentionSpec(causal=True), bf16, regime="needle")


def softmax_case() -> SoftmaxCase:
    return SoftmaxCase(np.array([0.0, -np.inf]), SoftmaxSpec(), fp32, regime="ties")


def full_report() -> Report:
    """One finding of every kind, with every awkward number and letter."""
    worst = Worst("out", (0, 0, 3, 17), actual=NAN, exact=0.5, error=INF, bound=0.0, part="scores")
    return Report(
        target="kernels.attention:flash",
        call="native",
        dtypes=("bf16", "fp32"),
        claims=("causal", "lse"),
        profile="quick",
        seed=7,
        arithmetics={"bf16": "flash(bf16)", "fp32": "flash(fp32)"},
        environment={"python": "3.11.7", "numpy": "2.4.6"},
        warnings=["known.txt:1: stale"],
        seconds=12.5,
        findings=[
            Finding("values/generic", "bf16", Evidence(share=0.42, rms_z=1.01, max_z=4.2, cases=30), seconds=1.5),
            Finding(
                "values/needle",
                "bf16",
                Evidence(
                    Verdict.VIOLATES,
                    "One key is lost [/bold] <&> \x1b[31m\x00.",
                    share=INF,
                    worst=worst,
                    case=attention_case(),
                ),
                replay=REPLAY,
            ),
            Finding("values/spread", "fp32", Evidence(Verdict.SUSPECT, "Biased.", share=0.3, rms_z=2.5, max_z=NAN)),
            Finding(
                "backward/dq", "fp32", Evidence(Verdict.ERROR, "ValueError: no.", kind="call", case=softmax_case())
            ),
            Finding("backward/dk", "fp32", Evidence(Verdict.VIOLATES, "Wrong."), expected="no gradients yet"),
            Finding("visibility/nan", "bf16", Evidence(Verdict.VIOLATES, "NaN leaks.", kind="poison"), gating=False),
            Finding("values/ties", "bf16", Evidence(), unexpected_pass=True),
            Finding("sinks/values", "bf16", Evidence(Verdict.NOT_CLAIMED, "needs the claim sinks", cases=0)),
            Finding("sinks/values", "fp32", Evidence(Verdict.NOT_CLAIMED, "needs the claim sinks", cases=0)),
            Finding("window/values", "fp32", Evidence(Verdict.NOT_CLAIMED, "needs the claim window", cases=0)),
        ],
    )


def good_report() -> Report:
    report = full_report()
    report.findings = report.findings[:1]
    report.warnings = []
    return report
