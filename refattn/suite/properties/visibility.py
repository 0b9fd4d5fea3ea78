"""Invisible keys have no influence: whatever stands in them changes no bit of the rows that do not see them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from refattn.adapters.session import CallFailure, Outcome
from refattn.contract.visibility import visible
from refattn.inputs.cases import AttentionCase
from refattn.suite.base import NOTHING, Context, Observation, Property
from refattn.suite.drawing import drawn_cases, seeded_cases
from refattn.suite.findings import Verdict
from refattn.suite.judging import failure
from refattn.suite.search import by_cases, by_search, in_turn

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


def observe_filler(
    filler: Callable[[AttentionCase], float], what: str
) -> Callable[[Context, AttentionCase], Observation]:
    """Compare the bits of rows before and after filling slots that they do not see."""

    def observe(context: Context, case: AttentionCase) -> Observation:
        shape = case.shape
        if not shape.queries or not shape.keys:
            return NOTHING
        compared = False
        for row in sorted({0, shape.queries // 2, shape.queries - 1}):
            slots, rows = hidden_from(case, row)
            if not slots.any():
                continue
            changed = poisoned(case, slots, filler(case))
            try:
                before, after = (_call(context, each) for each in (case, changed))
            except CallFailure as error:
                return failure(error)
            compared = True
            message = _difference(before, after, rows, what)
            if message:
                return Observation(Verdict.VIOLATES, message, share=np.inf)
        return Observation(share=0.0) if compared else NOTHING

    return observe


def _call(context: Context, case: AttentionCase) -> Outcome:
    return context.target.run(case, want_lse="lse" in context.claims)


def _difference(before: Outcome, after: Outcome, rows: NDArray[np.bool_], what: str) -> str:
    for quantity, old in before.raw.items():
        if quantity not in ("out", "lse", "scales"):
            continue
        # 0 * x added to -0 gives +0, which no reader of the result can hold against a kernel.
        zero = (getattr(before, quantity) == 0) & (getattr(after, quantity) == 0)
        differs = (old != after.raw[quantity]) & ~zero
        if quantity != "lse":
            differs = differs.any(axis=-1)
        if (differs & rows).any():
            index = tuple(int(i) for i in np.argwhere(differs & rows)[0])
            values = [getattr(outcome, quantity)[index] for outcome in (before, after)]
            where = ", ".join(map(str, index))
            return (
                f"{what} in keys that the row does not see changes {quantity}[{where}] from {values[0]} to {values[1]}."
            )
    return ""


def _large(case: AttentionCase) -> float:
    return float(case.format.round(min(1e4, case.format.max_finite / 4)))


garbage = observe_filler(_large, "A large finite number")
nan = observe_filler(lambda _: float("nan"), "NaN")
infinity = observe_filler(lambda case: float("inf") if case.format.has_infinity else float("nan"), "Infinity")


def _property(
    name: str, summary: str, observe: Callable[[Context, AttentionCase], Observation], gate: str | None
) -> Property:
    small = drawn_cases(features=HIDING)
    examine = in_turn(by_cases(observe, seeded_cases(name, features=HIDING), small), by_search(observe, small))
    kind = "value" if gate is None else "poison"
    return Property(name, summary, 0, examine, observe, gate=gate, kind=kind, of="any")


PROPERTIES = (
    _property("visibility/garbage", "finite garbage in invisible keys changes no bit", garbage, None),
    _property("visibility/nan", "NaN in invisible keys changes no bit", nan, "nan_safe"),
    _property("visibility/inf", "infinities in invisible keys change no bit", infinity, "nan_safe"),
)
