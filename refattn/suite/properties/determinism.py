"""The same inputs give the same bits, when repeated and in any batch."""

from __future__ import annotations

import numpy as np

from refattn.adapters.session import CallFailure
from refattn.inputs.cases import AttentionCase
from refattn.suite.batches import enlarged, one_of_batch, with_masked_mates
from refattn.suite.context import Context
from refattn.suite.drawing import drawn_cases, seeded_cases
from refattn.suite.findings import Evidence, Verdict
from refattn.suite.judging import array_of, failure
from refattn.suite.property import Property
from refattn.suite.search import by_cases


def observe_repeatability(context: Context, case: AttentionCase) -> Evidence:
    """The same call gives the same bits."""
    try:
        first = context.target.run(case)
        again = [context.target.run(case) for _ in range(4)]
    except CallFailure as error:
        return failure(error)
    for other in again:
        if not first.same_bits(other):
            return _bits_differ("out", first.out, other.out, "the same call made again")
    return Evidence(share=0.0)


def observe_batch(context: Context, case: AttentionCase) -> Evidence:
    """Each batch element alone gives the bits that it gives in the batch."""
    if not case.spec.features().keys() - {"alignment"}:
        case = enlarged(case)
    cases = [case]
    if "mask" in context.claims and case.spec.mask is None and case.shape.batch > 1:
        cases.append(with_masked_mates(case))
    try:
        for batched in cases:
            whole = context.target.run(batched)
            for batch in range(batched.shape.batch):
                alone = context.target.run(one_of_batch(batched, batch))
                if not np.array_equal(whole.raw["out"][batch], alone.raw["out"][0]):
                    return _bits_differ(
                        "out", array_of(whole.out)[batch], array_of(alone.out)[0], "the batch element alone"
                    )
    except CallFailure as error:
        return failure(error)
    return Evidence(share=0.0)


def _bits_differ(quantity: str, before: object, after: object, what: str) -> Evidence:
    a, b = np.asarray(before), np.asarray(after)
    differs = np.argwhere((a != b) & ~(np.isnan(a) & np.isnan(b)))
    index = tuple(int(i) for i in (differs[0] if len(differs) else np.zeros(a.ndim, int)))
    where = ", ".join(map(str, index))
    message = f"{quantity}[{where}] is {a[index]!r}, and {b[index]!r} in {what}: expected the same bits."
    return Evidence(Verdict.VIOLATES, message, share=np.inf)


_FOUR_GENERIC = by_cases(seeded_cases("generic", count=4), drawn_cases())

PROPERTIES = (
    Property(
        "determinism/repeat",
        "the same call gives the same bits",
        observe_repeatability,
        _FOUR_GENERIC,
        needs=frozenset({"deterministic"}),
        of="any",
    ),
    Property(
        "determinism/batch",
        "the rest of the batch changes no bit",
        observe_batch,
        _FOUR_GENERIC,
        needs=frozenset({"batch_invariant"}),
        of="any",
    ),
)
