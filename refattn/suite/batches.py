"""Cases of several batch elements, made from others, and one batch element of a case."""

from __future__ import annotations

import numpy as np

from refattn.contract.features import taken
from refattn.inputs.cases import AttentionCase
from refattn.numbers.formats import Array


def enlarged(case: AttentionCase) -> AttentionCase:
    """The case with three different batch elements, each with at least two key-value heads; its spec has no arrays."""

    def heads(array: Array) -> Array:
        return array if case.shape.kv_heads > 1 else np.concatenate([array, array[..., ::-1, :]], axis=1)

    q, k, v = (heads(array[:1]) for array in (case.q, case.k, case.v))
    return case.replace(q=_three(q), k=_three(k), v=_three(v))


def _three(array: Array) -> Array:
    return np.concatenate([array, -array, array[..., ::-1]])


def with_masked_mates(case: AttentionCase) -> AttentionCase:
    """The case with a mask that hides every other key of all batch elements but the first."""
    shape = case.shape
    mask = np.ones((shape.batch, 1, shape.queries, shape.keys), np.bool_)
    mask[1:, :, :, 1::2] = False
    return case.replace(spec=case.spec.replace(mask=mask))


def one_of_batch(case: AttentionCase, batch: int) -> AttentionCase:
    """The case of one batch element."""
    part = slice(batch, batch + 1)
    return case.replace(
        q=case.q[part], k=case.k[part], v=case.v[part], spec=case.spec.replace(**taken(case.spec, "b", [batch]))
    )
