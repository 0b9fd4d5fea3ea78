"""Rows, rivals and a clock for the tests of the benchmark."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from tests.support.extras import needed, skip_without

torch = needed("torch")
skip_without("triton")

from refattn_gpu.bench import results, run
from refattn_gpu.bench.row import OURS, Contender, Problem, Rival, Row, Unavailable
from refattn_gpu.bench.timing import Timing

ROOT = Path(__file__).parents[3]
HEADER = {
    "interpreted": False,
    "date": "2026-01-02T03:04:05+00:00",
    "command": [],
    "machine": {"device": "a GPU"},
    "versions": {"torch": "2", "triton": "3"},
    "sources": {"kernels": "abc", "commit": None},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fake(Row):
    """A row that solves nothing; `share` of its bound, or what `judge` raises."""

    number: int = 0
    outcome: Any = 0.5
    rivals: tuple[Rival, ...] = ()

    group: ClassVar[str] = "fake"
    target: ClassVar[str] = "refattn_gpu:attention"
    unit: ClassVar[str] = "TFLOP/s"
    scale: ClassVar[float] = 1e12

    @property
    def name(self) -> str:
        return f"fake {self.number}"

    @property
    def sizes(self) -> dict[str, Any]:
        return {"number": self.number}

    def shrunk(self) -> Fake:
        return self

    def problem(self, device: str) -> Problem:
        def judge() -> float:
            if isinstance(self.outcome, Exception):
                raise self.outcome
            return float(self.outcome)

        return Problem(Contender(OURS, lambda: device, 3e12), self.rivals, judge)


def rival(name: str = "SDPA flash", reason: str | None = None, shared: str | None = None) -> Rival:
    """One that takes two seconds, or refuses."""

    def start() -> Contender:
        if reason is not None:
            raise Unavailable(reason)
        return Contender(name, lambda: None, 3e12)

    return Rival(name, start, shared)


def begun(path: Path, deadline: float = math.inf, report: Callable[[str], None] = lambda line: None) -> run.Run:
    """A run into a file."""
    return run.Run(results.Results.opened(path, HEADER), "cpu", False, deadline, report)


def stopped_clock(asked: list[str]) -> Callable[[Contender], Timing]:
    """A clock that finds one second for us and two for others, and notes the names of whom it has timed."""

    def timed(contender: Contender) -> Timing:
        asked.append(contender.name)
        contender.call()
        seconds = 1e3 if contender.name == OURS else 2e3
        return Timing(seconds, seconds, seconds, 10)

    return timed
