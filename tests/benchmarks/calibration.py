"""How honest kernels use their budgets: rms z on generic inputs, the largest share of the certified bound by regime.

python -m tests.benchmarks.calibration            the NumPy models
python -m tests.benchmarks.calibration --torch    torch's scaled_dot_product_attention as well
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from refattn.adapters.target import Target
from refattn.models import TiledAttention
from refattn.numbers import formats
from refattn.suite.context import Context
from refattn.suite.drawing import seeded_cases
from refattn.suite.judging import judge_values
from refattn.suite.patterns import Pattern
from refattn.suite.profile import PROFILES
from refattn.suite.samples import sample

FORMATS = ("bf16", "fp16", "fp32")
LENGTHS = (64, 256, 1024, 4096)
SPREADS = (0.1, 0.3, 1.0, 4.0, 16.0)


def kernels(with_torch: bool) -> Iterator[tuple[str, Callable[..., Any], str]]:
    """Name, kernel and convention."""
    yield "tiled", TiledAttention(), "native"
    yield "tiled, exp2", TiledAttention(exp="exp2"), "native"
    yield "4 splits", TiledAttention(splits=4), "native"
    if with_torch:
        import torch

        yield "torch sdpa", torch.nn.functional.scaled_dot_product_attention, "sdpa"


def context_of(kernel: Callable[..., Any], call: str, format: str) -> Context:
    """The kernel in one format, under the ci profile."""
    target = Target(kernel, call)
    return Context(target, formats.get(format), PROFILES["ci"], 0, alignment=target.adapter.alignment)


def z_of(context: Context, name: str, quantity: str) -> tuple[float, float, float]:
    """Smallest and largest rms z, and the largest |z|, over lengths and spreads."""
    scores = []
    for length in LENGTHS:
        for spread in SPREADS:
            generator = context.generator(f"{name} {length} {spread}")
            case = Pattern(spread, 0, length).case(generator, context.format, None)
            evidence = sample(context, case, quantity).evidence
            scores.append((evidence.rms_z or 0.0, evidence.max_z or 0.0))
    return min(z for z, _ in scores), max(z for z, _ in scores), max(largest for _, largest in scores)


def shares_of(context: Context) -> dict[str, float]:
    """The largest share of the certified bound in each regime."""
    shares: dict[str, float] = {}
    for case in seeded_cases()(context, "calibration"):
        seen = judge_values(context, case)
        shares[case.regime] = max(shares.get(case.regime, 0.0), np.inf if seen.share is None else seen.share)
    return shares


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torch", action="store_true", help="torch's scaled_dot_product_attention as well")
    arguments = parser.parse_args()
    print(f"rms z of generic inputs, lengths {LENGTHS[0]}..{LENGTHS[-1]}, logits x{SPREADS[0]}..x{SPREADS[-1]:g}")
    contexts = [
        (name, format, context_of(kernel, call, format))
        for name, kernel, call in kernels(arguments.torch)
        for format in FORMATS
    ]
    for name, format, context in contexts:
        low, high, largest = z_of(context, name, "out")
        print(f"  {name:12s} {format}   rms z {low:.2f} .. {high:.2f}   max |z| {largest:.1f}", flush=True)
    print("largest share of the certified bound, by regime (sound: never above 1)")
    columns = [(name, format, shares_of(context)) for name, format, context in contexts]
    print("  " + " " * 28 + "  ".join(f"{name} {format}" for name, format, _ in columns))
    for regime in dict.fromkeys(regime for _, _, shares in columns for regime in shares):
        cells = (
            f"{shares.get(regime, float('nan')):{len(name) + len(format) + 1}.3f}" for name, format, shares in columns
        )
        print(f"  {regime:28s}" + "  ".join(cells))
    worst = max(share for _, _, shares in columns for share in shares.values())
    print(f"largest of all: {worst:.3f}")


if __name__ == "__main__":
    main()
