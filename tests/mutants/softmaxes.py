"""Faults of softmax, log-softmax and log-sum-exp kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from refattn.contract.arithmetic import Arithmetic
from refattn.models import Stages, log_softmax, logsumexp, naive_softmax, safe_softmax, tiled_softmax
from refattn.models.softmax import whole_row
from tests.mutants.registry import MUTANTS, SOFTMAX, register
from tests.mutants.samples import softmax_sample
from tests.mutants.scores import BF16, FP16

TILE = 64


def declared(function: Callable[..., Any], kind: str = "softmax") -> Callable[..., Any]:
    """The function, with what it computes and how, as refattn's softmax convention reads it."""

    def kernel(x: Any, axis: int = -1) -> Any:
        with np.errstate(all="ignore"):
            return function(x, axis)

    kernel.refattn_kind = kind
    kernel.refattn_library = "numpy"
    kernel.refattn_arithmetic = _of_log_sum_exp if kind == "logsumexp" else Arithmetic.flash
    return kernel


def _of_log_sum_exp(format: Any) -> Arithmetic:
    """The log-sum-exp is returned in the format in which it is computed."""
    arithmetic = Arithmetic.flash(format)
    return arithmetic.replace(output=arithmetic.lse)


MODELS = {"softmax": tiled_softmax, "log_softmax": log_softmax, "logsumexp": logsumexp}


def softmax_fault(
    id: str, family: str, link: str, *, kind: str = "softmax", into: list[Any] = MUTANTS, **options: Any
) -> Callable[[Any], Any]:
    """Register a function (x, axis)."""

    def decorate(function: Any) -> Any:
        shows = options.pop("shows", None) or softmax_sample(kind=kind)
        make, honest = (lambda: declared(function, kind)), (lambda: declared(MODELS[kind], kind))
        register(
            id, family, link, function, make, honest, base=SOFTMAX, call="softmax", shows=shows, into=into, **options
        )
        return function

    return decorate


def rows_of(x: Any, axis: int) -> tuple[Any, Stages]:
    """Rows along the last axis in float64, and the rounders of the declared arithmetic."""
    return np.moveaxis(np.asarray(x).astype(np.float64), axis, -1), Stages.of(Arithmetic.flash(x.dtype))


def stored(rows: Any, x: Any, axis: int, stages: Stages) -> Any:
    """Rows rounded into an array like x."""
    return np.moveaxis(stages.output(rows).astype(x.dtype), -1, axis)


def exponentials(rows: Any, stages: Stages, maximum: Any = None) -> Any:
    """exp(x - m); where m is -inf, 0 is subtracted."""
    reference = rows.max(axis=-1) if maximum is None else maximum
    guarded = np.where(np.isneginf(reference), 0.0, reference)[..., None]
    return stages.scores(np.exp(stages.scores(rows - guarded)))


@softmax_fault("P03", "prec", "https://github.com/huggingface/candle/issues/3727", formats=("fp16",),
               shows=softmax_sample(columns=3000, format="fp16"))  # fmt: skip
def row_sum_in_fp16(x: Any, axis: int) -> Any:
    """The row sum is accumulated in fp16: it stalls at 2048."""
    rows, stages = rows_of(x, axis)
    p = exponentials(rows, stages)
    return stored(p / FP16.sum(p)[..., None], x, axis, stages)


@softmax_fault("P04", "prec", "https://github.com/tenstorrent/tt-metal/issues/52045")
def row_sum_in_bf16_tiles(x: Any, axis: int) -> Any:
    """The row sum is rounded to bf16 after every tile."""
    rows, stages = rows_of(x, axis)
    p = exponentials(rows, stages)
    total = np.zeros(rows.shape[:-1])
    for start in range(0, rows.shape[-1], TILE):
        total = BF16(total + stages.normaliser.sum(p[..., start : start + TILE]))
    return stored(p / total[..., None], x, axis, stages)


@softmax_fault("E15", "empty", "https://github.com/flashinfer-ai/flashinfer/pull/1178",
               shows=softmax_sample(change=lambda x: np.where(np.arange(150) < 70, -np.inf, x)))  # fmt: skip
def masked_slice_is_nan(x: Any, axis: int) -> Any:
    """A slice of nothing but -inf is not guarded, and makes the row NaN."""
    rows, stages = rows_of(x, axis)
    slices = [rows[..., start : start + TILE] for start in range(0, rows.shape[-1], TILE)]
    masked = np.any([np.isneginf(part).all(axis=-1) for part in slices], axis=0)
    weights = np.moveaxis(np.asarray(tiled_softmax(x, axis)).astype(np.float64), axis, -1)
    return stored(np.where(masked[..., None], np.nan, weights), x, axis, stages)


@softmax_fault("E16", "empty", "https://github.com/ml-explore/mlx/pull/2213", kind="logsumexp",
               shows=softmax_sample(kind="logsumexp", change=lambda x: np.full_like(x, -np.inf)))  # fmt: skip
def padding_of_lowest_finite_number(x: Any, axis: int) -> Any:
    """The last tile is padded with fp32's lowest finite number, which wins in a row of -inf."""
    rows, stages = rows_of(x, axis)
    lacking = -rows.shape[-1] % TILE
    padding = np.full((*rows.shape[:-1], lacking), float(np.finfo(np.float32).min))
    maximum, total = whole_row(np.concatenate([rows, padding], axis=-1), stages, TILE)
    return stages.lse(np.where(np.isneginf(maximum), 0.0, maximum) + stages.lse(np.log(total))).astype(np.float32)


@softmax_fault("L13", "lse", "https://github.com/ml-explore/mlx/pull/4169", kind="log_softmax", formats=("fp32",),
               shows=softmax_sample(kind="log_softmax", format="fp32", offset=1e5))  # fmt: skip
def log_softmax_as_difference(x: Any, axis: int) -> Any:
    """log_softmax is x - (m + log l): log l is lost next to a large m."""
    rows, stages = rows_of(x, axis)
    lse = np.asarray(logsumexp(x, axis)).astype(np.float64)
    return stored(stages.scores(rows - lse[..., None]), x, axis, stages)


@softmax_fault("P160", "lse", "", kind="log_softmax", shows=softmax_sample(kind="log_softmax", factor=60.0))
def log_softmax_as_logarithm(x: Any, axis: int) -> Any:
    """log_softmax is log(softmax(x)): -inf where the softmax underflows."""
    rows, stages = rows_of(x, axis)
    p = exponentials(rows, stages)
    return stored(np.log(stages.scores(p / stages.normaliser.sum(p)[..., None])), x, axis, stages)


@softmax_fault("P161", "empty", "", shows=softmax_sample(factor=60.0))
def no_maximum_subtracted(x: Any, axis: int) -> Any:
    """exp(x) / sum exp(x), without a maximum: it overflows."""
    return naive_softmax(x, axis)


@softmax_fault("P162", "lse", "", kind="logsumexp", shows=softmax_sample(kind="logsumexp", factor=60.0))
def log_sum_exp_without_maximum(x: Any, axis: int) -> Any:
    """log(sum exp(x)), without a maximum: it overflows."""
    rows, stages = rows_of(x, axis)
    total = stages.normaliser.sum(stages.scores(np.exp(rows)))
    return stages.lse(np.log(total)).astype(np.float32)


@softmax_fault("P163", "mask", "", shows=softmax_sample(axis=0))
def always_along_the_last_axis(x: Any, _axis: int) -> Any:
    """The axis is ignored: always the last."""
    return safe_softmax(x, -1)


@softmax_fault("P164", "prec", "")
def exponential_in_bf16(x: Any, axis: int) -> Any:
    """exp(x - m) is stored in bf16 before it is divided."""
    rows, stages = rows_of(x, axis)
    p = BF16(exponentials(rows, stages))
    return stored(p / stages.normaliser.sum(p)[..., None], x, axis, stages)


@softmax_fault("P165", "prec", "", formats=("fp32",), shows=softmax_sample(format="fp32"))
def exponential_of_low_degree(x: Any, axis: int) -> Any:
    """exp is 2**x by a polynomial of degree 4 (3e-6), undeclared, in fp32."""
    from refattn.models import polynomial_exp2

    rows, stages = rows_of(x, axis)
    maximum = rows.max(axis=-1, keepdims=True)
    guarded = np.where(np.isneginf(maximum), 0.0, maximum)
    p = polynomial_exp2((rows - guarded) * np.log2(np.e), 4, stages.scores)
    return stored(p / stages.normaliser.sum(p)[..., None], x, axis, stages)


@softmax_fault("P166", "tail", "")
def last_column_dropped(x: Any, axis: int) -> Any:
    """The last entry of a row of several is missing from the sum."""
    rows, stages = rows_of(x, axis)
    p = exponentials(rows, stages)
    kept = p[..., : max(1, p.shape[-1] - 1)]
    return stored(p / stages.normaliser.sum(kept)[..., None], x, axis, stages)


@softmax_fault("P167", "online", "", shows=softmax_sample(change=lambda x: np.sort(x, axis=-1)))
def sum_not_rescaled(x: Any, axis: int) -> Any:
    """A later tile's larger maximum does not rescale the sum."""
    rows, stages = rows_of(x, axis)
    maximum, total = np.full(rows.shape[:-1], -np.inf), np.zeros(rows.shape[:-1])
    for start in range(0, rows.shape[-1], TILE):
        part = rows[..., start : start + TILE]
        maximum = np.maximum(maximum, part.max(axis=-1))
        total = stages.normaliser(total + stages.normaliser.sum(exponentials(part, stages, maximum)))
    return stored(exponentials(rows, stages, maximum) / total[..., None], x, axis, stages)


@softmax_fault("N04", "race", "https://github.com/ml-explore/mlx/pull/2042", shows=softmax_sample(rows=200, repeats=3))
def maximum_of_previous_row(x: Any, axis: int) -> Any:
    """Now and then a row's sum is taken against the previous row's maximum, for want of a barrier."""
    rows, stages = rows_of(x, axis)
    if rows.ndim < 2:
        return tiled_softmax(x, axis)
    maximum = rows.max(axis=-1)
    stale = np.where(_RANDOM.random(maximum.shape) < 0.01, np.roll(maximum, 1, axis=-1), maximum)
    total = stages.normaliser.sum(exponentials(rows, stages, stale))
    return stored(exponentials(rows, stages, maximum) / total[..., None], x, axis, stages)


_RANDOM = np.random.default_rng(0)
