"""dQ, dK, dV, dbias and dsinks lie within their certified bounds."""

from __future__ import annotations

from refattn.suite.base import Property
from refattn.suite.drawing import drawn_cases, feature_cases, seeded_cases
from refattn.suite.judging import judge_gradients
from refattn.suite.search import Seeded, by_cases, by_search

BACKWARD = frozenset({"backward"})
_ANY = drawn_cases(upstream=True)


def _property(name: str, summary: str, seeded: Seeded) -> Property:
    return Property(name, summary, 0, by_cases(judge_gradients, seeded, _ANY), judge_gradients, needs=BACKWARD)


def _family(family: str, summary: str) -> Property:
    name = f"gradients/{family}"
    return _property(name, summary, seeded_cases(name, family=family, upstream=True))


PROPERTIES = (
    _family("generic", "gradients of normal and heavy-tailed inputs"),
    _property(
        "gradients/features", "gradients with each claimed feature", feature_cases("gradients/features", upstream=True)
    ),
    _family("masks", "gradients where rows see nothing, of padded and banded masks"),
    _family("terms", "gradients through softcaps, biases, sinks and slopes of all sizes"),
    _family("shapes", "gradients of all lengths, head dimensions and groups"),
    Property(
        "gradients/search",
        "gradients of small cases of every regime, searched by Hypothesis",
        1,
        by_search(judge_gradients, _ANY),
        judge_gradients,
        needs=BACKWARD,
    ),
)
