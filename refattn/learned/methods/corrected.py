"""Moments with a small learned correction: what a normal distribution gets wrong of each head's keys.

May import: torch, refattn.blocks, refattn.learned.rows, scales, methods.base, methods.moments.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from refattn.blocks import BlockScales
from refattn.learned.methods.base import LayerShape
from refattn.learned.methods.moments import Moments, Summary, log_number
from refattn.learned.rows import Rows
from refattn.learned.scales import BlockSoftmax, log_add_exp

# No feature of a key is larger than the exponential of this, or smaller than that of its opposite.
LARGEST = 8.0


class CorrectedMoments(Moments):
    """LSE of the rest ~ logaddexp(c log n + m q.mu + f(q'S q) + b, log sum_r psi_r(q) sum_k phi_r(k)).

    f(x) = v x / 2 / (1 + w x) grows like x / 2 at first, as of a normal distribution, and stays bounded, as the largest
    score is. c, m, v, w, b are learned for each head, for the query's own block, that with its latest key, and for
    blocks before. phi_r(k) = exp(u_r.k), bounded, and psi_r(q) = exp(t_r.q + a_r) are a few learned features, u for
    each key-value head: a block's sums of phi are that many more numbers of its summary, and catch keys that are far
    from normal.
    """

    name: ClassVar[str] = "moments+learned"
    descends: ClassVar[bool] = True

    def __init__(self, layer: LayerShape, blocks: BlockScales, features: int = 32) -> None:
        super().__init__(layer, blocks)
        # Of c, m, v, w the logarithms: each starts from 1, but for w, which starts small.
        start = torch.tensor([0.0, 0.0, 0.0, -3.0, 0.0])
        self.correction = nn.Parameter(start.repeat(layer.heads, 2, 1))
        spread = 0.4 / math.sqrt(layer.head_dim)
        self.key_features = nn.Parameter(spread * torch.randn(layer.kv_heads, layer.head_dim, features))
        self.query_features = nn.Parameter(0.4 * torch.randn(layer.heads, layer.head_dim, features))
        self.feature_sizes = nn.Parameter(torch.full((layer.heads, 1, features), -math.log(50.0)))

    def logits(self, rows: Rows, softmax: BlockSoftmax) -> Tensor:
        """The predicted log-sum-exps; -inf where the query sees nothing of the block."""
        summary = self.summary(rows, softmax)
        own = softmax.members[rows.positions] if rows.keys else rows.positions
        is_own = own[..., None] == torch.arange(self.blocks.blocks, device=own.device)
        rest = torch.logaddexp(self.corrected(summary, is_own), self.featured(rows, summary))
        return log_add_exp(torch.where(summary.number > 0, rest, -math.inf), summary.apart)

    def corrected(self, summary: Summary, is_own: Tensor) -> Tensor:
        """The normal distribution's part, a number where there are no keys too; is_own (B or 1, H or 1, Nq, blocks)."""
        table = self.correction[None, :, None, None]
        numbers = torch.where(is_own[..., None], table[..., 1, :], table[..., 0, :])
        counts, means, variances, saturation, offset = numbers.unbind(-1)
        spread = torch.exp(variances) * summary.variance / 2
        bounded = spread / (1 + torch.exp(saturation) * summary.variance)
        # -inf times a factor has no gradient that is a number.
        number = log_number(summary.number.clamp_min(1))
        return torch.exp(counts) * number + torch.exp(means) * summary.mean + bounded + offset

    def featured(self, rows: Rows, summary: Summary) -> Tensor:
        """The features' part: log sum_r psi_r(q) sum_k phi_r(k) over the keys that do not stand apart."""
        of_keys = rows.for_heads(torch.exp(LARGEST * torch.tanh(rows.key @ self.key_features / LARGEST)))
        of_queries = rows.scaled_query @ self.query_features + self.feature_sizes
        summed = rows.visible & ~self.apart(rows)
        found = []
        for keys in self.blocks.slices(rows.keys):
            total = summed[..., keys].to(of_keys.dtype) @ of_keys[:, :, keys]
            least = torch.finfo(total.dtype).tiny
            found.append(torch.logsumexp(of_queries + torch.log(total.clamp_min(least)), -1))
        return torch.stack(found, -1).expand_as(summary.mean)
