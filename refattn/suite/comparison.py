"""Output + truth + budget -> how much of its bound each element used, and which is the worst."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refattn.bounds.budget import ErrorBudget
from refattn.oracle.enclosure import Enclosure
from refattn.suite.findings import Worst

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Comparison:
    """One array judged: `violated` if some element lies outside its certified bound by more than the truth's radius.

    share is the largest error divided by its bound, 0 where nothing is claimed; z (None without an rms budget) holds
    the errors in units of the rms budget, for the elements that have a finite one.
    """

    violated: bool
    share: float
    worst: Worst | None
    z: Array | None

    @property
    def rms_z(self) -> float | None:
        """Root mean square of z; None where there is none."""
        return None if self.z is None or self.z.size == 0 else float(np.sqrt(np.mean(self.z**2)))

    @property
    def max_z(self) -> float | None:
        """Largest |z|; None where there is none."""
        return None if self.z is None or self.z.size == 0 else float(np.max(np.abs(self.z)))


def compare(quantity: str, actual: Array, truth: Enclosure, budget: ErrorBudget) -> Comparison:
    """Judge one output array of a kernel.

    An element counts against the kernel only if no exact value inside the enclosure could make it conform.
    """
    if actual.size == 0:
        return Comparison(False, 0.0, None, None)
    known = np.isfinite(truth.rad)
    error = np.where(known, np.maximum(truth.distance(actual) - np.where(known, truth.rad, 0.0), 0.0), 0.0)
    claimed = np.isfinite(budget.certified) | ~np.isfinite(truth.mid)
    error = np.where(claimed, error, 0.0)
    bound = np.where(np.isfinite(truth.mid), budget.certified, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(error > 0.0, np.where(bound > 0.0, error / bound, np.inf), 0.0)
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(ratio)), ratio.shape))
    worst = Worst(
        quantity,
        index,
        actual=float(actual[index]),
        exact=float(truth.mid[index]),
        error=float(error[index]),
        bound=float(bound[index]),
        part=budget.dominating_part(index),
    )
    violated = bool(ratio[index] > 1.0)
    return Comparison(violated, float(ratio[index]), worst, _z(actual, truth, budget))


def _z(actual: Array, truth: Enclosure, budget: ErrorBudget) -> Array | None:
    if budget.rms is None:
        return None
    usable = np.isfinite(actual) & np.isfinite(truth.mid) & np.isfinite(budget.rms) & (budget.rms > 0.0)
    signed = (actual[usable] - truth.mid[usable]) - truth.tail()[usable]
    # The truth's own radius is not the kernel's error.
    return np.asarray(signed / (budget.rms[usable] + truth.rad[usable]))


def describe(worst: Worst) -> str:
    """One sentence on the worst element."""
    where = ", ".join(map(str, worst.index))
    text = f"{worst.quantity}[{where}] is {worst.actual:.9g} and the exact value is {worst.exact:.9g}"
    if not np.isfinite(worst.error):
        return text + "."
    share = "with no error allowed" if worst.bound == 0.0 else f"{worst.ratio:.3g} times the bound {worst.bound:.3g}"
    largest = f", whose largest part is {worst.part}" if worst.part and worst.bound else ""
    return f"{text}: the error {worst.error:.3g} is {share}{largest}."
