"""Errors too large or too biased for independent roundings of the declared arithmetic, on generic inputs only."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from refattn.bounds.rms_backward import has_model
from refattn.suite.context import Context
from refattn.suite.patterns import (
    BIAS_PATTERNS,
    GRADIENT_PATTERNS,
    LONG_PATTERNS,
    PATTERNS,
    Draw,
    Pattern,
    softmax_case,
    upstream_case,
)
from refattn.suite.property import Property
from refattn.suite.samples import biased, outlier, too_large
from refattn.suite.statistic import Statistic

# The spread and the length of rows.
SOFTMAX_PATTERNS = ((1.0, 512), (4.0, 1000), (0.1, 3000))


def _patterns(patterns: tuple[Pattern, ...]) -> Callable[[Context], list[Draw]]:
    def draws(context: Context) -> list[Draw]:
        fitting = [pattern for pattern in patterns if pattern.keys <= context.profile.longest]
        return [partial(pattern.case, format=context.format, queries=context.queries) for pattern in fitting]

    return draws


def _gradient_draws(context: Context) -> list[Draw]:
    first = upstream_case(context.generator("draws"), GRADIENT_PATTERNS[0], context.format, context.queries)
    if not has_model(first.spec, context.target.arithmetic_of(first)):
        return []
    return [
        partial(upstream_case, pattern=pattern, format=context.format, queries=context.queries)
        for pattern in GRADIENT_PATTERNS
    ]


def _softmax_draws(context: Context) -> list[Draw]:
    return [
        partial(softmax_case, format=context.format, kind=context.softmax_kind, spread=spread, length=length)
        for spread, length in SOFTMAX_PATTERNS
    ]


def _longest(patterns: tuple[Pattern, ...]) -> int:
    return max(pattern.keys for pattern in patterns)


RMS = Statistic("out", (too_large, outlier), _patterns(PATTERNS), _longest(PATTERNS))
BIAS = Statistic("out", (biased,), _patterns(BIAS_PATTERNS), _longest(BIAS_PATTERNS))
LSE = Statistic("lse", (too_large, outlier, biased), _patterns(BIAS_PATTERNS), _longest(BIAS_PATTERNS))
DQ, DK, DV = (
    Statistic(quantity, (too_large, outlier), _gradient_draws, _longest(GRADIENT_PATTERNS))
    for quantity in ("dq", "dk", "dv")
)
LONG = Statistic("out", (too_large, outlier), _patterns(LONG_PATTERNS), _longest(LONG_PATTERNS))
SOFTMAX = Statistic("out", (too_large, outlier, biased), _softmax_draws, max(length for _, length in SOFTMAX_PATTERNS))

PROPERTIES = (
    Property(
        "statistics/rms",
        "errors of generic inputs are as large as independent roundings make them",
        RMS.observe,
        RMS.examine,
        stage=2,
    ),
    Property("statistics/bias", "errors of generic inputs are centred", BIAS.observe, BIAS.examine, stage=2),
    Property(
        "statistics/lse",
        "errors of the log-sum-exp are centred and as large as independent roundings make them",
        LSE.observe,
        LSE.examine,
        stage=2,
        needs=frozenset({"lse"}),
    ),
    *(
        Property(
            f"statistics/{statistic.quantity}",
            f"errors of {statistic.quantity} of generic inputs are as large as independent roundings make them",
            statistic.observe,
            statistic.examine,
            stage=2,
            needs=frozenset({"backward"}),
        )
        for statistic in (DQ, DK, DV)
    ),
    Property("statistics/long", "the same for long sequences", LONG.observe, LONG.examine, stage=2),
    Property(
        "statistics/softmax",
        "errors of generic rows are centred and as large as independent roundings make them",
        SOFTMAX.observe,
        SOFTMAX.examine,
        stage=2,
        quantity="softmax",
    ),
)
