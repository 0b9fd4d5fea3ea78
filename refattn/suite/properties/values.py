"""Output and log-sum-exp lie within their certified bounds, in every regime of inputs and for every claimed feature."""

from __future__ import annotations

from refattn.suite.base import Property
from refattn.suite.drawing import drawn_cases, feature_cases, seeded_cases
from refattn.suite.judging import judge_lse, judge_values
from refattn.suite.search import by_cases, by_search


def _family(family: str, summary: str) -> Property:
    name = f"values/{family}"
    examine = by_cases(judge_values, seeded_cases(name, family=family), drawn_cases(family=family))
    return Property(name, summary, 0, examine, judge_values)


PROPERTIES = (
    _family("needles", "one key has all the weight: the output is its value"),
    Property(
        "values/features",
        "each claimed feature alone, and pairs of them",
        0,
        by_cases(judge_values, feature_cases("values/features"), drawn_cases()),
        judge_values,
    ),
    _family("generic", "normal and heavy-tailed inputs, logits x0.1 to x30"),
    _family("ties", "equal scores and repeated maxima"),
    _family("maxima", "rising and falling row maxima, with a rescale in every tile"),
    _family("signs", "values of one sign, values that cancel, the largest, subnormal ones, signed zeros"),
    _family("scores", "scores far from zero, at the edge of a format, or of cancelling products"),
    _family("masks", "rows that see nothing, padded or banded masks, documents, pages"),
    _family("shapes", "lengths around tiles, few or many queries, head dimensions, groups"),
    _family("terms", "softcaps, biases, sinks and slopes of all sizes"),
    Property(
        "values/search",
        "small cases of every regime and feature, searched by Hypothesis",
        1,
        by_search(judge_values, drawn_cases()),
        judge_values,
    ),
    Property(
        "lse/search",
        "the log-sum-exp of small cases, searched by Hypothesis",
        1,
        by_search(judge_lse, drawn_cases()),
        judge_lse,
        needs=frozenset({"lse"}),
    ),
)
