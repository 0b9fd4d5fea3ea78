"""The errors of one generic draw, and tests of whether independent roundings explain them.

The rms budget is a model, so a test fires only beyond the factor by which correct kernels are seen to differ from it
(tests/benchmarks/calibration.py), and beyond sampling error.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refattn.bounds.budget import ErrorBudget
from refattn.inputs.cases import AttentionCase, SoftmaxCase
from refattn.numbers.formats import Array
from refattn.oracle.enclosure import Enclosure
from refattn.suite.comparison import compare
from refattn.suite.context import Context
from refattn.suite.findings import Evidence
from refattn.suite.judging import GRADIENTS, array_of

Case = AttentionCase | SoftmaxCase

# Correct kernels whose output is rounded to a narrower format than it was accumulated in stay within 1.1 times the rms
# model, as that last rounding is known well; those that keep one format throughout depend on their order of summation.
NARROW_FACTOR = 1.2
WIDE_FACTOR = 1.5
# Standard errors beyond which a mean over rows is no accident; the chance of three in a row is below 1e-9.
DEVIATIONS = 4.0
# A bias below this share of the rms error is immaterial.
MATERIAL_BIAS = 0.2
# Chance that the largest of n errors, sub-Gaussian with the factors above, passes its limit by accident, per draw.
OUTLIER_CHANCE = 1e-8


def factor_of(context: Context, case: Case) -> float:
    """By how much a correct kernel's rms error may differ from the model's."""
    arithmetic = context.target.arithmetic_of(case)
    wide = min(arithmetic.accumulator.format.precision, arithmetic.scores.format.precision)
    return NARROW_FACTOR if arithmetic.output.format.precision < wide else WIDE_FACTOR


@dataclass(frozen=True, eq=False)
class Sample:
    """Errors of one draw in units of the rms budget: z (rows, columns), signed away from zero."""

    evidence: Evidence
    z: Array

    @property
    def mean_square(self) -> tuple[float, float]:
        """Mean of z^2 and its standard error, rows taken as independent."""
        return _mean(np.mean(self.z**2, axis=1))

    @property
    def bias(self) -> tuple[float, float]:
        """Mean of z and its standard error."""
        return _mean(np.mean(self.z, axis=1))


def _mean(values: NDArray[np.float64]) -> tuple[float, float]:
    if values.size < 2:
        return 0.0, math.inf
    return float(np.mean(values)), float(np.std(values, ddof=1) / math.sqrt(values.size))


def sample(context: Context, case: Case, quantity: str) -> Sample:
    """Call the kernel on one generic case. Raises CallFailure."""
    actual, truth, budget = _measured(context, case, quantity)
    evidence = compare(quantity, actual, truth, budget)
    rms = np.zeros_like(truth.mid) if budget.rms is None else budget.rms
    usable = np.isfinite(actual) & (rms > 0)
    z = np.where(usable, (actual - truth.mid) * np.sign(truth.mid) / np.where(usable, rms, 1.0), 0.0)
    columns = 1 if quantity == "lse" else z.shape[-1]
    return Sample(evidence, z.reshape(-1, columns))


def _measured(context: Context, case: Case, quantity: str) -> tuple[Array, Enclosure, ErrorBudget]:
    """One output of the kernel, its truth and its budget."""
    target = context.target
    if isinstance(case, SoftmaxCase):
        return array_of(target.run(case).out), context.softmax_truth(case), context.softmax_budget(case)
    if quantity in GRADIENTS:
        actual = target.run(case, want_gradients=True).gradients[quantity]
        truth = getattr(context.gradient_truth(case), quantity)
        return np.asarray(actual), truth, getattr(context.gradient_budget(case, with_rms=True), quantity)
    outcome = target.run(case, want_lse=quantity == "lse")
    actual = array_of(outcome.lse if quantity == "lse" else outcome.out)
    return actual, getattr(context.truth(case), quantity), getattr(context.budget(case), quantity)


Test = Callable[[Context, Case, Sample], str]


def too_large(context: Context, case: Case, errors: Sample) -> str:
    """Why the rms error is larger than the model explains; "" if it is not."""
    factor = factor_of(context, case)
    mean, standard_error = errors.mean_square
    if mean <= factor**2 + DEVIATIONS * standard_error:
        return ""
    return f"the rms error is {math.sqrt(mean):.2f} times what the declared arithmetic explains (limit {factor:g})"


def outlier(context: Context, case: Case, errors: Sample) -> str:
    """Why the largest error is no accident; "" if it may be."""
    count = max(errors.z.size, 1)
    limit = factor_of(context, case) * 1.25 * math.sqrt(2 * math.log(2 * count / OUTLIER_CHANCE))
    largest = float(np.abs(errors.z).max(initial=0.0))
    if largest <= limit:
        return ""
    return f"the largest error is {largest:.1f} times its rms (limit {limit:.1f} for {count} elements)"


def biased(context: Context, case: Case, errors: Sample) -> str:
    """Why the errors are not centred; "" if they may be."""
    del context, case
    mean, standard_error = errors.bias
    if abs(mean) <= MATERIAL_BIAS + DEVIATIONS * standard_error:
        return ""
    way = "away from" if mean > 0 else "towards"
    return f"errors point {way} zero: their mean is {mean:+.2f} times the rms error (limit {MATERIAL_BIAS:g})"
