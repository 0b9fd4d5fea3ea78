"""Which faults each criterion detects: refattn's properties, and the tolerances of other projects.

    python -m tests.benchmarks.mutant_scoreboard [--profile quick|ci|deep] [--jobs N] [--only PATTERN] [--json FILE]

Each mutant (tests/mutants) is checked by refattn with fail_fast, and by three peers' criteria on the inputs that peers
use (tests/mutants/peers.py). Honest variants must be accused by nobody. Exits with 1 if refattn accuses one or crashes;
survivors are listed.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import statistics
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from typing import Any

REFATTN = "refattn"


@dataclass(frozen=True)
class Row:
    """The outcome of one kernel.

    seen     by criterion: True if it refused the kernel (for honest variants, on any case)
    first    the property that refattn's run stopped at, "" if it conforms; `evidence` is that finding's message
    seconds  refattn's whole run, until it stopped: the search for a small failing case is included
    crash    the traceback of an error of the checker's own
    """

    id: str
    name: str
    title: str
    family: str
    link: str
    honest: bool
    formats: tuple[str, ...]
    seen: dict[str, bool] = field(default_factory=dict)
    first: str = ""
    evidence: str = ""
    seconds: float = 0.0
    crash: str = ""


def examine(id: str, profile: str) -> Row:
    """Put one kernel before every criterion."""
    import refattn
    from tests import mutants
    from tests.mutants import peers

    mutant = mutants.by_id(id)
    honest = mutant in mutants.HONEST
    labels = (mutant.id, mutant.name, mutant.title, mutant.family, mutant.link, honest, mutant.formats)
    start = time.perf_counter()
    try:
        report = refattn.check(
            mutant.make(),
            mutant.call,
            mutant.formats,
            claims=mutant.claims,
            profile=profile,
            fail_fast=True,
            target_name=mutant.name,
        )
    except Exception:
        return Row(*labels, seconds=time.perf_counter() - start, crash=traceback.format_exc())
    failing = next((finding for finding in report.findings if finding.fails), None)
    if honest:
        refused, _ = peers.refusals(mutant)
        accused = {name: count > 0 for name, count in refused.items()}
    else:
        accused = peers.verdicts(mutant)
    return Row(
        *labels,
        seen={REFATTN: not report.conforms, **accused},
        first=failing.property if failing else "",
        evidence=f"{failing.verdict.value}: {failing.message}" if failing else "",
        seconds=report.seconds,
    )


def examine_all(ids: Sequence[str], profile: str, jobs: int) -> Iterator[Row]:
    """Rows as they are done, by processes of one thread each."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(examine, id, profile) for id in ids]):
            yield future.result()


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Totals over mutants, and who accuses honest variants."""
    faults = [row for row in rows if not row.honest]
    criteria = sorted({name for row in rows for name in row.seen}, key=lambda name: (name != REFATTN, name))
    times = [row.seconds for row in faults if row.seen.get(REFATTN)]
    return {
        "mutants": len(faults),
        "seen": {name: sum(row.seen.get(name, False) for row in faults) for name in criteria},
        "only_refattn": sum(
            row.seen.get(REFATTN, False) and not any(v for name, v in row.seen.items() if name != REFATTN)
            for row in faults
        ),
        "honest": sum(row.honest for row in rows),
        "honest_accused": {name: sum(row.seen.get(name, False) for row in rows if row.honest) for name in criteria},
        "survivors": [row.id for row in faults if not row.seen.get(REFATTN) and not row.crash],
        "crashes": [row.id for row in rows if row.crash],
        "median_seconds_to_report": statistics.median(times) if times else None,
    }


def show(rows: Sequence[Row], totals: dict[str, Any]) -> None:
    """The table, the totals, survivors and crashes."""
    from rich.console import Console
    from rich.table import Table

    criteria = list(totals["seen"])
    console = Console(width=None if sys.stdout.isatty() else 160)
    table = Table("id", "fault", *criteria, "first seen by", "s")
    for row in sorted(rows, key=lambda row: (row.honest, row.family, row.id)):
        marks = ["crash" if row.crash else "seen" if row.seen.get(name) else "-" for name in criteria]
        table.add_row(row.id, row.title, *marks, row.first, f"{row.seconds:.1f}")
    console.print(table)
    count = totals["mutants"]
    for name in criteria:
        accused = totals["honest_accused"][name]
        seen, honest = totals["seen"][name], totals["honest"]
        console.print(f"{name}: sees {seen} of {count} faults, accuses {accused} of {honest} honest kernels")
    console.print(f"seen by {REFATTN} alone: {totals['only_refattn']}")
    if totals["median_seconds_to_report"] is not None:
        console.print(f"median time until {REFATTN} reports: {totals['median_seconds_to_report']:.1f} s")
    for row in rows:
        if row.crash:
            console.print(f"CRASH {row.id} {row.name}\n{row.crash}", markup=False)
        elif row.honest and row.seen[REFATTN]:
            console.print(f"ACCUSED {row.id} {row.name} by {row.first}: {row.evidence}", markup=False)
    if totals["survivors"]:
        console.print("survivors: " + ", ".join(totals["survivors"]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, show, store. 1 if the checker crashed or accused an honest kernel."""
    from rich.console import Console
    from rich.progress import Progress

    parser = argparse.ArgumentParser(prog="mutant_scoreboard", description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="ci", choices=("quick", "ci", "deep"))
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--only", default="*", help="ids or families that match a shell pattern, several with commas")
    parser.add_argument("--json", metavar="FILE", help="store the rows and the totals")
    options = parser.parse_args(arguments)

    from tests.mutants import HONEST, MUTANTS

    patterns = options.only.split(",")
    ids = [
        mutant.id
        for mutant in (*MUTANTS, *HONEST)
        if any(fnmatch.fnmatchcase(text, pattern) for text in (mutant.id, mutant.family) for pattern in patterns)
    ]
    rows: list[Row] = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("mutants", total=len(ids))
        for row in examine_all(ids, options.profile, options.jobs):
            rows.append(row)
            progress.update(task, advance=1, description=f"{row.id} {row.name}")
            if options.json:
                store(options.json, options.profile, rows)
    totals = summary(rows)
    show(rows, totals)
    return 1 if totals["crashes"] or totals["honest_accused"].get(REFATTN) else 0


def store(path: str, profile: str, rows: Sequence[Row]) -> None:
    """The rows so far and their totals, as JSON."""
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"profile": profile, "totals": summary(rows), "rows": [asdict(row) for row in rows]}, file, indent=1)


if __name__ == "__main__":
    sys.exit(main())
