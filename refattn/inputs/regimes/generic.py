"""Continuous, independent inputs without special structure, as a statistical verdict needs."""

from __future__ import annotations

from refattn.contract.spec import AttentionSpec, Shape
from refattn.inputs.regimes.building import key_shape, normal_qkv, query_shape, representable, value_shape
from refattn.inputs.regimes.regime import Inputs, Regime, regime
from refattn.inputs.sources import Source
from refattn.numbers.formats import Format


def _scaled(factor: float) -> Regime:
    def inputs(source: Source, sizes: Shape, format: Format, spec: AttentionSpec) -> Inputs:
        return Inputs(*normal_qkv(source, sizes, format, factor), spec)

    inputs.__doc__ = f"Normal q, k, v with q multiplied by {factor:g}."
    return regime(f"generic/x{factor:g}", generic=True)(inputs)


@regime("generic/heavy-tailed", generic=True)
def heavy_tailed(source: Source, sizes: Shape, format: Format, spec: AttentionSpec) -> Inputs:
    """Cubes of normal numbers: a few large ones among many small."""
    shapes = (query_shape(sizes), key_shape(sizes), value_shape(sizes))
    q, k, v = (representable(source.normal(shape) ** 3 / 4, format) for shape in shapes)
    return Inputs(q, k, v, spec)


FACTORS = (1.0, 0.1, 0.3, 3.0, 10.0, 16.0, 30.0)
REGIMES = (*map(_scaled, FACTORS), heavy_tailed)
