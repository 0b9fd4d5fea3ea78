"""NaN and infinities that a row sees.

NaN in a visible input must reach the rows that see it and no others; visible infinities are read as IEEE arithmetic
would read the formula, and gate only where the kernel claims so.
"""

from __future__ import annotations

from refattn.suite.drawing import drawn_cases, seeded_cases
from refattn.suite.judging import judge_values
from refattn.suite.property import Property
from refattn.suite.search import by_both

PROPERTIES = (
    Property(
        "specials/nan",
        "NaN reaches the rows that see it, and no others",
        judge_values,
        by_both(seeded_cases(kind="nan"), drawn_cases(kind="nan")),
    ),
    Property(
        "specials/inf",
        "visible infinities give what IEEE arithmetic reads",
        judge_values,
        by_both(seeded_cases(kind="ieee"), drawn_cases(kind="ieee")),
        gate="ieee",
        kind="ieee",
    ),
    Property(
        "specials/poison",
        "NaN and infinities that a row must not see leave it alone",
        judge_values,
        by_both(seeded_cases(kind="poison"), drawn_cases(kind="poison")),
        gate="nan_safe",
        kind="poison",
    ),
)
