"""The log-sum-exp lies within its certified bounds."""

from __future__ import annotations

from refattn.suite.drawing import drawn_cases
from refattn.suite.judging import judge_lse
from refattn.suite.property import Property
from refattn.suite.search import by_search

PROPERTIES = (
    Property(
        "lse/search",
        "the log-sum-exp of small cases, searched by Hypothesis",
        judge_lse,
        by_search(drawn_cases()),
        stage=1,
        needs=frozenset({"lse"}),
    ),
)
