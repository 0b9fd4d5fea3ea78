"""Softmax over blocks of keys with scales that are not computed from the whole row: learned, predicted, or left out.

Each block of keys has a softmax of its own, weighted by a scale: out = sum_i a_i softmax(s of block i) V_i. With
a_i = exp(LSE_i - LSE) that is attention (proofs/block_scales.md); with other scales a block needs nothing of the
others. Scales are (B, H, Nq, blocks), not negative, and exactly 0 for a block of which the query sees nothing. Learned
scales: lnairGT, Learned-Flash-Attention (2024).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np

from refattn.contract.arithmetic import Arithmetic
from refattn.contract.block_scales import BlockScales
from refattn.contract.spec import AttentionSpec, Shape, problem_shape
from refattn.contract.visibility import Bools, Visibility
from refattn.errors import InvalidValue
from refattn.models.kernel import Problem, Tile
from refattn.models.moments import log_sum_exp, mean_and_variance, nearest
from refattn.models.tiled import NO_SPEC, TiledAttention
from refattn.numbers.formats import Array

# With these features scores are no dot products: summaries of keys cannot predict them.
NOT_DOT_PRODUCTS = ("softcap", "alibi_slopes", "bias")
# Features that blocks do not change; positions of documents and pages are not those of the stored keys.
CLAIMS = (
    *("causal", "strict_causal", "window", "mask", "gqa", "cross", "dv", "scale", "empty_rows", "ragged"),
    *("deterministic", "batch_invariant", "nan_safe", "zero_length"),
)


class Method(Protocol):
    """Where scales come from: q (B, H, Nq, D) and k (B, Hkv, Nk, D) in float64 -> scales (B, H, Nq, blocks).

    `claims` are those features of a spec, beyond the common ones, that the method can take into account.
    """

    claims: ClassVar[tuple[str, ...]]

    def __call__(self, q: Array, k: Array, spec: AttentionSpec, blocks: BlockScales) -> Array:
        """The scales."""


@dataclass(frozen=True)
class ExactScales:
    """a_i = exp(LSE_i - LSE), from the scores of the whole row, a sink counted: the attention of the definition."""

    claims: ClassVar[tuple[str, ...]] = ("softcap", "alibi", "bias", "sinks")

    def __call__(self, q: Array, k: Array, spec: AttentionSpec, blocks: BlockScales) -> Array:
        """Scales that sum to 1, or to 1 less the sink's weight."""
        return scales_of(block_log_sum_exps(q, k, spec, blocks), spec)


@dataclass(frozen=True)
class Uncorrected:
    """Scale 1 for each block of which the query sees a key: a row sums to the number of these blocks."""

    claims: ClassVar[tuple[str, ...]] = ("softcap", "alibi", "bias")

    def __call__(self, q: Array, k: Array, spec: AttentionSpec, blocks: BlockScales) -> Array:
        """Ones and zeros."""
        return blocks.seen(spec, _shape(q, k, spec)).astype(np.float64)


@dataclass(frozen=True, eq=False)
class StaticScales:
    """A table of logits for each head or for all, position and block: its softmax over the blocks that the query sees.

    table is (H or 1, positions, blocks); positions past the last use the last.
    """

    table: Array
    claims: ClassVar[tuple[str, ...]] = ("softcap", "alibi", "bias")

    def __call__(self, q: Array, k: Array, spec: AttentionSpec, blocks: BlockScales) -> Array:
        """Scales that sum to 1."""
        shape = _shape(q, k, spec)
        return normalised(_at_positions(self.table, spec, shape), blocks.seen(spec, shape))


@dataclass(frozen=True, eq=False)
class PublishedScales:
    """The published method: |table| for each position and block, for all heads, whether or not the block is seen.

    table is (1, positions, blocks). Nothing makes the scales of a row sum to 1. The published method also needs
    LeakyAttention, where an unseen block has a uniform softmax over keys to come.
    """

    table: Array
    claims: ClassVar[tuple[str, ...]] = ()

    def __call__(self, q: Array, k: Array, spec: AttentionSpec, blocks: BlockScales) -> Array:
        """Scales, also of unseen blocks."""
        del blocks
        return np.abs(_at_positions(self.table, spec, _shape(q, k, spec)))


@dataclass(frozen=True, eq=False)
class MomentScales:
    """LSE_i predicted from summaries of the keys of a block that the query sees: their number, mean and covariance.

    Were these keys normally distributed, with mean mu and covariance S, the mean of exp(q.k) over them would be
    exp(q.mu + q'S q / 2): LSE_i ~ log n_i + q.mu_i + q'S_i q / 2 with q scaled, which grows more slowly where n is too
    small for it (`moments.growth`). One normal distribution misses a block in which few keys dominate, so keys may be
    grouped: LSE_i ~ logsumexp over the groups. The summary of a causal query's own block is a prefix sum, so that a
    kernel has it without reading the block.

    basis      (Hkv, D, r): S is taken as basis S_r basis', S_r being the covariance of basis'k; None is all of S
    centroids  (Hkv, C, E): a key belongs to the group of the centroid nearest to metric'k; None is one group
    metric     (Hkv, D, E); None is the identity
    first      number of first keys whose own scores are known
    latest     number of latest keys whose own scores are known, counted back from the last that a query sees
    """

    basis: Array | None = None
    centroids: Array | None = None
    metric: Array | None = None
    first: int = 0
    latest: int = 0
    claims: ClassVar[tuple[str, ...]] = ()

    def __call__(self, q: Array, k: Array, spec: AttentionSpec, blocks: BlockScales) -> Array:
        """Scales that sum to 1."""
        return normalised(self.log_sum_exps(q, k, spec, blocks), blocks.seen(spec, _shape(q, k, spec)))

    def log_sum_exps(self, q: Array, k: Array, spec: AttentionSpec, blocks: BlockScales) -> Array:
        """The predicted LSE_i, (B, H, Nq, blocks); -inf for an unseen block.

        Raises InvalidValue for a spec whose scores are no dot products.
        """
        for name in NOT_DOT_PRODUCTS:
            if getattr(spec, name) is not None:
                raise InvalidValue(f"{name} is set: expected a spec without it, as moments are those of the keys")
        shape = _shape(q, k, spec)
        scale = 1.0 / np.sqrt(shape.d_qk) if spec.scale is None else spec.scale
        visible = Visibility.of(spec, shape).full()
        groups = self.groups(k)
        log_sum_exps = np.full((*q.shape[:3], blocks.blocks), -np.inf)
        for batch, head in np.ndindex(shape.batch, shape.heads):
            kv_head = head // shape.group
            query, key = q[batch, head] * scale, k[batch, kv_head]
            basis = None if self.basis is None else self.basis[kv_head % len(self.basis)]
            visible_keys = visible[batch, head]
            apart = visible_keys & self.apart(visible_keys)
            for block, keys in enumerate(blocks.slices(shape.keys)):
                group = groups[batch, kv_head, keys]
                scores = np.where(
                    apart[:, keys], query @ np.where(apart.any(axis=0)[:, None], key, 0.0)[keys].T, -np.inf
                )
                parts = [np.logaddexp.reduce(scores, axis=1, initial=-np.inf)]
                # All products of a block at once, so that their bits do not depend on the groups of unseen keys.
                for label in np.unique(group):
                    seen = (visible_keys & ~apart)[:, keys] & (group == label)
                    parts.append(log_sum_exp(*mean_and_variance(query, key[keys], seen, basis)))
                log_sum_exps[batch, head, :, block] = np.logaddexp.reduce(parts, axis=0)
        return log_sum_exps

    def apart(self, sees: Bools) -> Any:
        """The keys whose own scores each query knows, (Nq, Nk), given the keys that it sees, (Nq, Nk)."""
        keys = np.arange(sees.shape[1])
        last = np.where(sees, keys, 0).max(axis=1, initial=0)
        return (keys > last[:, None] - self.latest) | (keys < self.first)

    def groups(self, k: Array) -> Any:
        """The group of each key, (B, Hkv, Nk); it depends on no other key."""
        if self.centroids is None:
            return np.zeros(k.shape[:3], np.int64)
        with np.errstate(invalid="ignore", over="ignore"):
            return nearest(k if self.metric is None else k @ self.metric, self.centroids)


@dataclass(frozen=True, eq=False)
class BlockScaledAttention:
    """(q, k, v, *, spec) -> (out, scales): the softmax of each block of keys, times the scales of a method.

    The blocks are computed as `kernel` computes attention, and divided by their row sums; the scales, rounded to the
    accumulator's format, multiply the quotients, which are added up there in the order of the blocks.
    """

    method: Method = field(default_factory=ExactScales)
    blocks: BlockScales = field(default_factory=lambda: BlockScales(4))
    kernel: TiledAttention = field(default_factory=TiledAttention)

    @property
    def refattn_approximation(self) -> BlockScales:
        """The blocks, which the kernel declares."""
        return self.blocks

    @property
    def refattn_claims(self) -> tuple[str, ...]:
        """The features that the kernel supports with this method."""
        return (*CLAIMS, *self.method.claims)

    def arithmetic_for(self, format: Any) -> Arithmetic:
        """The contract that the kernel honours on inputs of a format: that of the blocks."""
        return self.kernel.arithmetic_for(format)

    def __call__(self, q: Any, k: Any, v: Any, *, spec: AttentionSpec = NO_SPEC) -> tuple[Any, Any]:
        """out (B, H, Nq, Dv) in q's dtype and scales (B, H, Nq, blocks) in the accumulator's format.

        Raises InvalidValue or InvalidType where the arguments do not fit together.
        """
        with np.errstate(all="ignore"):
            problem = self.kernel.problem(q, k, v, spec)
            self.check(problem)
            stages = problem.stages
            scales = stages.accumulator(self.scales_of_rows(problem))
            out = np.zeros((*q.shape[:3], v.shape[3]))
            for rows in self.kernel.row_tiles(problem):
                out[:, :, rows] = stages.output(self.rows(problem, rows, scales[:, :, rows]))
        arithmetic = problem.arithmetic
        return out.astype(arithmetic.output.format.storage), scales.astype(arithmetic.accumulator.format.storage)

    def check(self, problem: Problem) -> None:
        """Refuse to divide P by the row sum before its cast when that sum is not complete then."""
        tile, longest = problem.arithmetic.tile, max(keys.stop - keys.start for keys in self.key_blocks(problem))
        if problem.arithmetic.cast == "after" and tile is not None and tile < longest:
            raise InvalidValue("cast is 'after': expected all keys of a block in one tile (tile=None)")

    def scales_of_rows(self, problem: Problem) -> Array:
        """The method's scales, (B, H, Nq, blocks), in float64."""
        return self.method(problem.q, problem.k, problem.spec, self.blocks)

    def rows(self, problem: Problem, rows: slice, scales: Array) -> Array:
        """The output of a tile of queries."""
        seen = self.kernel.visible(problem, rows)
        rounded = problem.stages.accumulator
        total = np.zeros((*scales.shape[:3], problem.shape.d_v))
        for block, keys in enumerate(self.key_blocks(problem)):
            out = self.block(problem, rows, seen, keys)
            total = rounded(total + rounded(scales[..., block, None] * out))
        if problem.spec.empty_rows == "zero":
            return total
        return np.where(seen.any(axis=-1, keepdims=True), total, np.nan)

    def key_blocks(self, problem: Problem) -> list[slice]:
        """The keys of each block."""
        return self.blocks.slices(problem.shape.keys)

    def block(self, problem: Problem, rows: slice, seen: Bools, keys: slice) -> Array:
        """Attention of a tile of queries within one block."""
        state = self.kernel.initial_state(problem, rows)
        step = problem.arithmetic.tile or max(keys.stop - keys.start, 1)
        for start in range(keys.start, keys.stop, step):
            columns = slice(start, min(start + step, keys.stop))
            tile = Tile(rows, columns, seen[..., columns])
            if self.kernel.visits(tile):
                state = self.kernel.absorb(problem, tile, state)
        return self.kernel.finalize(problem, state)[0]


@dataclass(frozen=True)
class LeakyAttention(TiledAttention):
    """Attention whose mask is a large negative score: a query that sees no key weighs all keys alike.

    As the `kernel` of a BlockScaledAttention with PublishedScales it is the published method, flaw included.
    """

    masked_score: ClassVar[float] = float(np.finfo(np.float32).min)

    def visits(self, tile: Tile) -> bool:
        """No tile is skipped."""
        del tile
        return True


def normalised(logits: Array, seen: Bools) -> Array:
    """The softmax of logits (..., blocks) over the blocks that are seen; exactly 0 elsewhere."""
    visible = np.where(seen, logits, -np.inf)
    largest = visible.max(axis=-1, keepdims=True, initial=-np.inf)
    weights = np.exp(visible - np.where(np.isneginf(largest), 0.0, largest))
    total = weights.sum(axis=-1, keepdims=True)
    return np.asarray(weights / np.where(total > 0, total, 1.0))


def block_log_sum_exps(q: Array, k: Array, spec: AttentionSpec, blocks: BlockScales) -> Array:
    """The natural log-sum-exp of each block's visible scores, (B, H, Nq, blocks), in float64; -inf where there are
    none.
    """
    kernel = TiledAttention(Arithmetic.float64())
    problem = kernel.problem(q, k, k, spec)
    log_sum_exps = np.full((*q.shape[:3], blocks.blocks), -np.inf)
    with np.errstate(all="ignore"):
        for rows in kernel.row_tiles(problem):
            seen = kernel.visible(problem, rows)
            for block, keys in enumerate(blocks.slices(problem.shape.keys)):
                if keys.stop > keys.start:
                    scores = kernel.scores(problem, Tile(rows, keys, seen[..., keys]))
                    log_sum_exps[:, :, rows, block] = np.logaddexp.reduce(scores, axis=-1)
    return log_sum_exps


def scales_of(log_sum_exps: Array, spec: AttentionSpec = NO_SPEC) -> Array:
    """exp(LSE_i - LSE) of the log-sum-exps (B, H, Nq, blocks) of blocks, LSE counting the spec's sinks."""
    whole = np.logaddexp.reduce(log_sum_exps, axis=-1)
    if spec.sinks is not None:
        whole = np.logaddexp(whole, spec.sinks[:, None])
    return np.asarray(np.exp(log_sum_exps - np.where(np.isneginf(whole), 0.0, whole)[..., None]))


def _shape(q: Array, k: Array, spec: AttentionSpec) -> Shape:
    return problem_shape(q, k, k, spec)


def _at_positions(table: Array, spec: AttentionSpec, shape: Shape) -> Array:
    """The rows of a table (H or 1, positions, blocks) for the queries' positions, (B, H, Nq, blocks)."""
    positions = np.clip(Visibility.of(spec, shape).query_positions, 0, table.shape[1] - 1)
    rows = np.moveaxis(table[:, positions], 1, 0)
    return np.broadcast_to(rows, (shape.batch, shape.heads, shape.queries, table.shape[2]))
