"""Kernels that approximate attention by block scales, each with one fault, and the same ones without."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from refattn.contract.block_scales import BlockScales
from refattn.contract.spec import AttentionSpec
from refattn.models import (
    BlockScaledAttention,
    ExactScales,
    LeakyAttention,
    MomentScales,
    PublishedScales,
    StaticScales,
    TiledAttention,
    Uncorrected,
)

BLOCKS = BlockScales(3)
NORMALISED = replace(BLOCKS, normalised=True)
TABLE = np.random.default_rng(0).standard_normal((1, 40, 3))


def exact(blocks: BlockScales = NORMALISED) -> BlockScaledAttention:
    """Exact scales."""
    return BlockScaledAttention(ExactScales(), blocks)


def uncorrected() -> BlockScaledAttention:
    """Scales of 1."""
    return BlockScaledAttention(Uncorrected(), BLOCKS)


def static() -> BlockScaledAttention:
    """Scales from a table, for windows of 64 keys."""
    return BlockScaledAttention(StaticScales(TABLE), replace(NORMALISED, window=64))


def moments() -> BlockScaledAttention:
    """Scales predicted from summaries."""
    return BlockScaledAttention(MomentScales(first=1), NORMALISED)


def published() -> BlockScaledAttention:
    """The published method, which weighs keys to come."""
    return BlockScaledAttention(PublishedScales(TABLE), BLOCKS, LeakyAttention())


@dataclass(frozen=True)
class Reporting:
    """A kernel that reports other scales than it uses: report(scales, q, k, spec), of an honest one's."""

    report: Any
    kernel: BlockScaledAttention = field(default_factory=exact)

    refattn_claims = ("causal", "cross", "ragged", "scale")

    @property
    def refattn_approximation(self) -> BlockScales:
        """The honest kernel's."""
        return self.kernel.refattn_approximation

    def __call__(self, q: Any, k: Any, v: Any, *, spec: AttentionSpec) -> Any:
        """The honest output."""
        out, scales = self.kernel(q, k, v, spec=spec)
        return out, self.report(scales, q, k, spec)


def empty_blocks_with_scales() -> Reporting:
    """Blocks of which nothing is seen have a scale of 1/2, which no weight has."""
    return Reporting(
        lambda scales, q, k, spec: np.where(scales == 0, scales.dtype.type(0.5), scales), BlockScaledAttention()
    )


def _exact_scales(scales: Any, q: Any, k: Any, spec: AttentionSpec) -> Any:
    del scales
    return exact()(q, k, k, spec=spec)[1]


@dataclass(frozen=True)
class _Rolled(ExactScales):
    def __call__(self, q: Any, k: Any, spec: AttentionSpec, blocks: BlockScales) -> Any:
        return np.roll(ExactScales.__call__(self, q, k, spec, blocks), -1, axis=-1)


def off_by_one_block() -> Reporting:
    """Each block has the next one's scale, and the scales are reported as they should be."""
    return Reporting(_exact_scales, BlockScaledAttention(_Rolled(), BLOCKS))


def _up_by_a_bit(scales: Any, q: Any, k: Any, spec: AttentionSpec) -> Any:
    del q, spec
    large = np.abs(k.astype(np.float32)).max(initial=0.0) > 64
    return np.where((scales > 0) & large, np.nextafter(scales, np.float32(2)), scales)


def reported_by_what_is_not_seen() -> Reporting:
    """The last bit of the scales that are reported, and no output, depends on keys that are not seen."""
    return Reporting(_up_by_a_bit)


def understated() -> Reporting:
    """Scales of 1 are used, and the exact ones reported."""
    return Reporting(_exact_scales, uncorrected())


def negative_and_undefined() -> tuple[Reporting, Reporting]:
    """Scales that are no weights."""
    return (
        Reporting(lambda scales, q, k, spec: -scales),
        Reporting(lambda scales, q, k, spec: np.where(scales > 0, np.nan, scales).astype(scales.dtype)),
    )


@dataclass(frozen=True)
class _Doubled(ExactScales):
    def __call__(self, q: Any, k: Any, spec: AttentionSpec, blocks: BlockScales) -> Any:
        return 2 * ExactScales.__call__(self, q, k, spec, blocks)


def unnormalised() -> BlockScaledAttention:
    """Scales that add up to 2, and are claimed to add up to 1."""
    return BlockScaledAttention(_Doubled(), NORMALISED)


class _Shifted(BlockScaledAttention):
    def key_blocks(self, problem: Any) -> list[slice]:
        cuts = [block.start for block in BlockScaledAttention.key_blocks(self, problem)][1:]
        cuts = [0, *(max(cut - 1, 0) for cut in cuts), problem.shape.keys]
        return [slice(start, stop) for start, stop in itertools.pairwise(cuts)]


def boundary_off_by_one() -> BlockScaledAttention:
    """Blocks begin one key early."""
    return _Shifted(ExactScales(), NORMALISED)


@dataclass(frozen=True, eq=False)
class _WholeBlocks(MomentScales):
    def log_sum_exps(self, q: Any, k: Any, spec: AttentionSpec, blocks: BlockScales) -> Any:
        return MomentScales.log_sum_exps(self, q, k, spec.replace(causal=False, strict=False), blocks)


def summary_of_the_future() -> BlockScaledAttention:
    """The summary of a block that is seen in part is that of all of it."""
    return BlockScaledAttention(_WholeBlocks(), NORMALISED)


@dataclass(frozen=True)
class _ContiguousOnly(BlockScaledAttention):
    def __call__(self, q: Any, k: Any, v: Any, *, spec: AttentionSpec = AttentionSpec()) -> Any:  # noqa: B008
        wrong = not all(x.flags.c_contiguous for x in (q, k, v))
        return BlockScaledAttention.__call__(self, q, k, -v if wrong else v, spec=spec)


def contiguous_only() -> BlockScaledAttention:
    """Strided inputs are misread."""
    return _ContiguousOnly(ExactScales(), NORMALISED)


@dataclass(frozen=True)
class WithMethod:
    """The other contract: a method `scales`, and a call that returns (out, lse)."""

    kernel: BlockScaledAttention = field(default_factory=exact)
    refattn_claims = ("causal", "cross", "ragged", "scale", "lse")

    @property
    def refattn_approximation(self) -> BlockScales:
        """The honest kernel's."""
        return self.kernel.refattn_approximation

    def scales(self, q: Any, k: Any, *, spec: AttentionSpec) -> Any:
        """Those that were used."""
        return self.kernel(q, k, k, spec=spec)[1]

    def __call__(self, q: Any, k: Any, v: Any, *, spec: AttentionSpec) -> Any:
        """Output, and the log-sum-exp of attention."""
        return self.kernel(q, k, v, spec=spec)[0], TiledAttention()(q, k, v, spec=spec)[1]


@dataclass(frozen=True)
class OfThreeValues(Reporting):
    """A call that returns (out, lse, scales)."""

    report: Any = None
    refattn_claims = ("causal", "cross", "ragged", "scale", "lse")

    def __call__(self, q: Any, k: Any, v: Any, *, spec: AttentionSpec) -> Any:
        """Output, the log-sum-exp of attention, scales."""
        out, scales = self.kernel(q, k, v, spec=spec)
        return out, TiledAttention()(q, k, v, spec=spec)[1], scales
