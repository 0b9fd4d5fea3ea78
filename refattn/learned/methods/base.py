"""The base of a method: it gives one layer's scales, and learns them."""

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
    """The scales of one layer, (B, H, Nq, blocks), as a module with learned parameters and buffers.

    A method that learns first reads rows of the exact model (`observe`), then computes from them what has a closed form
    (`settle`); the remaining parameters are trained on the divergence of the scales or on the model's loss.
    """

    name: ClassVar[str]
    # The default objective: the divergence of its scales, the language model's loss, or none.
    objective: ClassVar[Objective | None] = None
    # True if parameters remain to be trained on the divergence of the scales after `settle`.
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
        """Read rows of the exact model."""

    def settle(self) -> None:
        """Compute the closed forms from the observed rows."""

    def loss(self, rows: Rows) -> Tensor:
        """Mean distance of the scales from the exact ones on rows of the exact model, for a method that descends."""
        raise NotImplementedError


class NormalisedMethod(Method):
    """Scales that are a softmax of logits over the blocks that the query sees, and so sum to 1 and leak nothing."""

    @abstractmethod
    def logits(self, rows: Rows, softmax: BlockSoftmax) -> Tensor:
        """Logits, (B, H, Nq, blocks); those of unseen blocks are not read."""

    def scales(self, rows: Rows, softmax: BlockSoftmax) -> Tensor:
        """The softmax of the logits over the blocks that are seen."""
        return normalised(self.logits(rows, softmax), softmax.seen)

    def loss(self, rows: Rows) -> Tensor:
        """Mean divergence of the scales from the exact ones, in nats a row, over rows that see two blocks or more."""
        softmax = block_softmax(rows, self.blocks)
        divided = softmax.seen.sum(-1) > 1
        divergences = divergence(softmax.exact, log_normalised(self.logits(rows, softmax), softmax.seen), softmax.seen)
        return divergences.sum() / divided.sum().clamp_min(1)
