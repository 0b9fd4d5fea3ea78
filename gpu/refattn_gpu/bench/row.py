"""What is timed: a problem, who solves it, and how much work it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar

OURS = "refattn_gpu"
# How soon a row is measured: those that an aim is about, those that complete its range, and the others.
FIRST, SECOND, THIRD = range(3)


class Unavailable(Exception):
    """This contender cannot solve the problem here; the message says why."""


@dataclass(frozen=True)
class Contender:
    """A call that solves a problem, in a context that is entered before the clock starts.

    work     of one call, in the row's units
    """

    name: str
    call: Callable[[], Any]
    work: float
    context: Callable[[], AbstractContextManager[Any]] = nullcontext


@dataclass(frozen=True)
class Rival:
    """A contender of somebody else's: `start` makes it, or raises Unavailable.

    Rivals of one `shared` key solve the same problem on the same inputs, and are timed once.
    """

    name: str
    start: Callable[[], Contender]
    shared: str | None = None


@dataclass(frozen=True)
class Problem:
    """A row on a device: our contender, the others, and a judge of the very call that is timed.

    `judge` gives the largest error as a share of its certified bound; it raises AssertionError where one is above 1.
    """

    ours: Contender
    rivals: tuple[Rival, ...]
    judge: Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class Row(ABC):
    """One line of the results; subclasses are frozen dataclasses of the sizes of a problem.

    group      which family of figures it belongs to
    target     the kernel that must have passed the suite, package.module:object
    unit       of the rate; work of a call is in `scale` of these a second
    """

    tier: int = field(default=THIRD, compare=False)

    group: ClassVar[str]
    target: ClassVar[str]
    unit: ClassVar[str]
    scale: ClassVar[float]

    @property
    @abstractmethod
    def name(self) -> str:
        """What the row is called in results and on the command line; no two rows share one."""

    @property
    @abstractmethod
    def sizes(self) -> dict[str, Any]:
        """The sizes of the problem."""

    @abstractmethod
    def shrunk(self) -> Row:
        """The same with so few tokens that an interpreter runs it."""

    @abstractmethod
    def problem(self, device: str) -> Problem:
        """The problem on a device, its inputs drawn. Raises Unavailable where the kernel is not there."""
