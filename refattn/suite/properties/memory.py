"""What a call may read, write and remember. (That inputs stay untouched is checked on every call.)"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np

from refattn.adapters.memory import LAYOUTS
from refattn.adapters.session import CallFailure
from refattn.inputs.cases import AttentionCase
from refattn.numbers.formats import Array
from refattn.suite.base import Context, Observation, Property
from refattn.suite.comparison import compare
from refattn.suite.drawing import drawn_cases, seeded_cases
from refattn.suite.findings import Verdict
from refattn.suite.judging import array_of, failure, judge_values, judged
from refattn.suite.search import by_cases


def observe_layouts(context: Context, case: AttentionCase) -> Observation:
    """Strided, offset and stride-0 inputs give results within the same bounds."""
    found = Observation(cases=0)
    for layout in LAYOUTS:
        if layout == "contiguous":
            continue
        try:
            outcome = context.target.run(case, layout=layout)
        except CallFailure as error:
            seen = failure(error)
        else:
            seen = judged([compare("out", array_of(outcome.out), context.truth(case).out, context.budget(case).out)])
        if seen.bad:
            return replace(seen, message=f"With {layout} inputs: {seen.message}")
        found = found.merged(seen)
    return replace(found, cases=1)


def enlarged(case: AttentionCase) -> AttentionCase:
    """The case with three different batch elements, each with at least two key-value heads; its spec has no arrays."""

    def heads(array: Array) -> Array:
        return array if case.shape.kv_heads > 1 else np.concatenate([array, array[..., ::-1, :]], axis=1)

    q, k, v = (heads(array[:1]) for array in (case.q, case.k, case.v))
    return case.replace(q=_three(q), k=_three(k), v=_three(v))


def _three(array: Array) -> Array:
    return np.concatenate([array, -array, array[..., ::-1]])


def observe_repeated_heads(context: Context, case: AttentionCase) -> Observation:
    """The same with one head repeated along stride-0 axes."""
    if not case.spec.features().keys() - {"alignment"}:
        case = enlarged(case)
    first = {name: np.broadcast_to(getattr(case, name)[:1, :1], getattr(case, name).shape) for name in ("q", "k", "v")}
    return observe_layouts(context, case.replace(**first))


def observe_state(context: Context, case: AttentionCase) -> Observation:
    """Calls of one shape with different settings do not see each other's: first without, then with, then without."""
    variants = [case]
    if "causal" in context.claims and not case.spec.causal and case.shape.queries == case.shape.keys:
        variants.append(case.replace(spec=case.spec.replace(causal=True)))
    if "scale" in context.claims:
        variants.append(case.replace(spec=case.spec.replace(scale=0.5)))
        variants.append(case.replace(spec=case.spec.replace(scale=0.125)))
    variants.append(case.replace(q=case.q[:, :, ::-1], k=-case.k))
    found = Observation(cases=0)
    for each in [*variants, *variants]:
        seen = judge_values(context, each)
        if seen.bad:
            message = f"After calls of the same shape with other settings: {seen.message}"
            return replace(seen, message=message)
        found = found.merged(seen)
    return found


def observe_repeatability(context: Context, case: AttentionCase) -> Observation:
    """The same call gives the same bits."""
    try:
        first = context.target.run(case)
        again = [context.target.run(case) for _ in range(4)]
    except CallFailure as error:
        return failure(error)
    for other in again:
        if not first.same_bits(other):
            return _bits_differ("out", first.out, other.out, "the same call made again")
    return Observation(share=0.0)


def observe_batch(context: Context, case: AttentionCase) -> Observation:
    """Each batch element alone gives the bits that it gives in the batch."""
    if not case.spec.features().keys() - {"alignment"}:
        case = enlarged(case)
    cases = [case]
    if "mask" in context.claims and case.spec.mask is None and case.shape.batch > 1:
        cases.append(with_masked_mates(case))
    try:
        for each in cases:
            whole = context.target.run(each)
            for batch in range(each.shape.batch):
                alone = context.target.run(one_of_batch(each, batch))
                if not np.array_equal(whole.raw["out"][batch], alone.raw["out"][0]):
                    return _bits_differ(
                        "out", array_of(whole.out)[batch], array_of(alone.out)[0], "the batch element alone"
                    )
    except CallFailure as error:
        return failure(error)
    return Observation(share=0.0)


def with_masked_mates(case: AttentionCase) -> AttentionCase:
    """The first batch element sees what it saw; of the keys of the others, a mask hides every other one."""
    shape = case.shape
    mask = np.ones((shape.batch, 1, shape.queries, shape.keys), np.bool_)
    mask[1:, :, :, 1::2] = False
    return case.replace(spec=case.spec.replace(mask=mask))


def one_of_batch(case: AttentionCase, batch: int) -> AttentionCase:
    """The case of one batch element."""
    spec, size = case.spec, case.shape.batch
    changes = {}
    for name, rank in (("bias", 4), ("mask", 4), ("keep", 4), ("kept_keys", 3), ("kept_queries", 3)):
        array = getattr(spec, name)
        if array is not None and array.ndim == rank and array.shape[0] == size:
            changes[name] = array[batch : batch + 1]
    for name in ("alibi_slopes", "key_positions", "query_positions"):
        array = getattr(spec, name)
        if array is not None and array.ndim == 2:
            changes[name] = array[batch : batch + 1]
    for name, rank in (("documents", 2), ("buckets", 3)):
        pair = getattr(spec, name)
        if pair is not None:
            changes[name] = tuple(
                ids[batch : batch + 1] if ids.ndim == rank and ids.shape[0] == size else ids for ids in pair
            )
    part = slice(batch, batch + 1)
    return case.replace(q=case.q[part], k=case.k[part], v=case.v[part], spec=spec.replace(**changes))


def _bits_differ(quantity: str, before: object, after: object, what: str) -> Observation:
    a, b = np.asarray(before), np.asarray(after)
    differs = np.argwhere((a != b) & ~(np.isnan(a) & np.isnan(b)))
    index = tuple(int(i) for i in (differs[0] if len(differs) else np.zeros(a.ndim, int)))
    where = ", ".join(map(str, index))
    message = f"{quantity}[{where}] is {a[index]!r}, and {b[index]!r} in {what}: expected the same bits."
    return Observation(Verdict.VIOLATES, message, share=np.inf)


def _property(
    name: str,
    summary: str,
    observe: Callable[[Context, AttentionCase], Observation],
    *needs: str,
    count: int = 1,
    of: Literal["exact", "any"] = "exact",
) -> Property:
    examine = by_cases(observe, seeded_cases(name, family="generic", count=count), drawn_cases())
    return Property(name, summary, 0, examine, observe, needs=frozenset(needs), of=of)


PROPERTIES = (
    _property("memory/layouts", "strided, offset and broadcast inputs are read rightly", observe_layouts, count=2),
    _property("memory/shared_heads", "heads that share memory are read rightly", observe_repeated_heads, count=2),
    _property("memory/state", "a call does not depend on the calls before it", observe_state, count=2),
    _property(
        "determinism/repeat",
        "the same call gives the same bits",
        observe_repeatability,
        "deterministic",
        count=4,
        of="any",
    ),
    _property(
        "determinism/batch",
        "the rest of the batch changes no bit",
        observe_batch,
        "batch_invariant",
        count=4,
        of="any",
    ),
)
