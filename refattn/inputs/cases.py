"""One problem for a kernel: the inputs, the spec, and the inputs' origin.

`describe` puts a case in a failure message, refattn.inputs.replay in a command line.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from refattn.contract.spec import AttentionSpec, Shape, SoftmaxSpec, problem_shape
from refattn.errors import InvalidType, InvalidValue
from refattn.inputs import tokens
from refattn.numbers import formats
from refattn.numbers.formats import Array, Format

_PRINTED_WHOLE = 24


@dataclass(frozen=True, eq=False)
class AttentionCase:
    """An attention problem: q (B, H, Nq, D), k (B, Hkv, Nk, D), v (B, Hkv, Nk, Dv) and a spec.

    format   of q, k, v and do, each of whose numbers must be one of the format's
    regime   the name of the regime that made the case
    generic  the inputs are continuous and independent, so that a statistical verdict is allowed
    do, dlse upstream gradients for the backward pass, (B, H, Nq, Dv) and (B, H, Nq); dlse is in fp32, or in the case's
             format if that is wider
    recipe   how refattn.inputs.regimes rebuilds the case from a seed, if it came from one

    Raises InvalidValue or InvalidType when the arrays do not fit together or hold other numbers than the format's.
    """

    q: Array
    k: Array
    v: Array
    spec: AttentionSpec
    format: Format
    regime: str = "given"
    generic: bool = False
    do: Array | None = None
    dlse: Array | None = None
    recipe: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "format", formats.get(self.format))
        for name in ("q", "k", "v", "do"):
            _store(self, name, self.format)
        _store(self, "dlse", self.format if self.format.precision > formats.fp32.precision else formats.fp32)
        if not isinstance(self.spec, AttentionSpec):
            raise InvalidType(f"spec is {type(self.spec).__name__}: expected an AttentionSpec")
        shape = problem_shape(self.q, self.k, self.v, self.spec)
        rows = (shape.batch, shape.heads, shape.queries)
        for name, array, expected in (("do", self.do, (*rows, shape.d_v)), ("dlse", self.dlse, rows)):
            if array is not None and array.shape != expected:
                raise InvalidValue(f"{name} has shape {array.shape}: expected {expected}")

    @property
    def shape(self) -> Shape:
        """The sizes of the problem."""
        return problem_shape(self.q, self.k, self.v, self.spec)

    def replace(self, **changes: Any) -> AttentionCase:
        """A copy with some fields changed, which is no longer the recipe's case unless `recipe` is among them."""
        return dataclasses.replace(self, **{"recipe": None, **changes})

    def arrays(self) -> dict[str, Array]:
        """The arrays that the case has, by name: q, k, v, and do and dlse if given."""
        named = {"q": self.q, "k": self.k, "v": self.v, "do": self.do, "dlse": self.dlse}
        return {name: array for name, array in named.items() if array is not None}

    def same_as(self, other: AttentionCase | SoftmaxCase) -> bool:
        """True when the other case holds the same numbers bit for bit, the same spec and the same labels."""
        return _same_trees(self.tree(), other.tree())

    def describe(self) -> str:
        """The case in a failure message: sizes, features of the spec, and small arrays whole."""
        b, h, g, nq, nk, d, dv = self.shape
        lines = [
            f"{self.regime} in {self.format.name}: B={b} H={h} Hkv={g} Nq={nq} Nk={nk} D={d} Dv={dv}",
            *_feature_lines(self.spec.features()),
            *(f"  {name} = {_numbers(array)}" for name, array in self.arrays().items()),
        ]
        return "\n".join(lines + ([f"  made by {self.recipe}"] if self.recipe else []))

    def tree(self) -> list[Any]:
        """Arrays, labels and fields of the spec: all that the case is, but for the recipe."""
        return [self.arrays(), _labels(self), self.spec.features()]


@dataclass(frozen=True, eq=False)
class SoftmaxCase:
    """A softmax problem: an array x of any rank of at least 1, whose numbers are of the format, and a spec.

    The other fields are those of AttentionCase. Raises InvalidValue or InvalidType.
    """

    x: Array
    spec: SoftmaxSpec
    format: Format
    regime: str = "given"
    generic: bool = False
    recipe: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "format", formats.get(self.format))
        _store(self, "x", self.format)
        if not isinstance(self.spec, SoftmaxSpec):
            raise InvalidType(f"spec is {type(self.spec).__name__}: expected a SoftmaxSpec")
        rank = self.x.ndim
        if not -rank <= self.spec.axis < rank:
            raise InvalidValue(f"axis is {self.spec.axis}: expected one of x's {rank} axes")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of x."""
        return self.x.shape

    def rows(self) -> Array:
        """x as (rows, n), the axis of the softmax last."""
        last = np.moveaxis(self.x, self.spec.axis, -1)
        return last.reshape(-1, last.shape[-1]) if last.size else last.reshape(0, last.shape[-1])

    def replace(self, **changes: Any) -> SoftmaxCase:
        """A copy with some fields changed, which is no longer the recipe's case unless `recipe` is among them."""
        return dataclasses.replace(self, **{"recipe": None, **changes})

    def same_as(self, other: AttentionCase | SoftmaxCase) -> bool:
        """True when the other case holds the same numbers bit for bit, the same spec and the same labels."""
        return _same_trees(self.tree(), other.tree())

    def describe(self) -> str:
        """The case in a failure message."""
        lines = [
            f"{self.regime} in {self.format.name}: {self.spec.kind} of {self.x.shape} along axis {self.spec.axis}",
            *([f"  empty_rows = {self.spec.empty_rows}"] if self.spec.empty_rows != "nan" else []),
            f"  x = {_numbers(self.x)}",
        ]
        return "\n".join(lines + ([f"  made by {self.recipe}"] if self.recipe else []))

    def tree(self) -> list[Any]:
        """Arrays, labels and fields of the spec: all that the case is, but for the recipe."""
        return [{"x": self.x}, _labels(self), dataclasses.asdict(self.spec)]


def _store(case: Any, name: str, format: Format) -> None:
    value = getattr(case, name)
    if value is None:
        return
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise InvalidType(f"{name} is {type(value).__name__}: expected an array of numbers") from None
    foreign = ~format.contains(array)
    if foreign.any():
        where = np.unravel_index(int(foreign.argmax()), array.shape)
        raise InvalidValue(f"{name} holds {array[where]!r}: expected numbers that {format.name} represents exactly")
    object.__setattr__(case, name, array)


def _labels(case: AttentionCase | SoftmaxCase) -> dict[str, Any]:
    return {"format": case.format.name, "regime": case.regime, "generic": case.generic}


def _same_trees(first: Any, second: Any) -> bool:
    if isinstance(first, np.ndarray):
        return isinstance(second, np.ndarray) and tokens.same_bits(first, second)
    if isinstance(first, dict):
        return isinstance(second, dict) and _same_trees([*first, *first.values()], [*second, *second.values()])
    if isinstance(first, (list, tuple)):
        return (
            isinstance(second, (list, tuple))
            and len(first) == len(second)
            and all(_same_trees(a, b) for a, b in zip(first, second, strict=True))
        )
    return bool(first == second)


def _feature_lines(features: dict[str, Any]) -> list[str]:
    lines = []
    for name, value in features.items():
        if isinstance(value, tuple) and any(isinstance(part, np.ndarray) for part in value):
            queries, keys = value
            lines.append(f"  {name} = queries {_numbers(queries)}, keys {_numbers(keys)}")
        else:
            lines.append(f"  {name} = {_numbers(value) if isinstance(value, np.ndarray) else value}")
    return lines


def _numbers(array: np.ndarray[Any, Any]) -> str:
    if array.size <= _PRINTED_WHOLE:
        text = np.array2string(array, separator=", ", max_line_width=10_000, formatter={"float_kind": _number})
        return " ".join(text.split()) if array.size else f"empty {array.shape}"
    if array.dtype == np.bool_:
        return f"{array.shape}, {np.count_nonzero(array)} of {array.size} True"
    finite = array[np.isfinite(array)]
    span = f"{_number(finite.min())} .. {_number(finite.max())}" if finite.size else "nothing finite"
    nonfinite = {"NaN": np.isnan(array), "+inf": np.isposinf(array), "-inf": np.isneginf(array)}
    counts = "".join(f", {int(where.sum())} {name}" for name, where in nonfinite.items() if where.any())
    return f"{array.shape}, {span}{counts}"


def _number(value: Any) -> str:
    return format(float(value), ".9g")
