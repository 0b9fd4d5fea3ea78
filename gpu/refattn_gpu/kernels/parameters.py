"""The groups of parameters that kernels take: a tensor with its strides is one, and so are the constants of a tile.

Triton specialises each element of a tuple as it does a parameter of its own: pointers and integers divisible by 16,
integers equal to 1, and None, which says that there is no such tensor. Elements of what is passed by `constants` are
known to the compiler. Strides are in elements.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import triton.language as tl

Group = TypeVar("Group", bound=tuple[Any, ...])


class Matrix(NamedTuple):
    """A tensor (batch, head, row, column)."""

    base: Any
    batch: int
    head: int
    row: int
    column: int


class Vector(NamedTuple):
    """A tensor (batch, head, row) whose rows are adjacent."""

    base: Any
    batch: int
    head: int


class StridedVector(NamedTuple):
    """A tensor (batch, head, row)."""

    base: Any
    batch: int
    head: int
    row: int


class Strides(NamedTuple):
    """The strides of a Matrix, for a kernel that takes all pointers before all strides."""

    batch: int
    head: int
    row: int
    column: int


class VectorStrides(NamedTuple):
    """The strides of a Vector, likewise."""

    batch: int
    head: int


class Intervals(NamedTuple):
    """Ordered tokens, each of which sees, or is seen by, an interval [start, end) of slots of the other ordered tokens.

    tokens, starts and ends are pointers to int32 tensors (batch, head, slot) of the same strides, adjacent along slots.
    """

    tokens: Any
    starts: Any
    ends: Any
    batch: int
    head: int


class PagedMatrix(NamedTuple):
    """Keys or values (batch, head, page, row, column) for decoding; rows are those of a page."""

    base: Any
    batch: int
    head: int
    page: int
    row: int
    column: int


class Lines(NamedTuple):
    """A tensor (outer, group, row, column) of rows of which softmax is taken."""

    base: Any
    outer: int
    group: int
    row: int
    column: int


class Starts(NamedTuple):
    """Where packed sequences start: pointers to int32, or None where sequences are not packed."""

    queries: Any
    keys: Any


class Sizes(NamedTuple):
    """The problem's sizes; `group` query heads share a key-value head."""

    heads: int
    group: int
    queries: int
    keys: int


class Schedule(NamedTuple):
    """The heads of all batches, and how many of them the programs take at a time (see tile_and_head)."""

    heads: int
    heads_per_wave: int


class Scoring(NamedTuple):
    """The numbers of which scores are made. `alignment` is added to a query's index to compare it with a key's; left
    and right are the window's, right being 0 at most under a causal mask.
    """

    scale: float
    softcap: float
    left: int
    right: int
    alignment: int


class Has(NamedTuple):
    """The features that a kernel is compiled for."""

    SOFTCAP: bool
    ALIBI: bool
    BIAS: bool
    MASK: bool
    SINKS: bool
    LEFT: bool
    RIGHT: bool


class Tile(NamedTuple):
    """A tile of M queries and N keys. Q and K have D_QK columns and V has D_V, padded to BLOCK_D and BLOCK_DV."""

    M: int
    N: int
    D_QK: int
    D_V: int
    BLOCK_D: int
    BLOCK_DV: int


def constants(group: Group) -> Group:
    """The group with elements that the compiler knows."""
    return type(group)(*map(tl.constexpr, group))
