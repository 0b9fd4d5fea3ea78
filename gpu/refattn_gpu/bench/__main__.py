"""The command line.

Exit codes: 0 all rows that were begun were measured; 1 a kernel or a timed call is wrong; 2 bad usage, or no GPU.
"""

from __future__ import annotations

import argparse
import datetime
import math
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from refattn.errors import InvalidValue, MissingExtra
from refattn_gpu import bench

DONE, WRONG, UNUSABLE = range(3)


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = argparse.ArgumentParser(
        prog="python -m refattn_gpu.bench",
        description=(bench.__doc__ or "").split("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    options.add_argument("--checks", choices=("quick", "ci", "none"), default="ci", help="profile of refattn's suite")
    options.add_argument("--only", metavar="PATTERN", help="only rows whose name matches, such as 'forward d=64*'")
    options.add_argument("--quick", action="store_true", help="only the rows that are measured first")
    options.add_argument(
        "--time-limit", type=float, default=math.inf, metavar="SECONDS", help="begin no row later; checks take half"
    )
    options.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="results, or the folder of <device>-<date>.json; gpu/results of the source tree if not given",
    )
    options.add_argument("--commit", help="of the sources, where this is no checkout")
    options.add_argument(
        "--profile", type=Path, metavar="FILE", help="also write a torch.profiler trace of the rows measured first"
    )
    options.add_argument("--list", action="store_true", help="print the rows' names and measure none")
    options.add_argument(
        "--interpret",
        action="store_true",
        help="run tiny problems in the interpreter: all but the clock, without a GPU",
    )
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it on the given arguments, by default the process's."""
    options = parser().parse_args(arguments)
    given = list(sys.argv[1:] if arguments is None else arguments)
    # Triton 3.10 stops contracting a * b + c of its own accord; the arithmetic that the kernels declare allows it.
    os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")
    with ExitStack() as stack:
        try:
            if options.interpret:
                from refattn.adapters.interpreting import interpreted

                stack.enter_context(interpreted())
            return benchmark(options, given, stack)
        except ModuleNotFoundError as error:
            print(f"{error.name} is not installed: expected `pip install refattn[triton]`", file=sys.stderr)
        except (InvalidValue, MissingExtra) as error:
            print(error, file=sys.stderr)
    return UNUSABLE


def benchmark(options: argparse.Namespace, given: list[str], stack: ExitStack) -> int:
    """Check, measure, and print the tables."""
    import torch

    from refattn_gpu.bench import checking, machine, run, table, trace
    from refattn_gpu.bench.results import MEASURED, RUN, Results, usual
    from refattn_gpu.bench.row import FIRST
    from refattn_gpu.launching.placement import compiled

    rows = run.selected(options.only, options.quick)
    if not rows:
        raise InvalidValue(f"--only is {options.only!r}, which matches no row: --list prints their names")
    if options.list:
        print("\n".join(row.name for row in rows))
        return DONE
    if not options.interpret and not (compiled() and torch.cuda.is_available()):
        raise InvalidValue("this machine has no GPU that torch and Triton can use: expected one, or --interpret")
    device = "cpu" if options.interpret else "cuda"
    today = datetime.datetime.now(datetime.timezone.utc)
    header = {
        "interpreted": options.interpret,
        "date": today.isoformat(timespec="seconds"),
        "command": given,
        "machine": machine.description(device),
        "versions": machine.versions(),
        "sources": machine.sources(options.commit),
    }
    output = options.output
    if output is None and options.interpret:
        output = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "interpreted.json"
    folder = table.RESULTS if output is None else output
    results = usual(folder, header) if output is None or output.is_dir() else Results.opened(output, header)

    def report(text: str) -> None:
        print(text, flush=True)

    bench_run = run.Run(results, device, options.interpret, time.monotonic() + options.time_limit, report)
    if options.interpret:
        report(f"{len(rows)} rows; of these, made small:")
        rows = run.shrunk(rows)
    if options.checks != "none":
        bench_run.check(options.checks, rows)
    entries = list(bench_run.measure(rows))
    if options.profile:
        first = rows[:1] if options.interpret else [row for row in rows if row.tier == FIRST] or rows
        trace.write_trace(options.profile, first, device)
        report(f"trace: {options.profile}")
    if not options.interpret:
        results.contents["after"] = machine.readings()
        results.save()
        report(f"\n{table.readme_table([results.path])}\nresults: {results.path}")
    wrong = any(each["verdict"] == checking.FAILS for each in results.checks)
    unfinished = (MEASURED, RUN, run.OUT_OF_TIME)
    return WRONG if wrong or any(entry["status"] not in unfinished for entry in entries) else DONE


if __name__ == "__main__":
    sys.exit(main())
