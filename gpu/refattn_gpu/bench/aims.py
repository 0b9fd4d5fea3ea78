"""What the kernels are to reach on an H100 or H200, and how far they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from refattn_gpu.bench.results import MEASURED

Entry = dict[str, Any]


@dataclass(frozen=True)
class Aim:
    """Our rate over a rival's is to be at least `least` on every row that `about` selects."""

    figure: str
    rival: str
    least: float
    about: Callable[[str, Entry], bool]


@dataclass(frozen=True)
class State:
    """The smallest and the largest ratio, None where no row is measured; how many rows of how many are."""

    aim: Aim
    lowest: float | None
    highest: float | None
    measured: int
    wanted: int

    @property
    def verdict(self) -> str:
        """One word, or two."""
        if self.lowest is None:
            return "unmeasured"
        if self.lowest < self.aim.least:
            return "missed"
        return "met" if self.measured == self.wanted else "met so far"


def _of(group: str, **sizes: Any) -> Callable[[str, Entry], bool]:
    return lambda row_group, has: row_group == group and all(has.get(name) == value for name, value in sizes.items())


def _short(group: str, has: Entry) -> bool:
    from refattn_gpu.bench.sparse import SHORT

    return group == "sparse" and has["tokens"] < SHORT


DENSE = "causal and not, d = 64 and 128, N = 512 .. 16384"
AIMS = (
    Aim(f"attention forward, {DENSE}: times the rate of SDPA flash", "SDPA flash", 1.3, _of("forward")),
    Aim("the same: times the rate of SDPA cuDNN", "SDPA cuDNN", 0.9, _of("forward")),
    Aim("attention backward, likewise: times the rate of SDPA flash", "SDPA flash", 1.0, _of("backward")),
    Aim(
        "sparse, 80 % of queries and keys dropped, N = 32768, forward and backward: times as fast as SDPA flash",
        "SDPA flash",
        12.0,
        _of("sparse", dropped=80, tokens=32768),
    ),
    Aim("the same, 50 % dropped", "SDPA flash", 2.5, _of("sparse", dropped=50, tokens=32768)),
    Aim("the same, 16 hash buckets", "SDPA flash", 2.7, _of("sparse", buckets=16, tokens=32768)),
    Aim("sparse, all kinds, N = 512 .. 4096", "SDPA flash", 1.0, _short),
    Aim("decoding, contiguous and paged: share of the bandwidth of a copy", "copy", 0.85, _of("decode")),
)


def states(wanted: list[tuple[str, str, Entry]], entries: dict[str, Entry]) -> list[State]:
    """How far each aim is, of (name, group, sizes) of all rows and the entries of those that there are, by name."""
    result = []
    for aim in AIMS:
        names = [name for name, group, sizes in wanted if aim.about(group, sizes)]
        ratios = [
            entries[name]["ratios"][aim.rival]
            for name in names
            if name in entries and entries[name]["status"] == MEASURED and aim.rival in entries[name]["ratios"]
        ]
        lowest, highest = (min(ratios), max(ratios)) if ratios else (None, None)
        result.append(State(aim, lowest, highest, len(ratios), len(names)))
    return result
