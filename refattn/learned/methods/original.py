"""The published method: lnairGT, Learned-Flash-Attention (2024), with its leak of keys to come, and without."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from refattn.contract.block_scales import BlockScales
from refattn.errors import InvalidValue
from refattn.learned.methods.base import LayerShape, Method, Objective
from refattn.learned.methods.static import add_exact, at_positions
from refattn.learned.rows import Rows
from refattn.learned.scales import BlockSoftmax

# torch's gradient of |x| at 0 is 0: a scale that starts at 0, as an unseen block's would, stays there. It starts here
# instead, from where the loss can move it.
LEAST = 1e-6


class Original(Method):
    """|table| for each position and block, for all heads alike, trained on the model's loss.

    The published start is normal. Where rows are observed it is the mean of their exact scales, but at least LEAST.

    Its mask is a large negative score, so that the softmax of an unseen block is uniform over keys to come, which then
    have the table's weight. Nothing makes a row sum to 1. In decoding with a cache there are no keys to come: the model
    is then another one.
    """

    name: ClassVar[str] = "original"
    objective: ClassVar[Objective | None] = "lm"
    leaks: ClassVar[bool] = True
    total: Tensor

    def __init__(self, layer: LayerShape, blocks: BlockScales) -> None:
        super().__init__(layer, blocks)
        if blocks.window is None:
            raise InvalidValue("blocks has no window: expected one, as the table has a row for each of its positions")
        self.table = nn.Parameter(torch.randn(1, blocks.window, blocks.blocks))
        self.register_buffer("total", torch.zeros(1, blocks.window, blocks.blocks, dtype=torch.float64))

    def scales(self, rows: Rows, softmax: BlockSoftmax) -> Tensor:
        """The table's absolute values, also of unseen blocks where it leaks."""
        table = at_positions(self.table.abs(), rows.positions)
        sizes = torch.bincount(softmax.members, minlength=self.blocks.blocks)
        used = (sizes > 0) if self.leaks else softmax.seen
        return torch.where(used, table, 0.0).expand_as(softmax.totals)

    def observe(self, rows: Rows) -> None:
        """Add the exact scales, the mean over heads, to the sum at the same position."""
        add_exact(self.total, rows, self.blocks)

    def settle(self) -> None:
        """The mean of the exact scales; positions that were never observed keep their normal start."""
        # The exact scales of a row sum to 1, so that their sum over blocks counts the rows.
        count = self.total.sum(-1, keepdim=True)
        mean = self.total / count.clamp_min(torch.finfo(count.dtype).tiny)
        with torch.no_grad():
            self.table.copy_(torch.where(count > 0, mean.clamp_min(LEAST).to(self.table), self.table))

    def weights(self, softmax: BlockSoftmax, scales: Tensor) -> Tensor:
        """Weights of the seen keys, and, where it leaks, an unseen block's scale shared equally by its keys."""
        weights = softmax.weights(scales)
        if not self.leaks:
            return weights
        sizes = torch.bincount(softmax.members, minlength=self.blocks.blocks).clamp_min(1)
        uniform = torch.where(softmax.seen, 0.0, scales / sizes)
        return weights + uniform[..., softmax.members]


class Sealed(Original):
    """The published method without the leak: an unseen block has scale 0."""

    name: ClassVar[str] = "original-sealed"
    leaks: ClassVar[bool] = False
