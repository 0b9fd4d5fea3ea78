"""Examine a property on seeded cases and on cases that Hypothesis draws, and shrink what fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from refattn.suite.base import Context, Observation

Observe = Callable[[Context, Any], Observation]
Seeded = Callable[[Context], Iterable[Any]]
Drawn = Callable[[Context], Any]
Examine = Callable[[Context], Observation]


def by_search(observe: Observe, drawn: Drawn) -> Examine:
    """An examination of as many drawn cases as the profile asks for; a failure is shrunk."""

    def examine(context: Context) -> Observation:
        return _searched(context, observe, drawn(context), context.profile.examples, Observation(cases=0))

    return examine


def in_turn(*examinations: Examine) -> Examine:
    """One examination after the other, until one fails."""

    def examine(context: Context) -> Observation:
        found = Observation(cases=0)
        for each in examinations:
            seen = each(context)
            if seen.bad:
                return replace(seen, cases=found.cases + seen.cases)
            found = found.merged(seen)
        return found

    return examine


def by_cases(observe: Observe, seeded: Seeded, drawn: Drawn) -> Examine:
    """An examination of seeded cases; for a failure, the smallest that Hypothesis finds among drawn cases."""

    def examine(context: Context) -> Observation:
        found = Observation(cases=0)
        for case in seeded(context):
            seen = observe(context, case).on(case)
            if seen.bad:
                return _smaller(context, observe, drawn, seen, found.cases + 1)
            found = found.merged(seen)
        return found

    return examine


def _smaller(context: Context, observe: Observe, drawn: Drawn, seen: Observation, cases: int) -> Observation:
    """The smallest failure of the same kind that a search finds, or the one at hand."""
    if seen.hung or context.profile.shrinks == 0:
        return replace(seen, cases=cases)
    found = _searched(context, observe, drawn(context), context.profile.shrinks, Observation(cases=0))
    smaller = found.bad and found.kind == seen.kind
    return replace(found if smaller else seen, cases=cases + found.cases)


class _Failed(AssertionError):
    pass


def _searched(context: Context, observe: Observe, strategy: Any, examples: int, found: Observation) -> Observation:
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
