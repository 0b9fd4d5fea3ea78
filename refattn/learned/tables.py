"""The tables that the commands print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.table import Table

from refattn.learned.experiment import Report
from refattn.learned.training import Trainee


def training(trainees: Sequence[Trainee], folder: Path) -> Table:
    """The trained methods, their steps and seconds."""
    table = Table(box=box.SIMPLE_HEAD, title=f"trained, in {folder}", title_justify="left")
    for column in ("method", "blocks", "objective", "learned numbers", "steps", "seconds"):
        table.add_column(column, justify="left" if column in ("method", "objective") else "right")
    for trainee in trainees:
        learned = sum(parameter.numel() for parameter in trainee.modules.parameters())
        cells = (trainee.blocks.blocks, trainee.plan.objective, learned, trainee.step, f"{trainee.seconds:.0f}")
        table.add_row(trainee.name, *map(str, cells))
    return table


def results(report: Report) -> Table:
    """Perplexity and certificate, a line a method and number of blocks."""
    setting = report.setting
    title = (
        f"{setting.model}: {setting.test} windows of {setting.window} tokens to test on ({report.tokens} predicted), "
        f"{setting.train} others to train on"
    )
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    # Other columns wrap at spaces; a name would be cut off.
    table.add_column("method", min_width=max(len(result.method) for result in report.results))
    columns = ("blocks", "perplexity", "change", "±", "distance", "largest", "leak", "row sum off by", "trained (s)")
    for column in columns:
        table.add_column(column, justify="right")
    for result in report.results:
        exact = result.method == "exact"
        table.add_row(
            result.method,
            "" if exact else str(result.blocks),
            f"{result.perplexity:.3f}",
            "" if exact else f"{result.change:+.2%}",
            "" if exact else f"{result.doubt:.2%}",
            f"{result.mean_distance:.4f}",
            f"{result.largest('largest'):.3f}",
            f"{result.largest('leak'):.3g}",
            f"{result.largest('row_sum_error'):.1e}",
            f"{result.training_seconds:.0f}" if result.steps else "",
        )
    return table
