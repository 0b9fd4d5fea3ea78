"""Relations between two calls: the kernel is run on a derived case and held to the truth of the original one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from refattn.adapters.session import CallFailure
from refattn.bounds.budget import ErrorBudget
from refattn.inputs.cases import AttentionCase
from refattn.suite.base import NOTHING, Context, Observation, Property
from refattn.suite.comparison import compare
from refattn.suite.drawing import drawn_cases, seeded_cases
from refattn.suite.judging import array_of, failure, judged
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


def observe_relation(derive: Derive) -> Callable[[Context, AttentionCase], Observation]:
    """Run the kernel on the derived case and judge it by the original's truth and the derived case's budget."""

    def observe(context: Context, case: AttentionCase) -> Observation:
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
        found = [compare("out", array_of(outcome.out)[own], truth.out[rows], _part(budget.out, own))]
        if wants_lse and outcome.lse is not None:
            exact = truth.lse[rows]
            shifted = replace(
                exact, mid=exact.mid + derived.lse_shift, rad=exact.rad + abs(derived.lse_shift) * 2.0**-50
            )
            found.append(compare("lse", outcome.lse[own], shifted, _part(budget.lse, own)))
        return judged(found)

    return observe


def permuted_keys(case: AttentionCase) -> Derived | None:
    """The keys in another order, with the mask's and bias's columns."""
    spec = case.spec
    positional = spec.causal or spec.window != (None, None) or spec.alibi_slopes is not None
    if positional or spec.documents is not None or spec.key_positions is not None:
        return None
    order = np.random.default_rng(0).permutation(case.shape.keys)
    columns = {name: _columns(getattr(spec, name), order) for name in ("mask", "bias", "keep", "kept_keys")}
    if spec.buckets is not None:
        columns["buckets"] = (spec.buckets[0], _columns(spec.buckets[1], order))
    return Derived(case.replace(k=case.k[:, :, order], v=case.v[:, :, order], spec=spec.replace(**columns)))


def _columns(array: Any, order: Any) -> Any:
    return array if array is None or array.shape[-1] == 1 else array[..., order]


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
    changes: dict[str, Any] = {}
    for name in ("mask", "bias", "keep"):
        array = getattr(spec, name)
        if array is not None and array.ndim >= 2 and array.shape[-2] > 1:
            changes[name] = array[..., -1:, :]
    if spec.kept_queries is not None and spec.kept_queries.shape[-1] > 1:
        changes["kept_queries"] = spec.kept_queries[..., -1:]
    if spec.buckets is not None and spec.buckets[0].shape[-1] > 1:
        changes["buckets"] = (spec.buckets[0][..., -1:], spec.buckets[1])
    return Derived(case.replace(q=case.q[:, :, -1:], spec=spec.replace(**changes)), rows=slice(rows - 1, rows))


def paged(case: AttentionCase) -> Derived | None:
    """The keys in shuffled pages of 4 slots, the unused slots of the last page full of large numbers."""
    spec = case.spec
    per_key = (spec.mask, spec.bias, spec.keep, spec.kept_keys, spec.buckets, spec.documents, spec.key_positions)
    keys = case.shape.keys
    if any(field is not None for field in per_key) or not keys:
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


def observe_hull(context: Context, case: AttentionCase) -> Observation:
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


def _property(name: str, summary: str, observe: Any, needs: tuple[str, ...] = (), family: str = "generic") -> Property:
    examine = by_cases(observe, seeded_cases(name, family=family), drawn_cases())
    return Property(name, summary, 1, examine, observe, needs=frozenset(needs))


PROPERTIES = (
    _property("invariance/key_order", "the order of the keys does not matter", observe_relation(permuted_keys)),
    _property(
        "invariance/shift",
        "a constant added to every score changes nothing",
        observe_relation(shifted_scores),
        ("bias",),
    ),
    _property(
        "invariance/heads",
        "grouped heads are repeated heads",
        observe_relation(repeated_heads),
        ("gqa",),
        family="shapes",
    ),
    _property(
        "invariance/decode", "a query alone gives its row of the whole", observe_relation(last_query), ("cross",)
    ),
    _property("invariance/paged", "pages in any order are the sequence", observe_relation(paged), ("paged",)),
    _property("invariance/packed", "a packed document is the sequence alone", observe_relation(packed), ("varlen",)),
    _property("invariance/hull", "outputs lie between the smallest and largest values", observe_hull),
)
