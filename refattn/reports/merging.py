"""Merges several reports on one kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from refattn.suite.findings import Report

Item = TypeVar("Item")


def merged(reports: Sequence[Report]) -> Report:
    """One report with the findings of all, in order; target, call, profile and seed are the first report's."""
    return replace(
        reports[0],
        dtypes=tuple(_once([dtype for report in reports for dtype in report.dtypes])),
        arithmetics={dtype: name for report in reports for dtype, name in report.arithmetics.items()},
        environment={name: text for report in reports for name, text in report.environment.items()},
        findings=[finding for report in reports for finding in report.findings],
        warnings=_once([warning for report in reports for warning in report.warnings]),
        seconds=sum(report.seconds for report in reports),
    )


def _once(items: list[Item]) -> list[Item]:
    return list(dict.fromkeys(items))
