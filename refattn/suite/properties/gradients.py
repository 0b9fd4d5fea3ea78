"""dQ, dK, dV, dbias and dsinks lie within their certified bounds, and rows of dS add up to 0."""

from __future__ import annotations

import numpy as np

from refattn.adapters.session import CallFailure
from refattn.bounds.budget import ErrorBudget
from refattn.inputs.cases import AttentionCase
from refattn.oracle.enclosure import Enclosure
from refattn.suite.comparison import compare
from refattn.suite.context import Context
from refattn.suite.drawing import drawn_cases, feature_cases, seeded_cases
from refattn.suite.findings import NOTHING, Evidence
from refattn.suite.judging import failure, judge_gradients, judged
from refattn.suite.property import Cases, Property
from refattn.suite.search import by_cases, by_search

BACKWARD = frozenset({"backward"})
_ANY = drawn_cases(upstream=True)


def observe_row_sums(context: Context, case: AttentionCase) -> Evidence:
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


def _family(name: str) -> Cases:
    return by_cases(seeded_cases(name, upstream=True), _ANY)


PROPERTIES = (
    Property(
        "gradients/generic",
        "gradients of normal and heavy-tailed inputs",
        judge_gradients,
        _family("generic"),
        needs=BACKWARD,
    ),
    Property(
        "gradients/features",
        "gradients with each claimed feature",
        judge_gradients,
        by_cases(feature_cases(upstream=True), _ANY),
        needs=BACKWARD,
    ),
    Property(
        "gradients/masks",
        "gradients where rows see nothing, of padded and banded masks",
        judge_gradients,
        _family("masks"),
        needs=BACKWARD,
    ),
    Property(
        "gradients/terms",
        "gradients through softcaps, biases, sinks and slopes of all sizes",
        judge_gradients,
        _family("terms"),
        needs=BACKWARD,
    ),
    Property(
        "gradients/shapes",
        "gradients of all lengths, head dimensions and groups",
        judge_gradients,
        _family("shapes"),
        needs=BACKWARD,
    ),
    Property(
        "gradients/search",
        "gradients of small cases of every regime, searched by Hypothesis",
        judge_gradients,
        by_search(_ANY),
        stage=1,
        needs=BACKWARD,
    ),
)
# Identities of gradients, run after the relations between calls.
IDENTITIES = (
    Property(
        "gradients/row_sums",
        "rows of dS add up to 0",
        observe_row_sums,
        by_cases(
            seeded_cases("generic", upstream=True, count=4),
            drawn_cases("generic", upstream=True),
        ),
        stage=1,
        needs=frozenset({"backward", "bias"}),
    ),
)
