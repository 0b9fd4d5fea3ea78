"""Hypothesis strategies for attention and softmax cases, and the same cases by seed.

Drawn cases are small and shrink to something a person can read; seeded ones have any size and carry the recipe that
makes them again. Both come from the regimes of refattn.inputs.regimes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from hypothesis import strategies as st

from refattn.contract.spec import Alignment, AttentionSpec, Shape, SoftmaxSpec
from refattn.errors import InvalidValue
from refattn.inputs.cases import AttentionCase, SoftmaxCase
from refattn.inputs.regimes import (
    ALL,
    EVERY_CLAIM,
    SOFTMAX,
    Claims,
    Limits,
    Recipe,
    Regime,
    SoftmaxRegime,
    draw_spec,
    get,
    make_case,
    make_softmax_case,
    with_upstream,
)
from refattn.inputs.sources import DrawnSource
from refattn.numbers import formats as _formats
from refattn.numbers.formats import Format

SEEDED = Limits(length=160, long=3072, batch=2, heads=8, head_dims=(64, 16, 32, 128, 40, 80, 96, 256), pairs=1 << 16)


def formats() -> st.SearchStrategy[Format]:
    """The formats that attention kernels take most: fp32, bf16, fp16."""
    return st.sampled_from((_formats.fp32, _formats.bf16, _formats.fp16))


@st.composite
def attention_specs(
    draw: st.DrawFn,
    sizes: Shape,
    *,
    claims: Iterable[str] = EVERY_CLAIM,
    alignment: Alignment = "bottom_right",
    features: Iterable[str] | None = None,
    format: Format | str = "bf16",
) -> AttentionSpec:
    """Specs for problems of these sizes, of the claimed features; see refattn.inputs.regimes.draw_spec."""
    return draw_spec(DrawnSource(draw), sizes, claims, alignment, features, format=_formats.get(format))


@st.composite
def attention_cases(
    draw: st.DrawFn,
    format: Format | str = "fp32",
    *,
    claims: Iterable[str] = EVERY_CLAIM,
    regimes: Sequence[str] | None = None,
    kinds: Sequence[str] = ("value",),
    features: Iterable[str] | None = None,
    alignment: Alignment = "bottom_right",
    max_length: int = 8,
    max_batch: int = 2,
    max_heads: int = 4,
    head_dims: Sequence[int] = (1, 2, 3, 4),
    multiple: int = 64,
    upstream: bool = False,
) -> AttentionCase:
    """Small attention cases for a kernel with these claims.

    regimes      names of the regimes to use; None is all regimes that fit the claims
    kinds        kinds of regimes to use when their names are not given: "value", "nan", "ieee", "poison"
    features     features of the spec to use, besides those of the regime; None is some of the claimed ones
    max_length   of queries and keys, which are multiples of `multiple` for a kernel that does not claim "ragged"
    head_dims    the head dimensions that the kernel takes, simplest first
    upstream     add upstream gradients for the backward pass, of the log-sum-exp too if "lse" is claimed

    Raises InvalidValue when no regime is left. They shrink towards one batch, head, query and key, no feature, zeros.
    """
    limits = Limits(max_length, max_length, max_batch, max_heads, tuple(head_dims), multiple)
    number_format, claimed = _formats.get(format), frozenset(claims)
    source = DrawnSource(draw)
    regime = source.choice(attention_regimes(number_format, claimed, limits, regimes, kinds))
    case = make_case(
        regime, source, number_format, claims=claimed, limits=limits, alignment=alignment, features=features
    )
    return with_upstream(case, source, dlse="lse" in claimed) if upstream else case


@st.composite
def softmax_cases(
    draw: st.DrawFn,
    format: Format | str = "fp32",
    *,
    spec: SoftmaxSpec | None = None,
    regimes: Sequence[str] | None = None,
    kinds: Sequence[str] = ("value",),
    max_length: int = 40,
) -> SoftmaxCase:
    """Small softmax cases along the spec's axis; `kinds` are "value", "nan", "ieee" and "empty" (rows of -inf).

    Raises InvalidValue when no regime is left.
    """
    limits = Limits(length=max_length, long=max_length)
    number_format = _formats.get(format)
    source = DrawnSource(draw)
    regime = source.choice(softmax_regimes(number_format, limits, regimes, kinds))
    return make_softmax_case(regime, source, number_format, spec=spec, limits=limits)


def seeded_recipes(
    format: Format | str = "fp32",
    *,
    seed: int = 0,
    draws: int = 1,
    claims: Iterable[str] = EVERY_CLAIM,
    regimes: Sequence[str] | None = None,
    kinds: Sequence[str] = ("value",),
    features: Iterable[str] | None = None,
    alignment: Alignment = "bottom_right",
    limits: Limits = SEEDED,
    upstream: bool = False,
) -> list[Recipe]:
    """Recipes of attention cases, `draws` of each regime; `recipe.case()` makes the case.

    The arguments are those of attention_cases, with `limits` for the sizes. The cases of a regime do not depend on the
    other regimes. Raises InvalidValue when no regime is left.
    """
    kept, claimed = _formats.get(format), frozenset(claims)
    wanted = None if features is None else frozenset(features)
    return [
        Recipe(regime.name, kept, seed, draw, claimed, wanted, alignment, upstream, limits)
        for regime in attention_regimes(kept, claimed, limits, regimes, kinds)
        for draw in range(draws)
    ]


def seeded_cases(format: Format | str = "fp32", **options: Any) -> list[AttentionCase]:
    """The cases of seeded_recipes, which takes the same options: always the same, each carrying its recipe."""
    cases = (recipe.case() for recipe in seeded_recipes(format, **options))
    return [case for case in cases if isinstance(case, AttentionCase)]


def seeded_softmax_cases(
    format: Format | str = "fp32",
    *,
    spec: SoftmaxSpec | None = None,
    seed: int = 0,
    draws: int = 1,
    regimes: Sequence[str] | None = None,
    kinds: Sequence[str] = ("value",),
    limits: Limits = SEEDED,
) -> list[SoftmaxCase]:
    """Softmax cases, `draws` of each regime, always the same for the same arguments; each carries its recipe."""
    number_format = _formats.get(format)
    cases = (
        Recipe(regime.name, number_format, seed, draw, limits=limits, softmax=spec or SoftmaxSpec()).case()
        for regime in softmax_regimes(number_format, limits, regimes, kinds)
        for draw in range(draws)
    )
    return [case for case in cases if isinstance(case, SoftmaxCase)]


def attention_regimes(
    format: Format,
    claims: Claims,
    limits: Limits,
    names: Sequence[str] | None = None,
    kinds: Sequence[str] = ("value",),
) -> list[Regime]:
    """The regimes that such a kernel can be given, of those named or of those kinds. Raises InvalidValue if none."""
    named = ALL if names is None else [_attention_regime(name) for name in names]
    wanted = [regime for regime in named if names is not None or regime.kind in kinds]
    available = [regime for regime in wanted if regime.available(format, limits, claims)]
    if not available:
        raise InvalidValue(
            f"regimes is {names!r} and kinds is {kinds!r}: expected at least one that exists for {format.name} within "
            "the claims and the limits"
        )
    return available


def softmax_regimes(
    format: Format, limits: Limits, names: Sequence[str] | None = None, kinds: Sequence[str] = ("value",)
) -> list[SoftmaxRegime]:
    """The softmax regimes that exist in the format within the limits. Raises InvalidValue if there are none."""
    named = SOFTMAX if names is None else [_softmax_regime(name) for name in names]
    wanted = [regime for regime in named if names is not None or regime.kind in kinds]
    available = [regime for regime in wanted if regime.available(format, limits)]
    if not available:
        raise InvalidValue(
            f"regimes is {names!r} and kinds is {kinds!r}: expected at least one that exists for {format.name} within "
            "the limits"
        )
    return available


def _attention_regime(name: str) -> Regime:
    regime = get(name)
    if not isinstance(regime, Regime):
        raise InvalidValue(f"regime {name!r} is one of softmax: expected one of attention")
    return regime


def _softmax_regime(name: str) -> SoftmaxRegime:
    regime = get(name)
    if not isinstance(regime, SoftmaxRegime):
        raise InvalidValue(f"regime {name!r} is one of attention: expected one of softmax")
    return regime
