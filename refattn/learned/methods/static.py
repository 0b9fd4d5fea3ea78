"""Scales that depend on the query's position only: a table for each head, normalised, without leak."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from refattn.contract.block_scales import BlockScales
from refattn.errors import InvalidValue
from refattn.learned.methods.base import LayerShape, NormalisedMethod, Objective
from refattn.learned.rows import Rows
from refattn.learned.scales import BlockSoftmax, block_softmax


class Static(NormalisedMethod):
    """A table of logits (H or 1, window, blocks), and its softmax over the seen blocks.

    It starts from the mean of the exact scales at each position, which of all tables has the least divergence
    KL(exact || scales) on the observed rows. Means include neighbouring positions that see the same blocks, as a mean
    over few texts is noise. Positions past the window use the last.
    """

    name: ClassVar[str] = "static"
    objective: ClassVar[Objective | None] = "scales"

    def __init__(self, layer: LayerShape, blocks: BlockScales, per_head: bool = True, neighbours: int = 4) -> None:
        super().__init__(layer, blocks)
        if blocks.window is None:
            raise InvalidValue("blocks has no window: expected one, as the table has a row for each of its positions")
        self.neighbours = neighbours
        heads = layer.heads if per_head else 1
        self.table = nn.Parameter(torch.zeros(heads, blocks.window, blocks.blocks))
        self.total: Tensor
        self.register_buffer("total", torch.zeros(heads, blocks.window, blocks.blocks, dtype=torch.float64))

    def logits(self, rows: Rows, softmax: BlockSoftmax) -> Tensor:
        """The table's rows for the queries' positions."""
        del softmax
        return at_positions(self.table, rows.positions)

    def observe(self, rows: Rows) -> None:
        """Add the exact scales to the sum at the same position."""
        add_exact(self.total, rows, self.blocks)

    def settle(self) -> None:
        """The logarithm of the mean scales; positions that were never observed keep equal scales."""
        total = torch.stack([self._mean(position) for position in range(self.total.shape[1])], 1)
        mean = total / total.sum(-1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
        least = torch.finfo(self.table.dtype).eps
        with torch.no_grad():
            self.table.copy_(torch.where(total.sum(-1, keepdim=True) > 0, torch.log(mean.clamp_min(least)), 0.0))

    def _mean(self, position: int) -> Tensor:
        """The sum over the neighbours of a position in the same block, (H or 1, blocks)."""
        size = self.blocks.size(self.total.shape[1])
        block = min(position // size, self.blocks.blocks - 1)
        last = self.total.shape[1] if block == self.blocks.blocks - 1 else (block + 1) * size
        # As many on either side, or the mean would belong to another position.
        reach = min(self.neighbours, position - block * size, last - 1 - position)
        return self.total[:, position - reach : position + reach + 1].sum(1)


def add_exact(totals: Tensor, rows: Rows, blocks: BlockScales) -> None:
    """Add the exact scales of rows to a table (H or 1, window, blocks) at the queries' positions; a table for all heads
    gets their mean over heads.
    """
    exact = block_softmax(rows, blocks).exact.double()
    if len(totals) == 1:
        exact = exact.mean(1, keepdim=True)
    positions = rows.positions.clamp_max(totals.shape[1] - 1).expand(exact.shape[:-1])
    for heads, where in zip(exact.unbind(0), positions.unbind(0), strict=True):
        for total, scales, indices in zip(totals, heads, where, strict=True):
            total.index_add_(0, indices, scales)


def at_positions(table: Tensor, positions: Tensor) -> Tensor:
    """The rows of a table (H or 1, window, blocks) for positions (B or 1, H or 1, Nq): (B, H, Nq, blocks)."""
    heads = max(table.shape[0], positions.shape[1])
    indices = positions.clamp_max(table.shape[1] - 1).expand(-1, heads, -1)
    spread = table.expand(heads, -1, -1)
    by_head = [spread[head, indices[:, head]] for head in range(heads)]
    return torch.stack(by_head, 1)
