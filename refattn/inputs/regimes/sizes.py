"""Sizes of cases: limits, and sizes drawn within them as a kernel's claims allow."""

from __future__ import annotations

import math
from dataclasses import dataclass

from refattn.contract.spec import Shape
from refattn.errors import InvalidValue
from refattn.inputs.sources import Source

Claims = frozenset[str]
_LONGEST = 1 << 18
_WIDEST = 1 << 10


@dataclass(frozen=True)
class Limits:
    """Bounds of the sizes of cases.

    length     queries and keys of an ordinary case
    long       keys of a case with few queries, and columns of a softmax, for faults that only long rows show
    batch, heads
    head_dims  the head dimensions that the kernel takes, simplest first
    multiple   lengths are multiples of this when the kernel does not claim "ragged"
    pairs      most (batch, head, query, key) of an ordinary case, as far as the multiple allows

    Raises InvalidValue.
    """

    length: int = 8
    long: int = 8
    batch: int = 2
    heads: int = 4
    head_dims: tuple[int, ...] = (1, 2, 3, 4)
    multiple: int = 64
    pairs: int = 1 << 18

    def __post_init__(self) -> None:
        for name in ("length", "long", "batch", "heads", "multiple"):
            value = getattr(self, name)
            if not 1 <= value <= _LONGEST:
                raise InvalidValue(f"{name} is {value!r}: expected an integer from 1 to {_LONGEST}")
        if self.pairs < 1:
            raise InvalidValue(f"pairs is {self.pairs!r}: expected a positive integer")
        if not self.head_dims or not all(1 <= d <= _WIDEST for d in self.head_dims):
            raise InvalidValue(f"head_dims is {self.head_dims!r}: expected one or more integers from 1 to {_WIDEST}")


def fitting_length(n: int, limits: Limits, claims: Claims) -> int:
    """n, or the next multiple for a kernel without "ragged"."""
    return n if "ragged" in claims else -(-n // limits.multiple) * limits.multiple


def draw_shape(source: Source, limits: Limits, claims: Claims) -> Shape:
    """Sizes within the limits that the claims allow.

    Without "cross" there are as many keys as queries, without "dv" V is as wide as K, without "gqa" each query head has
    its own keys. The same claims make the same draws in the same order, whatever their values, so that Hypothesis can
    shrink one of them at a time and go from one regime to another.
    """
    group = source.integer(1, min(8, limits.heads)) if "gqa" in claims else 1
    kv_heads = min(source.integer(1, limits.heads), max(1, limits.heads // group))
    queries = _draw_length(source, limits, claims)
    keys = _draw_length(source, limits, claims) if "cross" in claims else queries
    d_qk = source.choice(limits.head_dims)
    d_v = source.choice(limits.head_dims) if "dv" in claims else d_qk
    batch = source.integer(1, limits.batch)
    return _within_pairs(
        Shape(batch, group * kv_heads, kv_heads, queries, keys, d_qk, d_v), limits, claims, frozenset()
    )


def draw_tiled_shape(source: Source, limits: Limits, claims: Claims) -> Shape:
    """Sizes with at least half as many keys as the limits allow, where that makes more than a tile."""
    shape = draw_shape(source, limits, claims)
    return resized(shape, limits, claims, keys=upper_half(shape.keys, limits))


def upper_half(n: int, limits: Limits) -> int:
    """The drawn length n, moved to the upper half of the limits where that makes more than a tile."""
    return (limits.length + n) // 2 if limits.length >= 32 else n


def resized(
    shape: Shape,
    limits: Limits,
    claims: Claims,
    *,
    queries: int | None = None,
    keys: int | None = None,
    d_qk: int | None = None,
    d_v: int | None = None,
    group: int | None = None,
    kv_heads: int | None = None,
) -> Shape:
    """The sizes with some of them changed, and the others adapted to the claims and the limits."""
    lengths = {
        name: fitting_length(n, limits, claims) for name, n in (("queries", queries), ("keys", keys)) if n is not None
    }
    shape = shape._replace(**lengths)
    if "cross" not in claims and lengths:
        shape = shape._replace(queries=max(lengths.values()), keys=max(lengths.values()))
    if d_qk is not None:
        shape = shape._replace(d_qk=d_qk, d_v=shape.d_v if "dv" in claims else d_qk)
    if d_v is not None:
        shape = shape._replace(d_v=d_v)
    if group is not None:
        shared = kv_heads or min(shape.kv_heads, max(1, limits.heads // group))
        shape = shape._replace(heads=group * shared, kv_heads=shared)
    return _within_pairs(shape, limits, claims, frozenset(lengths))


def _draw_length(source: Source, limits: Limits, claims: Claims) -> int:
    return fitting_length(source.integer(1, limits.length), limits, claims)


def _within_pairs(shape: Shape, limits: Limits, claims: Claims, fixed: frozenset[str]) -> Shape:
    batch, _, kv_heads, queries, keys, _, _ = shape
    group = shape.group
    while batch > 1 and batch * group * kv_heads * queries * keys > limits.pairs:
        batch -= 1
    while kv_heads > 1 and group * kv_heads * queries * keys > limits.pairs:
        kv_heads -= 1
    most = max(1, limits.pairs // (group * kv_heads))
    if queries * keys > most and not fixed:
        queries = keys = fitting_length(math.isqrt(most), limits, claims)
    elif queries * keys > most and "queries" not in fixed and "cross" in claims:
        queries = fitting_length(max(1, most // keys), limits, claims)
    return shape._replace(batch=batch, heads=group * kv_heads, kv_heads=kv_heads, queries=queries, keys=keys)
