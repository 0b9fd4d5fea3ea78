"""Row maxima and their places, which an online softmax may get wrong."""

from __future__ import annotations

import math

import numpy as np

from refattn.contract.spec import AttentionSpec, Shape
from refattn.inputs.regimes.building import (
    TILES,
    key_shape,
    normal_qkv,
    offset_qk,
    query_shape,
    ranked_qk,
    representable,
    value_shape,
)
from refattn.inputs.regimes.regime import Inputs, Regime, regime
from refattn.inputs.regimes.sizes import draw_tiled_shape
from refattn.inputs.sources import Source
from refattn.numbers.formats import Array, Format

_RESHAPED = frozenset({"softcap", "alibi", "bias"})
_HALF = 0.5


def _values(source: Source, sizes: Shape, format: Format) -> Array:
    return representable(source.normal(value_shape(sizes)), format)


@regime("maxima/increasing", excludes=_RESHAPED, sizes=draw_tiled_shape)
def increasing(source: Source, sizes: Shape, format: Format, spec: AttentionSpec) -> Inputs:
    """Each key scores higher than all before it: the running maximum rises in every tile."""
    step = source.choice([1.0, 0.25, 4.0])
    q, k = ranked_qk(source, sizes, format, spec, np.arange(sizes.keys), step, noise=0.0)
    return Inputs(q, k, _values(source, sizes, format), spec)


@regime("maxima/decreasing", excludes=_RESHAPED, sizes=draw_tiled_shape)
def decreasing(source: Source, sizes: Shape, format: Format, spec: AttentionSpec) -> Inputs:
    """Each key scores lower than all before it: the first tile's maximum stays."""
    step = source.choice([1.0, 0.25, 4.0])
    q, k = ranked_qk(source, sizes, format, spec, np.arange(sizes.keys)[::-1], step, noise=0.0)
    return Inputs(q, k, _values(source, sizes, format), spec)


@regime("maxima/slow", excludes=_RESHAPED, sizes=draw_tiled_shape)
def slow(source: Source, sizes: Shape, format: Format, spec: AttentionSpec) -> Inputs:
    """The running maximum rises by less than 4 bits a tile, so that a lazy kernel keeps a stale one."""
    tile = source.choice(TILES)
    step = 3.5 * math.log(2) / tile
    q, k = ranked_qk(source, sizes, format, spec, np.arange(sizes.keys), step, at_most=True, noise=0.0)
    return Inputs(q, k, _values(source, sizes, format), spec)


def _offset(name: str, summary: str, offsets: tuple[float, ...]) -> Regime:
    def inputs(source: Source, sizes: Shape, format: Format, spec: AttentionSpec) -> Inputs:
        q, k = offset_qk(source, sizes, format, spec, source.choice(offsets), _HALF)
        return Inputs(q, k, _values(source, sizes, format), spec)

    inputs.__doc__ = summary
    return regime(f"scores/{name}", excludes=_RESHAPED)(inputs)


offset_high = _offset("offset-high", "All scores share a large positive offset.", (100.0, 1000.0, 10_000.0))
offset_low = _offset("offset-low", "All scores share a large negative offset.", (-100.0, -1000.0, -10_000.0))
below_104 = _offset("below-104", "All scores are below -104, where exp underflows in fp32.", (-140.0, -200.0))


@regime("scores/below-50000", excludes=_RESHAPED)
def below_50000(source: Source, sizes: Shape, format: Format, spec: AttentionSpec) -> Inputs:
    """Each q.k is below -5e4 before the scale: lower than the sentinels that kernels take for minus infinity."""
    q, k = offset_qk(source, sizes, format, spec.replace(scale=1.0), -60_000.0, _HALF)
    return Inputs(q, k, _values(source, sizes, format), spec)


@regime("scores/beyond-65504", excludes=_RESHAPED)
def beyond_65504(source: Source, sizes: Shape, format: Format, spec: AttentionSpec) -> Inputs:
    """Each |q.k| is beyond fp16's largest number before the scale."""
    q, k = offset_qk(source, sizes, format, spec.replace(scale=1.0), source.choice([70_000.0, -70_000.0]), _HALF)
    return Inputs(q, k, _values(source, sizes, format), spec)


@regime("scores/cancelling", excludes=_RESHAPED)
def cancelling(source: Source, sizes: Shape, format: Format, spec: AttentionSpec) -> Inputs:
    """The products in q.k are large and cancel in pairs, up to ordinary scores."""
    q, k, v = normal_qkv(source, sizes, format)
    pairs = (sizes.d_qk - 1) // 2
    large = min(64.0, format.max_finite / 8)
    size = representable(large * (1 + np.abs(source.small((sizes.keys, pairs))) / 4), format)
    q[..., :pairs], q[..., pairs : 2 * pairs] = 16.0, -16.0
    k[..., :pairs] = k[..., pairs : 2 * pairs] = size
    return Inputs(q, k, v, spec)


@regime("scores/large-k-tiny-q")
def large_k_tiny_q(source: Source, sizes: Shape, format: Format, spec: AttentionSpec) -> Inputs:
    """Keys of large norm and tiny queries, with ordinary scores."""
    large = 2.0 ** min(10, format.emax // 2)
    q = representable(source.normal(query_shape(sizes), 1 / large), format)
    k = representable(source.normal(key_shape(sizes), large), format)
    return Inputs(q, k, _values(source, sizes, format), spec)


@regime("scores/mean-of-k")
def mean_of_k(source: Source, sizes: Shape, format: Format, spec: AttentionSpec) -> Inputs:
    """Keys that share a mean: subtracting it leaves the output and shifts the log-sum-exp."""
    q, k, v = normal_qkv(source, sizes, format)
    mean = 1.0 + np.abs(source.small((sizes.kv_heads, 1, sizes.d_qk)))
    return Inputs(q, representable(k + mean, format), v, spec)


REGIMES = (
    increasing, decreasing, slow, offset_high, offset_low, below_104, below_50000, beyond_65504, cancelling,
    large_k_tiny_q, mean_of_k,
)  # fmt: skip
