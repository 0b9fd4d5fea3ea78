"""Which cases a property is examined on: seeded recipes of regimes, and Hypothesis strategies of the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from refattn.contract.features import PAIRWISE, TABLE, compatible
from refattn.contract.spec import SoftmaxSpec
from refattn.errors import InvalidValue
from refattn.inputs import regimes
from refattn.inputs.cases import AttentionCase, SoftmaxCase
from refattn.inputs.regimes import Claims, Limits, Recipe, Regime
from refattn.inputs.sources import DrawnSource
from refattn.suite.context import Context
from refattn.suite.profile import Profile
from refattn.suite.search import Drawn, Seeded

# The properties named after these families cover the regimes whose names begin with these words.
FAMILIES: dict[str, tuple[str, ...]] = {
    "needles": ("needle",),
    "generic": ("generic",),
    "ties": ("ties",),
    "maxima": ("maxima",),
    "scores": ("scores",),
    "signs": ("values",),
    "shapes": ("lengths", "heads", "dims", "flat"),
    "masks": ("masks", "causal", "window", "documents", "buckets", "dropped", "pages", "garbage"),
    "terms": ("softcap", "bias", "sinks", "alibi", "scale", "dropout"),
}
HEAD_DIMS = (16, 8, 32, 40, 64, 24, 128, 5)
# Three query heads: one group, or as many key-value heads.
FEW_HEADS = 3
# Past 2^16 (query, key) pairs, where an offset into a mask can first exceed 16 bits.
LARGE = Limits(length=384, long=384, batch=2, heads=4, head_dims=(16,), pairs=1 << 17)
# Draws of a feature, at most, for a case that shows one of its fields.
MOST_DRAWS = 32
SMALL = Limits(length=8, long=24, batch=2, heads=4, head_dims=(1, 2, 3, 4))


def seeded_limits(context: Context, family: str | None = None, *, upstream: bool = False) -> Limits:
    """Sizes of seeded cases: past two tiles of 64, unless the profile's longest is shorter.

    A largest length also limits the pairs, to those of one head of that length, and the heads of all families but
    "shapes".
    """
    profile = context.profile
    pairs = 1 << (13 if upstream else 14)
    return Limits(
        length=min(160, profile.longest),
        long=profile.most_keys,
        batch=2,
        heads=8 if profile.largest is None or family == "shapes" else FEW_HEADS,
        head_dims=HEAD_DIMS,
        pairs=pairs if profile.largest is None else min(pairs, profile.largest**2),
    )


def left_out(context: Context, whole: Profile, quantity: str) -> list[str]:
    """The regimes that the whole profile runs on a target of the quantity, but that are too long for the context's."""
    before = seeded_limits(replace(context, profile=whole), "shapes")
    after = seeded_limits(context, "shapes")
    if quantity == "softmax":
        rows = [regime for regime in regimes.SOFTMAX if regime.available(context.format, before)]
        return [regime.name for regime in rows if not regime.available(context.format, after)]
    known = [regime for regime in regimes.ALL if regime.available(context.format, before, context.claims)]
    names = [regime.name for regime in known if not regime.available(context.format, after, context.claims)]
    if not _room_for_large(context):
        names += [f"{feature} of {LARGE.length} keys" for feature in PAIRWISE if feature in context.claims]
    return names


def _room_for_large(context: Context) -> bool:
    largest = context.profile.largest
    return largest is None or largest >= LARGE.length


def regimes_of(context: Context, limits: Limits, family: str | None = None, kind: str = "value") -> list[Regime]:
    """The regimes of a family and kind that the target can be given; all families if none is named."""
    words = FAMILIES[family] if family is not None else None
    chosen = []
    for regime in regimes.ALL:
        fits = words is None or regime.name.split("/")[0] in words
        if fits and regime.kind == kind and regime.available(context.format, limits, context.claims):
            chosen.append(regime)
    return chosen


def seeded_cases(
    family: str | None = None,
    kind: str = "value",
    *,
    count: int | None = None,
    upstream: bool = False,
) -> Seeded:
    """Every regime of the family, once plain and, for each of the profile's seeds, with drawn features.

    With `count`, only that many of the plain regimes.
    """

    def cases(context: Context, name: str) -> Iterator[AttentionCase]:
        limits = seeded_limits(context, family, upstream=upstream)
        chosen = regimes_of(context, limits, family, kind)
        seed = int(context.generator(name).integers(1 << 30))
        plain = chosen[:count]
        yield from _cases(context, plain, seed, 0, limits, frozenset(), upstream)
        if count is None:
            for draw in range(1, context.profile.seeds + 1):
                yield from _cases(context, chosen, seed, draw, limits, None, upstream)

    return cases


def cases_of_features(features: Iterable[str], shows: Callable[[AttentionCase], bool]) -> Seeded:
    """Each of the features that is claimed, alone, on normal inputs, for each of the profile's seeds.

    For each field of a feature that no such case `shows` by itself, there is one more that does, if one can be drawn.
    """

    def cases(context: Context, name: str) -> Iterator[AttentionCase]:
        limits, seeds = seeded_limits(context), context.profile.seeds
        generic = regimes_of(context, limits, "generic")[:1]
        seed = int(context.generator(name).integers(1 << 30))
        for row in TABLE:
            missing = set(row.fields) if row.name in features and row.name in context.claims else set()
            for draw in range(max(seeds, MOST_DRAWS) if missing else 0):
                if draw >= seeds and not missing:
                    break
                for case in _cases(context, generic, seed, draw, limits, frozenset({row.name}), upstream=False):
                    fields = row.fields.keys() & case.spec.features().keys()
                    shows_new = len(fields) == 1 and fields <= missing and shows(case)
                    if draw < seeds or shows_new:
                        yield case
                    if shows_new:
                        missing -= fields

    return cases


def feature_cases(*, upstream: bool = False) -> Seeded:
    """Large cases of pairwise features; each claimed feature alone, plain and with a needle; each pair."""

    def cases(context: Context, name: str) -> Iterator[AttentionCase]:
        limits = seeded_limits(context, upstream=upstream)
        generic = regimes_of(context, limits, "generic")
        needles = [regime for regime in regimes_of(context, limits, "needles") if regime.name == "needle/own-key"]
        known = [feature for feature in regimes.FEATURES if feature in context.claims]
        seed = int(context.generator(name).integers(1 << 30))
        for feature in PAIRWISE:
            if feature in context.claims and _room_for_large(context):
                yield from _cases(context, generic[:1], seed, 0, LARGE, frozenset({feature}), upstream)
        for draw in range(context.profile.seeds):
            for feature in known:
                yield from _cases(context, [generic[0], *needles], seed, draw, limits, frozenset({feature}), upstream)
            for position, first in enumerate(known):
                for second in known[position + 1 :]:
                    pair = frozenset({first, second})
                    if compatible(pair):
                        yield from _cases(context, generic[:1], seed, draw, limits, pair, upstream)

    return cases


def _cases(
    context: Context,
    chosen: Iterable[Regime],
    seed: int,
    draw: int,
    limits: Limits,
    features: Claims | None,
    upstream: bool,
) -> Iterator[AttentionCase]:
    for regime in chosen:
        recipe = Recipe(
            regime.name,
            context.format,
            seed=seed,
            draw=draw,
            claims=_drawable(context.claims),
            features=features,
            alignment=context.alignment,
            upstream=upstream,
            limits=limits,
        )
        try:
            case = recipe.case()
        except InvalidValue:
            # The claims leave no such case, for instance no length of one key for a kernel that takes whole tiles only.
            continue
        if isinstance(case, AttentionCase) and fits(context, case):
            yield _without_lse_gradient(context, case)


def _drawable(claims: Claims) -> Claims:
    return frozenset(claims) & regimes.EVERY_CLAIM


def fits(context: Context, case: AttentionCase) -> bool:
    """True if the convention can express the case."""
    return context.queries is None or case.shape.queries == context.queries


def _without_lse_gradient(context: Context, case: AttentionCase) -> AttentionCase:
    return case if context.takes_dlse or case.dlse is None else case.replace(dlse=None)


def drawn_cases(
    family: str | None = None,
    kind: str = "value",
    *,
    features: Iterable[str] | None = None,
    upstream: bool = False,
) -> Drawn:
    """A strategy of small cases of a family and kind."""
    wanted = None if features is None else frozenset(features)

    def strategy(context: Context) -> Any:
        from hypothesis import strategies as st

        chosen = regimes_of(context, SMALL, family, kind) or regimes_of(context, SMALL)

        @st.composite
        def case(draw: Callable[[Any], Any]) -> AttentionCase:
            source = DrawnSource(draw)
            regime = source.choice(chosen)
            some = None if wanted is None else [feature for feature in sorted(wanted) if source.boolean()]
            made = regimes.make_case(
                regime,
                source,
                context.format,
                claims=_drawable(context.claims),
                limits=SMALL,
                alignment=context.alignment,
                features=some,
            )
            if upstream:
                made = regimes.with_upstream(made, source, dlse=context.takes_dlse)
            return made

        return case().filter(lambda made: fits(context, made))

    return strategy


def seeded_softmax(kind: str) -> Seeded:
    """Every softmax regime of the kind, along the last axis and along another."""

    def cases(context: Context, name: str) -> Iterator[SoftmaxCase]:
        limits = seeded_limits(context)
        seed = int(context.generator(name).integers(1 << 30))
        for draw in range(context.profile.seeds + 1):
            for regime in regimes.SOFTMAX:
                if regime.kind == kind and regime.available(context.format, limits):
                    for axis in (-1, -2):
                        recipe = Recipe(
                            regime.name,
                            context.format,
                            seed=seed,
                            draw=draw,
                            limits=limits,
                            softmax=SoftmaxSpec(axis=axis, kind=context.softmax_kind),
                        )
                        case = recipe.case()
                        if isinstance(case, SoftmaxCase):
                            yield case

    return cases


def drawn_softmax(kind: str) -> Drawn:
    """A strategy of small softmax cases."""

    def strategy(context: Context) -> Any:
        from hypothesis import strategies as st

        chosen = [
            regime for regime in regimes.SOFTMAX if regime.kind == kind and regime.available(context.format, SMALL)
        ]
        spec = SoftmaxSpec(kind=context.softmax_kind)

        @st.composite
        def case(draw: Callable[[Any], Any]) -> SoftmaxCase:
            source = DrawnSource(draw)
            return regimes.make_softmax_case(source.choice(chosen), source, context.format, spec=spec, limits=SMALL)

        return case()

    return strategy
