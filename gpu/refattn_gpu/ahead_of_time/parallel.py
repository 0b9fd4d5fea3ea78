"""Compile many configurations at once, in processes of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context

from refattn_gpu.ahead_of_time.compiling import Row, compiled
from refattn_gpu.ahead_of_time.configuration import Configuration

Pair = tuple[str, str]


def compiled_all(
    pairs: Sequence[Pair], named: Callable[[], dict[Pair, Configuration]]
) -> Iterator[tuple[Pair, Row | str]]:
    """Each (name of a configuration, target) with its row, or with what the compiler complained of, in order.

    `named` gives the configurations by pair: kernels themselves cannot be sent to another process.
    """
    jobs = max(1, min(os.cpu_count() or 1, len(pairs)))
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        outcomes = pool.map(_attempt, ((named, *pair) for pair in pairs))
        yield from zip(pairs, outcomes, strict=True)


def _attempt(job: tuple[Callable[[], dict[Pair, Configuration]], str, str]) -> Row | str:
    named, name, target = job
    try:
        return compiled(_once(named)[name, target], target)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


@cache
def _once(named: Callable[[], dict[Pair, Configuration]]) -> dict[Pair, Configuration]:
    return named()
