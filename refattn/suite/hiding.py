"""Keys hidden from a row, cases with a filler in them, and cases that hide keys in every way."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from refattn.contract.features import HIDING, TABLE
from refattn.contract.visibility import visible
from refattn.inputs.cases import AttentionCase
from refattn.suite.drawing import cases_of_features, drawn_cases
from refattn.suite.search import by_cases, by_search, in_turn


def rows_of(case: AttentionCase) -> list[int]:
    """The queries whose hidden keys are filled: the first, one in the middle, the last."""
    return sorted({0, case.shape.queries // 2, case.shape.queries - 1})


def hidden_from(case: AttentionCase, row: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The key slots (B, Hkv, Nk) that query `row` sees from no head, and the rows (B, H, Nq) that see none of those."""
    shape = case.shape
    seen = visible(case.spec, shape)
    by_head = seen[:, :, row].reshape(shape.batch, shape.kv_heads, shape.group, shape.keys)
    slots = np.asarray(~by_head.any(axis=2))
    spread = np.repeat(slots, shape.group, axis=1)[:, :, None]
    return slots, np.asarray(~(seen & spread).any(axis=-1))


def hides_a_key(case: AttentionCase) -> bool:
    """True if the case has a hidden key to fill."""
    return any(hidden_from(case, row)[0].any() for row in rows_of(case))


def poisoned(case: AttentionCase, slots: NDArray[np.bool_], filler: float) -> AttentionCase:
    """The case with `filler` in all of K and V at some key slots."""
    k, v = (np.where(slots[..., None], filler, array) for array in (case.k, case.v))
    return case.replace(k=k, v=v)


# Features that hide keys whatever their values, each in its own way: a search draws some of these together.
SEARCHED = tuple(row.name for row in TABLE if row.hides == "always" and row.refines is None)
OTHERS = tuple(name for name in HIDING if name not in SEARCHED)
SEARCH = drawn_cases(features=SEARCHED)
# Each claimed feature that hides keys, and each of its fields, alone; then a search.
HIDDEN_KEYS = in_turn(
    by_cases(cases_of_features(SEARCHED, hides_a_key), SEARCH),
    by_cases(cases_of_features(OTHERS, hides_a_key), drawn_cases(features=OTHERS)),
    by_search(SEARCH),
)
