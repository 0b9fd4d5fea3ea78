"""Invisible keys have no influence: whatever stands in them changes no bit of the rows that do not see them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from refattn.adapters.session import CallFailure, Outcome
from refattn.inputs.cases import AttentionCase
from refattn.suite.context import Context
from refattn.suite.findings import NOTHING, Evidence, Verdict
from refattn.suite.hiding import HIDDEN_KEYS, hidden_from, poisoned, rows_of
from refattn.suite.judging import failure
from refattn.suite.property import Observe, Property


def observe_filler(filler: Callable[[AttentionCase], float], what: str) -> Observe:
    """Compare the bits of rows before and after filling slots that they do not see."""

    def observe(context: Context, case: AttentionCase) -> Evidence:
        shape = case.shape
        if not shape.queries or not shape.keys:
            return NOTHING
        compared = False
        for row in rows_of(case):
            slots, rows = hidden_from(case, row)
            if not slots.any():
                continue
            changed = poisoned(case, slots, filler(case))
            try:
                before, after = (_call(context, version) for version in (case, changed))
            except CallFailure as error:
                return failure(error)
            compared = True
            message = _difference(before, after, rows, what)
            if message:
                return Evidence(Verdict.VIOLATES, message, share=np.inf)
        return Evidence(share=0.0) if compared else NOTHING

    return observe


def _call(context: Context, case: AttentionCase) -> Outcome:
    return context.target.run(case, want_lse="lse" in context.claims)


def _difference(before: Outcome, after: Outcome, rows: NDArray[np.bool_], what: str) -> str:
    for quantity, old in before.raw.items():
        if quantity not in ("out", "lse", "scales"):
            continue
        # 0 * x added to -0 gives +0: the sign of zero does not count.
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

PROPERTIES = (
    Property("visibility/garbage", "finite garbage in invisible keys changes no bit", garbage, HIDDEN_KEYS, of="any"),
    Property(
        "visibility/nan",
        "NaN in invisible keys changes no bit",
        nan,
        HIDDEN_KEYS,
        gate="nan_safe",
        kind="poison",
        of="any",
    ),
    Property(
        "visibility/inf",
        "infinities in invisible keys change no bit",
        infinity,
        HIDDEN_KEYS,
        gate="nan_safe",
        kind="poison",
        of="any",
    ),
)
