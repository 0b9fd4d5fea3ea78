"""How long a call takes on a GPU: the median of many, each with a cold cache, by the device's own events."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch

from refattn_gpu.bench.row import Contender

# Of measuring one call, in milliseconds; slow ones are repeated so often at least.
WARM_UP, REPEAT = 25.0, 100.0
LEAST_REPEATS = 10
LONGEST = 1500.0


@dataclass(frozen=True)
class Timing:
    """Milliseconds of a call: the median, the quantiles 0.2 and 0.8, and of how many."""

    median: float
    low: float
    high: float
    samples: int


def timed(contender: Contender) -> Timing:
    """By triton.testing.do_bench, which overwrites the cache before each call."""
    from triton.testing import do_bench

    with contender.context():
        once = milliseconds_once(contender)
        repeat = min(max(REPEAT, LEAST_REPEATS * once), max(REPEAT, LONGEST))
        samples = do_bench(contender.call, warmup=WARM_UP, rep=repeat, return_mode="all")
    return summary(samples)


def milliseconds_once(contender: Contender) -> float:
    """Of the second call: the first one may compile."""
    contender.call()
    torch.cuda.synchronize()
    start = time.perf_counter()
    contender.call()
    torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - start)


def summary(samples: list[float]) -> Timing:
    """Of at least one sample."""
    fifths = statistics.quantiles(samples, n=5, method="inclusive") if len(samples) > 1 else samples * 4
    return Timing(statistics.median(samples), fifths[0], fifths[3], len(samples))


def run_once(contender: Contender) -> None:
    """What stands for timing where there is nothing to time."""
    with contender.context():
        contender.call()
