"""Contract: tiled kernels with a planted fault are outside the bound that the honest ones are within."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from refattn.models import Problem, State, Tile, TiledAttention, tiled_attention
from refattn.numbers import formats
from tests.support.tiled_distance import judged


class TopLeft(TiledAttention):
    def visible(self, problem: Problem, rows: slice) -> Any:
        return np.tril(np.ones((problem.shape.queries, problem.shape.keys), np.bool_))[None, None, rows]


class NoRescale(TiledAttention):
    def rescale_factor(self, problem: Problem, old: Any, new: Any) -> Any:
        del problem, new
        return np.ones_like(old)


class MaximumStartsAtZero(TiledAttention):
    initial_maximum = 0.0


class NoGuard(TiledAttention):
    def guarded(self, maximum: Any) -> Any:
        return maximum


class FiniteMask(TiledAttention):
    masked_score = -10000.0

    def visits(self, tile: Tile) -> bool:
        return tile.seen.size > 0


class LogTwo(TiledAttention):
    def log_sum_exp(self, problem: Problem, state: State) -> Any:
        return super().log_sum_exp(problem, state) * math.log2(math.e)


class ScaledSink(TiledAttention):
    def sink(self, problem: Problem) -> Any:
        return super().sink(problem) * self.scale(problem)


class WrongSoftcap(TiledAttention):
    def softcap(self, problem: Problem, s: Any) -> Any:
        return s / problem.spec.softcap * np.tanh(s / problem.spec.softcap)


class AlibiSign(TiledAttention):
    def alibi(self, problem: Problem, tile: Tile) -> Any:
        return -super().alibi(problem, tile)


class LostTail(TiledAttention):
    def column_tiles(self, problem: Problem) -> list[slice]:
        return [tile for tile in super().column_tiles(problem) if tile.stop - tile.start == self.key_tile]


class LostSplit(TiledAttention):
    def combine_splits(self, problem: Problem, partials: Any) -> Any:
        return super().combine_splits(problem, partials[:-1])


class CoarsePartials(TiledAttention):
    def stored_partial(self, problem: Problem, out: Any, lse: Any) -> Any:
        del problem
        return formats.bf16.round(out), formats.bf16.round(lse)


class WrongGroup(TiledAttention):
    def for_each_query_head(self, problem: Problem, array: Any) -> Any:
        return np.tile(array, (1, problem.shape.group, 1, 1))


class WindowTooWide(TiledAttention):
    def visible(self, problem: Problem, rows: slice) -> Any:
        left, right = problem.spec.window
        spec = problem.spec.replace(window=(left + 1, right))
        return dataclasses.replace(problem.visibility, spec=spec).block(rows)


FAULTS = [
    (TopLeft(key_tile=4), "causal"),
    (NoRescale(key_tile=2), "plain"),
    (NoGuard(key_tile=2), "strict"),
    (FiniteMask(key_tile=4), "mask_hides_all"),
    (LogTwo(), "plain"),
    (ScaledSink(), "sinks"),
    (WrongSoftcap(), "softcap"),
    (AlibiSign(), "alibi"),
    (LostTail(key_tile=4), "plain"),
    (LostSplit(key_tile=4, splits=3), "plain"),
    (CoarsePartials(key_tile=4, splits=3), "plain"),
    (WrongGroup(), "plain"),
    (WindowTooWide(), "window"),
]


@pytest.mark.parametrize(("kernel", "name"), FAULTS, ids=lambda x: type(x).__name__ if not isinstance(x, str) else x)
def test_a_planted_fault_is_outside_the_bound(kernel: TiledAttention, name: str) -> None:
    assert max(judged(kernel, name, np.float32)) > 1
    honest = TiledAttention(**{f.name: getattr(kernel, f.name) for f in dataclasses.fields(TiledAttention)})
    assert max(judged(honest, name, np.float32)) <= 1


def test_a_maximum_that_starts_at_zero_loses_rows_of_low_scores() -> None:
    q, k, v = (
        np.full((1, 1, 2, 1), -200.0, np.float32),
        np.ones((1, 1, 5, 1), np.float32),
        np.ones((1, 1, 5, 1), np.float32),
    )
    assert np.array_equal(tiled_attention(q, k, v)[0], np.ones((1, 1, 2, 1)))
    lost, _ = MaximumStartsAtZero()(q, k, v)
    assert not np.array_equal(lost, np.ones((1, 1, 2, 1)))


# Arguments
