"""Failures that an adopter expects, kept in the adopter's own file.

Each line names a property, a format and the reason, for instance a link to the issue:

    # property pattern   format   reason
    values/needle        bf16     https://example.org/issues/12: the last tile is skipped
    backward/*           *        no gradients before version 2

A property pattern is a shell pattern (*, ?, [...]); the format is a format's name or * for every one. The first line
that matches counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from os import PathLike, fspath
from typing import TYPE_CHECKING

from refattn.errors import InvalidValue

if TYPE_CHECKING:
    from refattn.suite.findings import Finding, Report

ANY_FORMAT = "*"


@dataclass(frozen=True)
class ExpectedFailure:
    """One line: findings on `property` (a pattern) in `format` (a name or "*") fail for a known reason."""

    property: str
    format: str
    reason: str
    source: str

    def matches(self, property: str, dtype: str) -> bool:
        """True if the line speaks of this property in this format."""
        return fnmatchcase(property, self.property) and self.covers(dtype)

    def covers(self, dtype: str) -> bool:
        """True if the line speaks of this format."""
        from refattn.numbers import formats

        return self.format == ANY_FORMAT or self.format == formats.get(dtype).name


def load(path: str | PathLike[str]) -> tuple[ExpectedFailure, ...]:
    """The lines of a file in UTF-8. Raises InvalidValue, naming the file and the line."""
    name = fspath(path)
    try:
        with open(name, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        raise InvalidValue(f"xfails file {name!r} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidValue(f"xfails file {name!r} cannot be read: expected UTF-8 text") from error
    return parse(text, name)


def parse(text: str, source: str = "xfails") -> tuple[ExpectedFailure, ...]:
    """The lines of a text; `source` names it in messages. Raises InvalidValue, naming the source and the line."""
    failures = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            failures.append(_parsed(line, f"{source}:{number}"))
    return tuple(failures)


def _parsed(line: str, source: str) -> ExpectedFailure:
    from refattn.numbers import formats

    words = line.split(maxsplit=2)
    if len(words) < 3:
        raise InvalidValue(
            f"{source}: {line.strip()!r} gives no reason: expected a property, a format (or *), a reason"
        )
    pattern, format, reason = words
    if format != ANY_FORMAT:
        try:
            format = formats.get(format).name
        except InvalidValue as error:
            raise InvalidValue(f"{source}: {error}, or *") from None
    return ExpectedFailure(pattern, format, reason.strip(), source)


def find(property: str, dtype: str, lines: Iterable[ExpectedFailure]) -> ExpectedFailure | None:
    """The first line that speaks of the property in the format."""
    return next((line for line in lines if line.matches(property, dtype)), None)


def mark(finding: Finding, lines: Iterable[ExpectedFailure]) -> None:
    """Mark a failure that was expected, or a success that was not. Marking a finding twice changes nothing."""
    from refattn.suite.findings import Verdict

    line = find(finding.property, finding.dtype, lines)
    if line is None:
        return
    if finding.bad:
        finding.expected = line.reason
    elif finding.verdict is Verdict.CONFORMS:
        finding.unexpected_pass = True


def apply(report: Report, lines: Sequence[ExpectedFailure], whole: bool = True) -> None:
    """Mark every finding of a report, and warn of lines that match none.

    `whole` is False when only some properties were run: then no line is called stale. Lines for a format that was not
    run never are.
    """
    for finding in report.findings:
        mark(finding, lines)
    for line in lines if whole else ():
        was_run = line.format == ANY_FORMAT or any(line.covers(dtype) for dtype in report.dtypes)
        if was_run and not any(line.matches(finding.property, finding.dtype) for finding in report.findings):
            report.warnings.append(
                f"{line.source}: {line.property!r} in format {line.format} matches no property: the line is stale"
            )
