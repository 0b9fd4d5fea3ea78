"""Sources of a property's cases: seeded, or drawn by Hypothesis, which shrinks failures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from refattn.suite.context import Context
from refattn.suite.findings import NOTHING, Evidence
from refattn.suite.property import Cases, Observe

# Cases of the property of a name.
Seeded = Callable[[Context, str], Iterable[Any]]
# A strategy of small cases.
Drawn = Callable[[Context], Any]


def by_search(drawn: Drawn) -> Cases:
    """As many drawn cases as the profile asks for; a failure is shrunk."""

    def examine(context: Context, name: str, observe: Observe) -> Evidence:
        del name
        return _searched(context, observe, drawn(context), context.profile.examples)

    return examine


def by_cases(seeded: Seeded, drawn: Drawn) -> Cases:
    """Seeded cases; for a failure, the smallest that Hypothesis finds among drawn cases."""

    def examine(context: Context, name: str, observe: Observe) -> Evidence:
        total = NOTHING
        for case in seeded(context, name):
            evidence = observe(context, case).on(case)
            if evidence.bad:
                return _smaller(context, observe, drawn, evidence, total.cases + 1)
            total = total.merged(evidence)
        return total

    return examine


def by_both(seeded: Seeded, drawn: Drawn) -> Cases:
    """Seeded cases and then a search, until one fails."""
    return in_turn(by_cases(seeded, drawn), by_search(drawn))


def in_turn(*examinations: Cases) -> Cases:
    """One examination after the other, until one fails."""

    def examine(context: Context, name: str, observe: Observe) -> Evidence:
        total = NOTHING
        for cases in examinations:
            evidence = cases(context, name, observe)
            if evidence.bad:
                return replace(evidence, cases=total.cases + evidence.cases)
            total = total.merged(evidence)
        return total

    return examine


def _smaller(context: Context, observe: Observe, drawn: Drawn, failed: Evidence, cases: int) -> Evidence:
    """The smallest failure of the same kind that a search finds, or else `failed`."""
    if failed.hung or context.profile.shrinks == 0:
        return replace(failed, cases=cases)
    drawn_evidence = _searched(context, observe, drawn(context), context.profile.shrinks)
    smaller = drawn_evidence.bad and drawn_evidence.kind == failed.kind
    return replace(drawn_evidence if smaller else failed, cases=cases + drawn_evidence.cases)


class _Failed(AssertionError):
    pass


def _searched(context: Context, observe: Observe, strategy: Any, examples: int) -> Evidence:
    """The evidence of `examples` drawn cases, or that of a failure, shrunk."""
    import hypothesis
    from hypothesis import HealthCheck, Phase, reporting, settings

    if examples == 0:
        return NOTHING
    good, smallest, count = NOTHING, None, 0

    @hypothesis.seed(context.seed)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        derandomize=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @hypothesis.given(strategy)
    def look(case: Any) -> None:
        nonlocal good, smallest, count
        count += 1
        evidence = observe(context, case).on(case)
        if evidence.bad:
            smallest = evidence
            raise _Failed
        good = good.merged(evidence)

    try:
        with reporting.with_reporter(lambda _: None):
            look()
    except _Failed:
        pass
    except hypothesis.errors.Flaky:
        if smallest is None:
            raise
        smallest = replace(smallest, message=smallest.message + " It did not happen again on the same inputs.")
    return good if smallest is None else replace(smallest, cases=count)
