"""Moments with a small learned correction for each head's keys, which are not normally distributed."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from refattn.contract.block_scales import BlockScales
from refattn.learned.methods.base import LayerShape
from refattn.learned.methods.moments import Moments, Summary, growth
from refattn.learned.rows import Rows
from refattn.learned.scales import BlockSoftmax, log_add_exp, log_sum_exp

# Features of a key lie between exp(-LARGEST) and exp(LARGEST).
LARGEST = 8.0


class CorrectedMoments(Moments):
    """LSE of the rest ~ log(sum over groups of exp(c log n + m q.mu + growth(n, v q'S q) + b) + the features' part).

    c, m, v, b are learned for each head and group, once for the query's own block (of its latest key) and once for
    earlier blocks. The features' part is sum_r psi_r(q) sum_k phi_r(k): phi_r(k) = exp(u_r.k), bounded, and psi_r(q) =
    exp(t_r.q + a_r) are a few learned features, u for each key-value head: a block's sums of phi are that many more
    numbers of its summary, and catch keys that are far from normal.
    """

    name: ClassVar[str] = "moments+learned"
    descends: ClassVar[bool] = True

    def __init__(self, layer: LayerShape, blocks: BlockScales, features: int = 32) -> None:
        super().__init__(layer, blocks)
        # Logarithms of c, m, v, which start from 1, and b.
        self.correction = nn.Parameter(torch.zeros(layer.heads, 2, self.groups, 4))
        spread = 0.4 / math.sqrt(layer.head_dim)
        self.key_features = nn.Parameter(spread * torch.randn(layer.kv_heads, layer.head_dim, features))
        self.query_features = nn.Parameter(0.4 * torch.randn(layer.heads, layer.head_dim, features))
        self.feature_sizes = nn.Parameter(torch.full((layer.heads, 1, features), -6.0))

    def logits(self, rows: Rows, softmax: BlockSoftmax) -> Tensor:
        """The predicted log-sum-exps; -inf where the query sees no key of the block."""
        summary = self.summary(rows, softmax)
        own = softmax.members[rows.positions] if rows.keys else rows.positions
        is_own = own[..., None] == torch.arange(self.blocks.blocks, device=own.device)
        known = (summary.number > 0).any(-1)
        rest = log_add_exp(self.corrected(summary, is_own), self.featured(rows, known))
        return log_add_exp(torch.where(known, rest, -math.inf), summary.apart)

    def corrected(self, summary: Summary, is_own: Tensor) -> Tensor:
        """The groups' part, (B, H, Nq, blocks); is_own (B or 1, H or 1, Nq, blocks)."""
        table = self.correction[None, :, None, None]
        numbers = torch.where(is_own[..., None, None], table[..., 1, :, :], table[..., 0, :, :])
        counts, means, variances, offset = numbers.unbind(-1)
        number = summary.number.clamp_min(1)
        spread = growth(number, torch.exp(variances) * summary.variance)
        by_group = torch.exp(counts) * torch.log(number) + torch.exp(means) * summary.mean + spread + offset
        return log_sum_exp(by_group, summary.number > 0, -1)

    def featured(self, rows: Rows, known: Tensor) -> Tensor:
        """The features' part: log sum_r psi_r(q) sum_k phi_r(k) over the keys that do not stand apart."""
        key_features = rows.for_heads(torch.exp(LARGEST * torch.tanh(rows.key @ self.key_features / LARGEST)))
        query_logits = rows.scaled_query @ self.query_features + self.feature_sizes
        summed = rows.visible & ~self.apart(rows)
        by_block = []
        for keys in self.blocks.slices(rows.keys):
            total = summed[..., keys].to(key_features.dtype) @ key_features[:, :, keys]
            least = torch.finfo(total.dtype).tiny
            by_block.append(torch.logsumexp(query_logits + torch.log(total.clamp_min(least)), -1))
        return torch.stack(by_block, -1).expand_as(known)
