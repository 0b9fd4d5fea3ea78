"""One dominant key: the output is then one row of V, and being off by one key is a large error.

V spells the index of each key (building.identifying_values).
"""

from __future__ import annotations

import numpy as np

from refattn.contract.spec import AttentionSpec, Shape
from refattn.contract.visibility import Bools, visible
from refattn.inputs.regimes.building import TILES, code_bits, identifying_values, matched_qk, ranked_qk
from refattn.inputs.regimes.regime import Inputs, regime
from refattn.inputs.regimes.sizes import draw_tiled_shape
from refattn.inputs.sources import Ints, Source
from refattn.numbers.formats import Format

MARGIN = 48.0
LOUD = 30_000.0
_RESHAPED = frozenset({"softcap", "alibi", "bias"})


def _needle(source: Source, sizes: Shape, format: Format, spec: AttentionSpec, place: int) -> Inputs:
    ranks = (np.arange(sizes.keys) == place).astype(np.int64)
    q, k = ranked_qk(source, sizes, format, spec, ranks, MARGIN)
    return Inputs(q, k, identifying_values(sizes, format), spec)


def _stairs(source: Source, sizes: Shape, format: Format, spec: AttentionSpec, order: Ints) -> Inputs:
    q, k = ranked_qk(source, sizes, format, spec, order + 1, MARGIN)
    return Inputs(q, k, identifying_values(sizes, format), spec)


@regime("needle/first", excludes=_RESHAPED)
def first(source: Source, sizes: Shape, format: Format, spec: AttentionSpec) -> Inputs:
    """The first key dominates."""
    return _needle(source, sizes, format, spec, 0)


@regime("needle/last", excludes=_RESHAPED)
def last(source: Source, sizes: Shape, format: Format, spec: AttentionSpec) -> Inputs:
    """The last key dominates."""
    return _needle(source, sizes, format, spec, sizes.keys - 1)


@regime(
    "needle/tile-edge", excludes=_RESHAPED, sizes=draw_tiled_shape, possible=lambda limits: limits.length > min(TILES)
)
def tile_edge(source: Source, sizes: Shape, format: Format, spec: AttentionSpec) -> Inputs:
    """The dominant key is the last of a tile or the first of the next one, for tiles of 16 to 128 keys."""
    edges = sorted({place for tile in TILES for end in range(tile, sizes.keys + 1, tile) for place in (end - 1, end)})
    places = [place for place in edges if place < sizes.keys] or [sizes.keys - 1]
    return _needle(source, sizes, format, spec, source.choice(places))


@regime("needle/rising", excludes=_RESHAPED)
def rising(source: Source, sizes: Shape, format: Format, spec: AttentionSpec) -> Inputs:
    """Each key dominates all before it: each row's output is the value of the last key that it sees."""
    return _stairs(source, sizes, format, spec, np.arange(sizes.keys))


@regime("needle/falling", excludes=_RESHAPED)
def falling(source: Source, sizes: Shape, format: Format, spec: AttentionSpec) -> Inputs:
    """Each key dominates all after it: each row's output is the value of the first key that it sees."""
    return _stairs(source, sizes, format, spec, np.arange(sizes.keys)[::-1])


@regime("needle/shuffled", excludes=_RESHAPED)
def shuffled(source: Source, sizes: Shape, format: Format, spec: AttentionSpec) -> Inputs:
    """The keys dominate one another in a random order."""
    return _stairs(source, sizes, format, spec, source.permutation(sizes.keys))


@regime("needle/own-key", excludes=_RESHAPED)
def own_key(source: Source, sizes: Shape, format: Format, spec: AttentionSpec) -> Inputs:
    """Each row has its own dominant key, picked at random, so that rows and heads cannot be mixed up."""
    targets = source.integers((sizes.batch, sizes.heads, sizes.queries), 0, sizes.keys - 1)
    return _needles_at(source, sizes, format, spec, targets, MARGIN)


@regime("needle/just-inside", excludes=_RESHAPED)
def just_inside(source: Source, sizes: Shape, format: Format, spec: AttentionSpec) -> Inputs:
    """Each row's dominant key is the first or the last that the row sees: a mask too narrow loses it."""
    seen = visible(spec, sizes)
    edge = _last(seen) if source.boolean() else _first(seen)
    return _needles_at(source, sizes, format, spec, edge, MARGIN)


@regime("needle/just-outside", needs={"causal"}, excludes=_RESHAPED)
def just_outside(source: Source, sizes: Shape, format: Format, spec: AttentionSpec) -> Inputs:
    """Each row's dominant key is one beyond the last or before the first that it sees: a mask too wide shows it.

    The margin is sometimes large, so that a mask which only adds -10000 shows it too.
    """
    seen = visible(spec, sizes)
    if seen.all():
        spec = spec.replace(causal=True)
        seen = visible(spec, sizes)
    after, before = _last(seen) + 1, np.where(_first(seen) > 0, _first(seen) - 1, -1)
    after = np.where((after > 0) & (after < sizes.keys), after, -1)
    upper = not source.boolean()
    targets = np.where(after >= 0, after, before) if upper else np.where(before >= 0, before, after)
    return _needles_at(source, sizes, format, spec, targets, source.choice([MARGIN, LOUD]))


def _needles_at(
    source: Source, sizes: Shape, format: Format, spec: AttentionSpec, targets: Ints, margin: float
) -> Inputs:
    if sizes.d_qk >= code_bits(sizes.keys):
        q, k = matched_qk(sizes, format, spec, targets, margin)
    else:
        # Too few dimensions for a code of each key: one row's target dominates for all rows.
        some = targets[targets >= 0]
        place = int(some[source.integer(0, some.size - 1)]) if some.size else -1
        q, k = ranked_qk(source, sizes, format, spec, (np.arange(sizes.keys) == place).astype(np.int64), margin)
    return Inputs(q, k, identifying_values(sizes, format), spec)


def _last(seen: Bools) -> Ints:
    """The last visible key of each row, -1 if there is none."""
    keys = seen.shape[-1]
    return np.where(seen.any(axis=-1), keys - 1 - seen[..., ::-1].argmax(axis=-1), -1)


def _first(seen: Bools) -> Ints:
    """The first visible key of each row, -1 if there is none."""
    return np.where(seen.any(axis=-1), seen.argmax(axis=-1), -1)


REGIMES = (
    first, last, tile_edge, rising, falling, shuffled, own_key, just_inside, just_outside,
)  # fmt: skip
