"""Searching and shrinking: simple faults end in tiny cases, counts are honest, flaky kernels are called that."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from refattn.inputs import replay
from refattn.inputs.cases import AttentionCase, SoftmaxCase
from refattn.suite import checking
from refattn.suite.base import NOTHING
from refattn.suite.findings import Verdict
from refattn.suite.properties import PROFILES, Context, Observation
from refattn.suite.search import by_cases, by_search, in_turn
from tests.support.faults_by_property import FAULTS


class Subject:
    """A target that is not called."""

    claims: frozenset[str] = frozenset()


def context(**changes: Any) -> Any:
    profile = replace(PROFILES["quick"], **changes)
    return Context(Subject(), checking.formats.bf16, profile, 0)  # the search passes it on


def above(limit: int) -> Any:
    """Numbers above the limit are bad."""

    def observe(_: Any, case: int) -> Observation:
        if case > limit:
            return Observation(Verdict.VIOLATES, f"{case} is above {limit}.", share=float(case))
        return Observation(share=float(case))

    return observe


def integers(_: Any) -> Any:
    return st.integers(0, 1000)


def test_a_search_tries_as_many_cases_as_the_profile_says() -> None:
    seen = by_search(above(1000), integers)(context(examples=17))
    assert seen.verdict is Verdict.CONFORMS
    assert seen.cases == 17


def test_a_failure_is_shrunk_to_the_smallest() -> None:
    seen = by_search(above(17), integers)(context(examples=50))
    assert seen.verdict is Verdict.VIOLATES
    assert seen.message == "18 is above 17."
    assert seen.case == 18


def test_a_seeded_failure_is_replaced_by_a_smaller_drawn_one() -> None:
    cases = [1, 2, 900, 3]
    seen = by_cases(above(17), lambda _: cases, integers)(context(shrinks=50))
    assert seen.case == 18
    assert seen.cases > 3


def test_a_seeded_failure_that_no_drawn_case_shows_is_kept() -> None:
    seen = by_cases(above(17), lambda _: [1, 2, 900, 3], lambda _: st.integers(0, 17))(context(shrinks=5))
    assert seen.case == 900
    assert seen.cases == 3 + 5


def test_a_failure_of_another_kind_is_no_smaller_one() -> None:
    def observe(_: Any, case: int) -> Observation:
        if case > 500:
            return Observation(Verdict.VIOLATES, "large.")
        return Observation(Verdict.ERROR, "small.", kind="call") if case else Observation()

    seen = by_cases(observe, lambda _: [900], lambda _: st.integers(0, 400))(context(shrinks=20))
    assert (seen.case, seen.message) == (900, "large.")


def test_a_kernel_that_hangs_is_not_searched_any_further() -> None:
    calls = []

    def observe(_: Any, case: int) -> Observation:
        calls.append(case)
        return Observation(
            Verdict.ERROR, "the kernel did not return within 1 s: expected a result", kind="call", hung=True
        )

    seen = by_cases(observe, lambda _: [7, 8], integers)(context(shrinks=20))
    assert (seen.case, seen.cases, calls) == (7, 1, [7])


@pytest.mark.parametrize("field", ["examples", "shrinks"])
def test_nothing_is_drawn_where_the_profile_says_so(field: str) -> None:
    def drawn(_: Any) -> Any:
        return st.integers().map(lambda _: pytest.fail("a case was drawn"))

    examine = by_search(above(17), drawn) if field == "examples" else by_cases(above(17), lambda _: [900], drawn)
    assert examine(context(**{field: 0})).case == (None if field == "examples" else 900)


def test_numbers_of_good_cases_are_merged() -> None:
    seen = by_cases(above(17), lambda _: [3, 9, 4], integers)(context())
    assert (seen.share, seen.cases, seen.bad) == (9.0, 3, False)


def test_cases_in_which_there_was_nothing_to_see_do_not_count() -> None:
    seen = by_cases(lambda *_: NOTHING, lambda _: [3, 9, 4], integers)(context())
    assert seen.cases == 0


def test_examinations_run_in_turn_until_one_fails() -> None:
    good, bad = (by_cases(above(limit), lambda _: [10, 20], integers) for limit in (100, 15))
    assert in_turn(good, good)(context()).cases == 4
    seen = in_turn(good, bad, good)(context(shrinks=0))
    assert (seen.case, seen.cases) == (20, 4)


def test_a_failure_that_does_not_come_back_is_called_that() -> None:
    calls = []

    def observe(_: Any, case: int) -> Observation:
        calls.append(case)
        return Observation(Verdict.VIOLATES, "Bad.") if len(calls) == 3 else Observation()

    seen = by_search(observe, integers)(context(examples=10))
    assert seen.verdict is Verdict.VIOLATES
    assert seen.message == "Bad. It did not happen again on the same inputs."


def test_what_an_observation_raises_is_not_swallowed() -> None:
    def observe(_: Any, case: int) -> Observation:
        raise RuntimeError(f"no case {case}")

    with pytest.raises(RuntimeError, match="no case"):
        by_search(observe, integers)(context(examples=5))


# Real faults


TINY = {
    # Of what is at most so many numbers can a person see why.
    "values/search": 12,
    "values/needles": 12,
    "values/terms": 12,
    "lse/search": 12,
    "gradients/search": 12,
    "invariance/packed": 12,
    "softmax/values": 2,
}


@pytest.mark.parametrize("name", TINY)
def test_a_simple_fault_shrinks_to_a_tiny_case(name: str) -> None:
    fault = FAULTS[name]
    report = checking.check(fault.make(), call=fault.call, dtypes=(fault.dtype,), claims=fault.all_claims, only=name)
    case = report.findings[0].case
    assert isinstance(case, (AttentionCase, SoftmaxCase))
    arrays = [case.x] if isinstance(case, SoftmaxCase) else list(case.arrays().values())
    assert sum(array.size for array in arrays) <= TINY[name], case.describe()
    # Numbers that a person can read: most are zeros, and the others are short.
    digits = [len(f"{abs(x):g}") for array in arrays for x in np.ravel(array)]
    assert max(digits) <= 7, case.describe()
    finding = checking.replay(fault.make(), fault.call, replay.token(case), property=name, claims=fault.all_claims)
    assert finding.verdict is Verdict.VIOLATES
