"""What a method is: where one layer's scales come from, and how it learns them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal, NamedTuple

from torch import Tensor, nn

from refattn.contract.block_scales import BlockScales
from refattn.learned.rows import Rows
from refattn.learned.scales import BlockSoftmax, block_softmax, divergence, log_normalised, normalised

Objective = Literal["scales", "lm"]


class LayerShape(NamedTuple):
    """Sizes of one layer's attention."""

    heads: int
    kv_heads: int
    head_dim: int


class Method(nn.Module, ABC):
    """The scales of one layer, (B, H, Nq, blocks), as a module whose parameters and buffers are what it has learned.

    A method that learns looks at rows of the exact model first (`observe`), then settles what follows from them in
    closed form (`settle`); what is left are parameters, trained on the divergence of the scales or on the model's loss.
    """

    name: ClassVar[str]
    # What it is trained on when nobody says: the divergence of its scales, the language model's loss, or nothing.
    objective: ClassVar[Objective | None] = None
    # Whether parameters are left to train on the divergence of the scales once all is settled.
    descends: ClassVar[bool] = False

    def __init__(self, layer: LayerShape, blocks: BlockScales) -> None:
        super().__init__()
        self.layer = layer
        self.blocks = blocks

    @abstractmethod
    def scales(self, rows: Rows, softmax: BlockSoftmax) -> Tensor:
        """The scales, (B, H, Nq, blocks), not negative."""

    def weights(self, softmax: BlockSoftmax, scales: Tensor) -> Tensor:
        """Weights of the keys, (B, H, Nq, Nk), from scales."""
        return softmax.weights(scales)

    def forward(self, rows: Rows) -> Tensor:
        """The attention's output, (B, H, Nq, Dv)."""
        softmax = block_softmax(rows, self.blocks)
        return rows.output(self.weights(softmax, self.scales(rows, softmax)))

    def observe(self, rows: Rows) -> None:
        """Take in rows of the exact model."""

    def settle(self) -> None:
        """Work out what follows from the rows that were observed."""

    def loss(self, rows: Rows) -> Tensor:
        """How far the scales are from the exact ones on rows of the exact model, a mean, for a method that descends."""
        raise NotImplementedError


class NormalisedMethod(Method):
    """Scales that are a softmax of logits over the blocks that the query sees, and so sum to 1 and leak nothing."""

    @abstractmethod
    def logits(self, rows: Rows, softmax: BlockSoftmax) -> Tensor:
        """Logits, (B, H, Nq, blocks); those of blocks that are not seen are not read."""

    def scales(self, rows: Rows, softmax: BlockSoftmax) -> Tensor:
        """The softmax of the logits over the blocks that are seen."""
        return normalised(self.logits(rows, softmax), softmax.seen)

    def loss(self, rows: Rows) -> Tensor:
        """Mean divergence of the scales from the exact ones, in nats a row, over rows that see two blocks or more."""
        softmax = block_softmax(rows, self.blocks)
        divided = softmax.seen.sum(-1) > 1
        each = divergence(softmax.exact, log_normalised(self.logits(rows, softmax), softmax.seen), softmax.seen)
        return each.sum() / divided.sum().clamp_min(1)
