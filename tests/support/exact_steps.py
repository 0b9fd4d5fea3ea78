"""Operations of exact Fractions that err as a stage may: as a format rounds, or as badly as the theorems allow."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from random import Random
from typing import Any

from mpmath import mp, mpf

from refattn.bounds.stages import underflow_unit
from refattn.contract.arithmetic import Stage
from refattn.numbers import formats

# Cases of each search: a few thousand at once, 10^5 when asked.
CASES = int(os.environ.get("REFATTN_THEOREM_CASES", "2000"))
BITS = 300


def to_fraction(x: Any) -> Fraction:
    """A finite mpf, exactly."""
    sign, significand, exponent, _ = mpf(x)._mpf_
    return (-1) ** sign * Fraction(int(significand)) * Fraction(2) ** exponent


def transcendental(function: Callable[..., Any], *x: Fraction) -> Fraction:
    """function(x) to BITS bits."""
    with mp.workprec(BITS):
        return to_fraction(function(*(mpf(each.numerator) / each.denominator for each in x)))


def round_to(x: Fraction, stage: Stage, flush_to_zero: bool) -> Fraction:
    """x rounded to the stage, which has no largest number."""
    if x == 0:
        return x
    exponent = abs(x.numerator).bit_length() - x.denominator.bit_length()
    exponent -= abs(x) < Fraction(2) ** exponent
    spacing = Fraction(2) ** (max(exponent, stage.format.emin) - stage.format.precision + 1)
    steps = round(x / spacing) if stage.rounding == "nearest" else int(x / spacing)
    result = steps * spacing
    return Fraction(0) if flush_to_zero and abs(result) < Fraction(2) ** stage.format.emin else result


@dataclass(frozen=True)
class Step:
    """One operation: `step(x, way)` is off by at most unit |x| + lost; upwards for way = 1, downwards for -1, unless a
    format says where.
    """

    unit: Fraction
    lost: Fraction
    stage: Stage | None = None
    flush_to_zero: bool = False

    def __call__(self, x: Fraction, way: int = 1) -> Fraction:
        if self.stage is not None:
            return round_to(x, self.stage, self.flush_to_zero)
        return x + way * (self.unit * abs(x) + self.lost)

    def factor(self, x: Fraction, way: int = 1) -> Fraction:
        """The same, but off by a factor between e^-unit and e^unit."""
        if self.stage is not None or (x > 0) == (way > 0):
            return self(x, way)
        return x / (1 + self.unit) + way * self.lost


NARROW = ("e4m3", "e5m2", "bf16", "fp16")


def format_step(rng: Random, names: tuple[str, ...] = NARROW) -> Step:
    """A format's own rounding."""
    stage = Stage(formats.get(rng.choice(names)), rng.choice(("nearest", "truncate")))
    flush = rng.random() < 0.3
    return Step(Fraction(stage.unit), Fraction(underflow_unit(stage, flush)), stage, flush)


def worst_step(rng: Random, unit: Fraction | None = None) -> Step:
    """The worst rounding."""
    unit = Fraction(1, rng.choice((2**11, 2**8, 101, 1009, 30, 2**24))) if unit is None else unit
    return Step(unit, Fraction(rng.choice((0, 0, 1, 3)), rng.choice((2**14, 1000, 2**30))))


def number(rng: Random, bits: int = 8, low: int = -6, high: int = 4, signed: bool = True) -> Fraction:
    """A number of few bits, in one of a few binades."""
    size = Fraction(rng.randrange(2 ** (bits - 1), 2**bits)) * Fraction(2) ** (rng.randint(low, high) - bits)
    return rng.choice((-1, 1)) * size if signed else size


def sign(x: Fraction) -> int:
    """1, or -1 of a negative number."""
    return -1 if x < 0 else 1
