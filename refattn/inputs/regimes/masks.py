"""Visibility: padding, bands, empty rows, windows, documents, pages, buckets, dropped keys."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from refattn.contract.features import HIDING
from refattn.contract.spec import AttentionSpec, Shape
from refattn.inputs.regimes.building import TILES, normal_qkv
from refattn.inputs.regimes.regime import Inputs, Regime, SizesOf, regime
from refattn.inputs.regimes.sizes import Claims, Limits, draw_shape, draw_tiled_shape, resized, upper_half
from refattn.inputs.regimes.specs import draw_page, page_positions, segments
from refattn.inputs.sources import Bools, Ints, Source
from refattn.numbers.formats import Array, Format

Change = Callable[[Source, Shape, AttentionSpec], AttentionSpec]
_HIDING: Claims = frozenset(HIDING)


def _with_spec(
    name: str,
    summary: str,
    change: Change,
    needs: set[str],
    *,
    excludes: Claims = _HIDING,
    sizes: SizesOf = draw_shape,
    infinite: bool = False,
    factor: float = 1.0,
) -> Regime:
    """A regime of normal inputs, q multiplied by the factor, that is about the spec."""

    def inputs(source: Source, shape: Shape, format: Format, spec: AttentionSpec) -> Inputs:
        q, k, v = normal_qkv(source, shape, format, factor)
        return Inputs(q, k, v, change(source, shape, spec))

    inputs.__doc__ = summary
    return regime(name, needs=needs, excludes=excludes - needs, sizes=sizes, infinite=infinite)(inputs)


def _padding(source: Source, sizes: Shape) -> Ints:
    """The number of padding keys of each sequence: more than a tile where there is room, and never all."""
    spare = sizes.keys - 1
    tiles = [tile + 1 for tile in TILES if tile < spare]
    longest = source.choice(tiles) if tiles else spare
    return np.maximum(source.integers((sizes.batch,), 0, spare), min(longest, spare))


def _left_padding(source: Source, sizes: Shape, spec: AttentionSpec) -> AttentionSpec:
    lacking = _padding(source, sizes)
    return spec.replace(mask=np.arange(sizes.keys) >= lacking[:, None, None, None])


def _right_padding(source: Source, sizes: Shape, spec: AttentionSpec) -> AttentionSpec:
    lacking = _padding(source, sizes)
    return spec.replace(mask=np.arange(sizes.keys) < sizes.keys - lacking[:, None, None, None])


def _band(source: Source, sizes: Shape, spec: AttentionSpec) -> AttentionSpec:
    along = np.arange(sizes.queries)[:, None] * (sizes.keys - 1) // max(1, sizes.queries - 1)
    return spec.replace(mask=np.abs(along - np.arange(sizes.keys)) <= source.integer(0, max(0, sizes.keys // 8)))


def _checkerboard(_source: Source, sizes: Shape, spec: AttentionSpec) -> AttentionSpec:
    parity = (np.arange(sizes.queries)[:, None] + np.arange(sizes.keys)) % 2 == 0
    return spec.replace(mask=parity | (sizes.keys == 1))


def _empty_rows(where: str) -> Callable[[Source, Shape], Bools]:
    def rows(source: Source, sizes: Shape) -> Bools:
        n = sizes.queries
        count = n if where == "all" else source.integer(1, max(1, n - 1))
        start = {"first": 0, "last": n - count, "all": 0}.get(where, (n - count) // 2)
        index = np.arange(n)
        return np.asarray((index < start) | (index >= start + count))

    return rows


def _with_empty(where: str, sinks: bool) -> Regime:
    rows = _empty_rows(where)

    def change(source: Source, sizes: Shape, spec: AttentionSpec) -> AttentionSpec:
        mask = np.broadcast_to(rows(source, sizes)[:, None], (sizes.queries, sizes.keys))
        if sinks:
            spec = spec.replace(sinks=source.small((sizes.heads,)))
        return spec.replace(mask=mask.copy())

    name = f"masks/empty-{where}" + ("-with-sinks" if sinks else "")
    words = {"all": "All rows are", "first": "The first rows are", "middle": "Rows in the middle are"}
    summary = f"{words.get(where, 'The last rows are')} fully masked" + (", and there are sinks." if sinks else ".")
    return _with_spec(name, summary, change, {"mask", "empty_rows"} | ({"sinks"} if sinks else set()))


def _with_infinite_bias(where: str) -> Regime:
    def change(source: Source, sizes: Shape, spec: AttentionSpec) -> AttentionSpec:
        bias: Array = np.zeros((sizes.queries, sizes.keys))
        if where == "prefix":
            lacking = int(_padding(source, sizes).max())
            bias[:, :lacking] = -np.inf
        else:
            bias[~_empty_rows("first")(source, sizes)] = -np.inf
        return spec.replace(bias=bias)

    summary = {
        "prefix": "The bias is -inf for the first keys, of more than a tile where there is room.",
        "rows": "The bias is -inf in the whole of the first rows.",
    }
    needs = {"bias"} | ({"empty_rows"} if where == "rows" else set())
    return _with_spec(f"bias/infinite-{where}", summary[where], change, needs, sizes=draw_tiled_shape, infinite=True)


def _more_queries(source: Source, limits: Limits, claims: Claims) -> Shape:
    shape = draw_shape(source, limits, claims)
    queries = max(2, upper_half(shape.queries, limits))
    return resized(shape, limits, claims, queries=queries, keys=max(1, min(shape.keys, queries // 8)))


def _causal(_source: Source, _sizes: Shape, spec: AttentionSpec) -> AttentionSpec:
    return spec.replace(causal=True)


def _narrow_window(source: Source, _sizes: Shape, spec: AttentionSpec) -> AttentionSpec:
    return spec.replace(window=source.choice([(0, 0), (1, 0), (0, 1), (2, 0)]))


def _decode(source: Source, limits: Limits, claims: Claims) -> Shape:
    shape = draw_shape(source, limits, claims)
    return resized(shape, limits, claims, queries=1, keys=upper_half(shape.keys, limits))


def _decode_window(source: Source, sizes: Shape, spec: AttentionSpec) -> AttentionSpec:
    return spec.replace(window=(source.integer(0, max(0, sizes.keys // 8)), 0))


def _documents(empty: str) -> Change:
    def change(source: Source, sizes: Shape, spec: AttentionSpec) -> AttentionSpec:
        fewest = min(sizes.queries, sizes.keys)
        count = source.integer(min(2, fewest), min(4, fewest))
        lengths = segments(source, sizes.queries, count, 1)
        queries = np.repeat(np.arange(count), lengths)
        if not empty:
            keys = np.repeat(np.arange(count), lengths if sizes.keys == sizes.queries else _like(lengths, sizes.keys))
        else:
            # The keys of one document go to another, or to one that has no queries.
            gone = source.integer(0, count - 1)
            keys = np.repeat(np.arange(count), segments(source, sizes.keys, count, 1))
            keys[keys == gone] = gone - 1 if gone else count
            keys = np.sort(keys)
        return spec.replace(documents=(queries, keys))

    return change


def _like(lengths: Ints, n: int) -> Ints:
    """Lengths of as many segments, each of at least 1, that add up to n; the last takes the rest."""
    first = np.minimum(lengths[:-1], max(1, (n - 1) // max(1, len(lengths) - 1)))
    return np.append(first, n - first.sum())


def _buckets_alone(source: Source, sizes: Shape, spec: AttentionSpec) -> AttentionSpec:
    b, h = sizes.batch, sizes.heads
    queries = source.integers((b, h, sizes.queries), 0, 2)
    keys = source.integers((b, h, sizes.keys), 0, 2)
    row = source.integer(0, sizes.queries - 1)
    queries[..., row] = 3
    return spec.replace(buckets=(queries, keys))


def _buckets_of_any_number(source: Source, sizes: Shape, spec: AttentionSpec) -> AttentionSpec:
    b, h = sizes.batch, sizes.heads
    queries, keys = (_NUMBERS[source.integers((b, h, n), 0, len(_NUMBERS) - 1)] for n in (sizes.queries, sizes.keys))
    # At least one pair meets in the last bucket.
    queries[..., source.integer(0, sizes.queries - 1)] = keys[..., source.integer(0, sizes.keys - 1)] = _NUMBERS[-1]
    return spec.replace(buckets=(queries, keys))


def _dropped(what: str) -> Change:
    def change(source: Source, sizes: Shape, spec: AttentionSpec) -> AttentionSpec:
        n = sizes.keys if what == "keys" else sizes.queries
        kept = source.booleans((sizes.batch, sizes.heads, n), 0.5)
        kept[..., source.integer(0, n - 1)] = what == "keys"
        return spec.replace(kept_keys=kept) if what == "keys" else spec.replace(kept_queries=kept)

    return change


def _pages(source: Source, sizes: Shape, spec: AttentionSpec) -> AttentionSpec:
    page = draw_page(source, sizes.keys)
    return spec.replace(key_positions=page_positions(source, sizes.keys, sizes.keys, page))


def _dropout(source: Source, sizes: Shape, spec: AttentionSpec) -> AttentionSpec:
    keep = source.booleans((sizes.batch, sizes.heads, sizes.queries, sizes.keys), 0.5)
    return spec.replace(dropout=0.5, keep=keep)


_NONE: Claims = frozenset()
# Bucket ids that kernels have used for padding tokens: -1 for a query, 1e9 for a key.
_NUMBERS = np.array([-(2**31), -1, 10**9, 2**31 - 1])
REGIMES = (
    _with_spec(
        "masks/left-padding", "The first keys are masked, more than a tile of them where there is room.",
        _left_padding, {"mask"}, sizes=draw_tiled_shape,
    ),
    _with_spec("masks/right-padding", "The last keys are masked.", _right_padding, {"mask"}, sizes=draw_tiled_shape),
    _with_spec("masks/band", "Each row sees a band about the diagonal.", _band, {"mask"}, sizes=draw_tiled_shape),
    _with_spec("masks/checkerboard", "Each row sees every other key.", _checkerboard, {"mask"}),
    *(_with_empty(where, sinks) for sinks in (False, True) for where in ("first", "middle", "last", "all")),
    _with_infinite_bias("prefix"),
    _with_infinite_bias("rows"),
    _with_spec(
        "causal/more-queries", "Causal with many more queries than keys.", _causal, {"causal", "cross", "empty_rows"},
        sizes=_more_queries, factor=3.0,
    ),
    _with_spec("window/narrow", "A window of one to three keys.", _narrow_window, {"window"}),
    _with_spec(
        "window/decode", "Few queries over many keys in a narrow window: most tiles and splits are empty.",
        _decode_window, {"window", "cross"}, sizes=_decode,
    ),
    _with_spec("documents/several", "Two to four packed sequences.", _documents(""), {"varlen"}),
    _with_spec(
        "documents/without-keys", "One of the packed sequences has queries and no keys.", _documents("empty"),
        {"varlen", "cross", "empty_rows"},
    ),
    _with_spec("buckets/alone", "A row whose hash bucket holds no key.", _buckets_alone, {"sparse", "empty_rows"}),
    _with_spec(
        "buckets/any-number", "Hash buckets of negative and large numbers.", _buckets_of_any_number,
        {"sparse", "empty_rows"},
    ),
    _with_spec("dropped/keys", "About half of the keys are dropped.", _dropped("keys"), {"sparse"}),
    _with_spec("dropped/queries", "Some queries are dropped.", _dropped("queries"), {"sparse", "empty_rows"}),
    _with_spec("pages/shuffled", "Small pages in a shuffled order.", _pages, {"paged"}),
    _with_spec("dropout/half", "Half of the weights are dropped.", _dropout, {"dropout"}, excludes=_NONE),
)  # fmt: skip
