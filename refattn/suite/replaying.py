"""Replay one case of a kernel from its failure message."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from refattn import adapters
from refattn.adapters.target import Target
from refattn.contract.arithmetic import Arithmetic
from refattn.errors import InvalidValue
from refattn.inputs.cases import AttentionCase, SoftmaxCase
from refattn.inputs.replay import case_of
from refattn.suite.choosing import named
from refattn.suite.context import context_of
from refattn.suite.environment import name_of
from refattn.suite.examining import replay_line
from refattn.suite.findings import Finding, Report
from refattn.suite.profile import PROFILES


def replay(
    kernel: Callable[..., Any],
    call: str,
    token: str,
    property: str | None = None,
    *,
    claims: Iterable[str] | None = None,
    arithmetic: Arithmetic | None = None,
    target_name: str | None = None,
    time_limit: float = 30.0,
) -> Finding:
    """Examine one case again by one property (by default, whether its values lie within their bounds).

    Raises InvalidValue if the token or the property's name is invalid.
    """
    adapter = adapters.get(call)
    kind: Any = SoftmaxCase if adapter.quantity == "softmax" else AttentionCase
    case: AttentionCase | SoftmaxCase = case_of(token, kind)
    approximates = adapter.approximation(kernel) is not None
    fallback = {"softmax": "softmax/values", "gradients": "gradients/search"}.get(adapter.quantity, "values/search")
    prop = named(property or ("approximation/values" if approximates else fallback))
    if prop.of == ("exact" if approximates else "approximate"):
        whom = "declares" if approximates else "does not declare"
        raise InvalidValue(f"property is {prop.name!r}, and the kernel {whom} an approximation: expected another one")
    arithmetics = None if arithmetic is None else {case.format: arithmetic}
    target = Target(kernel, adapter, claims=claims, arithmetics=arithmetics, time_limit=time_limit)
    context = context_of(target, case.format, PROFILES["quick"], 0)
    finding = prop.finding(context, prop.observe(context, case).on(case))
    report = Report(target_name or name_of(kernel), call, (case.format.name,), (), "quick", 0)
    finding.replay = replay_line(report, prop.name, case)
    return finding
