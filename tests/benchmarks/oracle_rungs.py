"""Every rung of the oracle and its plain alternatives: time, certified bits and memory, by length and format.

python -m tests.benchmarks.oracle_rungs [--lengths 256 1024 4096] [--columns 64 128] [--formats bf16 fp32 fp64]
python -m tests.benchmarks.oracle_rungs --long 32768 64      one head by slices: time, bits and peak memory
python -m tests.benchmarks.oracle_rungs --rounding           Ziv's strategy on a whole array of 1024 x 64

mpmath and Arb are timed on some rows and multiplied up; the others on the whole head, in turns.
"""

from __future__ import annotations

import argparse
import math
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from refattn import oracle
from refattn.contract.spec import AttentionSpec, problem_shape
from refattn.numbers import formats
from refattn.oracle import float64
from refattn.oracle.enclosure import Enclosure
from refattn.oracle.exact import ball, definition
from refattn.oracle.extended import forward

PLAIN = AttentionSpec()
ARB_BITS = 128
MPMATH_BITS = 106


def inputs(n: int, d: int, format: Any) -> list[np.ndarray]:
    """One head of normal numbers that a format holds."""
    generator = np.random.default_rng(n + d)
    return [format.round(generator.standard_normal((1, 1, n, d))) for _ in range(3)]


def plain(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Attention as one writes it in NumPy, all scores at once."""
    s = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
    p = np.exp(s - s.max(axis=-1, keepdims=True))
    return (p / p.sum(axis=-1, keepdims=True)) @ v


def in_torch(q: Any, k: Any, v: Any) -> Any:
    """The same by torch, in float64."""
    import torch

    return torch.nn.functional.scaled_dot_product_attention(*(torch.from_numpy(x) for x in (q, k, v)))


def rung_1(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> Enclosure:
    """float64 with a radius."""
    return float64.attention(q, k, v, PLAIN, problem_shape(q, k, v, PLAIN)).out


def rung_2(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> Enclosure:
    """Slices."""
    return forward.attention(q, k, v, PLAIN, problem_shape(q, k, v, PLAIN)).out


def seconds(function: Callable[..., Any], *arguments: Any) -> float:
    """One call."""
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def of_rows(rung: Callable[..., Any], arrays: list[np.ndarray], rows: int) -> float:
    """Seconds of a whole head, from those of some of its rows."""
    q, k, v = arrays
    some = q[:, :, :rows]
    return seconds(rung, some, k, v) * q.shape[2] / rows


def by_arb(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> Any:
    """Arb at about the bits of rung 2."""
    return ball.attention(q, k, v, PLAIN, problem_shape(q, k, v, PLAIN), bits=ARB_BITS)


def by_mpmath(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> Any:
    """The definition at the bits of rung 2."""
    return definition.attention(q, k, v, PLAIN, bits=MPMATH_BITS)


def certified_bits(enclosure: Enclosure, q: np.ndarray, k: np.ndarray, v: np.ndarray) -> float:
    """The fewest bits of an element, relative to the weighted mean of |v|."""
    return -math.log2(float((enclosure.rad / plain(q, k, np.abs(v))).max()))


def row(n: int, d: int, format: Any, turns: int) -> dict[str, Any]:
    """One line of the table."""
    arrays = inputs(n, d, format)
    whole = {"numpy": plain, "torch": in_torch, "rung 1": rung_1, "rung 2": rung_2}
    for function in whole.values():
        function(*arrays)
    taken: dict[str, list[float]] = {name: [] for name in whole}
    for _ in range(turns):
        for name, function in whole.items():
            taken[name].append(seconds(function, *arrays))
    ratios = [ours / theirs for ours, theirs in zip(taken["rung 2"], taken["numpy"], strict=True)]
    figures: dict[str, Any] = {name: statistics.median(times) for name, times in taken.items()}
    figures["ratio"] = statistics.median(ratios)
    figures["arb"] = of_rows(by_arb, arrays, max(1, 4096 // n))
    figures["mpmath"] = of_rows(by_mpmath, arrays, 1)
    figures["bits"] = {name: certified_bits(rung(*arrays), *arrays) for name, rung in (("1", rung_1), ("2", rung_2))}
    return figures


def table(lengths: list[int], columns: list[int], names: list[str], turns: int) -> None:
    """Print it, and the slope of time against length."""
    print(
        "format    d     N | seconds: numpy   torch  rung 1  rung 2     Arb  mpmath | rung 2 over numpy, "
        "Arb and mpmath over rung 2 | bits of rungs 1, 2"
    )
    for name in names:
        for d in columns:
            points = []
            for n in lengths:
                one = row(n, d, formats.get(name), turns)
                points.append((math.log2(n), math.log2(one["rung 2"])))
                cells = "".join(f" {one[key]:7.3g}" for key in ("numpy", "torch", "rung 1", "rung 2", "arb", "mpmath"))
                print(
                    f"{name:6} {d:4d} {n:5d} |         {cells} | {one['ratio']:14.1f} {one['arb'] / one['rung 2']:6.0f}"
                    f" {one['mpmath'] / one['rung 2']:9.0f} | {one['bits']['1']:6.1f} {one['bits']['2']:5.1f}",
                    flush=True,
                )
            if len(points) > 1:
                slope = np.polyfit(*zip(*points, strict=True), 1)[0]
                print(f"{name:6} {d:4d}: time of rung 2 grows as N^{slope:.2f}")


def long_head(n: int, d: int) -> None:
    """Print time, bits and the peak memory of this process."""
    arrays = inputs(n, d, formats.fp64)
    start = time.perf_counter()
    enclosure = rung_2(*arrays)
    taken = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    bits = -math.log2(float(enclosure.rad.max()))
    print(f"N={n} d={d}: {taken:.0f} s, radius at most 2^-{bits:.1f}, peak memory {peak:.2f} GiB")


def rounding() -> None:
    """Print how long correct rounding of a whole array takes, and which rung decided."""
    arrays = inputs(1024, 64, formats.fp64)
    for name in ("bf16", "fp32", "fp64"):
        oracle.correctly_rounded(*arrays, PLAIN, name)
        pairs = [(seconds(oracle.correctly_rounded, *arrays, PLAIN, name), seconds(rung_2, *arrays)) for _ in range(5)]
        ratio = statistics.median(ours / theirs for ours, theirs in pairs)
        truth = oracle.correctly_rounded(*arrays, PLAIN, name)
        print(f"{name}: {ratio:.2f} times rung 2's own time; decided by {truth.counts}", flush=True)


def main() -> None:
    """Print the requested table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[256, 1024, 4096])
    parser.add_argument("--columns", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--formats", nargs="+", default=["bf16", "fp32", "fp64"])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--long", type=int, nargs=2, metavar=("N", "D"))
    parser.add_argument("--rounding", action="store_true")
    arguments = parser.parse_args()
    if arguments.long:
        long_head(*arguments.long)
    elif arguments.rounding:
        rounding()
    else:
        table(arguments.lengths, arguments.columns, arguments.formats, arguments.turns)


if __name__ == "__main__":
    main()
