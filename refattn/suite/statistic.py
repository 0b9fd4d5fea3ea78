"""Errors of generic draws, tested, and each suspicion confirmed on CONFIRMATIONS fresh draws."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from refattn.adapters.session import CallFailure
from refattn.inputs.cases import SoftmaxCase
from refattn.numbers import formats
from refattn.suite.context import Context
from refattn.suite.findings import NOTHING, Evidence, Verdict
from refattn.suite.judging import failure
from refattn.suite.patterns import Draw
from refattn.suite.property import Observe
from refattn.suite.samples import Case, Test, biased, sample

CONFIRMATIONS = 2


@dataclass(frozen=True, eq=False)
class Statistic:
    """Tests of one output on each of several kinds of generic input of up to `keys` keys, confirmed on fresh draws."""

    quantity: str
    tests: tuple[Test, ...]
    draws: Callable[[Context], Iterable[Draw]]
    keys: int

    def examine(self, context: Context, name: str, observe: Observe) -> Evidence:
        """Every kind of input, until one fails; not run if some inputs are too long, as small samples say little."""
        del observe
        largest = context.profile.largest
        if largest is not None and self.keys > largest:
            reason = f"its inputs are up to {self.keys} keys long, and the largest is {largest}"
            return Evidence(Verdict.NOT_RUN, reason, cases=0)
        total = NOTHING
        for position, draw in enumerate(self.draws(context)):
            if position == 0 and not self.has_model(context, draw(context.generator(name))):
                break
            evidence = self._examine_draw(context, f"{name} {position}", draw)
            if evidence.bad:
                return replace(evidence, cases=total.cases + evidence.cases)
            total = total.merged(evidence)
        return total

    def has_model(self, context: Context, case: Case) -> bool:
        """False where errors of the declared arithmetic are shared, or biased, in ways that the rms model leaves out.

        The log-sum-exp keeps the error that a polynomial, a rounded query or a narrow exponential shares among all
        keys; narrow sums stagnate, which is a bias.
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
        """The tests, without that of bias where a stage truncates and no narrower result hides it."""
        arithmetic = context.target.arithmetic_of(case)
        is_lse = self.quantity == "lse"
        result = arithmetic.lse if is_lse else arithmetic.output
        earlier = (arithmetic.dot,) if is_lse else (arithmetic.accumulator, arithmetic.probabilities)
        visible = [
            stage for stage in (arithmetic.normaliser, *earlier) if stage.format.precision <= result.format.precision
        ]
        if all(stage.rounding == "nearest" for stage in (*visible, result)):
            return self.tests
        return tuple(test for test in self.tests if test is not biased)

    def observe(self, context: Context, case: Case) -> Evidence:
        """One given case, without confirmation."""
        try:
            errors = sample(context, case, self.quantity)
        except CallFailure as error:
            return failure(error)
        if errors.evidence.violated:
            return errors.evidence
        reasons = [reason for test in self.tests_of(context, case) if (reason := test(context, case, errors))]
        verdict = Verdict.SUSPECT if reasons else Verdict.CONFORMS
        return replace(errors.evidence, verdict=verdict, message=_sentence(self.quantity, reasons))

    def _examine_draw(self, context: Context, name: str, draw: Draw) -> Evidence:
        """One draw, and fresh ones if any test fires: it counts only if the same test fires on every one."""
        fired: tuple[Test, ...] | None = None
        first: Evidence | None = None
        for attempt in range(CONFIRMATIONS + 1):
            case = draw(context.generator(name, attempt))
            try:
                errors = sample(context, case, self.quantity)
            except CallFailure as error:
                return failure(error).on(case)
            evidence = errors.evidence.on(case)
            if evidence.violated:
                return evidence
            first = first or evidence
            tests = self.tests_of(context, case) if fired is None else fired
            reasons = {test: reason for test in tests if (reason := test(context, case, errors))}
            fired = tuple(reasons)
            if not fired:
                return first
        message = _sentence(self.quantity, list(reasons.values())) + f" So it was on {CONFIRMATIONS} fresh draws."
        return replace(first or evidence, verdict=Verdict.SUSPECT, message=message, cases=CONFIRMATIONS + 1)


def _sentence(quantity: str, reasons: list[str]) -> str:
    return f"In {quantity}, {'; '.join(reasons)}." if reasons else ""
