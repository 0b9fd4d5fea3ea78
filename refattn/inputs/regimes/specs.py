"""Specs drawn for a kernel's claims: of one, two or several features at a time.

Every array of a spec is representable in fp32, and the bias in the format of the inputs, so that an adapter converts it
exactly.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from refattn.contract.features import CLAIMS, FEATURES, HIDING, TABLE, compatible, used
from refattn.contract.spec import Alignment, AttentionSpec, Shape
from refattn.contract.visibility import Visibility
from refattn.inputs.regimes.sizes import Claims
from refattn.inputs.sources import Bools, Ints, Source
from refattn.numbers import formats
from refattn.numbers.formats import Array, Format

Fields = dict[str, Any]
EVERY_CLAIM: Claims = frozenset(CLAIMS)
_FEW = 8192


def draw_spec(
    source: Source,
    sizes: Shape,
    claims: Iterable[str],
    alignment: Alignment = "bottom_right",
    features: Iterable[str] | None = None,
    *,
    format: Format = formats.bf16,
) -> AttentionSpec:
    """A spec of some of the claimed features, or of exactly the given ones of them.

    Without the claim "empty_rows" each row sees a key: features that hide too much are left out, the last first.
    """
    claimed = frozenset(claims)
    known = [feature for feature in FEATURES if feature in claimed]
    if features is None:
        # One draw for each feature, claimed or not, so that later draws stay in their place.
        absent = dict(zip(FEATURES, source.booleans((len(FEATURES),), 0.75), strict=True))
        chosen = [feature for feature in known if not absent[feature]]
    else:
        wanted = frozenset(features)
        chosen = [feature for feature in known if feature in wanted]
    for row in TABLE:
        for other in row.excludes:
            if row.name in chosen and other in chosen:
                chosen.remove(other if source.boolean() else row.name)
    fields = {feature: _FIELDS[feature](source, sizes, format, claimed) for feature in chosen}
    spec = _joined(fields, alignment)
    while "empty_rows" not in claimed and has_empty_rows(spec, sizes):
        hiding = [feature for feature in fields if feature in HIDING]
        if not hiding:
            break
        del fields[hiding[-1]]
        spec = _joined(fields, alignment)
    return spec


def feature_specs(
    source: Source,
    sizes: Shape,
    claims: Iterable[str],
    alignment: Alignment = "bottom_right",
    *,
    format: Format = formats.bf16,
    pairs: bool = False,
) -> dict[str, AttentionSpec]:
    """A spec for each claimed feature alone, by its name, and, with `pairs`, for each pair of them ("causal+window").

    Features that these sizes and claims do not allow are left out.
    """
    claimed = frozenset(claims)
    known = [feature for feature in FEATURES if feature in claimed]
    sets = [(feature,) for feature in known] + (list(itertools.combinations(known, 2)) if pairs else [])
    specs = {}
    for names in sets:
        if not compatible(names):
            continue
        spec = draw_spec(source, sizes, claimed, alignment, names, format=format)
        if set(names) <= set(claimed_features(spec)):
            specs["+".join(names)] = spec
    return specs


def has_empty_rows(spec: AttentionSpec, sizes: Shape) -> bool:
    """True when some query sees no key."""
    visibility = Visibility.of(spec, sizes)
    return any(
        not visibility.block(slice(start, start + _FEW)).any(axis=-1).all() for start in range(0, sizes.queries, _FEW)
    )


def _joined(fields: dict[str, Fields], alignment: Alignment) -> AttentionSpec:
    merged: Fields = {}
    for part in fields.values():
        merged.update(part)
    return AttentionSpec(alignment=alignment, **merged)


def _one_key_each(sizes: Shape) -> Bools:
    """A key that each row sees, so that a random mask leaves no row empty: (Nq, Nk)."""
    own = np.arange(sizes.queries)[:, None] + sizes.keys - sizes.queries
    own = np.where(own < 0, np.arange(sizes.queries)[:, None], own)
    return np.asarray(np.clip(own, 0, sizes.keys - 1) == np.arange(sizes.keys))


def _causal(_source: Source, _sizes: Shape, _format: Format, _claims: Claims) -> Fields:
    return {"causal": True}


def _strict_causal(_source: Source, _sizes: Shape, _format: Format, _claims: Claims) -> Fields:
    return {"causal": True, "strict": True}


def _window(source: Source, sizes: Shape, _format: Format, _claims: Claims) -> Fields:
    widest = max(0, sizes.keys - 1)
    left = source.integer(0, widest)
    sides = source.choice(["left", "both", "right"])
    right = source.integer(0, widest)
    return {"window": (None if sides == "right" else left, None if sides == "left" else right)}


def _softcap(source: Source, _sizes: Shape, _format: Format, _claims: Claims) -> Fields:
    return {"softcap": source.choice([1.0, 5.0, 30.0, 50.0])}


def alibi_slopes(heads: int) -> Array:
    """The slopes 2^(-8 h / H), h = 1 .. H, rounded to fp32 (Press, Smith and Lewis, "Train short, test long")."""
    return formats.fp32.round(2.0 ** (-8.0 * np.arange(1, heads + 1) / heads))


def _alibi(source: Source, sizes: Shape, _format: Format, _claims: Claims) -> Fields:
    slopes = alibi_slopes(sizes.heads)
    if source.boolean():
        slopes = np.broadcast_to(slopes, (sizes.batch, sizes.heads)) * 2.0 ** -np.arange(sizes.batch)[:, None]
    return {"alibi_slopes": slopes}


def _bias_shape(source: Source, sizes: Shape) -> tuple[int, ...]:
    b, h, _, nq, nk, _, _ = sizes
    return source.choice([(nq, nk), (1, 1, nq, nk), (b, h, nq, nk), (1, h, nq, nk), (b, 1, nq, nk), (b, 1, 1, nk)])


def bias_format(format: Format) -> Format:
    """The format of the bias: the inputs', but no wider than fp32."""
    return format if format.precision <= formats.fp32.precision else formats.fp32


def _bias(source: Source, sizes: Shape, format: Format, claims: Claims) -> Fields:
    shape = _bias_shape(source, sizes)
    bias = bias_format(format).round(source.normal(shape, 2.0))
    if format.has_infinity and shape[-2] == sizes.queries and source.boolean():
        shown = source.booleans(shape, 0.75)
        bias = np.where(shown if "empty_rows" in claims else shown | _one_key_each(sizes), bias, -np.inf)
    return {"bias": bias}


def _mask(source: Source, sizes: Shape, _format: Format, claims: Claims) -> Fields:
    shape = _bias_shape(source, sizes)
    if shape[-2] != sizes.queries and "empty_rows" not in claims:
        shape = (sizes.queries, sizes.keys)
    shown = source.booleans(shape, source.choice([0.5, 0.75, 0.25]))
    return {"mask": shown if "empty_rows" in claims else shown | _one_key_each(sizes)}


def _sinks(source: Source, sizes: Shape, _format: Format, _claims: Claims) -> Fields:
    return {"sinks": formats.fp32.round(source.normal((sizes.heads,), 2.0))}


def _scale(source: Source, _sizes: Shape, _format: Format, _claims: Claims) -> Fields:
    return {"scale": source.choice([1.0, 0.5, 0.25, 0.125, float(np.float32(0.3))])}


def segments(source: Source, n: int, count: int, shortest: int) -> Ints:
    """Lengths of `count` segments that add up to n, each of at least `shortest`."""
    spare = n - shortest * count
    cuts = np.sort(source.integers((count - 1,), 0, spare))
    return np.diff(np.concatenate([[0], cuts, [spare]])) + shortest


def _varlen(source: Source, sizes: Shape, _format: Format, claims: Claims) -> Fields:
    shortest = 0 if "empty_rows" in claims else 1
    most = max(1, min(4, sizes.queries, sizes.keys))
    rows = sizes.batch if sizes.batch > 1 and source.boolean() else 1
    pairs = []
    for _ in range(rows):
        count = source.integer(min(2, most), most)
        queries = segments(source, sizes.queries, count, shortest)
        keys = segments(source, sizes.keys, count, shortest) if "cross" in claims else queries
        pairs.append((np.repeat(np.arange(count), queries), np.repeat(np.arange(count), keys)))
    if rows == 1:
        return {"documents": pairs[0]}
    return {"documents": (np.stack([ids for ids, _ in pairs]), np.stack([ids for _, ids in pairs]))}


def page_positions(source: Source, slots: int, used: int, page: int) -> Ints:
    """The logical position of each of `slots` slots, in pages of `page` slots in a shuffled order; -1 is unused."""
    physical = source.permutation(slots // page)
    positions = np.full(slots, -1, np.int64)
    for logical, place in enumerate(physical):
        inside = np.arange(logical * page, (logical + 1) * page)
        positions[place * page : (place + 1) * page] = np.where(inside < used, inside, -1)
    return positions


def draw_page(source: Source, slots: int) -> int:
    """A page size that divides the slots and is smaller than a key tile where it can be."""
    return source.choice([page for page in (1, 2, 4, 8, 16, 32) if slots % page == 0])


def _paged(source: Source, sizes: Shape, _format: Format, claims: Claims) -> Fields:
    rows = sizes.batch if sizes.batch > 1 and source.boolean() else 1
    page = draw_page(source, sizes.keys)
    fewest = min(1, sizes.keys) if "empty_rows" in claims else min(sizes.queries, sizes.keys)
    tables = []
    for _ in range(rows):
        used = sizes.keys - source.integer(0, sizes.keys - fewest) if "cross" in claims else sizes.keys
        tables.append(page_positions(source, sizes.keys, used, page))
    return {"key_positions": np.stack(tables) if rows > 1 else tables[0]}


def _sparse(source: Source, sizes: Shape, _format: Format, claims: Claims) -> Fields:
    b, h, _, nq, nk, _, _ = sizes
    whole = ["kept_keys", "buckets"]
    what = source.choice([*whole, "kept_queries", "kept_both"] if "empty_rows" in claims else whole)
    if what == "buckets":
        count = source.integer(2, 4)
        queries = source.integers((b, h, nq), 0, count - 1)
        keys = source.integers((b, h, nk), 0, count - 1)
        if "empty_rows" not in claims:
            keys[..., :count] = np.arange(min(count, nk))
            queries = np.minimum(queries, nk - 1)
        return {"buckets": (queries, keys)}
    fields: Fields = {}
    if what != "kept_queries":
        fields["kept_keys"] = source.booleans((b, h, nk), 0.75)
        if "empty_rows" not in claims:
            fields["kept_keys"][..., :1] = True
    if what != "kept_keys":
        fields["kept_queries"] = source.booleans((b, h, nq), 0.75)
    return fields


def _dropout(source: Source, sizes: Shape, _format: Format, _claims: Claims) -> Fields:
    rate = source.choice([0.5, 0.25, 0.125])
    return {"dropout": rate, "keep": source.booleans((sizes.batch, sizes.heads, sizes.queries, sizes.keys), 1 - rate)}


_FIELDS: dict[str, Callable[[Source, Shape, Format, Claims], Fields]] = {
    "causal": _causal,
    "strict_causal": _strict_causal,
    "window": _window,
    "softcap": _softcap,
    "alibi": _alibi,
    "bias": _bias,
    "mask": _mask,
    "sinks": _sinks,
    "scale": _scale,
    "varlen": _varlen,
    "paged": _paged,
    "sparse": _sparse,
    "dropout": _dropout,
}


def claimed_features(spec: AttentionSpec) -> tuple[str, ...]:
    """The features that a spec has, in the claims' vocabulary."""
    return tuple(row.name for row in used(spec))
