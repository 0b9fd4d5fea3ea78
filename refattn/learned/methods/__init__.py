"""The methods, by name."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from refattn.contract.block_scales import BlockScales
from refattn.errors import InvalidValue
from refattn.learned.methods.base import LayerShape, Method, Objective
from refattn.learned.methods.corrected import CorrectedMoments
from refattn.learned.methods.fixed import Exact, Uncorrected
from refattn.learned.methods.moments import Moments
from refattn.learned.methods.original import Original, Sealed
from refattn.learned.methods.static import Static

__all__ = ["METHODS", "Exact", "LayerShape", "Method", "Objective", "build"]

METHODS: dict[str, type[Method]] = {
    method.name: method for method in (Exact, Uncorrected, Original, Sealed, Static, Moments, CorrectedMoments)
}


def build(name: str, layers: Sequence[LayerShape], blocks: BlockScales, seed: int = 0) -> nn.ModuleList:
    """One module a layer of a method by name; random starts are drawn from the seed.

    Raises InvalidValue for an unknown name.
    """
    if name not in METHODS:
        raise InvalidValue(f"method is {name!r}: expected one of {', '.join(METHODS)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.ModuleList(METHODS[name](layer, blocks) for layer in layers)
