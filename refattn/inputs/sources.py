"""Sources of the numbers of a case: a seeded generator (fast, large) or Hypothesis (small, shrinking to simple).

A regime draws all its numbers from a Source, so that one function makes both kinds of case.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from refattn.numbers.formats import Array

T = TypeVar("T")
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
ShapeLike = tuple[int, ...]


def _simplest_first() -> Array:
    eighths = sorted((Fraction(n, 8) for n in range(1, 33)), key=lambda x: (x.denominator, x))
    return np.array([0.0, *(sign * float(x) for x in eighths for sign in (1, -1))])


_SIMPLE = _simplest_first()
_ROUND = 16


class Source(Protocol):
    """The draws that a regime can make; arrays are float64, int64 or bool."""

    @property
    def continuous(self) -> bool:
        """True when `normal` and `uniform` are as good as continuous, so that roundings have statistics."""

    def integer(self, low: int, high: int) -> int:
        """An integer in [low, high], simplest at low."""

    def choice(self, options: Sequence[T]) -> T:
        """One of the options, simplest first."""

    def boolean(self) -> bool:
        """True or False, simplest False."""

    def normal(self, shape: ShapeLike, scale: float = 1.0) -> Array:
        """Standard normal numbers times scale; from Hypothesis, multiples of 1/8 up to 4 times scale."""

    def small(self, shape: ShapeLike) -> Array:
        """Multiples of 1/8 in [-4, 4], exact in every format of at least 6 bits."""

    def uniform(self, shape: ShapeLike, low: float, high: float) -> Array:
        """Numbers in [low, high), simplest at low."""

    def integers(self, shape: ShapeLike, low: int, high: int) -> Ints:
        """Integers in [low, high], simplest at low."""

    def booleans(self, shape: ShapeLike, probability: float = 0.5) -> Bools:
        """Each True with the given probability, simplest True."""

    def permutation(self, n: int) -> Ints:
        """0 .. n-1 in some order, simplest in rising order."""

    def leave_room(self) -> None:
        """End the case, padding its draws to a round number where that matters."""


class SeededSource:
    """A Source that draws from a NumPy generator."""

    continuous = True

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator

    def integer(self, low: int, high: int) -> int:
        """See Source."""
        return int(self.generator.integers(low, high, endpoint=True))

    def choice(self, options: Sequence[T]) -> T:
        """See Source."""
        return options[self.integer(0, len(options) - 1)]

    def boolean(self) -> bool:
        """See Source."""
        return bool(self.generator.integers(0, 2))

    def normal(self, shape: ShapeLike, scale: float = 1.0) -> Array:
        """See Source."""
        return self.generator.standard_normal(shape) * scale

    def small(self, shape: ShapeLike) -> Array:
        """See Source."""
        return self.generator.integers(-32, 33, shape) / 8.0

    def uniform(self, shape: ShapeLike, low: float, high: float) -> Array:
        """See Source."""
        return low + (high - low) * self.generator.random(shape)

    def integers(self, shape: ShapeLike, low: int, high: int) -> Ints:
        """See Source."""
        return self.generator.integers(low, high, shape, dtype=np.int64, endpoint=True)

    def booleans(self, shape: ShapeLike, probability: float = 0.5) -> Bools:
        """See Source."""
        return self.generator.random(shape) < probability

    def permutation(self, n: int) -> Ints:
        """See Source."""
        return self.generator.permutation(n).astype(np.int64)

    def leave_room(self) -> None:
        """See Source."""


class DrawnSource:
    """A Source that draws from Hypothesis, given the `draw` of a composite strategy.

    An array is one draw of bytes, each of which picks a number from a short list with the simplest first: this is fast,
    and the shrinker, which lowers bytes, leads to zeros.
    """

    continuous = False

    def __init__(self, draw: Callable[[Any], Any]) -> None:
        from hypothesis import strategies

        self._draw = draw
        self._drawn = 0
        self._strategies = strategies

    def integer(self, low: int, high: int) -> int:
        """See Source."""
        return int(self._choose(self._strategies.integers(low, high))) if low < high else low

    def choice(self, options: Sequence[T]) -> T:
        """See Source."""
        return options[self.integer(0, len(options) - 1)]

    def boolean(self) -> bool:
        """See Source."""
        return self.integer(0, 1) == 1

    def normal(self, shape: ShapeLike, scale: float = 1.0) -> Array:
        """See Source."""
        return self.small(shape) * scale

    def small(self, shape: ShapeLike) -> Array:
        """See Source."""
        return _SIMPLE[self._bytes(shape) % len(_SIMPLE)]

    def uniform(self, shape: ShapeLike, low: float, high: float) -> Array:
        """See Source."""
        return low + (high - low) * (self._bytes(shape) / 256.0)

    def integers(self, shape: ShapeLike, low: int, high: int) -> Ints:
        """See Source."""
        span = high - low + 1
        if span <= 256:
            return low + self._bytes(shape) % span
        return low + (256 * self._bytes(shape) + self._bytes(shape)) % span

    def booleans(self, shape: ShapeLike, probability: float = 0.5) -> Bools:
        """See Source."""
        return self._bytes(shape) < 256 * probability

    def permutation(self, n: int) -> Ints:
        """See Source."""
        return np.argsort(self._bytes((n,)), kind="stable").astype(np.int64)

    def leave_room(self) -> None:
        """See Source.

        Hypothesis takes the case with fewer draws for the simpler one, whatever was drawn: so all cases make a round
        number.
        """
        while self._drawn % _ROUND:
            self._choose(self._strategies.booleans())

    def _bytes(self, shape: ShapeLike) -> Ints:
        size = math.prod(shape)
        # A few sizes only, so that most changes of the shape leave the later draws of the shrinker in step.
        padded = max(8, 1 << (size - 1).bit_length()) if size else 0
        drawn = self._choose(self._strategies.binary(min_size=padded, max_size=padded))
        # The shrinker leaves nonzero bytes at the end, where they would keep it from drawing fewer numbers: so reverse.
        return np.frombuffer(drawn, np.uint8)[::-1][:size].astype(np.int64).reshape(shape)

    def _choose(self, strategy: Any) -> Any:
        self._drawn += 1
        return self._draw(strategy)
