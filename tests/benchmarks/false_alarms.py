"""Runs of the quick profile on honest kernels with many seeds: every alarm is a false one.

python -m tests.benchmarks.false_alarms --seeds 20 [--torch]
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import refattn
from refattn.models import tiled_attention

XFAILS = str(Path(__file__).parents[1] / "xfails" / "torch-cpu-sdpa.txt")


def main() -> None:
    """Print one line a run, then the count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument(
        "--torch", action="store_true", help="torch's scaled_dot_product_attention, not the tiled model"
    )
    arguments = parser.parse_args()
    dtypes = ("bf16", "fp16", "fp32")
    alarms, seconds = 0, []
    for seed in range(arguments.seeds):
        if arguments.torch:
            import torch

            kernel = torch.nn.functional.scaled_dot_product_attention
            report = refattn.check(kernel, "sdpa", dtypes, seed=seed, xfails=XFAILS)
        else:
            report = refattn.check(tiled_attention, "native", dtypes, seed=seed)
        seconds.append(report.seconds)
        failing = [finding for finding in report.findings if finding.fails]
        alarms += bool(failing)
        print(f"seed {seed:2d}: {'conforms' if report.conforms else 'ALARM'}, {report.seconds:.0f} s", flush=True)
        for finding in failing:
            print(f"    {finding.property} {finding.dtype}: {finding.message}", flush=True)
    print(f"{alarms} false alarms in {arguments.seeds} runs; median {statistics.median(seconds):.0f} s a run")


if __name__ == "__main__":
    main()
