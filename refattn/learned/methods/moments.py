"""Scales predicted from summaries of each block's keys: their number, mean and covariance, of low rank.

May import: torch, refattn.blocks, errors, refattn.learned.rows, scales, methods.base.
"""

from __future__ import annotations

import math
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from refattn.blocks import BlockScales
from refattn.errors import InvalidValue
from refattn.learned.methods.base import LayerShape, NormalisedMethod, Objective
from refattn.learned.rows import Rows
from refattn.learned.scales import BlockSoftmax, block_softmax, log_add_exp, log_sum_exp


class Summary(NamedTuple):
    """What is known of a block without looking at its keys, for each query: (B, H, Nq, blocks).

    number    keys of the block that the query sees, but for those apart
    mean      q.mu of them, with q scaled
    variance  q'S q of them, S being their covariance within the basis
    apart     the log-sum-exp of the keys of the block that are known one by one; -inf where there are none
    """

    number: Tensor
    mean: Tensor
    variance: Tensor
    apart: Tensor


class Moments(NormalisedMethod):
    """LSE_i ~ log(n exp(q.mu + q'S q / 2) + the exponentials of a few keys that are known one by one).

    Were a block's keys normally distributed that would be its log-sum-exp in the limit. Two kinds of keys are so far
    from that that they stand apart: the first ones of a text, on which heads park what weight they have to spare
    (attention sinks), and the latest that the query sees, which its own device holds.

    basis   (Hkv, D, r), orthonormal: the covariance is that of basis'k, so that a block is summed up by
            D + r (r + 1) / 2 + 1 numbers a head. Settled from the rows observed as the directions in which keys vary
            within a block and queries point. What a causal query sees of its own block is summed up by prefix sums.
    first, latest   how many keys stand apart on either side

    The sums are taken here from dot products, which is the same by linearity: the mean of q.k is q.mu, and the variance
    of (q'basis)(basis'k) is q'basis cov(basis'k) basis'q. Softcapped scores are no dot products and are refused.
    """

    name: ClassVar[str] = "moments"
    objective: ClassVar[Objective | None] = "scales"
    basis: Tensor
    key_spread: Tensor
    query_spread: Tensor

    def __init__(self, layer: LayerShape, blocks: BlockScales, rank: int = 16, first: int = 1, latest: int = 8) -> None:
        super().__init__(layer, blocks)
        self.rank, self.first, self.latest = min(rank, layer.head_dim), first, latest
        square = torch.zeros(layer.kv_heads, layer.head_dim, layer.head_dim, dtype=torch.float64)
        self.register_buffer("basis", torch.eye(layer.head_dim)[:, : self.rank].repeat(layer.kv_heads, 1, 1))
        self.register_buffer("key_spread", square)
        self.register_buffer("query_spread", square.clone())

    def logits(self, rows: Rows, softmax: BlockSoftmax) -> Tensor:
        """The predicted log-sum-exps; -inf where the query sees nothing of the block."""
        summary = self.summary(rows, softmax)
        return log_add_exp(self.rest(summary), summary.apart)

    def rest(self, summary: Summary) -> Tensor:
        """The log-sum-exp of the keys that do not stand apart."""
        return log_number(summary.number) + summary.mean + summary.variance / 2

    def summary(self, rows: Rows, softmax: BlockSoftmax) -> Summary:
        """The summaries of all blocks, for all queries. Raises InvalidValue for softcapped scores."""
        if rows.softcap is not None:
            raise InvalidValue("the model's scores are softcapped: expected dot products, as moments are those of keys")
        summed = rows.visible & ~self.apart(rows)
        belongs = torch.nn.functional.one_hot(softmax.members, self.blocks.blocks).to(rows.query.dtype)
        count = summed.to(rows.query.dtype) @ belongs
        divisor = count.clamp_min(1)
        mean = rows.dot_products.masked_fill(~summed, 0.0) @ belongs / divisor
        basis = self.basis.to(rows.query.dtype)
        along = (rows.scaled_query @ rows.for_heads(basis)) @ rows.for_heads(rows.key @ basis).transpose(-1, -2)
        along = along.masked_fill(~summed, 0.0)
        centre = along @ belongs / divisor
        deviation = (along - centre[..., softmax.members]).masked_fill(~summed, 0.0)
        variance = deviation.square() @ belongs / divisor
        return Summary(count.expand_as(mean), mean, variance, self.log_sum_exps_apart(rows, softmax))

    def apart(self, rows: Rows) -> Tensor:
        """Which visible keys stand apart, boolean, of the shape of rows.visible."""
        keys = torch.arange(rows.keys, device=rows.visible.device)
        latest = keys > rows.positions[..., None] - self.latest
        return rows.visible & (latest | (keys < self.first))

    def log_sum_exps_apart(self, rows: Rows, softmax: BlockSoftmax) -> Tensor:
        """The log-sum-exp of each block's keys that stand apart, (B, H, Nq, blocks), from these keys' scores alone."""
        device = rows.visible.device
        first = torch.arange(min(self.first, rows.keys), device=device).expand(*rows.positions.shape, -1)
        latest = rows.positions[..., None] - torch.arange(self.latest, device=device)
        keys = torch.cat([first, latest], -1)
        # A latest key that is one of the first is counted there, and one before all keys is none.
        known = torch.cat([torch.ones_like(first, dtype=torch.bool), latest >= first.shape[-1]], -1)
        keys = keys.clamp_min(0).expand(*rows.scores.shape[:-1], -1)
        scores = torch.gather(rows.scores, -1, keys).masked_fill(~known, -math.inf)
        blocks = torch.arange(self.blocks.blocks, device=device)
        inside = softmax.members[keys][..., None] == blocks
        inside = inside & (scores > -math.inf)[..., None]
        return log_sum_exp(scores[..., None], inside, -2)

    def observe(self, rows: Rows) -> None:
        """Add what keys vary by within their block, and where queries point."""
        softmax = block_softmax(rows, self.blocks)
        key = rows.key.double()
        for keys in self.blocks.slices(rows.keys):
            inside = key[:, :, max(keys.start, self.first) : keys.stop]
            if inside.shape[2] > 1:
                centred = inside - inside.mean(2, keepdim=True)
                self.key_spread += torch.einsum("bhnd,bhne->hde", centred, centred)
        divided = (softmax.seen.sum(-1) > 1)[..., None]
        query = torch.where(divided, rows.scaled_query.double(), 0.0)
        query = query.view(len(query), self.layer.kv_heads, -1, *query.shape[2:])
        self.query_spread += torch.einsum("bhgnd,bhgne->hde", query, query)

    def settle(self) -> None:
        """The directions in which q'S q is largest on the mean: eigenvectors of S Q + Q S, Q being the mean of q q'."""
        product = self.key_spread @ self.query_spread
        values, vectors = torch.linalg.eigh(product + product.transpose(-1, -2))
        order = values.abs().argsort(-1, descending=True)[..., : self.rank]
        chosen = torch.gather(vectors, -1, order[:, None, :].expand(-1, vectors.shape[1], -1))
        self.basis.copy_(chosen)


def log_number(number: Tensor) -> Tensor:
    """The logarithm of a number of keys; -inf of none."""
    return torch.where(number > 0, torch.log(number.clamp_min(1)), -math.inf)
