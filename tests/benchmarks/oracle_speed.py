"""The float64 rung, radius included, against plain NumPy float64 attention: time ratios in one run, and peak memory.

python -m tests.benchmarks.oracle_speed
python -m tests.benchmarks.oracle_speed --device cuda     heads of 16384 to 65536 tokens, through the oracle, on a GPU
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

from refattn import oracle
from refattn.contract.spec import AttentionSpec, problem_shape
from refattn.oracle import float64


def plain(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Attention as one writes it in NumPy, all scores at once."""
    s = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
    p = np.exp(s - s.max(axis=-1, keepdims=True))
    return (p / p.sum(axis=-1, keepdims=True)) @ v


def rung(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> object:
    """The same with a certified radius, and the log-sum-exp."""
    spec = AttentionSpec()
    return float64.attention(q, k, v, spec, problem_shape(q, k, v, spec))


def inputs(n: int, d: int) -> list[np.ndarray]:
    """One head."""
    generator = np.random.default_rng(n + d)
    return [generator.standard_normal((1, 1, n, d)) for _ in range(3)]


def seconds(function: Callable[..., object], arrays: list[np.ndarray]) -> float:
    """One call."""
    start = time.perf_counter()
    function(*arrays)
    return time.perf_counter() - start


def ratios(n: int, d: int, pairs: int) -> tuple[float, float, float]:
    """Median ratio of `pairs` alternating calls, and both medians in seconds."""
    arrays = inputs(n, d)
    for function in (plain, rung):
        function(*arrays)
    taken = [(seconds(rung, arrays), seconds(plain, arrays)) for _ in range(pairs)]
    return (
        statistics.median(ours / theirs for ours, theirs in taken),
        statistics.median(ours for ours, _ in taken),
        statistics.median(theirs for _, theirs in taken),
    )


def peak_of_a_long_head(n: int, d: int) -> None:
    """Print the peak memory of this process after one head of length n."""
    start = time.perf_counter()
    rung(*inputs(n, d))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"N={n} d={d}: peak memory {peak:.2f} GiB, {time.perf_counter() - start:.1f} s")


def long_heads_on(device: str) -> None:
    """Print the time of long heads on a torch device, without its warm-up, and the peak of a CUDA device's memory."""
    import torch

    print(f"   N    d   causal   the oracle on {device}   peak memory there")
    oracle.attention(*(torch.tensor(array, device=device) for array in inputs(256, 64)))
    for n in (16384, 32768, 65536):
        for causal in (False, True):
            arrays = [torch.tensor(array, device=device) for array in inputs(n, 128)]
            start = time.perf_counter()
            oracle.attention(*arrays, AttentionSpec(causal=causal))
            taken = time.perf_counter() - start
            peak = (
                f"{torch.cuda.max_memory_allocated() / 2**30:.2f} GiB" if device.startswith("cuda") else "not counted"
            )
            print(f"{n:6d} 128   {causal!s:6}   {taken:10.2f} s   {peak}", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=7, help="alternating calls of each")
    parser.add_argument("--long", type=int, nargs=2, metavar=("N", "D"), help="only the peak memory of one head")
    parser.add_argument("--device", help="only long heads on this torch device")
    arguments = parser.parse_args()
    if arguments.device:
        long_heads_on(arguments.device)
        return
    if arguments.long:
        peak_of_a_long_head(*arguments.long)
        return
    print("   N    d   ratio   float64 rung   plain NumPy")
    for n in (2048, 4096):
        for d in (64, 128):
            ratio, ours, theirs = ratios(n, d, arguments.pairs)
            print(f"{n:5d} {d:4d}   {ratio:5.2f}   {ours:10.3f} s   {theirs:9.3f} s", flush=True)
    subprocess.run([sys.executable, "-m", "tests.benchmarks.oracle_speed", "--long", "32768", "64"], check=True)


if __name__ == "__main__":
    main()
