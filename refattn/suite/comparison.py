"""Output + truth + budget -> the evidence: how much of its bound each element used, and which is the worst."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from refattn.bounds.budget import ErrorBudget
from refattn.oracle.enclosure import Enclosure
from refattn.suite.findings import Evidence, Verdict, Worst

Array = NDArray[np.float64]


def compare(quantity: str, actual: Array, truth: Enclosure, budget: ErrorBudget) -> Evidence:
    """Judge one output array of a kernel.

    It violates if some element lies outside its certified bound by more than the truth's radius: an element counts
    against the kernel only if no exact value inside the enclosure could make it conform. The share is 0 where nothing
    is claimed; rms_z and max_z are of the elements that have a finite rms budget.
    """
    if actual.size == 0:
        return Evidence(share=0.0)
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
    z = in_rms_units(actual, truth, budget)
    return Evidence(
        Verdict.VIOLATES if violated else Verdict.CONFORMS,
        describe(worst) if violated else "",
        share=float(ratio[index]),
        rms_z=None if z is None or z.size == 0 else float(np.sqrt(np.mean(z**2))),
        max_z=None if z is None or z.size == 0 else float(np.max(np.abs(z))),
        worst=worst,
    )


def in_rms_units(actual: Array, truth: Enclosure, budget: ErrorBudget) -> Array | None:
    """The errors of the elements that have a finite rms budget, in units of it; None without such a budget."""
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
