"""Regimes of softmax: rows of numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from refattn.inputs.regimes.building import TILES, representable
from refattn.inputs.regimes.regime import LengthOf, SoftmaxRegime, softmax_regime
from refattn.inputs.regimes.sizes import Limits
from refattn.inputs.sources import Ints, Source
from refattn.numbers.formats import Array, Format

SLICE = 32
GAP = 12.0


def _scaled(factor: float) -> SoftmaxRegime:
    def rows(source: Source, count: int, n: int, format: Format) -> Array:
        return representable(source.normal((count, n), factor), format)

    rows.__doc__ = f"Normal numbers multiplied by {factor:g}."
    return softmax_regime(f"softmax/x{factor:g}", generic=True)(rows)


@softmax_regime("softmax/heavy-tailed", generic=True)
def heavy_tailed(source: Source, count: int, n: int, format: Format) -> Array:
    """Cubes of normal numbers: a few large ones among many small."""
    return representable(source.normal((count, n)) ** 3 / 4, format)


@softmax_regime("softmax/increasing")
def increasing(_source: Source, count: int, n: int, format: Format) -> Array:
    """Each entry exceeds all before it, so that the running maximum always rises."""
    return _stairs(count, np.arange(n), format)


@softmax_regime("softmax/decreasing")
def decreasing(_source: Source, count: int, n: int, format: Format) -> Array:
    """Each entry is less than all before it."""
    return _stairs(count, -np.arange(n), format)


def _stairs(count: int, ranks: Ints, format: Format) -> Array:
    """rank / 4; ranks that the format cannot distinguish are truncated to fewer bits."""
    steps = 2 ** max(0, int(np.abs(ranks).max(initial=0)).bit_length() - format.precision)
    return np.broadcast_to(np.trunc(ranks / steps) * steps / 4, (count, ranks.size)).copy()


@softmax_regime("softmax/all-equal")
def all_equal(source: Source, count: int, n: int, format: Format) -> Array:
    """All entries of a row are equal: the result is 1/n."""
    return np.repeat(representable(source.normal((count, 1), 10.0), format), n, axis=1)


@softmax_regime("softmax/duplicated-maximum")
def duplicated_maximum(source: Source, count: int, n: int, format: Format) -> Array:
    """A few entries tie for the maximum, the rest are at least 12 lower."""
    order = source.permutation(n)
    tied = min(n, source.integer(2, 4))
    row = np.where(order < tied, 0.0, -GAP - order % 4)
    return representable(np.repeat(row[None], count, axis=0), format)


def _needle(name: str, words: str, place: Callable[[Source, int], int], room: int = 0) -> SoftmaxRegime:
    def rows(source: Source, count: int, n: int, format: Format) -> Array:
        x = representable(source.normal((count, n)), format)
        x[:, place(source, n)] = 64.0
        return x

    rows.__doc__ = f"The {words} entry of a row dominates."
    return softmax_regime(f"softmax/needle-{name}", possible=lambda limits: limits.length > room)(rows)


def _edge(source: Source, n: int) -> int:
    ends = [place for tile in TILES for end in range(tile, n + 1, tile) for place in (end - 1, end) if place < n]
    return source.choice(sorted(set(ends)) or [n - 1])


def _offset(name: str, words: str, offsets: tuple[float, ...]) -> SoftmaxRegime:
    def rows(source: Source, count: int, n: int, format: Format) -> Array:
        within = [offset for offset in offsets if abs(offset) <= format.max_finite / 2]
        offset = format.round(source.choice(within))
        # Moved by a few ulps, so that entries differ however coarse the format is there.
        return representable(offset + source.integers((count, n), -4, 4) * np.maximum(format.ulp(offset), 0.25), format)

    rows.__doc__ = f"All entries share an offset: {words}."
    return softmax_regime(f"softmax/{name}")(rows)


@softmax_regime("softmax/equal-and-huge")
def equal_and_huge(source: Source, count: int, n: int, format: Format) -> Array:
    """Equal entries of 1e4 to 1e36: beside them the logarithm of the row sum is lost."""
    sizes = [size for size in (1e4, 1e20, 1e36) if size <= format.max_finite] or [format.max_finite]
    return np.full((count, n), float(format.round(source.choice(sizes))))


@softmax_regime("softmax/edges-of-the-format")
def edges(source: Source, count: int, n: int, format: Format) -> Array:
    """The largest numbers of both signs, whose difference overflows, among ordinary ones."""
    x = representable(source.normal((count, n)), format)
    which = source.integers((count, n), 0, 3)
    x[which == 1] = format.max_finite
    x[which == 2] = -format.max_finite
    return x


@softmax_regime("softmax/subnormal")
def subnormal(source: Source, count: int, n: int, format: Format) -> Array:
    """Subnormal entries: the result is flat."""
    most = 2 ** (format.precision - 1) - 1
    steps: Array = np.clip(np.rint(source.small((count, n)) * most / 4), -most, most)
    return steps * format.smallest_subnormal


@softmax_regime("softmax/signed-zeros")
def signed_zeros(source: Source, count: int, n: int, _format: Format) -> Array:
    """0 and -0."""
    return np.where(source.booleans((count, n)), 0.0, -0.0)


@softmax_regime("softmax/masked", infinite=True)
def masked(source: Source, count: int, n: int, format: Format) -> Array:
    """Some entries are -inf, but not all of a row."""
    x = representable(source.normal((count, n), 2.0), format)
    shown = source.booleans((count, n), 0.75)
    shown[np.arange(count), source.integers((count,), 0, n - 1)] = True
    return np.where(shown, x, -np.inf)


@softmax_regime("softmax/top-k", infinite=True)
def top_k(source: Source, count: int, n: int, format: Format) -> Array:
    """All but one to four entries of a row are -inf, so that whole slices of 32 are."""
    x = representable(source.normal((count, n), 2.0), format)
    kept = source.permutation(n) < source.integer(1, 4)
    return np.where(kept, x, -np.inf)


@softmax_regime("softmax/masked-slice", infinite=True, possible=lambda limits: limits.length > SLICE)
def masked_slice(source: Source, count: int, n: int, format: Format) -> Array:
    """Aligned slices of 32 entries are -inf in whole, the first of them among these, but not all of the row."""
    x = representable(source.normal((count, n), 2.0), format)
    place = np.arange(n)
    last = (n - 1) // SLICE
    hidden = source.integer(1, last) if last else 0
    return np.where(place < hidden * SLICE, -np.inf, x)


@softmax_regime("softmax/all-masked", kind="empty", infinite=True)
def all_masked(source: Source, count: int, n: int, format: Format) -> Array:
    """Some rows are -inf in whole."""
    x = representable(source.normal((count, n)), format)
    shown = source.booleans((count,), 0.5)
    shown[:1] = False
    return np.where(shown[:, None], x, -np.inf)


def _special(name: str, value: float) -> SoftmaxRegime:
    def rows(source: Source, count: int, n: int, format: Format) -> Array:
        x = representable(source.normal((count, n)), format)
        for _ in range(source.integer(1, 2)):
            x[source.integer(0, count - 1), source.integer(0, n - 1)] = value
        return x

    rows.__doc__ = f"One or two entries are {name}."
    infinite = bool(np.isinf(value))
    return softmax_regime(f"softmax/{name}", kind="ieee" if infinite else "nan", infinite=infinite)(rows)


def _about_lanes(source: Source, limits: Limits) -> int:
    lanes = [n for n in (32, 64, 128, 256, 512, 1024) if n < limits.length]
    return source.choice(lanes) + source.choice([1, -1, 0])


def _longer_than(n: int) -> LengthOf:
    return lambda source, limits: source.integer(n + 1, min(n + n // 2, limits.long))


def _flat(n: int) -> SoftmaxRegime:
    def rows(source: Source, count: int, length: int, format: Format) -> Array:
        return representable(source.normal((count, length), 2.0**-6), format)

    rows.__doc__ = f"More than {n} nearly equal entries: a row sum kept in few bits stalls."
    return softmax_regime(f"softmax/flat-over-{n}", length=_longer_than(n), possible=lambda limits: limits.long > n)(
        rows
    )


@softmax_regime("softmax/lanes", generic=True, length=_about_lanes, possible=lambda limits: limits.length > SLICE)
def lanes(source: Source, count: int, n: int, format: Format) -> Array:
    """Normal numbers, as many as a power of two from 32, or one more or less."""
    return representable(source.normal((count, n)), format)


@softmax_regime(
    "softmax/lanes-all-masked", kind="empty", infinite=True, length=_about_lanes,
    possible=lambda limits: limits.length > SLICE,
)  # fmt: skip
def lanes_all_masked(_source: Source, count: int, n: int, _format: Format) -> Array:
    """Rows of nothing but -inf, whose length is about a multiple of the lanes: padding must not win."""
    return np.full((count, n), -np.inf)


REGIMES = (
    *map(_scaled, (1.0, 0.1, 3.0, 10.0, 30.0)),
    heavy_tailed,
    increasing,
    decreasing,
    all_equal,
    duplicated_maximum,
    _needle("first", "first", lambda _source, _n: 0),
    _needle("last", "last", lambda _source, n: n - 1),
    _needle("tile-edge", "last or first of a tile's", _edge, min(TILES)),
    _offset("offset-high", "large and positive", (100.0, 1e4, 1e5, 1e10)),
    _offset("offset-low", "large and negative", (-150.0, -1e4, -1e5, -1e10)),
    equal_and_huge,
    edges,
    subnormal,
    signed_zeros,
    masked,
    top_k,
    masked_slice,
    all_masked,
    lanes,
    lanes_all_masked,
    _flat(256),
    _flat(2048),
    _special("nan", np.nan),
    _special("inf", np.inf),
)
