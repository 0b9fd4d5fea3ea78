"""What a property is, and the one way of declaring it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from refattn.suite.context import Context
from refattn.suite.findings import Evidence, Finding, Verdict

# Examines the kernel on one case.
Observe = Callable[[Context, Any], Evidence]
# Examines as many cases as the profile asks for; seeds depend on the property's name.
Cases = Callable[[Context, str, Observe], Evidence]


@dataclass(frozen=True)
class Property:
    """Something that a conforming kernel satisfies.

    name     its family, which is the name of its file in refattn.suite.properties, a slash, and what is examined
    observe  examines the kernel on one case: to search, to shrink, to replay
    cases    generates cases and observes them (refattn.suite.search)
    stage    0 for the cheap and sharp ones, run first; 1 for searches and relations between calls; 2 for statistics
    needs    claims without which the property is not examined
    gate     a claim without which a failure is reported but does not fail the run; None gates always
    quantity what the target must compute: "attention" or "softmax"
    kind     what a failure is evidence of (Evidence.kind)
    of       "exact" if it holds of kernels that compute what the spec says, "approximate" if of those that declare an
             approximation, "any" of both
    """

    name: str
    summary: str
    observe: Observe
    cases: Cases
    stage: int = 0
    needs: frozenset[str] = frozenset()
    gate: str | None = None
    quantity: Literal["attention", "softmax"] = "attention"
    kind: Literal["value", "poison", "ieee"] = "value"
    of: Literal["exact", "approximate", "any"] = "exact"

    def finding(self, context: Context, evidence: Evidence) -> Finding:
        """What the evidence says of this property. A call that fails is a failure whatever was claimed."""
        kind = self.kind if evidence.kind == "value" else evidence.kind
        gating = self.gate is None or self.gate in context.claims or evidence.verdict is Verdict.ERROR
        return Finding(self.name, context.format.name, replace(evidence, kind=kind), gating=gating)
