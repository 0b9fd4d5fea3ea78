"""Data for pictures: the weights of methods and of exact attention on the same rows, and their entropy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from refattn.contract.block_scales import BlockScales
from refattn.learned.methods import Exact, LayerShape, Method
from refattn.learned.replacement import Site, attending
from refattn.learned.rows import Rows
from refattn.learned.scales import block_softmax


@dataclass(frozen=True)
class Head:
    """One head of one layer, and the weights (Nq, Nk) of each method on the rows of one window."""

    layer: int
    head: int
    weights: Mapping[str, Tensor]


@dataclass(eq=False)
class Views:
    """Heads to look at, and the entropy in nats of each method's rows, of all layers and heads."""

    blocks: BlockScales
    heads: list[Head] = field(default_factory=list)
    entropies: dict[str, list[Tensor]] = field(default_factory=dict)

    def entropy(self, name: str) -> Tensor:
        """Entropy of all rows that see two blocks or more."""
        return torch.cat(self.entropies[name])


def look(
    model: Any, layers: Sequence[LayerShape], methods: Mapping[str, Sequence[Method]], window: Tensor, shown: int = 3
) -> Views:
    """The weights of the methods, and of "exact", on the rows of the exact model on one window, (1, tokens).

    `shown` heads are kept, one in each of so many layers spread evenly: the head whose rows are divided most evenly
    among the blocks, as scales matter most there.
    """
    division = next(iter(methods.values()))[0].blocks
    views = Views(division)
    chosen = set(torch.linspace(0, len(layers) - 1, shown + 2).round().long().tolist()[1:-1])

    def site(layer: int, exact: Exact) -> Site:
        def attention(rows: Rows) -> Tensor:
            _look_at_layer(
                views, layer, rows, {name: modules[layer] for name, modules in methods.items()}, layer in chosen
            )
            return exact.forward(rows)

        return attention

    sites = [site(index, Exact(layer, BlockScales(1))) for index, layer in enumerate(layers)]
    with torch.no_grad(), attending(model, sites):
        model.base_model(window, use_cache=False)
    return views


def _look_at_layer(views: Views, layer: int, rows: Rows, methods: Mapping[str, Method], keep: bool) -> None:
    softmax = block_softmax(rows, views.blocks)
    weights = {"exact": softmax.weights(softmax.exact)}
    weights |= {name: method.weights(softmax, method.scales(rows, softmax)) for name, method in methods.items()}
    divided = (softmax.seen.sum(-1) > 1).expand(weights["exact"].shape[:-1])
    for name, values in weights.items():
        views.entropies.setdefault(name, []).append(entropy(values)[divided].cpu())
    if keep:
        spread = entropy(softmax.exact)[0].mean(-1)
        head = int(spread.argmax())
        views.heads.append(Head(layer, head, {name: values[0, head].cpu() for name, values in weights.items()}))


def entropy(weights: Tensor) -> Tensor:
    """Entropy in nats of weights (..., n) normalised to sum to 1; 0 where all are 0."""
    shares = weights / weights.sum(-1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)
    nats: Tensor = torch.special.entr(shares).sum(-1)
    return nats
