"""Searching and shrinking: simple faults end in tiny cases, counts are honest, flaky kernels are called that."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from refattn.inputs import replay
from refattn.inputs.cases import AttentionCase, SoftmaxCase
from refattn.numbers.formats import bf16
from refattn.suite import checking, replaying
from refattn.suite.context import Context
from refattn.suite.findings import NOTHING, Evidence, Verdict
from refattn.suite.profile import PROFILES
from refattn.suite.search import by_both, by_cases, by_search, in_turn
from tests.support.faults_by_property import FAULTS

NAME = "values/some"


class Subject:
    """A target that is not called."""

    claims: frozenset[str] = frozenset()


def context(**changes: Any) -> Any:
    profile = replace(PROFILES["quick"], **changes)
    return Context(Subject(), bf16, profile, 0)  # the search passes it on


def above(limit: int) -> Any:
    """Numbers above the limit are bad."""

    def observe(_: Any, case: int) -> Evidence:
        if case > limit:
            return Evidence(Verdict.VIOLATES, f"{case} is above {limit}.", share=float(case))
        return Evidence(share=float(case))

    return observe


def integers(_: Any) -> Any:
    return st.integers(0, 1000)


def given(*cases: int) -> Any:
    return lambda *_: cases


def test_a_search_tries_as_many_cases_as_the_profile_says() -> None:
    seen = by_search(integers)(context(examples=17), NAME, above(1000))
    assert seen.verdict is Verdict.CONFORMS
    assert seen.cases == 17


def test_a_failure_is_shrunk_to_the_smallest() -> None:
    seen = by_search(integers)(context(examples=50), NAME, above(17))
    assert seen.verdict is Verdict.VIOLATES
    assert seen.message == "18 is above 17."
    assert seen.case == 18


def test_a_seeded_failure_is_replaced_by_a_smaller_drawn_one() -> None:
    seen = by_cases(given(1, 2, 900, 3), integers)(context(shrinks=50), NAME, above(17))
    assert seen.case == 18
    assert seen.cases > 3


def test_a_seeded_failure_that_no_drawn_case_shows_is_kept() -> None:
    seen = by_cases(given(1, 2, 900, 3), lambda _: st.integers(0, 17))(context(shrinks=5), NAME, above(17))
    assert seen.case == 900
    assert seen.cases == 3 + 5


def test_a_failure_of_another_kind_is_no_smaller_one() -> None:
    def observe(_: Any, case: int) -> Evidence:
        if case > 500:
            return Evidence(Verdict.VIOLATES, "large.")
        return Evidence(Verdict.ERROR, "small.", kind="call") if case else Evidence()

    seen = by_cases(given(900), lambda _: st.integers(0, 400))(context(shrinks=20), NAME, observe)
    assert (seen.case, seen.message) == (900, "large.")


def test_a_kernel_that_hangs_is_not_searched_any_further() -> None:
    calls = []

    def observe(_: Any, case: int) -> Evidence:
        calls.append(case)
        return Evidence(
            Verdict.ERROR, "the kernel did not return within 1 s: expected a result", kind="call", hung=True
        )

    seen = by_cases(given(7, 8), integers)(context(shrinks=20), NAME, observe)
    assert (seen.case, seen.cases, calls) == (7, 1, [7])


@pytest.mark.parametrize("field", ["examples", "shrinks"])
def test_nothing_is_drawn_where_the_profile_says_so(field: str) -> None:
    def drawn(_: Any) -> Any:
        return st.integers().map(lambda _: pytest.fail("a case was drawn"))

    examine = by_search(drawn) if field == "examples" else by_cases(given(900), drawn)
    assert examine(context(**{field: 0}), NAME, above(17)).case == (None if field == "examples" else 900)


def test_numbers_of_good_cases_are_merged() -> None:
    seen = by_cases(given(3, 9, 4), integers)(context(), NAME, above(17))
    assert (seen.share, seen.cases, seen.bad) == (9.0, 3, False)


def test_cases_in_which_there_was_nothing_to_see_do_not_count() -> None:
    seen = by_cases(given(3, 9, 4), integers)(context(), NAME, lambda *_: NOTHING)
    assert seen.cases == 0


def test_examinations_run_in_turn_until_one_fails() -> None:
    first, second = by_cases(given(10, 12), integers), by_cases(given(10, 20), integers)
    assert in_turn(first, second)(context(), NAME, above(100)).cases == 4
    seen = in_turn(first, second, first)(context(shrinks=0), NAME, above(15))
    assert (seen.case, seen.cases) == (20, 4)


def test_a_search_follows_seeded_cases_that_show_nothing() -> None:
    seen = by_both(given(10, 12), integers)(context(examples=50), NAME, above(17))
    assert seen.case == 18
    assert by_both(given(10, 12), integers)(context(examples=7), NAME, above(1000)).cases == 9


def test_seeds_depend_on_the_name_of_the_property() -> None:
    names: list[str] = []

    def cases(_: Any, name: str) -> list[int]:
        names.append(name)
        return [1]

    by_both(cases, integers)(context(examples=0), NAME, above(17))
    assert names == [NAME]


def test_a_failure_that_does_not_come_back_is_called_that() -> None:
    calls = []

    def observe(_: Any, case: int) -> Evidence:
        calls.append(case)
        return Evidence(Verdict.VIOLATES, "Bad.") if len(calls) == 3 else Evidence()

    seen = by_search(integers)(context(examples=10), NAME, observe)
    assert seen.verdict is Verdict.VIOLATES
    assert seen.message == "Bad. It did not happen again on the same inputs."


def test_what_an_observation_raises_is_not_swallowed() -> None:
    def observe(_: Any, case: int) -> Evidence:
        raise RuntimeError(f"no case {case}")

    with pytest.raises(RuntimeError, match="no case"):
        by_search(integers)(context(examples=5), NAME, observe)


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
    finding = replaying.replay(fault.make(), fault.call, replay.token(case), property=name, claims=fault.all_claims)
    assert finding.verdict is Verdict.VIOLATES
