"""Elements of the rung of 100 bits against Arb at 300 bits: how many lie outside of their radius, by kind of input.

python -m tests.benchmarks.rung_containment [--elements 1000000] [--seed 0]

Exact arithmetic compares them. Exits with 1 if one lies outside.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from refattn.contract.spec import AttentionSpec, problem_shape
from refattn.numbers import formats
from refattn.oracle.enclosure import Enclosure
from refattn.oracle.exact import ball
from refattn.oracle.extended import forward

BITS = 300
ROWS = 32
Tensors = list[Any]


def normal(generator: np.random.Generator, n: int, d: int) -> Tensors:
    """Normal numbers, scores from nearly equal to far apart."""
    size = 2.0 ** generator.uniform(-6, 4)
    return [size * generator.standard_normal((1, 1, ROWS, d)), *generator.standard_normal((2, 1, 1, n, d))]


def of_16_bits(generator: np.random.Generator, n: int, d: int) -> Tensors:
    """Numbers of bf16, which take fewer slices."""
    return [formats.bf16.round(x) for x in normal(generator, n, d)]


def of_all_sizes(generator: np.random.Generator, n: int, d: int) -> Tensors:
    """Columns of operands from 2^-12 to 2^12, and values from 2^-40 to 2^40: slices that are mostly empty."""
    q, k, v = normal(generator, n, d)
    columns = 2.0 ** generator.integers(-12, 12, d)
    return [q * columns, k / columns, v * 2.0 ** generator.integers(-40, 40, v.shape)]


def cancelling_scores(generator: np.random.Generator, n: int, d: int) -> Tensors:
    """Products of 2^40 whose sums are of order 1."""
    q, k, v = normal(generator, n, d)
    half = d // 2
    q[..., half:] = q[..., :half]
    k = np.concatenate([2.0**40 * k[..., :half], -(2.0**40) * k[..., :half] + k[..., half:]], axis=-1)
    return [q, k, v]


def cancelling_values(generator: np.random.Generator, n: int, d: int) -> Tensors:
    """Pairs of equal keys with values of opposite sign but for their last bits."""
    q, k, v = normal(generator, n, d)
    pairs = n // 2
    k[:, :, pairs : 2 * pairs] = k[:, :, :pairs]
    v[:, :, pairs : 2 * pairs] = -v[:, :, :pairs] * (1 + 2.0**-50)
    return [q, k, v]


def nearly_equal_keys(generator: np.random.Generator, n: int, d: int) -> Tensors:
    """Scores that differ in their lower words alone."""
    q, k, v = normal(generator, n, d)
    return [q, k[:, :, :1] + 2.0**-30 * k, v]


def far_apart(generator: np.random.Generator, n: int, d: int) -> Tensors:
    """One key above all others, by margins up to and beyond LOWEST_ARGUMENT, below which weights count as 0."""
    q, k, v = normal(generator, n, d)
    q /= np.linalg.norm(q, axis=-1, keepdims=True)
    k *= 2.0 ** generator.uniform(-3, 1)
    k[:, :, 0] += generator.uniform(0, 900) * np.sqrt(d) * q[:, :, 0]
    return [q, k, v]


KINDS: tuple[Callable[[np.random.Generator, int, int], Tensors], ...] = (
    normal,
    of_16_bits,
    of_all_sizes,
    cancelling_scores,
    cancelling_values,
    nearly_equal_keys,
    far_apart,
)


@dataclass
class Count:
    """Counts for one kind of input; the largest error is a share of its radius."""

    elements: int = 0
    outside: int = 0
    undecided: int = 0
    largest: float = 0.0

    def add(self, enclosure: Enclosure, exact: Any) -> None:
        """Count the elements of an enclosure of Arb's numbers (None where a row is empty)."""
        for index in np.ndindex(enclosure.shape):
            if exact[index] is None or np.isinf(enclosure.rad[index]):
                self.undecided += 1
                continue
            middle, radius = (fraction(part) for part in (exact[index].mid(), exact[index].rad()))
            gap = abs(Fraction(enclosure.mid[index]) + Fraction(enclosure.tail()[index]) - middle)
            allowed = Fraction(enclosure.rad[index])
            self.elements += 1
            self.outside += gap > allowed + radius
            if allowed:
                self.largest = max(self.largest, float(gap / allowed))


def fraction(number: Any) -> Fraction:
    """One of Arb's numbers of radius 0."""
    significand, exponent = (int(part) for part in number.man_exp())
    return significand * Fraction(2) ** exponent


def features(generator: np.random.Generator, n: int) -> AttentionSpec:
    """A causal mask, a window, a bias, a sink: each with its own chance."""
    some = generator.random(4) < (0.5, 0.25, 0.25, 0.25)
    return AttentionSpec(
        causal=bool(some[0]),
        window=(int(generator.integers(1, n)), None) if some[1] else (None, None),
        bias=generator.standard_normal((1, 1, ROWS, n)) if some[2] else None,
        sinks=generator.standard_normal(1) if some[3] else None,
    )


def contained(elements: int, seed: int) -> dict[str, Count]:
    """The counts of each kind, in rounds over all kinds, until `elements` are counted."""
    generator = np.random.default_rng(seed)
    counts = {kind.__name__: Count() for kind in KINDS}
    while sum(count.elements for count in counts.values()) < elements:
        for kind in KINDS:
            judge_one(kind, generator, counts[kind.__name__])
    return counts


def judge_one(kind: Callable[..., Tensors], generator: np.random.Generator, count: Count) -> None:
    """Count the elements of one head."""
    n, d = int(generator.integers(2, 600)), int(generator.choice([16, 64, 128]))
    q, k, v = kind(generator, n, d)
    spec = features(generator, n)
    shape = problem_shape(q, k, v, spec)
    obstacle = forward.obstacle(q, k, v, spec)
    if obstacle:
        raise SystemExit(f"{kind.__name__}: {obstacle}")
    truth = forward.attention(q, k, v, spec, shape)
    exact = ball.attention_balls(q, k, v, spec, shape, bits=BITS, wanted=np.ones(q.shape[:3], np.bool_))
    for enclosure, balls in zip((truth.out, truth.lse), exact, strict=True):
        count.add(enclosure, balls)


def main() -> int:
    """Print a line for each kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--elements", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    counts = contained(arguments.elements, arguments.seed)
    for name, count in counts.items():
        print(
            f"{name.replace('_', ' '):18} {count.elements:8d} elements, {count.outside} outside, error at most "
            f"{count.largest:.2f} of the radius; {count.undecided} in empty rows, or left to Arb"
        )
    elements, outside = (sum(getattr(count, name) for count in counts.values()) for name in ("elements", "outside"))
    print(f"{elements} elements, {outside} outside")
    return 1 if outside else 0


if __name__ == "__main__":
    sys.exit(main())
