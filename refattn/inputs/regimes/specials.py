"""NaN and infinity in the inputs, and garbage in invisible keys.

A key that no row sees may hold anything and must change no bit: finite garbage there ("garbage/...") is an ordinary
case, NaN and infinities ("poison/...") are of a kind of their own, because 0 * NaN leaks in most kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from refattn.contract.features import HIDING
from refattn.contract.spec import AttentionSpec, Shape
from refattn.contract.visibility import visible
from refattn.inputs.regimes.building import normal_qkv
from refattn.inputs.regimes.regime import Inputs, Kind, Regime, SizesOf, regime
from refattn.inputs.regimes.sizes import Claims, Limits, draw_shape, resized
from refattn.inputs.regimes.specs import draw_page, page_positions
from refattn.inputs.sources import Bools, Source
from refattn.numbers.formats import Format

Hide = Callable[[Source, Shape, AttentionSpec], AttentionSpec]
_SPECIALS: dict[bool, tuple[str, Kind]] = {False: ("nan", "nan"), True: ("inf", "ieee")}
# Features that would hide other keys than the place does, and leave rows empty; causal and bias are harmless.
_HIDING: Claims = frozenset(HIDING) - {"causal", "strict_causal", "bias"}


def _visible_special(tensor: str, value: float) -> Regime:
    name, kind = _SPECIALS[value == np.inf]

    def inputs(source: Source, sizes: Shape, format: Format, spec: AttentionSpec) -> Inputs:
        q, k, v = normal_qkv(source, sizes, format)
        array = {"q": q, "k": k, "v": v}[tensor]
        for _ in range(source.integer(1, 2)):
            sign = -1.0 if value == np.inf and source.boolean() else 1.0
            array[tuple(source.integer(0, size - 1) for size in array.shape)] = sign * value
        return Inputs(q, k, v, spec)

    inputs.__doc__ = f"One or two entries of {tensor} are {name}: the rows that see them are what IEEE 754 makes of it."
    return regime(f"special/{name}-in-{tensor}", kind=kind, infinite=value == np.inf)(inputs)


@dataclass(frozen=True)
class Place:
    """A way of hiding keys from all rows, and the claims that it needs."""

    name: str
    words: str
    hide: Hide
    needs: Claims
    sizes: SizesOf = draw_shape


def _masked(source: Source, sizes: Shape, spec: AttentionSpec) -> AttentionSpec:
    shown = source.booleans((sizes.batch, 1, 1, sizes.keys), 0.75)
    return spec.replace(mask=_some_hidden(source, shown))


def _dropped(source: Source, sizes: Shape, spec: AttentionSpec) -> AttentionSpec:
    kept = source.booleans((sizes.batch, 1, sizes.keys), 0.75)
    return spec.replace(kept_keys=_some_hidden(source, kept))


def _some_hidden(source: Source, shown: Bools) -> Bools:
    """Where there are two keys, one is hidden and another is shown."""
    keys = shown.shape[-1]
    if keys > 1:
        hidden = source.integer(0, keys - 1)
        shown[..., hidden] = False
        shown[..., (hidden + 1) % keys] = True
    else:
        shown[...] = True
    return shown


def _unused(source: Source, sizes: Shape, spec: AttentionSpec) -> AttentionSpec:
    page = draw_page(source, sizes.keys)
    used = source.integer(min(sizes.queries, max(1, sizes.keys - 1)), max(1, sizes.keys - 1))
    return spec.replace(key_positions=page_positions(source, sizes.keys, used, page))


def _outside_window(source: Source, sizes: Shape, spec: AttentionSpec) -> AttentionSpec:
    spare = max(0, sizes.keys - sizes.queries - 1)
    left = source.integer(0, min(spare, 4))
    return spec.replace(window=(left, 0))


def _orphaned(source: Source, sizes: Shape, spec: AttentionSpec) -> AttentionSpec:
    last = source.integer(min(sizes.queries, max(1, sizes.keys - 1)), max(1, sizes.keys - 1))
    ids = np.where(np.arange(sizes.keys) < last, 0, 1)
    return spec.replace(documents=(np.zeros(sizes.queries, np.int64), ids))


def _few_queries(source: Source, limits: Limits, claims: Claims) -> Shape:
    shape = draw_shape(source, limits, claims)
    queries = max(1, shape.queries // 4)
    return resized(shape, limits, claims, queries=queries, keys=max(queries + 1, shape.keys))


PLACES = (
    Place("masked", "the mask hides", _masked, frozenset({"mask"})),
    Place("dropped", "are dropped", _dropped, frozenset({"sparse"})),
    Place("unused-slots", "a paged cache has not filled", _unused, frozenset({"paged", "cross"}), _few_queries),
    Place("window", "lie outside every window", _outside_window, frozenset({"window", "cross"}), _few_queries),
    Place("orphaned", "are of a document without queries", _orphaned, frozenset({"varlen", "cross"}), _few_queries),
)


def _hidden(place: Place, filling: str, value: float) -> Regime:
    def inputs(source: Source, sizes: Shape, format: Format, spec: AttentionSpec) -> Inputs:
        q, k, v = normal_qkv(source, sizes, format)
        spec = place.hide(source, sizes, spec)
        seen = visible(spec, sizes).reshape(sizes.batch, sizes.kv_heads, -1, sizes.keys).any(axis=2, keepdims=True)
        unseen = ~np.swapaxes(seen, 2, 3)
        size = min(value, format.max_finite / 2) if np.isfinite(value) else value
        k = np.where(unseen, np.where(k < 0, -size, size), k)
        v = np.where(unseen, np.where(v < 0, -size, size), v)
        return Inputs(q, k, v, spec)

    inputs.__doc__ = f"Keys that {place.words} hold {filling}."
    return regime(
        f"garbage/{place.name}" if np.isfinite(value) else f"poison/{filling}-{place.name}",
        needs=place.needs,
        excludes=_HIDING,
        kind="value" if np.isfinite(value) else "poison",
        sizes=place.sizes,
        infinite=value == np.inf,
    )(inputs)


@regime("poison/nan-future", needs={"causal"}, excludes=_HIDING, kind="poison")
def nan_future(source: Source, sizes: Shape, format: Format, spec: AttentionSpec) -> Inputs:
    """The last key and its value are NaN under a causal mask: the rows before must not notice."""
    q, k, v = normal_qkv(source, sizes, format)
    which = source.choice(["v", "k", "both"])
    if which != "v":
        k[:, :, -1] = np.nan
    if which != "k":
        v[:, :, -1] = np.nan
    return Inputs(q, k, v, spec.replace(causal=True))


REGIMES = (
    *(_visible_special(tensor, value) for value in (np.nan, np.inf) for tensor in ("q", "k", "v")),
    *(
        _hidden(place, filling, value)
        for filling, value in (("garbage", 1024.0), ("nan", np.nan), ("inf", np.inf))
        for place in PLACES
    ),
    nan_future,
)
