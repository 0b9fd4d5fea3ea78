"""The largest errors of the exponentials behind the oracle's rungs, by Arb, where such functions are at their worst.

python -m tests.benchmarks.exponential_search [--points 1000000] [--torch]

Arguments: next to every multiple of ln 2 / 512, where the argument reduction passes to the next one, and halfway
between two; of every size; and as many more at random. The float64 rung states 4 ulps of 2^-52 for a library's
function, or twice what it sees of it at first use; the rung of 100 bits states EXPONENTIAL_ERROR for its own, of
arguments of three words. Exits with 1 if one errs by more.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from typing import Any

import flint
import numpy as np

from refattn.oracle.extended import loops
from refattn.oracle.extended.words import EXPONENTIAL_ERROR
from refattn.oracle.float64 import platform

BITS = 240
STEP = math.log(2.0) / 512
# Below it the second word of a weight underflows, and LOWEST_ARGUMENT is not far.
LOWEST = -640.0
NEIGHBOURS = 2


def structured() -> np.ndarray:
    """Arguments at the edges and in the middle of every step, with neighbours, and of every size."""
    places = np.arange(0.5, -LOWEST / STEP, 0.5) * -STEP
    beside = [places]
    for direction in (-np.inf, 0.0):
        neighbours = places
        for _ in range(NEIGHBOURS):
            neighbours = np.nextafter(neighbours, direction)
            beside.append(neighbours)
    sizes = -np.ldexp(np.linspace(1.0, 2.0, 64, endpoint=False)[:, None], np.arange(-1000, 9)).ravel()
    return np.concatenate([*beside, sizes])


def arguments(points: int) -> np.ndarray:
    """Structured arguments, thinned evenly if there are too many, and as many random ones: half uniform, half
    log-uniform.
    """
    generator = np.random.default_rng(0)
    chosen = structured()
    chosen = chosen[:: max(1, len(chosen) // (points // 2))]
    more = points - len(chosen)
    even = generator.uniform(LOWEST, 0.0, more // 2)
    by_size = -np.exp2(generator.uniform(-60.0, math.log2(-LOWEST), more - more // 2))
    candidates = np.concatenate([chosen, even, by_size])
    return np.unique(candidates[candidates >= LOWEST])


def by_library(function: Callable[[np.ndarray], Any], x: np.ndarray) -> float:
    """The largest relative error of a function of float64."""
    values = np.asarray(function(x))
    return max(
        error(value, 0.0, flint.arb(argument)) for argument, value in zip(x.tolist(), values.tolist(), strict=True)
    )


def by_words(x: np.ndarray) -> float:
    """The largest relative error of rung 2's exponential, for arguments of three words."""
    generator = np.random.default_rng(1)
    middle = x * generator.uniform(-(2.0**-53), 2.0**-53, x.shape)
    low = middle * generator.uniform(-(2.0**-53), 2.0**-53, x.shape)
    one, two = np.empty((1, len(x))), np.empty((1, len(x)))
    loops.weight_words(x[None], middle[None], low[None], np.zeros(1), one, two)
    rows = zip(x.tolist(), middle.tolist(), low.tolist(), one[0].tolist(), two[0].tolist(), strict=True)
    return max(error(a, b, flint.arb(first) + second + third) for first, second, third, a, b in rows)


def error(value: float, second: float, argument: Any) -> float:
    """|(value + second) / exp(argument) - 1|, rounded up."""
    return float(abs((flint.arb(value) + second) / argument.exp() - 1).upper())


def main() -> int:
    """Print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--torch", action="store_true")
    options = parser.parse_args()
    x = arguments(options.points)
    failed = False
    libraries: dict[str, Any] = {"numpy": np}
    if options.torch:
        import torch

        libraries["torch"] = torch
    with flint.ctx.workprec(BITS):
        for name, library in libraries.items():
            given = np.asarray if library is np else library.from_numpy
            worst = by_library(lambda x, library=library, given=given: library.exp(given(x)), x) / platform.ULP
            stated = platform.function_error(given(x[:1])) / platform.ULP
            failed |= worst > stated
            print(f"{name}: {worst:.3f} ulps of 2^-52 at most of {len(x)} points; stated {stated:g}")
        own = by_words(x)
    failed |= own > EXPONENTIAL_ERROR
    print(f"two words: {own * 2.0**106:.2f} 2^-106 of {len(x)} points; stated {EXPONENTIAL_ERROR * 2.0**106:g}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
