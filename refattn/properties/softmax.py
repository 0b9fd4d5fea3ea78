"""softmax, log_softmax and logsumexp lie within their certified bounds.

May import: refattn.properties.base, .drawing, .judging, .search.
"""

from __future__ import annotations

from refattn.properties.base import Property
from refattn.properties.drawing import drawn_softmax, seeded_softmax
from refattn.properties.judging import judge_softmax
from refattn.properties.search import by_cases, by_search


def _property(name: str, summary: str, kind: str, gate: str | None = None) -> Property:
    examine = by_cases(judge_softmax, seeded_softmax(name, kind), drawn_softmax(kind))
    label = "ieee" if kind == "ieee" else "value"
    return Property(name, summary, 0, examine, judge_softmax, gate=gate, quantity="softmax", kind=label)


PROPERTIES = (
    _property("softmax/values", "every regime of finite rows, -inf entries included", "value"),
    _property("softmax/empty", "rows of nothing but -inf", "empty"),
    _property("softmax/nan", "NaN reaches its own row, and no other", "nan"),
    _property("softmax/inf", "+inf gives what IEEE arithmetic reads", "ieee", "ieee"),
    Property(
        "softmax/search",
        "small rows of every regime, searched by Hypothesis",
        1,
        by_search(judge_softmax, drawn_softmax("value")),
        judge_softmax,
        quantity="softmax",
    ),
)
