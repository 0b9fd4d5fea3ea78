"""softmax, log_softmax and logsumexp lie within their certified bounds."""

from __future__ import annotations

from refattn.suite.drawing import drawn_softmax, seeded_softmax
from refattn.suite.judging import judge_softmax
from refattn.suite.property import Property
from refattn.suite.search import by_both

PROPERTIES = (
    Property(
        "softmax/values",
        "every regime of finite rows, -inf entries included",
        judge_softmax,
        by_both(seeded_softmax("value"), drawn_softmax("value")),
        quantity="softmax",
    ),
    Property(
        "softmax/empty",
        "rows of nothing but -inf",
        judge_softmax,
        by_both(seeded_softmax("empty"), drawn_softmax("empty")),
        quantity="softmax",
    ),
    Property(
        "softmax/nan",
        "NaN reaches its own row, and no other",
        judge_softmax,
        by_both(seeded_softmax("nan"), drawn_softmax("nan")),
        quantity="softmax",
    ),
    Property(
        "softmax/inf",
        "+inf gives what IEEE arithmetic reads",
        judge_softmax,
        by_both(seeded_softmax("ieee"), drawn_softmax("ieee")),
        quantity="softmax",
        gate="ieee",
        kind="ieee",
    ),
)
