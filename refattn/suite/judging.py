"""One case: call the kernel, compare with truth and budget."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from refattn.adapters.session import CallFailure
from refattn.bounds.budget import ErrorBudget
from refattn.contract import features
from refattn.inputs.cases import AttentionCase, SoftmaxCase
from refattn.numbers.formats import Array
from refattn.oracle.enclosure import Enclosure
from refattn.suite.comparison import compare
from refattn.suite.context import Context
from refattn.suite.findings import Evidence, Verdict

GRADIENTS = ("dq", "dk", "dv", *features.GRADIENTS)


def failure(error: CallFailure) -> Evidence:
    """The evidence of a failed call."""
    return Evidence(Verdict.ERROR, str(error), kind="call", hung=error.kind == "timeout")


def array_of(array: Array | None) -> Array:
    """A result that the call asked for: the adapter raises where it is missing."""
    assert array is not None
    return array


def judged(compared: Iterable[Evidence], *, generic: bool = False) -> Evidence:
    """The evidence on the outputs of one call: the worst of them decides; rms errors are given for generic inputs."""
    outputs = list(compared)
    worst = max(outputs, key=lambda output: output.share or 0.0)
    first = outputs[0]
    return replace(worst, rms_z=first.rms_z if generic else None, max_z=first.max_z if generic else None)


def judge_values(context: Context, case: AttentionCase) -> Evidence:
    """The output, and the log-sum-exp if the kernel claims to return it, lie within their certified bounds."""
    wants_lse = "lse" in context.claims
    try:
        outcome = context.target.run(case, want_lse=wants_lse)
    except CallFailure as error:
        return failure(error)
    truth, budget = context.truth(case), context.budget(case)
    compared = [compare("out", array_of(outcome.out), truth.out, budget.out)]
    if wants_lse and outcome.lse is not None:
        compared.append(compare("lse", outcome.lse, truth.lse, budget.lse))
    return judged(compared, generic=case.generic)


def judge_lse(context: Context, case: AttentionCase) -> Evidence:
    """The log-sum-exp alone."""
    try:
        outcome = context.target.run(case, want_lse=True)
    except CallFailure as error:
        return failure(error)
    return judged([compare("lse", array_of(outcome.lse), context.truth(case).lse, context.budget(case).lse)])


def judge_gradients(context: Context, case: AttentionCase) -> Evidence:
    """dQ, dK, dV, dbias and dsinks lie within their certified bounds."""
    try:
        outcome = context.target.run(case, want_gradients=True)
    except CallFailure as error:
        return failure(error)
    truth, budget = context.gradient_truth(case), context.gradient_budget(case)
    compared = []
    for name in GRADIENTS:
        exact: Enclosure | None = getattr(truth, name)
        allowed: ErrorBudget | None = getattr(budget, name)
        actual = (outcome.gradients or {}).get(name)
        if exact is not None and allowed is not None and actual is not None:
            compared.append(compare(name, np.asarray(actual), exact, allowed))
    return judged(compared)


def judge_softmax(context: Context, case: SoftmaxCase) -> Evidence:
    """softmax, log_softmax or logsumexp lies within its certified bound."""
    try:
        outcome = context.target.run(case)
    except CallFailure as error:
        return failure(error)
    return judged(
        [compare("out", array_of(outcome.out), context.softmax_truth(case), context.softmax_budget(case))],
        generic=case.generic,
    )
