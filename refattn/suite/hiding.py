"""Which keys a row does not see, and the case with something in them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from refattn.contract.visibility import visible
from refattn.inputs.cases import AttentionCase

HIDING = ("causal", "window", "mask", "sparse", "varlen", "paged")


def hidden_from(case: AttentionCase, row: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The key slots (B, Hkv, Nk) that query `row` sees from no head, and the rows (B, H, Nq) that see none of those."""
    shape = case.shape
    seen = visible(case.spec, shape)
    of_heads = seen[:, :, row].reshape(shape.batch, shape.kv_heads, shape.group, shape.keys)
    slots = np.asarray(~of_heads.any(axis=2))
    spread = np.repeat(slots, shape.group, axis=1)[:, :, None]
    return slots, np.asarray(~(seen & spread).any(axis=-1))


def poisoned(case: AttentionCase, slots: NDArray[np.bool_], filler: float) -> AttentionCase:
    """The case with `filler` in every number of some key slots."""
    k, v = (np.where(slots[..., None], filler, array) for array in (case.k, case.v))
    return case.replace(k=k, v=v)
