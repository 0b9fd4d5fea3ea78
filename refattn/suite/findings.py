"""Verdicts, the evidence for them, findings, the report: data only.

The numbers come from refattn.suite.comparison and the properties; one Evidence carries them from there to the report.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING

from refattn.errors import RefattnError

if TYPE_CHECKING:
    from refattn.inputs.cases import AttentionCase, SoftmaxCase


class Verdict(str, Enum):
    """What the evidence says of one property."""

    CONFORMS = "conforms"
    SUSPECT = "suspect"
    VIOLATES = "violates"
    NOT_CLAIMED = "not claimed"
    NOT_RUN = "not run"
    REPLACED = "replaced"
    ERROR = "error"


@dataclass(frozen=True)
class Worst:
    """The element with the largest error in units of its bound."""

    quantity: str
    index: tuple[int, ...]
    actual: float
    exact: float
    error: float
    bound: float
    part: str = ""

    @property
    def ratio(self) -> float:
        """Error divided by bound; inf where the bound is 0 and the error is not."""
        if self.error == 0.0:
            return 0.0
        return self.error / self.bound if self.bound > 0.0 else float("inf")


@dataclass(frozen=True)
class Evidence:
    """What calls of a kernel showed: a verdict, and its grounds.

    message    one sentence or two for a person, "" where there is nothing to tell
    share      the largest error, as a share of its certified bound; None where no error was measured
    rms_z      root mean square of the errors in units of the rms budget; None where there is no such budget
    max_z      the largest of these errors
    worst      the element with the largest share
    case       the problem with that element
    kind       "value"; "poison" (0 * NaN leaking from an invisible slot); "ieee" (the reading of visible infinities);
               "call" (the kernel could not be called properly)
    cases      how many problems were examined
    hung       the kernel did not return
    """

    verdict: Verdict = Verdict.CONFORMS
    message: str = ""
    share: float | None = None
    rms_z: float | None = None
    max_z: float | None = None
    worst: Worst | None = None
    case: AttentionCase | SoftmaxCase | None = None
    kind: str = "value"
    cases: int = 1
    hung: bool = False

    @property
    def bad(self) -> bool:
        """True if the kernel did not satisfy what it was held to."""
        return self.verdict in (Verdict.SUSPECT, Verdict.VIOLATES, Verdict.ERROR)

    @property
    def violated(self) -> bool:
        """True if an element lies outside its certified bound by more than the truth's radius, or a bit differs."""
        return self.verdict is Verdict.VIOLATES

    def merged(self, other: Evidence) -> Evidence:
        """The evidence of both, neither of them bad: the largest of each number, the worst element and its case."""
        mine, theirs = self.share or 0.0, other.share or 0.0
        worse = other if self.worst is None or (other.worst is not None and theirs > mine) else self
        return Evidence(
            share=_largest(self.share, other.share),
            rms_z=_largest(self.rms_z, other.rms_z),
            max_z=_largest(self.max_z, other.max_z),
            worst=worse.worst,
            case=worse.case,
            cases=self.cases + other.cases,
        )

    def on(self, case: AttentionCase | SoftmaxCase) -> Evidence:
        """The same with `case`, unless it names a derived case already."""
        return self if self.case is not None else replace(self, case=case)


# The evidence of a case to which a property does not apply.
NOTHING = Evidence(cases=0)


def _largest(a: float | None, b: float | None) -> float | None:
    return b if a is None else a if b is None else max(a, b)


@dataclass
class Finding:
    """The evidence on one property for one input format.

    replay is a command that runs the failing case again. Findings that do not gate are reported and do not fail a run.
    `expected` is the reason given in an xfails file.
    """

    property: str
    dtype: str
    evidence: Evidence
    gating: bool = True
    replay: str | None = None
    seconds: float = 0.0
    expected: str | None = None
    unexpected_pass: bool = False

    @builtins.property  # the field above hides the name
    def verdict(self) -> Verdict:
        """What the evidence says."""
        return self.evidence.verdict

    @builtins.property  # the field above hides the name
    def message(self) -> str:
        """The evidence in a sentence or two."""
        return self.evidence.message

    @builtins.property  # the field above hides the name
    def share(self) -> float | None:
        """Largest error, as a share of its certified bound."""
        return self.evidence.share

    @builtins.property  # the field above hides the name
    def rms_z(self) -> float | None:
        """Root mean square of the errors, in units of the rms budget."""
        return self.evidence.rms_z

    @builtins.property  # the field above hides the name
    def max_z(self) -> float | None:
        """Largest error, in units of the rms budget."""
        return self.evidence.max_z

    @builtins.property  # the field above hides the name
    def worst(self) -> Worst | None:
        """The element with the largest share."""
        return self.evidence.worst

    @builtins.property  # the field above hides the name
    def case(self) -> AttentionCase | SoftmaxCase | None:
        """The problem with that element: if the verdict is bad, the smallest that was seen to fail."""
        return self.evidence.case

    @builtins.property  # the field above hides the name
    def kind(self) -> str:
        """ "value", "poison", "ieee" or "call": see Evidence."""
        return self.evidence.kind

    @builtins.property  # the field above hides the name
    def cases(self) -> int:
        """How many problems were run."""
        return self.evidence.cases

    @builtins.property  # the field above hides the name
    def checked(self) -> bool:
        """True unless the property was not claimed, was not run, or was replaced by others."""
        return self.verdict not in (Verdict.NOT_CLAIMED, Verdict.NOT_RUN, Verdict.REPLACED)

    @builtins.property  # the field above hides the name
    def bad(self) -> bool:
        """True if the kernel did not satisfy the property."""
        return self.evidence.bad

    @builtins.property  # the field above hides the name
    def fails(self) -> bool:
        """True if this finding makes the run fail."""
        return self.unexpected_pass or (self.bad and self.gating and self.expected is None)


@dataclass
class Report:
    """All findings of one run, and what is needed to run it again; no sequence was longer than `largest`."""

    target: str
    call: str
    dtypes: tuple[str, ...]
    claims: tuple[str, ...]
    profile: str
    seed: int
    largest: int | None = None
    arithmetics: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def conforms(self) -> bool:
        """True if something was checked and nothing fails."""
        checked = any(finding.checked for finding in self.findings)
        return checked and not any(finding.fails for finding in self.findings)

    def to_json(self) -> str:
        """The report as JSON, schema `refattn.reports.json.SCHEMA_VERSION`."""
        return _renderer("json")(self)

    def to_junit(self) -> str:
        """The report as JUnit XML, one test case per property and format."""
        return _renderer("junit")(self)


# Renderers of a report, by name. refattn.reports registers them when it is imported, as refattn.check and the commands
# do: a report imports none.
RENDERERS: dict[str, Callable[[Report], str]] = {}


def _renderer(form: str) -> Callable[[Report], str]:
    if form not in RENDERERS:
        raise RefattnError(f"report cannot be shown as {form} yet: expected `import refattn.reports` before")
    return RENDERERS[form]
