"""What the commands print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.table import Table

from refattn.learned.experiment import Report
from refattn.learned.training import Trainee


def training(trainees: Sequence[Trainee], folder: Path) -> Table:
    """What was trained, and for how long."""
    table = Table(box=box.SIMPLE_HEAD, title=f"trained, in {folder}", title_justify="left")
    for column in ("method", "blocks", "objective", "learned numbers", "steps", "seconds"):
        table.add_column(column, justify="left" if column in ("method", "objective") else "right")
    for each in trainees:
        learned = sum(parameter.numel() for parameter in each.modules.parameters())
        cells = (each.blocks.blocks, each.plan.objective, learned, each.step, f"{each.seconds:.0f}")
        table.add_row(each.name, *map(str, cells))
    return table


def results(report: Report) -> Table:
    """Perplexity and certificate, a line a method and number of blocks."""
    setting = report.setting
    title = (
        f"{setting.model}: {setting.test} windows of {setting.window} tokens to test on ({report.tokens} predicted), "
        f"{setting.train} others to train on"
    )
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    # Other columns can wrap at spaces, but a name would be cut off.
    table.add_column("method", min_width=max(len(each.method) for each in report.results))
    columns = ("blocks", "perplexity", "change", "±", "distance", "largest", "leak", "row sum off by", "trained (s)")
    for column in columns:
        table.add_column(column, justify="right")
    for each in report.results:
        exact = each.method == "exact"
        table.add_row(
            each.method,
            "" if exact else str(each.blocks),
            f"{each.perplexity:.3f}",
            "" if exact else f"{each.change:+.2%}",
            "" if exact else f"{each.doubt:.2%}",
            f"{each.mean_distance:.4f}",
            f"{each.largest('largest'):.3f}",
            f"{each.largest('leak'):.3g}",
            f"{each.largest('row_sum_error'):.1e}",
            f"{each.training_seconds:.0f}" if each.steps else "",
        )
    return table
