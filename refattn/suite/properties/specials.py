"""NaN and infinities that a row sees.

NaN in a visible input must reach the rows that see it and no others; visible infinities are read as IEEE arithmetic
would read the formula, and gate only where the kernel claims so.
"""

from __future__ import annotations

from refattn.suite.base import Property
from refattn.suite.drawing import drawn_cases, seeded_cases
from refattn.suite.judging import judge_values
from refattn.suite.search import by_cases, by_search, in_turn


def _property(name: str, summary: str, kind: str, gate: str | None) -> Property:
    small = drawn_cases(kind=kind)
    examine = in_turn(by_cases(judge_values, seeded_cases(name, kind=kind), small), by_search(judge_values, small))
    return Property(name, summary, 0, examine, judge_values, gate=gate, kind={"nan": "value"}.get(kind, kind))


PROPERTIES = (
    _property("specials/nan", "NaN reaches the rows that see it, and no others", "nan", None),
    _property("specials/inf", "visible infinities give what IEEE arithmetic reads", "ieee", "ieee"),
    _property("specials/poison", "NaN and infinities that a row must not see leave it alone", "poison", "nan_safe"),
)
