"""Moments with a small learned correction: what a normal distribution gets wrong of each head's keys.

May import: torch, refattn.blocks, refattn.learned.methods.base, methods.moments.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from refattn.blocks import BlockScales
from refattn.learned.methods.base import LayerShape
from refattn.learned.methods.moments import Moments, Summary, log_number
from refattn.learned.rows import Rows
from refattn.learned.scales import BlockSoftmax


class CorrectedMoments(Moments):
    """LSE of the rest ~ c log n + m q.mu + f(q'S q) + b, f(x) = v x / 2 / (1 + w x), with c, m, v, w, b learned.

    They are numbers a head, and others for the query's own block, that with its latest key, than for blocks before: f
    grows like x / 2 at first, as of a normal distribution, and stays bounded, as the largest score is.
    """

    name: ClassVar[str] = "moments+learned"
    descends: ClassVar[bool] = True

    def __init__(self, layer: LayerShape, blocks: BlockScales) -> None:
        super().__init__(layer, blocks)
        # The factors' logarithms: each factor starts from 1, but for a saturation that starts small.
        start = torch.tensor([0.0, 0.0, 0.0, -3.0, 0.0])
        self.correction = nn.Parameter(start.repeat(layer.heads, 2, 1))

    def logits(self, rows: Rows, softmax: BlockSoftmax) -> Tensor:
        """The predicted log-sum-exps; -inf where the query sees nothing of the block."""
        summary = self.summary(rows, softmax)
        own = softmax.members[rows.positions] if rows.keys else rows.positions
        is_own = own[..., None] == torch.arange(self.blocks.blocks, device=own.device)
        return torch.logaddexp(self.corrected(summary, is_own), summary.apart)

    def corrected(self, summary: Summary, is_own: Tensor) -> Tensor:
        """The log-sum-exp of the keys that do not stand apart; is_own (B or 1, H or 1, Nq, blocks) boolean."""
        table = self.correction[None, :, None, None]
        numbers = torch.where(is_own[..., None], table[..., 1, :], table[..., 0, :])
        counts, means, variances, saturation, offset = numbers.unbind(-1)
        spread = torch.exp(variances) * summary.variance / 2
        bounded = spread / (1 + torch.exp(saturation) * summary.variance)
        known = summary.number > 0
        # -inf times a factor has no gradient that is a number.
        count = torch.where(known, log_number(summary.number), 0.0)
        rest = torch.exp(counts) * count + torch.exp(means) * summary.mean + bounded + offset
        return torch.where(known, rest, -torch.inf)
