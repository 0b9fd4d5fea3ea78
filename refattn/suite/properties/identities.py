"""Identities between the outputs of one kernel: parts of the keys combine to the whole, rows of dS add up to 0."""

from __future__ import annotations

from typing import Any

import numpy as np

from refattn.adapters.session import CallFailure
from refattn.bounds.budget import ErrorBudget
from refattn.inputs.cases import AttentionCase
from refattn.numbers.formats import Array
from refattn.oracle.enclosure import Enclosure
from refattn.suite.base import NOTHING, Context, Observation, Property
from refattn.suite.comparison import compare
from refattn.suite.drawing import drawn_cases, seeded_cases
from refattn.suite.judging import array_of, failure, judged
from refattn.suite.search import by_cases


def observe_split(context: Context, case: AttentionCase) -> Observation:
    """Both halves of the keys, weighted by exp(lse_half - lse), make the whole.

    With w the exact weight of a half and c, e the bounds of its output and its log-sum-exp, the combination errs by
    sum_i w_i (c_i + (exp(e) - 1) (|out_i| + c_i)), e being the sum of both halves' bounds; it is done in float64.
    """
    plain = not case.spec.features().keys() - {"alignment", "scale", "softcap"}
    keys = case.shape.keys
    if not plain or keys < 2:
        return NOTHING
    halves = [slice(0, keys // 2), slice(keys // 2, keys)]
    parts = [case.replace(k=case.k[:, :, half], v=case.v[:, :, half]) for half in halves]
    outs, lses, out_bounds, lse_bounds = [], [], [], []
    for part in parts:
        try:
            outcome = context.target.run(part, want_lse=True)
        except CallFailure as error:
            return failure(error)
        budget = context.budget(part)
        outs.append(array_of(outcome.out))
        lses.append(array_of(outcome.lse))
        out_bounds.append(budget.out.certified)
        lse_bounds.append(budget.lse.certified)
    with np.errstate(over="ignore", invalid="ignore"):
        whole = np.logaddexp(*lses)
        weights = [np.exp(lse - whole)[..., None] for lse in lses]
        doubt = np.expm1(sum(lse_bounds))[..., None]
        combined = weights[0] * outs[0] + weights[1] * outs[1]
        bound = sum(
            weight * (1 + doubt) * (own + doubt * (np.abs(out) + own))
            for weight, out, own in zip(weights, outs, out_bounds, strict=True)
        )
        # The combination itself, in float64.
        bound = np.asarray(bound * (1 + 2.0**-40) + 2.0**-40 * np.abs(combined))
    return judged([compare("out", combined, context.truth(case).out, ErrorBudget(_claimed(bound)))])


def _claimed(bound: Array) -> Array:
    return np.where(np.isnan(bound), np.inf, bound)


def observe_row_sums(context: Context, case: AttentionCase) -> Observation:
    """With a bias for every pair, the gradient of the bias adds up to 0 along each row, within its bounds."""
    spec, shape = case.spec, case.shape
    full = (shape.batch, shape.heads, shape.queries, shape.keys)
    if not shape.keys or not shape.queries or spec.documents is not None:
        return NOTHING
    bias = np.zeros(full) if spec.bias is None else np.broadcast_to(spec.bias, full)
    whole = case.replace(spec=spec.replace(bias=bias, sinks=None), dlse=None)
    try:
        outcome = context.target.run(whole, want_gradients=True)
    except CallFailure as error:
        return failure(error)
    if "dbias" not in outcome.gradients:
        return NOTHING
    allowed = context.gradient_budget(whole).dbias
    if allowed is None:
        return NOTHING
    sums = np.asarray(outcome.gradients["dbias"]).sum(axis=-1)
    budget = ErrorBudget(allowed.certified.sum(axis=-1) * (1 + 2.0**-40))
    zero = Enclosure(np.zeros_like(sums), np.zeros_like(sums))
    return judged([compare("row sum of dbias", sums, zero, budget)])


def _property(name: str, summary: str, observe: Any, needs: tuple[str, ...], *, upstream: bool = False) -> Property:
    seeded = seeded_cases(name, family="generic", upstream=upstream, count=4)
    examine = by_cases(observe, seeded, drawn_cases(family="generic", upstream=upstream))
    return Property(name, summary, 1, examine, observe, needs=frozenset(needs))


PROPERTIES = (
    _property("invariance/split", "two halves of the keys combine to the whole", observe_split, ("lse", "cross")),
    _property("gradients/row_sums", "rows of dS add up to 0", observe_row_sums, ("backward", "bias"), upstream=True),
)
