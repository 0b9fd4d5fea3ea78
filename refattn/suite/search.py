"""How the cases of a property come: seeded, or drawn by Hypothesis, which shrinks what fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from refattn.suite.context import Context
from refattn.suite.findings import NOTHING, Evidence
from refattn.suite.property import Cases, Observe

# Cases of a property of this name.
Seeded = Callable[[Context, str], Iterable[Any]]
# A strategy of small cases.
Drawn = Callable[[Context], Any]


def by_search(drawn: Drawn) -> Cases:
    """As many drawn cases as the profile asks for; a failure is shrunk."""

    def examine(context: Context, name: str, observe: Observe) -> Evidence:
        del name
        return _searched(context, observe, drawn(context), context.profile.examples, NOTHING)

    return examine


def by_cases(seeded: Seeded, drawn: Drawn) -> Cases:
    """Seeded cases; for a failure, the smallest that Hypothesis finds among drawn cases."""

    def examine(context: Context, name: str, observe: Observe) -> Evidence:
        found = NOTHING
        for case in seeded(context, name):
            seen = observe(context, case).on(case)
            if seen.bad:
                return _smaller(context, observe, drawn, seen, found.cases + 1)
            found = found.merged(seen)
        return found

    return examine


def by_both(seeded: Seeded, drawn: Drawn) -> Cases:
    """Seeded cases and then a search, until one fails."""
    return in_turn(by_cases(seeded, drawn), by_search(drawn))


def in_turn(*examinations: Cases) -> Cases:
    """One examination after the other, until one fails."""

    def examine(context: Context, name: str, observe: Observe) -> Evidence:
        found = NOTHING
        for each in examinations:
            seen = each(context, name, observe)
            if seen.bad:
                return replace(seen, cases=found.cases + seen.cases)
            found = found.merged(seen)
        return found

    return examine


def _smaller(context: Context, observe: Observe, drawn: Drawn, seen: Evidence, cases: int) -> Evidence:
    """The smallest failure of the same kind that a search finds, or the one at hand."""
    if seen.hung or context.profile.shrinks == 0:
        return replace(seen, cases=cases)
    found = _searched(context, observe, drawn(context), context.profile.shrinks, NOTHING)
    smaller = found.bad and found.kind == seen.kind
    return replace(found if smaller else seen, cases=cases + found.cases)


class _Failed(AssertionError):
    pass


def _searched(context: Context, observe: Observe, strategy: Any, examples: int, found: Evidence) -> Evidence:
    """Draw `examples` cases; a failure is shrunk, and replaces what was found before."""
    import hypothesis
    from hypothesis import HealthCheck, Phase, reporting, settings

    if examples == 0:
        return found
    good, smallest, count = found, None, 0

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
        seen = observe(context, case).on(case)
        if seen.bad:
            smallest = seen
            raise _Failed
        good = good.merged(seen)

    try:
        with reporting.with_reporter(lambda _: None):
            look()
    except _Failed:
        pass
    except hypothesis.errors.Flaky:
        if smallest is None:
            raise
        smallest = replace(smallest, message=smallest.message + " It did not happen again on the same inputs.")
    return good if smallest is None else replace(smallest, cases=found.cases + count)
