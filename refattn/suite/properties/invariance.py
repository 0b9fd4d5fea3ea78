"""Relations between calls: on a derived case, or parts of one, the kernel is held to the original's truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from refattn.adapters.session import CallFailure
from refattn.bounds.budget import ErrorBudget
from refattn.contract.features import along, taken, used
from refattn.inputs.cases import AttentionCase
from refattn.numbers.formats import Array
from refattn.suite.comparison import compare
from refattn.suite.context import Context
from refattn.suite.drawing import drawn_cases, seeded_cases
from refattn.suite.findings import NOTHING, Evidence
from refattn.suite.judging import array_of, failure, judged
from refattn.suite.property import Property
from refattn.suite.search import by_cases


@dataclass(frozen=True, eq=False)
class Derived:
    """A case derived from another.

    Its rows `own` are the original's rows `rows`, with a log-sum-exp that is larger by `lse_shift`.
    """

    case: AttentionCase
    rows: slice = field(default_factory=lambda: slice(None))
    own: slice = field(default_factory=lambda: slice(None))
    lse_shift: float = 0.0


Derive = Callable[[AttentionCase], Derived | None]


def observe_relation(derive: Derive) -> Callable[[Context, AttentionCase], Evidence]:
    """Run the kernel on the derived case and judge it by the original's truth and the derived case's budget."""

    def observe(context: Context, case: AttentionCase) -> Evidence:
        derived = derive(case)
        if derived is None:
            return NOTHING
        wants_lse = "lse" in context.claims
        try:
            outcome = context.target.run(derived.case, want_lse=wants_lse)
        except CallFailure as error:
            return failure(error)
        truth, budget = context.truth(case), context.budget(derived.case)
        rows, own = ((slice(None), slice(None), part) for part in (derived.rows, derived.own))
        compared = [compare("out", array_of(outcome.out)[own], truth.out[rows], _part(budget.out, own))]
        if wants_lse and outcome.lse is not None:
            exact = truth.lse[rows]
            shifted = replace(
                exact, mid=exact.mid + derived.lse_shift, rad=exact.rad + abs(derived.lse_shift) * 2.0**-50
            )
            compared.append(compare("lse", outcome.lse[own], shifted, _part(budget.lse, own)))
        return judged(compared)

    return observe


def permuted_keys(case: AttentionCase) -> Derived | None:
    """The keys in another order, with the mask's and bias's columns."""
    spec = case.spec
    if any(row.positional for row in used(spec)):
        return None
    order = np.random.default_rng(0).permutation(case.shape.keys)
    return Derived(
        case.replace(k=case.k[:, :, order], v=case.v[:, :, order], spec=spec.replace(**taken(spec, "k", order)))
    )


def shifted_scores(case: AttentionCase) -> Derived | None:
    """A bias of 16 on every score: the output stays, the log-sum-exp grows by 16."""
    if case.spec.bias is not None or case.spec.sinks is not None or not case.shape.keys:
        return None
    if not case.generic and np.abs(case.q).max(initial=0) * np.abs(case.k).max(initial=0) > 2.0**20:
        return None
    return Derived(case.replace(spec=case.spec.replace(bias=np.full((1, 1, 1, 1), 16.0))), lse_shift=16.0)


def repeated_heads(case: AttentionCase) -> Derived | None:
    """Every key-value head repeated for each query head that reads it."""
    group = case.shape.group
    if group == 1:
        return None
    return Derived(case.replace(k=np.repeat(case.k, group, axis=1), v=np.repeat(case.v, group, axis=1)))


def last_query(case: AttentionCase) -> Derived | None:
    """The last query alone, as in decoding; causal masks stay aligned at the bottom right."""
    spec = case.spec
    rows = case.shape.queries
    if rows < 2 or spec.alignment != "bottom_right" or spec.documents is not None or spec.query_positions is not None:
        return None
    last = spec.replace(**taken(spec, "q", [-1]))
    return Derived(case.replace(q=case.q[:, :, -1:], spec=last), rows=slice(rows - 1, rows))


def paged(case: AttentionCase) -> Derived | None:
    """The keys in shuffled pages of 4 slots, the unused slots of the last page full of large numbers."""
    spec = case.spec
    keys = case.shape.keys
    if along(spec, "k") or not keys:
        return None
    pages = -(-keys // 4)
    order = np.random.default_rng(1).permutation(pages)
    slots = (order[:, None] * 4 + np.arange(4)).ravel()
    positions = np.where(slots < keys, slots, -1)
    source = np.where(positions >= 0, positions, 0)
    filler = case.format.round(min(1e4, case.format.max_finite / 2))
    unused = (positions < 0)[:, None]
    k, v = (np.where(unused, filler, array[:, :, source]) for array in (case.k, case.v))
    return Derived(case.replace(k=k, v=v, spec=spec.replace(key_positions=positions)))


def packed(case: AttentionCase) -> Derived | None:
    """The sequence followed by an unrelated one of the same lengths, packed as two documents."""
    spec = case.spec
    if set(spec.features()) - {"scale", "causal", "strict", "alignment", "window", "softcap", "empty_rows"}:
        return None
    rows, keys = case.shape.queries, case.shape.keys
    q = np.concatenate([case.q, case.q[:, :, ::-1]], axis=2)
    k, v = (np.concatenate([array, -array[:, :, ::-1]], axis=2) for array in (case.k, case.v))
    documents = (np.repeat([0, 1], rows), np.repeat([0, 1], keys))
    return Derived(case.replace(q=q, k=k, v=v, spec=spec.replace(documents=documents)), own=slice(0, rows))


def _part(budget: ErrorBudget, own: Any) -> ErrorBudget:
    rms = None if budget.rms is None else budget.rms[own]
    return ErrorBudget(budget.certified[own], rms, {name: part[own] for name, part in budget.parts.items()})


def observe_hull(context: Context, case: AttentionCase) -> Evidence:
    """Every output lies between the smallest and the largest value of its column, within the bound."""
    try:
        outcome = context.target.run(case)
    except CallFailure as error:
        return failure(error)
    budget, truth = context.budget(case).out, context.truth(case).out
    gain = 1.0 / (1.0 - case.spec.dropout)
    ends = (case.v.min(axis=2, initial=0.0), case.v.max(axis=2, initial=0.0))
    lowest, highest = (np.repeat(end * gain, case.shape.group, axis=1)[:, :, None] for end in ends)
    actual = array_of(outcome.out)
    inside = np.clip(actual, lowest, highest)
    return judged([compare("out", actual, replace(truth, mid=inside, low=None), budget)])


def observe_split(context: Context, case: AttentionCase) -> Evidence:
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
        weight_error = np.expm1(sum(lse_bounds))[..., None]
        combined = weights[0] * outs[0] + weights[1] * outs[1]
        bound = sum(
            weight * (1 + weight_error) * (out_bound + weight_error * (np.abs(out) + out_bound))
            for weight, out, out_bound in zip(weights, outs, out_bounds, strict=True)
        )
        # The combination itself, in float64.
        bound = np.asarray(bound * (1 + 2.0**-40) + 2.0**-40 * np.abs(combined))
    return judged([compare("out", combined, context.truth(case).out, ErrorBudget(_claimed(bound)))])


def _claimed(bound: Array) -> Array:
    return np.where(np.isnan(bound), np.inf, bound)


_GENERIC = by_cases(seeded_cases("generic"), drawn_cases())

PROPERTIES = (
    Property(
        "invariance/key_order",
        "the order of the keys does not matter",
        observe_relation(permuted_keys),
        _GENERIC,
        stage=1,
    ),
    Property(
        "invariance/shift",
        "a constant added to every score changes nothing",
        observe_relation(shifted_scores),
        _GENERIC,
        stage=1,
        needs=frozenset({"bias"}),
    ),
    Property(
        "invariance/heads",
        "grouped heads are repeated heads",
        observe_relation(repeated_heads),
        by_cases(seeded_cases("shapes"), drawn_cases()),
        stage=1,
        needs=frozenset({"gqa"}),
    ),
    Property(
        "invariance/decode",
        "a query alone gives its row of the whole",
        observe_relation(last_query),
        _GENERIC,
        stage=1,
        needs=frozenset({"cross"}),
    ),
    Property(
        "invariance/paged",
        "pages in any order are the sequence",
        observe_relation(paged),
        _GENERIC,
        stage=1,
        needs=frozenset({"paged"}),
    ),
    Property(
        "invariance/packed",
        "a packed document is the sequence alone",
        observe_relation(packed),
        _GENERIC,
        stage=1,
        needs=frozenset({"varlen"}),
    ),
    Property(
        "invariance/hull",
        "outputs lie between the smallest and largest values",
        observe_hull,
        _GENERIC,
        stage=1,
    ),
    Property(
        "invariance/split",
        "two halves of the keys combine to the whole",
        observe_split,
        by_cases(seeded_cases("generic", count=4), drawn_cases("generic")),
        stage=1,
        needs=frozenset({"lse", "cross"}),
    ),
)
