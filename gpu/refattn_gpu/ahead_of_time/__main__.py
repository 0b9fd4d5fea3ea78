"""The table of what the compiler makes of every kernel, as a command."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from refattn.errors import InvalidValue
from refattn_gpu.ahead_of_time import TARGETS, Row, by_pair, table
from refattn_gpu.ahead_of_time.parallel import compiled_all


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 1 if something does not compile, or is not as the committed table says."""
    parser = argparse.ArgumentParser(prog="python -m refattn_gpu.ahead_of_time", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows to a file")
    parser.add_argument("--target", choices=TARGETS, action="append", help="only for this target")
    parser.add_argument("--only", metavar="TEXT", default="", help="only configurations whose name holds this")
    parser.add_argument("--table", type=Path, metavar="FILE", default=table.TABLE, help="default: %(default)s")
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--write", action="store_true", help="compile what the table holds, and write it anew")
    chosen.add_argument("--check", action="store_true", help="compile what the table holds, and compare")
    options = parser.parse_args(arguments)
    if os.environ.get("TRITON_INTERPRET") == "1":
        parser.error("TRITON_INTERPRET is 1: expected it unset, as interpreted kernels are not compiled")
    whole = not (options.write or options.check)
    if not whole and (options.target or options.only):
        parser.error("--write and --check are of the whole table: expected neither --target nor --only with them")
    pairs = [
        (name, target)
        for name, target in by_pair()
        if target in (options.target or TARGETS) and options.only in name and (whole or table.in_table(name, target))
    ]
    rows, wrong = [], 0
    for (name, target), outcome in compiled_all(pairs, by_pair):
        if isinstance(outcome, Row):
            rows.append(outcome)
            print(table.line(outcome), flush=True)
        else:
            wrong += 1
            print(f"{name} {target}: {outcome}", file=sys.stderr)
    for sentence in table.slow(rows):
        wrong += 1
        print(sentence, file=sys.stderr)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    if options.check:
        wrong += _compare(rows, options.table)
    if options.write and not wrong:
        options.table.write_text(table.render(rows, _release()))
    return 1 if wrong else 0


def _compare(rows: list[Row], file: Path) -> int:
    """Print how the table differs; gives the number of lines that do."""
    try:
        committed = file.read_text()
        release = table.release_of(committed)
    except (OSError, InvalidValue) as error:
        print(f"{file} cannot be read: {error}", file=sys.stderr)
        return 1
    if release != _release():
        print(f"{file} is of Triton {release} and this is {_release()}: figures are not compared")
    lines = table.differences(rows, _release(), committed)
    for text in lines:
        print(text, file=sys.stderr)
    return len(lines)


def _release() -> str:
    import triton

    version: str = triton.__version__
    return version


if __name__ == "__main__":
    sys.exit(main())
