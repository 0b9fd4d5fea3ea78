"""The table of what the compiler makes of every kernel, as a command. May import: refattn_gpu.ahead_of_time."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from refattn_gpu.ahead_of_time import TARGETS, compiled, configurations


def main() -> int:
    """The table."""
    parser = argparse.ArgumentParser(prog="python -m refattn_gpu.ahead_of_time", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows to a file")
    parser.add_argument("--target", choices=TARGETS, action="append", help="only for this target")
    options = parser.parse_args()
    if os.environ.get("TRITON_INTERPRET") == "1":
        parser.error("TRITON_INTERPRET is 1: expected it unset, as interpreted kernels are not compiled")
    rows, failures = [], 0
    for configuration in configurations():
        for target in options.target or TARGETS:
            try:
                row = compiled(configuration, target)
            except Exception as error:
                failures += 1
                print(f"{configuration.name} {target}: {type(error).__name__}: {error}", file=sys.stderr)
                continue
            rows.append(row)
            numbers = (
                f"{row.registers or '-':>4} registers {row.shared_bytes:>7} shared {row.spilled_bytes or 0:>5} spilled"
            )
            print(f"{row.configuration:<58} {row.target:<7} {row.matrix_instruction:<12} {numbers}", flush=True)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
