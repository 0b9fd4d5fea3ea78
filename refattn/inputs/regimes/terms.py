"""Changes of the scores: softcap, bias, sinks, ALiBi, a given scale."""

from __future__ import annotations

import numpy as np

from refattn.contract.spec import AttentionSpec, Shape
from refattn.inputs.regimes.building import normal_qkv, ranked_qk, representable, value_shape
from refattn.inputs.regimes.regime import Inputs, regime
from refattn.inputs.regimes.specs import alibi_slopes, bias_format
from refattn.inputs.sources import Source
from refattn.numbers import formats
from refattn.numbers.formats import Format

_RESHAPED = frozenset({"softcap", "alibi", "bias"})
_SATURATED = 100.0


@regime("softcap/saturated", needs={"softcap"})
def saturated(source: Source, sizes: Shape, format: Format, spec: AttentionSpec) -> Inputs:
    """Scores of more than 88 times the softcap, of both signs: a tanh made of exponentials overflows."""
    cap = 1.0
    ranks = np.where(source.booleans((sizes.keys,)), 1, -1)
    q, k = ranked_qk(source, sizes, format, spec, ranks, _SATURATED * cap)
    return Inputs(q, k, representable(source.normal(value_shape(sizes)), format), spec.replace(softcap=cap))


@regime("softcap/comparable", needs={"softcap"})
def comparable(source: Source, sizes: Shape, format: Format, spec: AttentionSpec) -> Inputs:
    """Scores of the size of the softcap, where its slope is neither 1 nor 0."""
    q, k, v = normal_qkv(source, sizes, format, 2.0)
    return Inputs(q, k, v, spec.replace(softcap=source.choice([1.0, 2.0])))


@regime("bias/large", needs={"bias"}, excludes=_RESHAPED)
def large_bias(source: Source, sizes: Shape, format: Format, spec: AttentionSpec) -> Inputs:
    """A bias far larger than the scores."""
    q, k, v = normal_qkv(source, sizes, format)
    bias = representable(source.small((1, sizes.heads, sizes.queries, sizes.keys)) * 16.0, bias_format(format))
    return Inputs(q, k, v, spec.replace(bias=bias))


@regime("sinks/high", needs={"sinks"}, excludes=_RESHAPED)
def high_sinks(source: Source, sizes: Shape, format: Format, spec: AttentionSpec) -> Inputs:
    """Sinks about 90 nats above the scores: the output all but vanishes."""
    q, k, v = normal_qkv(source, sizes, format)
    return Inputs(q, k, v, spec.replace(sinks=90.0 + source.small((sizes.heads,))))


@regime("sinks/low", needs={"sinks"}, excludes=_RESHAPED)
def low_sinks(source: Source, sizes: Shape, format: Format, spec: AttentionSpec) -> Inputs:
    """Sinks about 90 nats below the scores: they must not matter, nor be taken for the maximum."""
    q, k, v = normal_qkv(source, sizes, format)
    return Inputs(q, k, v, spec.replace(sinks=-90.0 + source.small((sizes.heads,))))


@regime("alibi/steep", needs={"alibi"}, excludes=_RESHAPED)
def steep_alibi(source: Source, sizes: Shape, format: Format, spec: AttentionSpec) -> Inputs:
    """ALiBi with slopes up to 4 and unlike heads: the nearest keys win, on the right side."""
    q, k, v = normal_qkv(source, sizes, format)
    return Inputs(q, k, v, spec.replace(alibi_slopes=4.0 * alibi_slopes(sizes.heads)))


@regime("scale/given", needs={"scale"})
def given_scale(source: Source, sizes: Shape, format: Format, spec: AttentionSpec) -> Inputs:
    """A scale that is not 1/sqrt(D), nor a power of two."""
    q, k, v = normal_qkv(source, sizes, format)
    factor = source.choice([0.3, 0.7, 1.1])
    if sizes.d_qk > 16:
        factor /= 4
    return Inputs(q, k, v, spec.replace(scale=float(formats.fp32.round(factor))))


REGIMES = (
    saturated, comparable, large_bias, high_sinks, low_sinks, steep_alibi, given_scale,
)  # fmt: skip
