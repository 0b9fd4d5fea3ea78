"""Scales predicted from summaries of each block's keys: number, mean and covariance of each of a few groups of them."""

from __future__ import annotations

import math
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor

from refattn.contract.block_scales import BlockScales
from refattn.errors import InvalidValue
from refattn.learned.methods.base import LayerShape, NormalisedMethod, Objective
from refattn.learned.rows import Rows
from refattn.learned.scales import BlockSoftmax, block_softmax, log_add_exp, log_sum_exp

# Observed keys that each head keeps until the groups are settled.
SAMPLE = 1024


class Summary(NamedTuple):
    """Summary of each block for each query: it is known without reading the block's keys.

    number    keys of the block and of the group that the query sees, without those apart: (B, H, Nq, blocks, groups)
    mean      their q.mu, with q scaled
    variance  their q'S q, S being the covariance within the basis
    apart     the log-sum-exp of the block's keys that stand apart, (B, H, Nq, blocks); -inf of none
    """

    number: Tensor
    mean: Tensor
    variance: Tensor
    apart: Tensor


class Moments(NormalisedMethod):
    """LSE_i ~ log(sum over groups of n exp(q.mu + growth(n, q'S q)) + the exponentials of a few keys known one by one).

    For normally distributed keys that would be the group's log-sum-exp in the limit (`growth`). One group is wrong
    where few keys dominate, so each key joins the group of the nearest centroid. Two kinds of keys stand apart, and
    their own scores are used: the first ones of a text, on which heads put spare weight (attention sinks), and the
    latest that the query sees, which its own device holds.

    metric      (Hkv, D, D), centroids (Hkv, groups, D): a key's group is that whose centroid is nearest to metric'k.
                The metric weighs directions by how much queries point there, so that near keys have like scores.
                Settled by k-means from the observed rows. Until then all keys are in one group.
    basis       (Hkv, D, r), orthonormal: the covariance is that of basis'k. Settled as the directions in which keys
                vary within a block and queries point.
    first, latest   number of keys that stand apart on either side

    A block's summary has D + r (r + 1) / 2 + 1 numbers a group and head, whatever its length. For a causal query's own
    block they are prefix sums. The sums are computed here from dot products, which is the same by linearity: the mean
    of q.k is q.mu, and the variance of (q'basis)(basis'k) is q'basis cov(basis'k) basis'q. Softcapped scores are no dot
    products and are refused.
    """

    name: ClassVar[str] = "moments"
    objective: ClassVar[Objective | None] = "scales"
    basis: Tensor
    metric: Tensor
    centroids: Tensor
    key_spread: Tensor
    query_spread: Tensor
    sample: Tensor
    priority: Tensor
    offered: Tensor

    def __init__(
        self,
        layer: LayerShape,
        blocks: BlockScales,
        rank: int = 16,
        groups: int = 16,
        first: int = 1,
        latest: int = 8,
    ) -> None:
        super().__init__(layer, blocks)
        self.rank, self.groups = min(rank, layer.head_dim), groups
        self.first, self.latest = first, latest
        square = torch.zeros(layer.kv_heads, layer.head_dim, layer.head_dim)
        self.register_buffer("basis", torch.eye(layer.head_dim)[:, : self.rank].repeat(layer.kv_heads, 1, 1))
        self.register_buffer("metric", square)
        self.register_buffer("centroids", torch.zeros(layer.kv_heads, groups, layer.head_dim))
        self.register_buffer("key_spread", square.double())
        self.register_buffer("query_spread", square.double())
        self.register_buffer("sample", torch.zeros(layer.kv_heads, SAMPLE, layer.head_dim))
        self.register_buffer("priority", torch.ones(SAMPLE))
        self.register_buffer("offered", torch.zeros((), dtype=torch.long))

    def logits(self, rows: Rows, softmax: BlockSoftmax) -> Tensor:
        """The predicted log-sum-exps; -inf where the query sees no key of the block."""
        summary = self.summary(rows, softmax)
        return log_add_exp(self.rest(summary), summary.apart)

    def rest(self, summary: Summary) -> Tensor:
        """The log-sum-exp of the keys that do not stand apart, (B, H, Nq, blocks)."""
        number = summary.number.clamp_min(1)
        by_group = torch.log(number) + summary.mean + growth(number, summary.variance)
        return log_sum_exp(by_group, summary.number > 0, -1)

    def summary(self, rows: Rows, softmax: BlockSoftmax) -> Summary:
        """The summaries of all blocks, for all queries. Raises InvalidValue for softcapped scores."""
        if rows.softcap is not None:
            raise InvalidValue("the model's scores are softcapped: expected dot products, as moments are those of keys")
        summed = rows.visible & ~self.apart(rows)
        basis = self.basis.to(rows.query.dtype)
        along = (rows.scaled_query @ rows.for_heads(basis)) @ rows.for_heads(rows.key @ basis).transpose(-1, -2)
        groups = rows.for_heads(self.groups_of(rows.key)[..., None])[..., 0]
        summaries = []
        for keys in self.blocks.slices(rows.keys):
            group = groups[..., keys]
            belongs = torch.nn.functional.one_hot(group, self.groups).to(rows.query.dtype)
            summed_here = summed[..., keys]
            number = summed_here.to(rows.query.dtype) @ belongs
            divisor = number.clamp_min(1)
            mean = rows.dot_products[..., keys].masked_fill(~summed_here, 0.0) @ belongs / divisor
            within = along[..., keys].masked_fill(~summed_here, 0.0)
            centre = within @ belongs / divisor
            own = torch.gather(centre, -1, group[..., None, :].expand(*centre.shape[:-1], -1))
            variance = (within - own).masked_fill(~summed_here, 0.0).square() @ belongs / divisor
            summaries.append((number.expand_as(mean), mean, variance))
        number, mean, variance = (torch.stack(parts, -2) for parts in zip(*summaries, strict=True))
        return Summary(number, mean, variance, self.log_sum_exps_apart(rows, softmax))

    def groups_of(self, key: Tensor) -> Tensor:
        """The group of each key (B, Hkv, Nk, D), (B, Hkv, Nk), the first of equally near ones; it depends on no other
        key.
        """
        centroids = self.centroids.to(key.dtype)
        mapped = key @ self.metric.to(key.dtype)
        return (centroids.square().sum(-1)[:, None] - 2 * mapped @ centroids.transpose(-1, -2)).argmin(-1)

    def apart(self, rows: Rows) -> Tensor:
        """The visible keys that stand apart, boolean, of the shape of rows.visible."""
        keys = torch.arange(rows.keys, device=rows.visible.device)
        latest = keys > rows.positions[..., None] - self.latest
        return rows.visible & (latest | (keys < self.first))

    def log_sum_exps_apart(self, rows: Rows, softmax: BlockSoftmax) -> Tensor:
        """The log-sum-exp of each block's keys that stand apart, (B, H, Nq, blocks), from these keys' scores alone."""
        device = rows.visible.device
        first = torch.arange(min(self.first, rows.keys), device=device).expand(*rows.positions.shape, -1)
        latest = rows.positions[..., None] - torch.arange(self.latest, device=device)
        keys = torch.cat([first, latest], -1)
        # A latest key that is also one of the first counts there; one before all keys does not exist.
        known = torch.cat([torch.ones_like(first, dtype=torch.bool), latest >= first.shape[-1]], -1)
        keys = keys.clamp_min(0).expand(*rows.scores.shape[:-1], -1)
        scores = torch.gather(rows.scores, -1, keys).masked_fill(~known, -math.inf)
        blocks = torch.arange(self.blocks.blocks, device=device)
        inside = softmax.members[keys][..., None] == blocks
        inside = inside & (scores > -math.inf)[..., None]
        return log_sum_exp(scores[..., None], inside, -2)

    def observe(self, rows: Rows) -> None:
        """Add the spread of keys within their block, the directions of queries, and a sample of keys."""
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
        self._offer(rows.key[:, :, self.first :].transpose(0, 1).flatten(1, 2))

    def _offer(self, keys: Tensor) -> None:
        """Offer keys (Hkv, n, D) to the sample: it keeps those with the smallest random priorities, which are below
        1.
        """
        generator = torch.Generator().manual_seed(int(self.offered))
        priority = torch.rand(keys.shape[1], generator=generator).to(self.priority)
        self.offered += keys.shape[1]
        best = torch.cat([self.priority, priority]).argsort(stable=True)[:SAMPLE]
        self.priority.copy_(torch.cat([self.priority, priority])[best])
        self.sample.copy_(torch.cat([self.sample, keys.to(self.sample)], 1)[:, best])

    def settle(self) -> None:
        """Basis: the directions in which q'S q is largest on the mean, eigenvectors of S Q + Q S, Q being the mean of
        q q'. Metric: the root of Q. Centroids: k-means of the sample in it.
        """
        product = self.key_spread @ self.query_spread
        values, vectors = torch.linalg.eigh(product + product.transpose(-1, -2))
        order = values.abs().argsort(-1, descending=True)[..., : self.rank]
        chosen = torch.gather(vectors, -1, order[:, None, :].expand(-1, vectors.shape[1], -1))
        self.basis.copy_(chosen)
        values, vectors = torch.linalg.eigh(self.query_spread)
        size = values.amax(-1).clamp_min(torch.finfo(values.dtype).tiny)
        self.metric.copy_(vectors * (values.clamp_min(0.0) / size[:, None]).sqrt()[:, None])
        sample = self.sample[:, self.priority < 1.0] @ self.metric
        for head, keys in enumerate(sample.double().cpu().numpy()):
            # Where no query sees two blocks all keys are one group.
            groups = min(self.groups, len(np.unique(keys, axis=0)))
            if groups > 1:
                centroids, _ = kmeans2(keys, groups, iter=20, minit="++", rng=0)
                self.centroids[head] = torch.from_numpy(centroids)[[*range(groups), *[0] * (self.groups - groups)]]


def growth(number: Tensor, variance: Tensor) -> Tensor:
    """log(mean of exp(x)) less the mean of x, for `number` normally distributed x.

    variance / 2 in the limit of many x. Of n numbers, none is likely to exceed the mean by more than sqrt(2 log n)
    standard deviations: beyond variance = 2 log n the largest dominates, and the sum grows like it
    (Derrida, "Random-energy model", Phys. Rev. B 24, 2613, 1981).
    """
    reach = torch.sqrt(2 * torch.log(number))
    frozen = variance.clamp_min(torch.finfo(variance.dtype).tiny).sqrt() * reach - reach.square() / 2
    return torch.where(variance <= reach.square(), variance / 2, frozen)
