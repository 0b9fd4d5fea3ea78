"""softmax, log_softmax and logsumexp lie within their certified bounds."""

from __future__ import annotations

from refattn.suite.base import Property
from refattn.suite.drawing import drawn_softmax, seeded_softmax
from refattn.suite.judging import judge_softmax
from refattn.suite.search import by_cases, by_search, in_turn


def _property(name: str, summary: str, kind: str, gate: str | None = None) -> Property:
    small = drawn_softmax(kind)
    examine = in_turn(by_cases(judge_softmax, seeded_softmax(name, kind), small), by_search(judge_softmax, small))
    label = "ieee" if kind == "ieee" else "value"
    return Property(name, summary, 0, examine, judge_softmax, gate=gate, quantity="softmax", kind=label)


PROPERTIES = (
    _property("softmax/values", "every regime of finite rows, -inf entries included", "value"),
    _property("softmax/empty", "rows of nothing but -inf", "empty"),
    _property("softmax/nan", "NaN reaches its own row, and no other", "nan"),
    _property("softmax/inf", "+inf gives what IEEE arithmetic reads", "ieee", "ieee"),
)
