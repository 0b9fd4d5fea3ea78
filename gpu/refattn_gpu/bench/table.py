"""Print gpu/README.md's table of figures on a GPU, from the committed results.

    python -m refattn_gpu.bench.table [--all] [FILE ...]

Without files, those of gpu/results in the source tree; of each device the newest. --all prints every row.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from refattn.errors import InvalidValue
from refattn_gpu.bench import checking
from refattn_gpu.bench.aims import State, states
from refattn_gpu.bench.results import MEASURED, loaded
from refattn_gpu.bench.row import OURS
from refattn_gpu.bench.run import all_rows

RESULTS = Path(__file__).resolve().parents[2] / "results"
NAMES = "*-[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*.json"


def newest(files: Sequence[Path]) -> list[dict[str, Any]]:
    """The contents of each device's last file, by date; an interpreted run's is none. Raises InvalidValue."""
    latest: dict[str, dict[str, Any]] = {}
    for contents in sorted((loaded(path) for path in files), key=lambda contents: str(contents["date"])):
        if not contents["interpreted"]:
            latest[contents["machine"]["device"]] = contents
    return list(latest.values())


def readme_table(files: Sequence[Path]) -> str:
    """The aims, and how far they are, on each device."""
    wanted = [(row.name, row.group, row.sizes) for row in all_rows()]
    runs = newest(files)
    if not runs:
        lines = ["| in bf16, on a GPU | aim | measured |", "|---|---|---|"]
        lines += [f"| {state.aim.figure} | {state.aim.least:g} | not yet |" for state in states(wanted, {})]
        return "\n".join(lines) + "\n"
    devices = [f"{each['machine']['device']}, {each['date'][:10]}" for each in runs]
    lines = [f"| in bf16 | aim | {' | '.join(devices)} |", "|---|---|" + "---|" * len(runs)]
    by_run = [states(wanted, {row["name"]: row for row in each["rows"]}) for each in runs]
    for across in zip(*by_run, strict=True):
        aim = across[0].aim
        lines.append(f"| {aim.figure} | {aim.least:g} | {' | '.join(cell(state) for state in across)} |")
    notes = [note for each in runs for note in remarks(each)]
    return "\n".join([*lines, *(["", *notes] if notes else [])]) + "\n"


def cell(state: State) -> str:
    """The range of ratios, and whether the aim is met."""
    if state.lowest is None or state.highest is None:
        return "not yet"
    low, high = f"{state.lowest:.2f}", f"{state.highest:.2f}"
    span = low if low == high else f"{low} .. {high}"
    part = "" if state.measured == state.wanted else f", {state.measured} of {state.wanted} rows"
    return f"{span} ({state.verdict}{part})"


def remarks(contents: dict[str, Any]) -> list[str]:
    """What a reader must know of a run: kernels that the suite failed, or did not finish."""
    remarks = []
    for verdict, words in (
        (checking.FAILS, "not timed, as it fails the suite"),
        (checking.UNFINISHED, "not checked to the end"),
    ):
        names = {each["target"] for each in contents["checks"] if each["verdict"] == verdict}
        remarks += [f"{name} on {contents['machine']['device']}: {words}." for name in sorted(names)]
    timed = {row["target"] for row in contents["rows"] if row["status"] == MEASURED}
    unchecked = sorted(timed - {each["target"] for each in contents["checks"]})
    return remarks + [f"{name} on {contents['machine']['device']}: timed without the suite." for name in unchecked]


def full_table(contents: dict[str, Any]) -> str:
    """Every row of one run, and what is missing."""
    lines = [f"{contents['machine']['device']}, {contents['date']}, kernels {contents['sources']['kernels']}", ""]
    lines += ["| row | ms | rate | of its bound | ratios |", "|---|---|---|---|---|"]
    have = {row["name"]: row for row in contents["rows"]}
    missing = []
    for row in all_rows():
        entry = have.get(row.name)
        if entry is None or entry["status"] != MEASURED:
            missing.append(f"{row.name}: {'unmeasured' if entry is None else entry['status']}")
            continue
        ours = entry["entries"][OURS]
        ratios = ", ".join(f"{ratio:.2f} of {rival}" for rival, ratio in entry["ratios"].items())
        times = f"{ours['ms']:.3f} | {ours['rate']:.1f} {entry['unit']}"
        lines.append(f"| {row.name} | {times} | {entry['share']:.2f} | {ratios} |")
    return "\n".join([*lines, *(["", "Not measured:", *missing] if missing else [])]) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print it."""
    parser = argparse.ArgumentParser(prog="python -m refattn_gpu.bench.table", description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    parser.add_argument("--all", action="store_true", help="print every row of the newest results")
    options = parser.parse_args(arguments)
    files = options.files or sorted(RESULTS.glob(NAMES))
    try:
        if options.all:
            print("\n".join(full_table(each) for each in newest(files)) or "No results.", end="")
        else:
            print(readme_table(files), end="")
    except InvalidValue as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
