"""A report for a person at a terminal: a table of what was checked, then each failure with its evidence.

Colours follow NO_COLOR and disappear when the output is not a terminal.
"""

from __future__ import annotations

import io
import os
from collections import Counter, defaultdict

from rich import box
from rich.console import Console
from rich.markdown import Markdown
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from refattn.suite.findings import Finding, Report, Verdict, Worst

# Least width of a terminal for the statistics, and least remaining width for the worst case.
ROOM_FOR_STATISTICS = 80
ROOM_FOR_WORST = 16
_GAP = 3
# A longer replay command is not shown: nobody would copy it.
LONGEST_REPLAY = 4000
_FILE_WIDTH = 120
# Lines of prose longer than this are hard to read.
_READABLE = 100
_STYLES = {
    Verdict.CONFORMS: "green",
    Verdict.SUSPECT: "yellow",
    Verdict.VIOLATES: "bold red",
    Verdict.ERROR: "bold magenta",
    Verdict.NOT_CLAIMED: "dim",
    Verdict.NOT_RUN: "dim",
    Verdict.REPLACED: "dim",
}
_UNCHECKED = {
    Verdict.NOT_CLAIMED: "not claimed, so not checked",
    Verdict.NOT_RUN: "not run, as nothing is short enough",
    Verdict.REPLACED: "replaced by approximation/*, as the kernel declares an approximation",
}


def console(stderr: bool = False) -> Console:
    """A console that keeps its width when the output goes to a file, and prints text unchanged."""
    plain = Console(stderr=stderr, highlight=False, markup=False, emoji=False, legacy_windows=False)
    if not plain.is_terminal and "COLUMNS" not in os.environ:
        plain.width = _FILE_WIDTH
    return plain


def render(report: Report, out: Console, quiet: bool = False) -> None:
    """Print a report; `quiet` leaves out the table and everything but failures, warnings and the closing line."""
    checked = [finding for finding in report.findings if finding.checked]
    if not quiet:
        run = f"{report.call}, {report.profile}, seed {report.seed}"
        run += "" if report.largest is None else f", largest {report.largest}"
        out.print(Text.assemble((report.target, "bold"), f"  ({run})"))
        for dtype, arithmetic in report.arithmetics.items():
            out.print(Text(f"{dtype} is held to {arithmetic}", style="dim"))
        if checked:
            out.print()
            out.print(table(checked, out))
            out.print()
        for line in unchecked(report):
            out.print(Text(line, style="dim"))
    for finding in checked:
        if finding.fails or (finding.bad and not quiet):
            out.print()
            _evidence(finding, out)
    if any(finding.bad for finding in checked) and not quiet:
        out.print()
    for warning in report.warnings:
        out.print(Text(f"warning: {warning}", style="yellow"))
    out.print(closing(report))


def render_finding(finding: Finding, out: Console) -> None:
    """Print one finding with its evidence, whatever its verdict."""
    _evidence(finding, out)


def evidence(finding: Finding) -> str:
    """The output of `render_finding` as plain text."""
    stream = io.StringIO()
    render_finding(finding, Console(file=stream, width=_FILE_WIDTH, highlight=False, markup=False, emoji=False))
    return stream.getvalue().rstrip()


def render_properties(rows: list[tuple[str, str, str]], out: Console) -> None:
    """Print (name, claims needed, summary) of properties as a table."""
    grid = Table("property", "needs", "what is checked", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for row in rows:
        grid.add_row(*map(Text, row))
    out.print(grid)


def render_markdown(text: str, out: Console) -> None:
    """Print Markdown: as it is, unless the output is a terminal."""
    if out.is_terminal:
        out.print(Markdown(text), width=min(out.width, _READABLE))
    else:
        out.print(text, soft_wrap=True, end="")


def render_topics(pages: list[tuple[str, str]], others: list[tuple[str, str]], out: Console) -> None:
    """Print (name, title) of the guide's pages, and (kind, names) of what else can be explained."""
    for rows in (pages, others):
        grid = Table.grid(padding=(0, 3))
        for row in rows:
            grid.add_row(*map(Text, row))
        out.print(grid)
        out.print()
    out.print("refattn explain TOPIC, such as: refattn explain suspect")


def table(findings: list[Finding], out: Console) -> Table:
    """One row for each property and format; the narrower the terminal, the fewer columns."""
    statistics = out.width >= ROOM_FOR_STATISTICS
    grid = _grid(findings, statistics, 0)
    room = out.width - out.measure(grid).maximum - _GAP
    return _grid(findings, statistics, room) if statistics and room >= ROOM_FOR_WORST else grid


def _grid(findings: list[Finding], statistics: bool, room: int) -> Table:
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    grid.add_column("property", overflow="fold")
    grid.add_column("format")
    grid.add_column("verdict", overflow="fold")
    grid.add_column("bound used", justify="right")
    if statistics:
        for heading in ("rms z", "max z", "cases", "seconds"):
            grid.add_column(heading, justify="right")
    if room:
        grid.add_column("worst case", no_wrap=True, overflow="ellipsis", max_width=room)
    names = list(dict.fromkeys(finding.property for finding in findings))
    for finding in sorted(findings, key=lambda finding: names.index(finding.property)):
        cells: list[Text | str] = [finding.property, finding.dtype, verdict(finding), share(finding.share)]
        if statistics:
            cells += [
                _figure(finding.rms_z),
                _figure(finding.max_z),
                str(finding.cases or ""),
                f"{finding.seconds:.1f}",
            ]
        if room:
            cells.append(_in_short(finding))
        grid.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in cells))
    return grid


def verdict(finding: Finding) -> Text:
    """The verdict in words and colour, after the xfails file."""
    if finding.unexpected_pass:
        return Text("passes unexpectedly", style="bold red")
    if finding.bad and finding.expected is not None:
        return Text(f"{finding.verdict.value} as expected", style="cyan")
    if finding.bad and not finding.gating:
        return Text(f"{finding.verdict.value} (not gating)", style="yellow")
    return Text(finding.verdict.value, style=_STYLES[finding.verdict])


def share(value: float | None) -> str:
    """A share of the bound: a percentage while inside it, times the bound beyond."""
    if value is None:
        return ""
    if value <= 1.0:
        return f"{value:.0%}"
    return f"{value:.3g}x" if value < float("inf") else "beyond"


def unchecked(report: Report) -> list[str]:
    """One line for each reason why properties were not checked, and each set of formats."""
    formats_of = defaultdict(list)
    for finding in report.findings:
        if not finding.checked:
            formats_of[finding.verdict, finding.property].append(finding.dtype)
    groups = defaultdict(list)
    for (verdict, name), dtypes in formats_of.items():
        groups[verdict, tuple(dtypes)].append(name)
    lines = []
    for (verdict, formats), names in groups.items():
        where = "" if len(formats) == len(report.dtypes) else f" in {', '.join(formats)}"
        why = _UNCHECKED[verdict]
        lines.append(f"{why}{where} ({len(names)}): {', '.join(names)}")
    return lines


def closing(report: Report) -> Text:
    """One line with the counts and the outcome."""
    counts = Counter(verdict(finding).plain for finding in report.findings)
    text = ", ".join(f"{words} {count}" for words, count in counts.items()) or "nothing was checked"
    outcome = ("conforms", "bold green") if report.conforms else ("does not conform", "bold red")
    return Text.assemble(f"{report.target} ", outcome, f": {text}, in {report.seconds:.1f} s")


def headline(finding: Finding) -> Text:
    """Property, format and verdict in one line."""
    return Text.assemble((f"{finding.property} in {finding.dtype}: ", "bold"), verdict(finding))


def worst_element(worst: Worst) -> str:
    """The worst element: its place, its value and the exact one."""
    part = f", of which the largest part is {worst.part}" if worst.part else ""
    return (
        f"{_place(worst)} is {float(worst.actual)!r}, exactly {float(worst.exact)!r}: "
        f"error {worst.error:.3g} is {worst.ratio:.3g} times the bound {worst.bound:.3g}{part}"
    )


def _evidence(finding: Finding, out: Console) -> None:
    out.print(headline(finding))
    if finding.unexpected_pass:
        out.print(_indented("the xfails file expects this property to fail, and it passes"))
    if finding.expected is not None:
        out.print(_indented(f"expected: {finding.expected}"))
    if finding.message:
        out.print(_indented(finding.message))
    if finding.worst is not None and _place(finding.worst) not in finding.message:
        out.print(_indented(worst_element(finding.worst)))
    if finding.case is not None:
        out.print(_indented(finding.case.describe()))
    if finding.replay is not None and len(finding.replay) > LONGEST_REPLAY:
        out.print(_indented("replay: the case is too large for a command line; the JSON report holds it"))
    elif finding.replay is not None:
        # Never wrapped, so that it can be copied.
        out.print(f"  replay: {finding.replay}", soft_wrap=True)
    if finding.bad:
        out.print(f"  explain: refattn explain {finding.property}", soft_wrap=True)


def printable(text: str) -> str:
    """The text without control characters, which a kernel's own messages may hold."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "\ufffd" for letter in text)


def _indented(text: str) -> Padding:
    return Padding(Text(printable(text)), (0, 0, 0, 2), expand=False)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _in_short(finding: Finding) -> str:
    if finding.worst is None:
        return ""
    where = _place(finding.worst)
    return where if finding.case is None else f"{finding.case.regime}, {where}"


def _place(worst: Worst) -> str:
    return f"{worst.quantity}{list(worst.index)}" if worst.index else worst.quantity
