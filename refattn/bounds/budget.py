"""ErrorBudget: how far each element of a result may be off, split by the source of the error."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ErrorBudget:
    """Error allowed to each element by the declared arithmetic, in the units of the result.

    certified   proved: |result - exact| is at most this for every order of summation and every rounding
    rms         root mean square error when roundings are independent and random; None where no model is claimed
    parts       the certified bound split by source; the parts add up to it, or to more where the sum was capped by the
                convex hull of the values
    """

    certified: Array
    rms: Array | None = None
    parts: dict[str, Array] = field(default_factory=dict)

    def dominating_part(self, index: tuple[int, ...]) -> str:
        """Name of the largest part at one element; "" if the budget is not split."""
        if not self.parts:
            return ""
        return max(self.parts, key=lambda name: float(self.parts[name][index]))


class AttentionBudget(NamedTuple):
    """Budgets of attention's output (B, H, Nq, Dv) and log-sum-exp (B, H, Nq)."""

    out: ErrorBudget
    lse: ErrorBudget


class GradientBudget(NamedTuple):
    """Certified budgets of the gradients; dbias and dsinks are None where the spec has neither."""

    dq: ErrorBudget
    dk: ErrorBudget
    dv: ErrorBudget
    dbias: ErrorBudget | None
    dsinks: ErrorBudget | None
