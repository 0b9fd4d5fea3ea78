"""Regimes: named ways of making the inputs of a case, with the claims that they need."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from refattn.contract.spec import AttentionSpec, Shape, SoftmaxSpec
from refattn.inputs.cases import AttentionCase, SoftmaxCase
from refattn.inputs.regimes.sizes import Claims, Limits, draw_shape
from refattn.inputs.sources import Source
from refattn.numbers.formats import Array, Format

Kind = Literal["value", "nan", "ieee", "poison"]
SoftmaxKind = Literal["value", "nan", "ieee", "empty"]


class Inputs(NamedTuple):
    """The arrays of a case, and the spec, to which the regime may have added its own features."""

    q: Array
    k: Array
    v: Array
    spec: AttentionSpec


InputsOf = Callable[[Source, Shape, Format, AttentionSpec], Inputs]
SizesOf = Callable[[Source, Limits, Claims], Shape]


def _always(_: Limits) -> bool:
    return True


@dataclass(frozen=True)
class Regime:
    """A named way of making attention cases.

    name      "family/variant"
    summary   one sentence on the inputs and the fault that they show
    inputs    makes the arrays, given a source, the sizes, the format and a spec
    generic   the inputs are continuous and independent, so that a statistical verdict is allowed
    needs     claims without which the regime makes no sense
    excludes  features that would spoil the regime and stay out of its spec
    kind      "value": finite inputs; "nan": NaN that some row sees; "ieee": infinities that some row sees;
              "poison": NaN or infinities in keys that some row must not see
    sizes     draws the sizes
    possible  True if such sizes exist within the limits
    infinite  the format must have infinities
    """

    name: str
    summary: str
    inputs: InputsOf
    generic: bool = False
    needs: Claims = frozenset()
    excludes: Claims = frozenset()
    kind: Kind = "value"
    sizes: SizesOf = draw_shape
    possible: Callable[[Limits], bool] = _always
    infinite: bool = False

    def available(self, format: Format, limits: Limits, claims: Claims) -> bool:
        """True when a kernel with these claims can be given such cases."""
        return self.needs <= claims and self.possible(limits) and (format.has_infinity or not self.infinite)

    def build(self, source: Source, sizes: Shape, format: Format, spec: AttentionSpec) -> AttentionCase:
        """A case of the regime; its spec is the given one with the regime's own features."""
        q, k, v, spec = self.inputs(source, sizes, format, spec)
        return AttentionCase(q, k, v, spec, format, regime=self.name, generic=self.generic and source.continuous)


def regime(
    name: str,
    *,
    generic: bool = False,
    needs: Iterable[str] = (),
    excludes: Iterable[str] = (),
    kind: Kind = "value",
    sizes: SizesOf = draw_shape,
    possible: Callable[[Limits], bool] = _always,
    infinite: bool = False,
) -> Callable[[InputsOf], Regime]:
    """Make a regime of a function whose docstring is the summary."""

    def make(inputs: InputsOf) -> Regime:
        summary = " ".join((inputs.__doc__ or "").split())
        return Regime(
            name, summary, inputs, generic, frozenset(needs), frozenset(excludes), kind, sizes, possible, infinite
        )

    return make


RowsOf = Callable[[Source, int, int, Format], Array]
LengthOf = Callable[[Source, Limits], int]


def any_length(source: Source, limits: Limits) -> int:
    """A length of at least 1 within the limits."""
    return source.integer(1, limits.length)


@dataclass(frozen=True)
class SoftmaxRegime:
    """A named way of making softmax cases: `rows(source, rows, n, format)` gives (rows, n) numbers of the format.

    `length` draws n; `kind` also has "empty": rows of nothing but -inf. The other fields are those of Regime.
    """

    name: str
    summary: str
    rows: RowsOf
    generic: bool = False
    kind: SoftmaxKind = "value"
    length: LengthOf = any_length
    possible: Callable[[Limits], bool] = _always
    infinite: bool = False

    def available(self, format: Format, limits: Limits) -> bool:
        """True when there are such cases in the format within the limits."""
        return self.possible(limits) and (format.has_infinity or not self.infinite)

    def build(self, source: Source, sizes: tuple[int, ...], format: Format, spec: SoftmaxSpec) -> SoftmaxCase:
        """A case of the regime; `sizes` is the shape of x."""
        axis = spec.axis % len(sizes)
        others = sizes[:axis] + sizes[axis + 1 :]
        rows = self.rows(source, math.prod(others), sizes[axis], format)
        x = np.moveaxis(rows.reshape(*others, sizes[axis]), -1, axis)
        return SoftmaxCase(x, spec, format, regime=self.name, generic=self.generic and source.continuous)


def softmax_regime(
    name: str,
    *,
    generic: bool = False,
    kind: SoftmaxKind = "value",
    length: LengthOf = any_length,
    possible: Callable[[Limits], bool] = _always,
    infinite: bool = False,
) -> Callable[[RowsOf], SoftmaxRegime]:
    """Make a softmax regime of a function whose docstring is the summary."""

    def make(rows: RowsOf) -> SoftmaxRegime:
        summary = " ".join((rows.__doc__ or "").split())
        return SoftmaxRegime(name, summary, rows, generic, kind, length, possible, infinite)

    return make
