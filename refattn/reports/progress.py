"""Progress of a check for a person: a bar on stderr, and the first violation as soon as it occurs."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from refattn.reports import terminal
from refattn.suite.findings import Finding, Report


class LiveProgress:
    """An observer for refattn.suite.checking.check. The bar is drawn on a terminal only, and vanishes at the end."""

    def __init__(self, out: Console | None = None) -> None:
        self._out = out or terminal.console(stderr=True)
        self._bar = _bar(self._out) if self._out.is_terminal else None
        self._task = TaskID(0)
        self._has_found = False

    def __enter__(self) -> LiveProgress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def started(self, total_steps: int, dtype: str) -> None:
        """A run of `total_steps` properties begins, all formats together."""
        if self._bar is not None:
            self._task = self._bar.add_task(dtype, total=total_steps)

    def stepped(self, property: str, dtype: str) -> None:
        """A property is about to be examined."""
        if self._bar is not None:
            self._bar.update(self._task, description=f"{dtype} {property}")

    def found(self, finding: Finding) -> None:
        """A finding is complete; the first that fails is printed at once, and its evidence comes with the report."""
        if self._bar is not None:
            self._bar.advance(self._task)
        if not finding.fails or self._has_found:
            return
        self._has_found = True
        message = f"\n  {terminal.printable(finding.message)}" if finding.message else ""
        self._out.print(Text.assemble(terminal.headline(finding), message))

    def finished(self, report: Report) -> None:
        """Everything is done."""
        del report
        if self._bar is not None:
            self._bar.stop()


def _bar(out: Console) -> Progress:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=out, transient=True)
