"""Softmax over blocks of keys, in torch: the blocks' log-sum-exps, exact scales, weights, and the distance of scales.

refattn.models.learned is the same in NumPy; proofs/block_scales.md has the proofs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from refattn.contract.block_scales import BlockScales
from refattn.learned.rows import Rows


@dataclass(frozen=True, eq=False)
class BlockSoftmax:
    """The scores (B, H, Nq, Nk) of rows, divided in blocks; -inf is an invisible key.

    Exponentials are taken relative to each block's own maximum, so that no block depends on another.
    """

    scores: Tensor
    blocks: BlockScales

    @cached_property
    def members(self) -> Tensor:
        """The block of each key, (Nk,)."""
        return torch.from_numpy(self.blocks.of_keys(self.scores.shape[-1])).to(self.scores.device)

    @cached_property
    def maxima(self) -> Tensor:
        """The largest score of each block, (B, H, Nq, blocks); 0 where none is visible. Not differentiated."""
        maxima = self.scores.new_full((*self.scores.shape[:-1], self.blocks.blocks), -math.inf)
        for block, keys in enumerate(self.blocks.slices(self.scores.shape[-1])):
            if keys.stop > keys.start:
                maxima[..., block] = self.scores.detach()[..., keys].amax(-1)
        return maxima.masked_fill(maxima == -math.inf, 0.0)

    @cached_property
    def seen(self) -> Tensor:
        """Whether the query sees a key of the block, (B, H, Nq, blocks)."""
        return self.totals.detach() > 0

    @cached_property
    def exponentials(self) -> Tensor:
        """exp(score - maximum of its block), (B, H, Nq, Nk): exactly 0 for an invisible key."""
        return torch.exp(self.scores - self.maxima[..., self.members])

    @cached_property
    def totals(self) -> Tensor:
        """Sum of the exponentials of each block, (B, H, Nq, blocks): at least 1, or 0 where no key is visible."""
        parts = [self.exponentials[..., keys].sum(-1) for keys in self.blocks.slices(self.scores.shape[-1])]
        return torch.stack(parts, -1)

    @cached_property
    def log_sum_exps(self) -> Tensor:
        """The natural LSE_i, (B, H, Nq, blocks); -inf where no key of the block is visible."""
        total = torch.where(self.seen, self.totals, 1.0)
        return (self.maxima + torch.log(total)).masked_fill(~self.seen, -math.inf)

    @cached_property
    def exact(self) -> Tensor:
        """The exact scales exp(LSE_i - LSE), (B, H, Nq, blocks)."""
        return normalised(self.log_sum_exps, self.seen)

    def weights(self, scales: Tensor) -> Tensor:
        """scale of its block times softmax within the block, (B, H, Nq, Nk); exactly 0 for an invisible key."""
        factor = torch.where(self.seen, scales / torch.where(self.seen, self.totals, 1.0), 0.0)
        return self.exponentials * factor[..., self.members]


def block_softmax(rows: Rows, blocks: BlockScales) -> BlockSoftmax:
    """The blocks of a call's rows."""
    return BlockSoftmax(rows.scores, blocks)


def normalised(logits: Tensor, seen: Tensor) -> Tensor:
    """The softmax of logits (..., blocks) over the blocks that are seen; exactly 0 elsewhere."""
    return torch.where(seen, torch.exp(log_normalised(logits, seen)), 0.0)


def log_normalised(logits: Tensor, seen: Tensor) -> Tensor:
    """The logarithm of `normalised`, with 0 in the place of -inf where a block is not seen: differentiable."""
    floor = torch.where(seen, logits.detach(), -math.inf).amax(-1, keepdim=True)
    floor = floor.masked_fill(floor == -math.inf, 0.0)
    below = torch.where(seen, logits, floor) - floor
    total = torch.where(seen, torch.exp(below), 0.0).sum(-1, keepdim=True)
    return torch.where(seen, below - torch.log(total.clamp_min(torch.finfo(logits.dtype).tiny)), 0.0)


def log_sum_exp(values: Tensor, known: Tensor, dim: int) -> Tensor:
    """The natural log-sum-exp of the known values; -inf of none, where it is differentiable too."""
    if not known.shape[dim]:
        return (values + known).sum(dim).fill_(-math.inf)
    largest = torch.where(known, values.detach(), -math.inf).amax(dim, keepdim=True)
    largest = largest.masked_fill(largest == -math.inf, 0.0)
    total = torch.where(known, torch.exp(torch.where(known, values, largest) - largest), 0.0).sum(dim)
    logarithm = largest.squeeze(dim) + torch.log(torch.where(total > 0, total, 1.0))
    return torch.where(total > 0, logarithm, -math.inf)


def log_add_exp(one: Tensor, other: Tensor) -> Tensor:
    """log(exp(one) + exp(other)); both may be -inf, where it is differentiable too."""
    shape = (one + other).shape
    both = torch.stack((one.expand(shape), other.expand(shape)), -1)
    return log_sum_exp(both, both > -math.inf, -1)


def divergence(exact: Tensor, log_scales: Tensor, seen: Tensor) -> Tensor:
    """KL(exact || scales) of each row, (B, H, Nq), in nats; exact and log_scales are (B, H, Nq, blocks)."""
    logarithm = torch.log(exact.clamp_min(torch.finfo(exact.dtype).tiny))
    return torch.where(seen, exact * (logarithm - log_scales), 0.0).sum(-1)


@dataclass(frozen=True, eq=False)
class Distances:
    """Distance of scales from the exact ones, per row, (B, H, Nq): the certificate, but for roundings.

    distance       sum_j |p'_j - p_j| = sum_i |a_i - a*_i|
    leak           sum of a_i over blocks of which the query sees no key
    row_sum_error  |sum_i a_i - 1|, or |sum_i a_i| where the query sees no key at all
    """

    distance: Tensor
    leak: Tensor
    row_sum_error: Tensor


def distances(softmax: BlockSoftmax, scales: Tensor) -> Distances:
    """The distances of scales (B, H, Nq, blocks) on rows, in double precision."""
    exact = normalised(softmax.log_sum_exps.double(), softmax.seen)
    used = scales.double()
    leak = torch.where(softmax.seen, 0.0, used).sum(-1)
    return Distances((used - exact).abs().sum(-1), leak, (used.sum(-1) - exact.sum(-1)).abs())
