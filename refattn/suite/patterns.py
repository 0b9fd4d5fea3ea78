"""Generic inputs, continuous and independent, for statistics: patterns that make each kind of narrow rounding show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from refattn.contract.spec import AttentionSpec, SoftmaxSpec
from refattn.inputs.cases import AttentionCase, SoftmaxCase
from refattn.numbers.formats import Format

Draw = Callable[[np.random.Generator], AttentionCase | SoftmaxCase]
SoftmaxKind = Literal["softmax", "log_softmax", "logsumexp"]


@dataclass(frozen=True)
class Pattern:
    """How the generic inputs of one statistic are made.

    Normal Q and K with logits of about `spread`; V is normal where `signs` is 0, else |normal|, with one sign where it
    is -1 and with a sign that changes every `signs` keys where it is positive.
    """

    spread: float
    signs: int
    keys: int

    @property
    def name(self) -> str:
        """Name of the pattern in cases and messages."""
        kind = {0: "random signs", -1: "one sign"}.get(self.signs, f"signs changing every {self.signs} keys")
        return f"logits x{self.spread:g}, V of {kind}"

    def case(self, generator: np.random.Generator, format: Format, queries: int | None) -> AttentionCase:
        """One draw, (1, 2, 128, 32) queries and `keys` keys."""
        rows = queries or 128
        q = format.round(generator.standard_normal((1, 2, rows, 32)) * self.spread)
        k = format.round(generator.standard_normal((1, 2, self.keys, 32)))
        v = generator.standard_normal((1, 2, self.keys, 32))
        if self.signs:
            v = np.abs(v)
        if self.signs > 0:
            v *= np.where(np.arange(self.keys) // self.signs % 2, -1.0, 1.0)[:, None]
        return AttentionCase(q, k, format.round(v), AttentionSpec(), format, f"generic, {self.name}", generic=True)


PATTERNS = (
    *(Pattern(1.0, signs, 512) for signs in (0, 16, 32, 64, 128, 256, -1)),
    Pattern(4.0, 0, 512),
    Pattern(0.3, 64, 1024),
)
LONG_PATTERNS = (Pattern(1.0, 0, 2048), Pattern(4.0, 64, 2048), Pattern(0.3, 0, 4096))
GRADIENT_PATTERNS = (Pattern(1.0, 0, 256), Pattern(0.3, -1, 256))
BIAS_PATTERNS = (Pattern(1.0, 0, 256), Pattern(1.0, -1, 256), Pattern(0.1, -1, 256))


def upstream_case(
    generator: np.random.Generator, pattern: Pattern, format: Format, queries: int | None
) -> AttentionCase:
    """One draw with an upstream gradient of V's signs; where V has one sign, keys are shifted from zero too, so that
    gradients are small differences of large sums.
    """
    case = pattern.case(generator, format, queries)
    do = generator.standard_normal((*case.q.shape[:3], case.v.shape[3]))
    if pattern.signs == 0:
        return case.replace(do=format.round(do))
    return case.replace(k=format.round(case.k + 1.0), do=format.round(np.abs(do)))


def softmax_case(
    generator: np.random.Generator, format: Format, kind: SoftmaxKind, spread: float, length: int
) -> SoftmaxCase:
    """One draw of 64 normal rows of standard deviation `spread`."""
    x = format.round(generator.standard_normal((64, length)) * spread)
    return SoftmaxCase(x, SoftmaxSpec(kind=kind), format, f"generic, logits x{spread:g}", generic=True)
