"""The run: checks first, then rows in the order of their importance, until all are done or the time is over."""

from __future__ import annotations

import fnmatch
import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from refattn_gpu.bench import checking, decoding, dense, softmax, sparse
from refattn_gpu.bench.results import MEASURED, RUN, Results
from refattn_gpu.bench.row import FIRST, OURS, Contender, Problem, Rival, Row, Unavailable
from refattn_gpu.bench.timing import run_once, timed

OUT_OF_TIME = "not reached within the time limit"
# Of the time limit, for the suite; timing is what only this machine can do.
SHARE_OF_CHECKS = 0.5


def all_rows() -> list[Row]:
    """Every row, the most important first."""
    rows: list[Row] = [*dense.rows(), *sparse.rows(), *decoding.rows(), *softmax.rows()]
    return sorted(rows, key=lambda row: row.tier)


def selected(only: str | None, quick: bool) -> list[Row]:
    """Those whose name matches a pattern; `quick` keeps what is measured first."""
    return [
        row
        for row in all_rows()
        if (only is None or fnmatch.fnmatchcase(row.name, only)) and (not quick or row.tier == FIRST)
    ]


def shrunk(rows: list[Row]) -> list[Row]:
    """Each row that is left when all are made small, once."""
    return list(dict.fromkeys(row.shrunk() for row in rows))


@dataclass
class Run:
    """One run into a file of results.

    device       "cuda", or "cpu" under the interpreter
    interpreted  nothing is timed
    deadline     time.monotonic() when the last row must have been begun
    report       is told what happens, a line at a time
    """

    results: Results
    device: str
    interpreted: bool
    deadline: float
    report: Callable[[str], None]
    # The parts of entries of rivals that rows share.
    shared: dict[str, dict[str, Any]] = field(default_factory=dict)

    def check(self, profile: str, rows: list[Row]) -> None:
        """The suite on the kernels, those of the rows first, in bf16 first, but for what has been checked before."""
        names = list(checking.targets())
        timed_first = [name for name in dict.fromkeys(row.target for row in rows) if name in names]
        done = {
            checking.Part(each["target"], each["format"], each["pattern"])
            for each in self.results.checks
            if each["profile"] == profile and each["verdict"] != checking.UNFINISHED
        }
        wanted = [
            part
            for format in (checking.FORMATS[:1] if self.interpreted else checking.FORMATS)
            for target in dict.fromkeys([*timed_first, *(() if self.interpreted else names)])
            for part in checking.parts(target, format, interpreted=self.interpreted)
            if part not in done
        ]
        now = time.monotonic()
        limit = now + SHARE_OF_CHECKS * (self.deadline - now)
        for check in checking.checks(wanted, profile, limit, interpreted=self.interpreted):
            self.results.put_check(checking.as_entry(check))
            part = check.part
            self.report(f"{part.target} in {part.format}, {part.pattern}: {check.verdict} ({check.seconds:.0f} s)")
            for failure in check.failures:
                self.report(f"  {failure}")

    def measure(self, rows: list[Row]) -> Iterator[dict[str, Any]]:
        """The entries of rows, as they are made; those that the results have are left out."""
        have = self.results.rows
        late = 0
        for row in rows:
            if have.get(row.name, {}).get("status") in (MEASURED, RUN):
                continue
            entry = self.entry(row)
            self.results.put_row(entry)
            if entry["status"] == OUT_OF_TIME:
                late += 1
            else:
                self.report(line(entry))
            yield entry
        if late:
            self.report(f"{late} rows {OUT_OF_TIME}")

    def entry(self, row: Row) -> dict[str, Any]:
        """The entry of a row: measured, or why not."""
        entry: dict[str, Any] = {
            "name": row.name,
            "group": row.group,
            "tier": row.tier,
            "target": row.target,
            "sizes": row.sizes,
            "unit": row.unit,
            "suite": checking.verdict_on(row.target, self.results.checks),
            "share": None,
            "entries": {},
            "ratios": {},
        }
        if entry["suite"] == checking.FAILS:
            return entry | {"status": "not timed: the kernel does not pass refattn's suite"}
        if time.monotonic() > self.deadline:
            return entry | {"status": OUT_OF_TIME}
        try:
            problem = row.problem(self.device)
            entry["share"] = problem.judge()
            self.solve(row, problem, entry)
        except AssertionError as error:
            entry["status"] = f"not timed: {error}"
        except Unavailable as error:
            entry["status"] = f"not timed: {error}"
        except Exception as error:
            # A row must not end the run: the others are worth measuring.
            entry["status"] = f"not timed: {type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
        self.clean_up()
        return entry

    def solve(self, row: Row, problem: Problem, entry: dict[str, Any]) -> None:
        """Time our contender and the others."""
        entry["entries"][OURS] = ours = self.timing(row, problem.ours)
        for rival in problem.rivals:
            try:
                entry["entries"][rival.name] = theirs = self.rival(row, rival)
            except Unavailable as error:
                entry["entries"][rival.name] = {"unavailable": str(error)}
                continue
            if not self.interpreted:
                entry["ratios"][rival.name] = ours["rate"] / theirs["rate"]
        entry["status"] = RUN if self.interpreted else MEASURED

    def rival(self, row: Row, rival: Rival) -> dict[str, Any]:
        """The timing of a rival, that of an earlier row where it is shared."""
        if rival.shared is None:
            return self.timing(row, rival.start())
        key = f"{rival.name}: {rival.shared}"
        if key not in self.shared:
            self.shared[key] = self.timing(row, rival.start())
        return self.shared[key]

    def timing(self, row: Row, contender: Contender) -> dict[str, Any]:
        """One contender's part of an entry."""
        if self.interpreted:
            run_once(contender)
            return {}
        timing = timed(contender)
        rate = contender.work / (1e-3 * timing.median) / row.scale
        return {
            "ms": timing.median,
            "low_ms": timing.low,
            "high_ms": timing.high,
            "samples": timing.samples,
            "rate": rate,
        }

    def clean_up(self) -> None:
        """Free the memory of a row."""
        gc.collect()
        if not self.interpreted:
            torch.cuda.empty_cache()


def line(entry: dict[str, Any]) -> str:
    """What is printed of a row."""
    if entry["status"] not in (MEASURED, RUN):
        return f"{entry['name']:<40} {entry['status']}"
    share = f"{entry['share']:.2f} of its bound"
    if entry["status"] == RUN:
        return f"{entry['name']:<40} {share}"
    ours = entry["entries"][OURS]
    against = "".join(f", {ratio:.2f} of {rival}" for rival, ratio in entry["ratios"].items())
    refused = "".join(f", no {name}" for name, each in entry["entries"].items() if "unavailable" in each)
    return f"{entry['name']:<40} {ours['ms']:9.3f} ms {ours['rate']:8.1f} {entry['unit']}{against}{refused} ({share})"
