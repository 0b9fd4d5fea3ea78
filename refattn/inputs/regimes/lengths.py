"""Sizes: lengths about a tile, one query, no key, head dimensions and groups that are not powers of two, long rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from refattn.contract.spec import AttentionSpec, Shape
from refattn.inputs.regimes.building import TILES, normal_qkv, representable
from refattn.inputs.regimes.regime import Inputs, InputsOf, Regime, SizesOf, regime
from refattn.inputs.regimes.sizes import Claims, Limits, draw_shape, resized, upper_half
from refattn.inputs.sources import Source
from refattn.numbers.formats import Format

_UNEQUAL = frozenset({"alibi", "bias"})


def _normal(source: Source, sizes: Shape, format: Format, spec: AttentionSpec) -> Inputs:
    return Inputs(*normal_qkv(source, sizes, format), spec)


def _flat(source: Source, sizes: Shape, format: Format, spec: AttentionSpec) -> Inputs:
    q, k, v = normal_qkv(source, sizes, format)
    return Inputs(np.zeros_like(q), k, representable(np.abs(v) + 1.0, format), spec)


def _sized(name: str, summary: str, sizes: SizesOf, inputs: InputsOf = _normal, **options: Any) -> Regime:
    def make(source: Source, shape: Shape, format: Format, spec: AttentionSpec) -> Inputs:
        return inputs(source, shape, format, spec)

    make.__doc__ = summary
    return regime(name, sizes=sizes, **{"generic": inputs is _normal, **options})(make)


def _about_tile(more: int, multiples: int = 1) -> SizesOf:
    def sizes(source: Source, limits: Limits, claims: Claims) -> Shape:
        shape = draw_shape(source, limits, claims)
        lengths = [tile * multiples + more for tile in (*TILES, 256, 512)]
        ordinary = [n for n in lengths if n <= limits.length]
        long = [n for n in lengths if limits.length < n <= limits.long] if {"cross", "ragged"} <= claims else []
        keys = source.choice(ordinary + long)
        queries = None if keys <= limits.length else min(shape.queries, 4)
        return resized(shape, limits, claims, queries=queries, keys=keys)

    return sizes


def _room_for(more: int, multiples: int = 1) -> Callable[[Limits], bool]:
    return lambda limits: min(TILES) * multiples + more <= limits.length


def _fixed(**lengths: int) -> SizesOf:
    def sizes(source: Source, limits: Limits, claims: Claims) -> Shape:
        return resized(draw_shape(source, limits, claims), limits, claims, **lengths)

    return sizes


def _fewer_queries(source: Source, limits: Limits, claims: Claims) -> Shape:
    shape = draw_shape(source, limits, claims)
    keys = upper_half(shape.keys, limits)
    return resized(shape, limits, claims, queries=max(1, min(shape.queries, keys // 2)), keys=keys)


def _more_queries(source: Source, limits: Limits, claims: Claims) -> Shape:
    shape = draw_shape(source, limits, claims)
    queries = upper_half(shape.queries, limits)
    return resized(shape, limits, claims, queries=queries, keys=max(1, min(shape.keys, queries // 2)))


def _grouped(*groups: int) -> SizesOf:
    def sizes(source: Source, limits: Limits, claims: Claims) -> Shape:
        shape = draw_shape(source, limits, claims)
        return resized(shape, limits, claims, group=source.choice([g for g in groups if g <= limits.heads]))

    return sizes


def _multi_query(source: Source, limits: Limits, claims: Claims) -> Shape:
    shape = draw_shape(source, limits, claims)
    queries = 1 if {"cross", "ragged"} <= claims else None
    return resized(shape, limits, claims, queries=queries, group=max(2, shape.group), kv_heads=1)


def _odd_dims(limits: Limits) -> list[int]:
    return [d for d in limits.head_dims if d & (d - 1)]


def _odd_head_dim(source: Source, limits: Limits, claims: Claims) -> Shape:
    shape = draw_shape(source, limits, claims)
    return resized(shape, limits, claims, d_qk=source.choice(_odd_dims(limits)))


def _largest_head_dim(source: Source, limits: Limits, claims: Claims) -> Shape:
    return resized(draw_shape(source, limits, claims), limits, claims, d_qk=max(limits.head_dims))


def _unlike_dims(wider: bool) -> SizesOf:
    def sizes(source: Source, limits: Limits, claims: Claims) -> Shape:
        shape = draw_shape(source, limits, claims)
        dims = sorted(set(limits.head_dims))
        small = source.integer(0, len(dims) - 2)
        large = source.integer(small + 1, len(dims) - 1)
        d_qk, d_v = (dims[small], dims[large]) if wider else (dims[large], dims[small])
        return resized(shape, limits, claims, d_qk=d_qk, d_v=d_v)

    return sizes


def _several_dims(limits: Limits) -> bool:
    return len(set(limits.head_dims)) > 1


def _long(n: int) -> SizesOf:
    def sizes(source: Source, limits: Limits, claims: Claims) -> Shape:
        shape = draw_shape(source, limits, claims)._replace(batch=1, heads=1, kv_heads=1)
        keys = source.integer(n + 1, min(n + n // 2, limits.long))
        return resized(shape, limits, claims, queries=1 if "cross" in claims else None, keys=keys)

    return sizes


def _has_long(n: int) -> Callable[[Limits], bool]:
    return lambda limits: limits.long > n


REGIMES = (
    _sized("lengths/one-key", "A single key.", _fixed(keys=1), needs={"ragged"}),
    _sized("lengths/one-query", "A single query, as in decoding.", _fixed(queries=1), needs={"cross", "ragged"}),
    _sized("lengths/no-keys", "No key at all.", _fixed(keys=0), needs={"cross", "zero_length", "empty_rows"}),
    _sized("lengths/no-queries", "No query at all.", _fixed(queries=0), needs={"cross", "zero_length"}),
    _sized("lengths/tile", "The keys fill one tile exactly.", _about_tile(0), possible=_room_for(0)),
    _sized("lengths/two-tiles", "The keys fill two tiles exactly.", _about_tile(0, 2), possible=_room_for(0, 2)),
    _sized(
        "lengths/tile-1", "The keys lack one of a tile.", _about_tile(-1), possible=_room_for(-1), needs={"ragged"}
    ),
    _sized(
        "lengths/tile+1", "The keys exceed a tile by one.", _about_tile(1), possible=_room_for(1), needs={"ragged"}
    ),
    _sized(
        "lengths/two-tiles+1", "The keys exceed two tiles by one.", _about_tile(1, 2), possible=_room_for(1, 2),
        needs={"ragged"},
    ),
    _sized("lengths/fewer-queries", "At most half as many queries as keys.", _fewer_queries, needs={"cross"}),
    _sized("lengths/more-queries", "At most half as many keys as queries.", _more_queries, needs={"cross"}),
    _sized(
        "heads/grouped", "Two to eight query heads share a key-value head.", _grouped(2, 3, 4, 5, 6, 8), needs={"gqa"},
        possible=lambda limits: limits.heads >= 2,
    ),
    _sized(
        "heads/seven", "Seven query heads share a key-value head.", _grouped(7), needs={"gqa"},
        possible=lambda limits: limits.heads >= 7,
    ),
    _sized(
        "heads/multi-query", "All query heads share one key-value head, with one query where that may be.",
        _multi_query, needs={"gqa"}, possible=lambda limits: limits.heads >= 2,
    ),
    _sized(
        "dims/not-a-power-of-two", "A head dimension that is not a power of two.", _odd_head_dim,
        possible=lambda limits: bool(_odd_dims(limits)),
    ),
    _sized("dims/largest", "The largest head dimension.", _largest_head_dim),
    _sized("dims/wider-v", "V is wider than K.", _unlike_dims(True), needs={"dv"}, possible=_several_dims),
    _sized("dims/narrower-v", "V is narrower than K.", _unlike_dims(False), needs={"dv"}, possible=_several_dims),
    _sized(
        "flat/over-256", "More than 256 equal scores and positive V: a row sum kept in 8 bits stalls.", _long(256),
        _flat, excludes=_UNEQUAL, possible=_has_long(256),
    ),
    _sized(
        "flat/over-2048", "More than 2048 equal scores and positive V: a row sum kept in 11 bits stalls.", _long(2048),
        _flat, excludes=_UNEQUAL, possible=_has_long(2048),
    ),
)  # fmt: skip
