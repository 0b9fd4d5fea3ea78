"""One property, one target, one format -> the finding, and the command that replays it."""

from __future__ import annotations

import time

from refattn.inputs.cases import AttentionCase, SoftmaxCase
from refattn.inputs.replay import token as token_of
from refattn.suite.context import Context
from refattn.suite.findings import Evidence, Finding, Report, Verdict
from refattn.suite.property import Property

LONGEST_TOKEN = 3000
# Why a kernel that approximates is not held to a property of exact kernels.
REPLACED = "replaced by approximation/*, as the kernel declares an approximation"
UNKNOWN = "nothing is known of it, as the kernel declares an approximation of the output"


def examine(prop: Property, context: Context, report: Report) -> Finding:
    """Examine as many cases as the profile asks for, if the kernel's claims and its approximation allow it."""
    start = time.perf_counter()
    evidence = _inapplicable(prop, context) or prop.cases(context, prop.name, prop.observe)
    if evidence.verdict is Verdict.CONFORMS and evidence.cases == 0:
        evidence = _without_a_case(context)
    finding = prop.finding(context, evidence)
    if finding.checked:
        finding.seconds = time.perf_counter() - start
    if finding.bad and finding.case is not None:
        finding.replay = replay_line(report, prop.name, finding.case)
    return finding


def _inapplicable(prop: Property, context: Context) -> Evidence | None:
    """Why the kernel is not held to the property; None if it is."""
    missing = sorted(prop.needs - context.claims)
    if missing:
        return Evidence(Verdict.NOT_CLAIMED, f"the kernel does not claim {', '.join(missing)}", cases=0)
    if prop.of == "exact" and context.approximation is not None:
        return Evidence(Verdict.REPLACED, UNKNOWN if prop.needs & {"backward", "lse"} else REPLACED, cases=0)
    return None


def _without_a_case(context: Context) -> Evidence:
    reason = "the claims and the arithmetic leave no case to examine"
    if context.profile.largest is not None:
        reason = f"the claims, the arithmetic and lengths of at most {context.profile.largest} leave no case"
    return Evidence(Verdict.NOT_CLAIMED, reason, cases=0)


def replay_line(report: Report, name: str, case: AttentionCase | SoftmaxCase) -> str:
    """The command that replays one case, or checks its property if the case is too long for a command line."""
    if len(token_of(case)) > LONGEST_TOKEN:
        options = f"--dtype {case.format.name} --only {name} --profile {report.profile} --seed {report.seed}"
        options += "" if report.largest is None else f" --largest {report.largest}"
        return f"refattn check {report.target} --call {report.call} {options}"
    return f"refattn replay {report.target} --call {report.call} --property {name} --case '{token_of(case)}'"
