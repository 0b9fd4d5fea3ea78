"""Equal scores, and values whose weighted sum is known or delicate."""

from __future__ import annotations

import numpy as np

from refattn.contract.spec import AttentionSpec, Shape
from refattn.inputs.regimes.building import key_shape, normal_qkv, query_shape, ranked_qk, representable, value_shape
from refattn.inputs.regimes.regime import Inputs, regime
from refattn.inputs.regimes.sizes import draw_tiled_shape
from refattn.inputs.sources import Source
from refattn.numbers.formats import Array, Format

GAP = 12.0
_RESHAPED = frozenset({"softcap", "alibi", "bias"})
_UNEQUAL = frozenset({"alibi", "bias"})


@regime("ties/all-equal", excludes=_UNEQUAL)
def all_equal(source: Source, sizes: Shape, format: Format, spec: AttentionSpec) -> Inputs:
    """All keys are the same, so that the output is the mean of the visible values."""
    q, k, v = normal_qkv(source, sizes, format)
    return Inputs(q, np.repeat(k[:, :, :1], sizes.keys, axis=2), v, spec)


@regime("ties/ones", excludes={*_UNEQUAL, "sinks", "dropout"})
def ones(source: Source, sizes: Shape, format: Format, spec: AttentionSpec) -> Inputs:
    """All keys are the same and V is 1: the output is exactly 1, and a wrong row sum is bare."""
    q, k, v = normal_qkv(source, sizes, format)
    return Inputs(q, np.repeat(k[:, :, :1], sizes.keys, axis=2), np.ones_like(v), spec)


@regime("ties/duplicated-maximum", excludes=_RESHAPED, sizes=draw_tiled_shape)
def duplicated_maximum(source: Source, sizes: Shape, format: Format, spec: AttentionSpec) -> Inputs:
    """A few keys tie for the row maximum, the rest score at least 12 nats lower, and V is negative.

    Then several weights are exactly 1, and the roundings of P V in a narrow accumulator all go the same way.
    """
    order = source.permutation(sizes.keys)
    tied = min(sizes.keys, source.integer(2, 4))
    ranks = np.where(order < tied, 1, -(order % 3))
    q, k = ranked_qk(source, sizes, format, spec, ranks, GAP, noise=0.0)
    v = representable(-np.abs(source.normal(value_shape(sizes))) - 0.5, format)
    return Inputs(q, k, v, spec)


@regime("ties/pairs", excludes=_UNEQUAL)
def pairs(source: Source, sizes: Shape, format: Format, spec: AttentionSpec) -> Inputs:
    """Each key comes twice in a row, with unlike values."""
    q, k, v = normal_qkv(source, sizes, format)
    return Inputs(q, _paired(k), v, spec)


@regime("values/same-sign")
def same_sign(source: Source, sizes: Shape, format: Format, spec: AttentionSpec) -> Inputs:
    """V is positive, so that nothing cancels and a bias of the roundings shows."""
    q, k, v = normal_qkv(source, sizes, format)
    return Inputs(q, k, representable(np.abs(v) + 0.5, format), spec)


@regime("values/cancelling", excludes=_UNEQUAL)
def cancelling(source: Source, sizes: Shape, format: Format, spec: AttentionSpec) -> Inputs:
    """Equal keys in pairs with opposite values: the weighted sum cancels to zero, or to the odd key's value."""
    q, k, v = normal_qkv(source, sizes, format)
    signs = np.where(np.arange(sizes.keys) % 2, -1.0, 1.0)[:, None]
    return Inputs(q, _paired(k), _paired(v) * signs, spec)


@regime("values/largest")
def largest(source: Source, sizes: Shape, format: Format, spec: AttentionSpec) -> Inputs:
    """V of both signs at the top of the format, or at 2^100 where an fp32 sum would overflow beyond."""
    q, k, v = normal_qkv(source, sizes, format)
    return Inputs(q, k, np.where(v < 0, -1.0, 1.0) * min(format.max_finite, 2.0**100), spec)


@regime("values/subnormal")
def subnormal(source: Source, sizes: Shape, format: Format, spec: AttentionSpec) -> Inputs:
    """All inputs are subnormal: the scores vanish, and the output is subnormal too."""
    most = 2 ** (format.precision - 1) - 1
    q, k, v = (
        np.clip(np.rint(source.small(shape) * min(most / 4, 2.0**20)), -most, most) * format.smallest_subnormal
        for shape in (query_shape(sizes), key_shape(sizes), value_shape(sizes))
    )
    return Inputs(q, k, v, spec)


@regime("values/signed-zeros")
def signed_zeros(source: Source, sizes: Shape, _format: Format, spec: AttentionSpec) -> Inputs:
    """All inputs are 0 or -0."""
    q, k, v = (
        np.where(source.booleans(shape), 0.0, -0.0)
        for shape in (query_shape(sizes), key_shape(sizes), value_shape(sizes))
    )
    return Inputs(q, k, v, spec)


def _paired(array: Array) -> Array:
    return array[:, :, np.arange(array.shape[2]) // 2 * 2]


REGIMES = (
    all_equal, ones, duplicated_maximum, pairs, same_sign, cancelling, largest, subnormal, signed_zeros,
)  # fmt: skip
