"""Errors too large or too biased for independent roundings of the declared arithmetic, on generic inputs only.

The rms budget is a model, so a statistic speaks only beyond the factor by which correct kernels are seen to differ from
it (tests/benchmarks/calibration.py), beyond sampling error, and again on each of CONFIRMATIONS fresh draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refattn.adapters.session import CallFailure
from refattn.bounds.budget import ErrorBudget
from refattn.bounds.rms_backward import has_model
from refattn.inputs.cases import SoftmaxCase
from refattn.numbers import formats
from refattn.numbers.formats import Array
from refattn.oracle.enclosure import Enclosure
from refattn.suite.base import Case, Context, Observation, Property, too_long
from refattn.suite.comparison import Comparison, compare, describe
from refattn.suite.findings import Verdict
from refattn.suite.judging import GRADIENTS, array_of, failure
from refattn.suite.patterns import (
    BIAS_PATTERNS,
    GRADIENT_PATTERNS,
    LONG_PATTERNS,
    PATTERNS,
    Draw,
    Pattern,
    softmax_case,
    upstream_case,
)

# Correct kernels whose output is rounded to a narrower format than it was accumulated in stay within 1.1 times the rms
# model, as that last rounding is known well; those that keep one format throughout depend on their order of summation.
NARROW_FACTOR = 1.2
WIDE_FACTOR = 1.5
# Standard errors beyond which a mean over rows is no accident; the chance of three in a row is below 1e-9.
DEVIATIONS = 4.0
CONFIRMATIONS = 2
# A bias smaller than this part of the rms error matters to nobody.
MATERIAL_BIAS = 0.2
# The spread and the length of rows.
SOFTMAX_PATTERNS = ((1.0, 512), (4.0, 1000), (0.1, 3000))
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

    comparison: Comparison
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
    actual, truth, budget = _looked_at(context, case, quantity)
    comparison = compare(quantity, actual, truth, budget)
    rms = np.zeros_like(truth.mid) if budget.rms is None else budget.rms
    usable = np.isfinite(actual) & (rms > 0)
    z = np.where(usable, (actual - truth.mid) * np.sign(truth.mid) / np.where(usable, rms, 1.0), 0.0)
    columns = 1 if quantity == "lse" else z.shape[-1]
    return Sample(comparison, z.reshape(-1, columns))


def _looked_at(context: Context, case: Case, quantity: str) -> tuple[Array, Enclosure, ErrorBudget]:
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


def too_large(context: Context, case: Case, found: Sample) -> str:
    """Why the rms error is larger than the model explains; "" if it is not."""
    factor = factor_of(context, case)
    mean, error = found.mean_square
    if mean <= factor**2 + DEVIATIONS * error:
        return ""
    return f"the rms error is {math.sqrt(mean):.2f} times what the declared arithmetic explains (limit {factor:g})"


def outlier(context: Context, case: Case, found: Sample) -> str:
    """Why the largest error is no accident; "" if it may be."""
    count = max(found.z.size, 1)
    limit = factor_of(context, case) * 1.25 * math.sqrt(2 * math.log(2 * count / OUTLIER_CHANCE))
    largest = float(np.abs(found.z).max(initial=0.0))
    if largest <= limit:
        return ""
    return f"the largest error is {largest:.1f} times its rms (limit {limit:.1f} for {count} elements)"


def biased(context: Context, case: Case, found: Sample) -> str:
    """Why the errors are not centred; "" if they may be."""
    del context, case
    mean, error = found.bias
    if abs(mean) <= MATERIAL_BIAS + DEVIATIONS * error:
        return ""
    way = "away from" if mean > 0 else "towards"
    return f"errors point {way} zero: their mean is {mean:+.2f} times the rms error (limit {MATERIAL_BIAS:g})"


@dataclass(frozen=True, eq=False)
class Statistic:
    """Tests of one output on each of several kinds of generic input of up to `keys` keys, confirmed on fresh draws."""

    name: str
    quantity: str
    tests: tuple[Test, ...]
    draws: Callable[[Context], Iterable[Draw]]
    keys: int

    def examine(self, context: Context) -> Observation:
        """Every kind of input, until one fails; none at all where some are too long, as small samples say little."""
        largest = context.profile.largest
        if largest is not None and self.keys > largest:
            return too_long(self.keys, largest)
        found = Observation(cases=0)
        for position, draw in enumerate(self.draws(context)):
            if position == 0 and not self.has_model(context, draw(context.generator(self.name))):
                break
            seen = self._examine_draw(context, f"{self.name} {position}", draw)
            if seen.bad:
                return replace(seen, cases=found.cases + seen.cases)
            found = found.merged(seen)
        return found

    def has_model(self, context: Context, case: Case) -> bool:
        """False where errors of the declared arithmetic are shared, or biased, in ways that the rms model leaves out.

        In the log-sum-exp nothing cancels what a polynomial, a rounded query or a narrow exponential does to all keys
        alike; narrow sums stagnate, which is a bias.
        """
        arithmetic = context.target.arithmetic_of(case)
        wide = formats.fp32.precision
        if self.quantity == "lse" and (arithmetic.exp_relative > 0 or arithmetic.scale_query):
            return False
        if not self.tests_of(context, case):
            return False
        stages = [arithmetic.accumulator, arithmetic.normaliser] if biased in self.tests else []
        stages += [arithmetic.scores] if self.quantity == "lse" else []
        return isinstance(case, SoftmaxCase) or all(stage.format.precision >= wide for stage in stages)

    def tests_of(self, context: Context, case: Case) -> tuple[Test, ...]:
        """The tests, but not that errors are centred where a stage truncates and no narrower result hides it."""
        arithmetic = context.target.arithmetic_of(case)
        of_lse = self.quantity == "lse"
        kept = arithmetic.lse if of_lse else arithmetic.output
        before = (arithmetic.dot,) if of_lse else (arithmetic.accumulator, arithmetic.probabilities)
        shown = [stage for stage in (arithmetic.normaliser, *before) if stage.format.precision <= kept.format.precision]
        if all(stage.rounding == "nearest" for stage in (*shown, kept)):
            return self.tests
        return tuple(test for test in self.tests if test is not biased)

    def observe(self, context: Context, case: Case) -> Observation:
        """One given case, without confirmation."""
        try:
            found = sample(context, case, self.quantity)
        except CallFailure as error:
            return failure(error)
        if found.comparison.violated and found.comparison.worst is not None:
            return replace(_numbers(found), verdict=Verdict.VIOLATES, message=describe(found.comparison.worst))
        reasons = [reason for test in self.tests_of(context, case) if (reason := test(context, case, found))]
        verdict = Verdict.SUSPECT if reasons else Verdict.CONFORMS
        return replace(_numbers(found), verdict=verdict, message=_sentence(self.quantity, reasons))

    def _examine_draw(self, context: Context, name: str, draw: Draw) -> Observation:
        """One draw, and fresh ones if any test speaks: it counts only if the same test speaks on every one."""
        speaking: tuple[Test, ...] | None = None
        first: Observation | None = None
        for attempt in range(CONFIRMATIONS + 1):
            case = draw(context.generator(name, attempt))
            try:
                found = sample(context, case, self.quantity)
            except CallFailure as error:
                return failure(error).on(case)
            seen = _numbers(found).on(case)
            if found.comparison.violated and found.comparison.worst is not None:
                return replace(seen, verdict=Verdict.VIOLATES, message=describe(found.comparison.worst))
            first = first or seen
            tests = self.tests_of(context, case) if speaking is None else speaking
            reasons = {test: reason for test in tests if (reason := test(context, case, found))}
            speaking = tuple(reasons)
            if not speaking:
                return first
        message = _sentence(self.quantity, list(reasons.values())) + f" So it was on {CONFIRMATIONS} fresh draws."
        return replace(first or seen, verdict=Verdict.SUSPECT, message=message, cases=CONFIRMATIONS + 1)


def _sentence(quantity: str, reasons: list[str]) -> str:
    return f"In {quantity}, {'; '.join(reasons)}." if reasons else ""


def _numbers(found: Sample) -> Observation:
    comparison = found.comparison
    return Observation(share=comparison.share, rms_z=comparison.rms_z, max_z=comparison.max_z, worst=comparison.worst)


def _patterns(patterns: tuple[Pattern, ...]) -> Callable[[Context], list[Draw]]:
    def draws(context: Context) -> list[Draw]:
        fitting = [pattern for pattern in patterns if pattern.keys <= context.profile.longest]
        return [partial(pattern.case, format=context.format, queries=context.queries) for pattern in fitting]

    return draws


def _gradient_draws(context: Context) -> list[Draw]:
    first = upstream_case(context.generator("draws"), GRADIENT_PATTERNS[0], context.format, context.queries)
    if not has_model(first.spec, context.target.arithmetic_of(first)):
        return []
    return [
        partial(upstream_case, pattern=pattern, format=context.format, queries=context.queries)
        for pattern in GRADIENT_PATTERNS
    ]


def _softmax_draws(context: Context) -> list[Draw]:
    return [
        partial(softmax_case, format=context.format, kind=context.softmax_kind, spread=spread, length=length)
        for spread, length in SOFTMAX_PATTERNS
    ]


def _longest(patterns: tuple[Pattern, ...]) -> int:
    return max(pattern.keys for pattern in patterns)


def _property(statistic: Statistic, summary: str, **options: Any) -> Property:
    return Property(statistic.name, summary, 2, statistic.examine, statistic.observe, **options)


PROPERTIES = (
    _property(
        Statistic("statistics/rms", "out", (too_large, outlier), _patterns(PATTERNS), _longest(PATTERNS)),
        "errors of generic inputs are as large as independent roundings make them",
    ),
    _property(
        Statistic("statistics/bias", "out", (biased,), _patterns(BIAS_PATTERNS), _longest(BIAS_PATTERNS)),
        "errors of generic inputs are centred",
    ),
    _property(
        Statistic(
            "statistics/lse", "lse", (too_large, outlier, biased), _patterns(BIAS_PATTERNS), _longest(BIAS_PATTERNS)
        ),
        "errors of the log-sum-exp are centred and as large as independent roundings make them",
        needs=frozenset({"lse"}),
    ),
    *(
        _property(
            Statistic(
                f"statistics/{quantity}", quantity, (too_large, outlier), _gradient_draws, _longest(GRADIENT_PATTERNS)
            ),
            f"errors of {quantity} of generic inputs are as large as independent roundings make them",
            needs=frozenset({"backward"}),
        )
        for quantity in ("dq", "dk", "dv")
    ),
    _property(
        Statistic("statistics/long", "out", (too_large, outlier), _patterns(LONG_PATTERNS), _longest(LONG_PATTERNS)),
        "the same for long sequences",
    ),
    _property(
        Statistic(
            "statistics/softmax",
            "out",
            (too_large, outlier, biased),
            _softmax_draws,
            max(length for _, length in SOFTMAX_PATTERNS),
        ),
        "errors of generic rows are centred and as large as independent roundings make them",
        quantity="softmax",
    ),
)
