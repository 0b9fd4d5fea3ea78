"""Faults of split keys: what a split writes to scratch memory, and how the parts are combined."""

from __future__ import annotations

from typing import Any

import numpy as np

from refattn.models import TiledAttention as Tiled
from refattn.models import splits
from tests.mutants.registry import forward, wrapper
from tests.mutants.samples import sample
from tests.mutants.scores import BF16

SPLIT: dict[str, Any] = {"fields": {"splits": 3}, "shows": sample(keys=300)}
EMPTY_SPLIT: dict[str, Any] = {"fields": {"splits": 3}, "claims": ("window",)}
WINDOW = sample("window", keys=300, queries=5, window=(40, 0))
EMPTY = sample("causal", queries=300, keys=150)


@forward("E07", "combine", "https://github.com/Dao-AILab/flash-attention/commit/26d7d92f3db1c31bacc8d425ee45833b7ec7c16e",
         "combine_splits", **EMPTY_SPLIT, shows=EMPTY)  # fmt: skip
def all_splits_empty_is_nan(kernel: Any, problem: Any, partials: Any) -> Any:
    """A row that is masked in all splits is NaN: (-inf) - (-inf)."""
    out, lse = Tiled.combine_splits(kernel, problem, partials)
    empty = np.isneginf(lse)
    return np.where(empty[..., None], np.nan, out), np.where(empty, np.nan, lse)


@forward("E12", "combine", "https://github.com/vllm-project/vllm/pull/47188", "combine_splits", **EMPTY_SPLIT,
         shows=WINDOW)  # fmt: skip
def scratch_of_skipped_splits_merged(kernel: Any, problem: Any, partials: Any) -> Any:
    """Splits that were skipped still hold an older result in scratch memory, which is merged."""
    stale = partials[-1]
    merged = [stale if np.isneginf(lse).all() else (out, lse) for out, lse in partials]
    return Tiled.combine_splits(kernel, problem, merged)


@forward("E13", "combine", "https://github.com/ROCm/aiter/pull/4711", "combine_splits", **EMPTY_SPLIT, shows=WINDOW)
def empty_split_of_nan_weighted(kernel: Any, problem: Any, partials: Any) -> Any:
    """An empty split's output is NaN in scratch memory, and enters with weight 0."""
    out, lse = Tiled.combine_splits(kernel, problem, partials)
    some_empty = np.any([np.isneginf(part) for _, part in partials], axis=0) & ~np.isneginf(lse)
    return np.where(some_empty[..., None], np.nan, out), lse


@forward("C10", "combine", "", "combine_splits", **SPLIT)
def last_split_forgotten(kernel: Any, problem: Any, partials: Any) -> Any:
    """The last split is not combined."""
    return Tiled.combine_splits(kernel, problem, partials[:-1])


@forward("C05", "combine", "https://github.com/local-inference-lab/vllm/pull/17", "combine_splits", **SPLIT)
def later_splits_read_with_first_strides(kernel: Any, problem: Any, partials: Any) -> Any:
    """From the third split on, the output is read with the strides of a padded array."""
    misread = [(out if place < 2 else _misread(out), lse) for place, (out, lse) in enumerate(partials)]
    return Tiled.combine_splits(kernel, problem, misread)


def _misread(out: Any) -> Any:
    padded = np.pad(out, [(0, 0)] * (out.ndim - 1) + [(0, 8)])
    return padded.reshape(-1)[: out.size].reshape(out.shape)


@forward("L12", "combine", "https://github.com/Dao-AILab/flash-attention/pull/2388", "combine_splits", **SPLIT)
def partial_log_sum_exps_read_packed(kernel: Any, problem: Any, partials: Any) -> Any:
    """Scratch log-sum-exps are padded to whole tiles of rows, and read as if they were not."""
    misread = [(out, _packed(lse, kernel.query_tile)) for out, lse in partials]
    return Tiled.combine_splits(kernel, problem, misread)


def _packed(lse: Any, tile: int) -> Any:
    padded = np.pad(lse, [(0, 0), (0, 0), (0, -lse.shape[-1] % tile)])
    return padded.reshape(len(lse), -1)[:, : lse[0].size].reshape(lse.shape)


@forward("P14", "prec", "", "stored_partial", **SPLIT)
def partial_log_sum_exp_in_bf16(_kernel: Any, _problem: Any, out: Any, lse: Any) -> Any:
    """A split's log-sum-exp is stored in bf16."""
    return out, BF16(lse)


@forward("P106", "prec", "", "stored_partial", **SPLIT)
def partial_output_in_bf16(_kernel: Any, _problem: Any, out: Any, lse: Any) -> Any:
    """A split's output is stored in bf16."""
    return BF16(out), lse


@forward("P107", "combine", "", "combine_splits", fields={"splits": 3}, shows=sample(keys=300, factor=60.0))
def combined_without_maximum(_kernel: Any, problem: Any, partials: Any) -> Any:
    """The weights of the splits are exp(lse), without a maximum: they overflow."""
    weights = [problem.stages.scores(np.exp(lse)) for _, lse in partials]
    total = sum(weights)
    out = sum(w[..., None] * part for w, (part, _) in zip(weights, partials, strict=True))
    empty = total == 0.0
    return out / np.where(empty, 1.0, total)[..., None], problem.stages.lse(np.log(total))


@forward("P108", "combine", "", "combine_splits", **SPLIT)
def combined_in_base_2(kernel: Any, problem: Any, partials: Any) -> Any:
    """The weights of the splits are 2**(lse - max), of natural log-sum-exps."""
    scaled = [(out, lse * np.log(2.0)) for out, lse in partials]
    return Tiled.combine_splits(kernel, problem, scaled)[0], splits.combine(partials, problem.stages)[1]


@forward("P109", "combine", "", "shares", fields={"splits": 3}, shows=sample(keys=300))
def tiles_of_the_remainder_dropped(kernel: Any, problem: Any) -> Any:
    """Tiles per split are rounded down: the remainder is dropped where every split has one."""
    tiles = kernel.column_tiles(problem)
    size = len(tiles) // kernel.splits or len(tiles)
    return [tiles[part * size : (part + 1) * size] for part in range(kernel.splits)]


@wrapper("Z01", "batchinv", "https://github.com/Dao-AILab/flash-attention/issues/1897", fields={"splits": 3},
         claims=("batch_invariant",), shows=sample(keys=300))  # fmt: skip
def splits_depend_on_the_batch(kernel: Any, q: Any, k: Any, v: Any, spec: Any) -> Any:
    """The number of splits depends on the size of the batch."""
    return (kernel if len(q) == 1 else Tiled())(q, k, v, spec=spec)
