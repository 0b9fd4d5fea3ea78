"""Verdicts, findings, the report: data only. The numbers come from refattn.suite.comparison and the properties."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

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


@dataclass
class Finding:
    """The verdict on one property for one input format, with its evidence.

    share is the largest error divided by its certified bound; rms_z and max_z are errors in units of the rms budget;
    replay is a command that runs the failing case again; kind separates values from poison (0 * NaN leaking from an
    invisible slot), ieee (the reading of visible infinities) and call (the kernel could not be called properly).
    Findings that do not gate are reported and do not fail a run. `expected` is the reason given in an xfails file.
    """

    property: str
    dtype: str
    verdict: Verdict
    message: str = ""
    share: float | None = None
    rms_z: float | None = None
    max_z: float | None = None
    worst: Worst | None = None
    case: AttentionCase | SoftmaxCase | None = None
    replay: str | None = None
    kind: str = "value"
    gating: bool = True
    cases: int = 0
    seconds: float = 0.0
    expected: str | None = None
    unexpected_pass: bool = False

    @builtins.property  # the field above hides the name
    def checked(self) -> bool:
        """True if the kernel was run: not if it does not claim what is checked, the inputs are too long for the run, or
        other properties take this one's place.
        """
        return self.verdict not in (Verdict.NOT_CLAIMED, Verdict.NOT_RUN, Verdict.REPLACED)

    @builtins.property  # the field above hides the name
    def bad(self) -> bool:
        """True if the kernel did not satisfy the property."""
        return self.verdict in (Verdict.SUSPECT, Verdict.VIOLATES, Verdict.ERROR)

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
        return RENDERERS["json"](self)

    def to_junit(self) -> str:
        """The report as JUnit XML, one test case per property and format."""
        return RENDERERS["junit"](self)


# What makes text of a report, by name. refattn.reports fills it when it is imported, as refattn.check and the commands
# do: a report does not know how it is shown.
RENDERERS: dict[str, Callable[[Report], str]] = {}
