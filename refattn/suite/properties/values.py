"""Outputs lie within their certified bounds, in every regime of inputs and for every claimed feature."""

from __future__ import annotations

from refattn.suite.drawing import drawn_cases, feature_cases, seeded_cases
from refattn.suite.judging import judge_values
from refattn.suite.property import Cases, Property
from refattn.suite.search import by_cases, by_search


def _family(name: str) -> Cases:
    return by_cases(seeded_cases(name), drawn_cases(name))


PROPERTIES = (
    Property("values/needles", "one key has all the weight: the output is its value", judge_values, _family("needles")),
    Property(
        "values/features",
        "each claimed feature alone, and pairs of them",
        judge_values,
        by_cases(feature_cases(), drawn_cases()),
    ),
    Property("values/generic", "normal and heavy-tailed inputs, logits x0.1 to x30", judge_values, _family("generic")),
    Property("values/ties", "equal scores and repeated maxima", judge_values, _family("ties")),
    Property(
        "values/maxima",
        "rising and falling row maxima, with a rescale in every tile",
        judge_values,
        _family("maxima"),
    ),
    Property(
        "values/signs",
        "values of one sign, values that cancel, the largest, subnormal ones, signed zeros",
        judge_values,
        _family("signs"),
    ),
    Property(
        "values/scores",
        "scores far from zero, at the edge of a format, or of cancelling products",
        judge_values,
        _family("scores"),
    ),
    Property(
        "values/masks",
        "rows that see nothing, padded or banded masks, documents, pages",
        judge_values,
        _family("masks"),
    ),
    Property(
        "values/shapes",
        "lengths around tiles, few or many queries, head dimensions, groups",
        judge_values,
        _family("shapes"),
    ),
    Property("values/terms", "softcaps, biases, sinks and slopes of all sizes", judge_values, _family("terms")),
    Property(
        "values/search",
        "small cases of every regime and feature, searched by Hypothesis",
        judge_values,
        by_search(drawn_cases()),
        stage=1,
    ),
)
