"""Faults in the running state of the online softmax: the maximum and its guards, rescales, the row sum, sinks."""

from __future__ import annotations

from typing import Any

import numpy as np

from refattn.models import State
from refattn.models import TiledAttention as Tiled
from tests.mutants.registry import factory, forward, forward_class
from tests.mutants.samples import sample

SENTINEL = -5e4


def _low(case: Any) -> Any:
    """All scores about -250 after the usual scale."""
    q, k = case.q.copy(), case.k.copy()
    q[..., 0], k[..., 0] = 32.0, -40.0
    return case.replace(q=q, k=k)


def _very_low(case: Any) -> Any:
    """All products below -5e4."""
    q, k = case.q.copy(), case.k.copy()
    q[..., 0], k[..., 0] = 256.0, -256.0
    return case.replace(q=q, k=k)


def _rising(case: Any) -> Any:
    """Later keys score higher, by some 100 nats in all."""
    q, k = case.q.copy(), case.k.copy()
    q[..., 0] = 4.0
    k[..., 0] = np.arange(case.shape.keys)
    return case.replace(q=q, k=k)


def _falling(case: Any) -> Any:
    """Later keys score lower, by some 120 nats in all."""
    return case.replace(q=_rising(case).q, k=-_rising(case).k)


@forward_class("E21", "empty", "", shows=sample(change=_low))
class MaximumStartsAtZero(Tiled):
    """The running maximum starts at 0: rows of very low scores are 0."""

    initial_maximum = 0.0


@forward("E05", "empty", "https://github.com/flashinfer-ai/flashinfer/pull/4401", "initial_state",
         shows=sample(change=_very_low))  # fmt: skip
def maximum_starts_at_a_sentinel(kernel: Any, problem: Any, rows: Any) -> Any:
    """The running maximum of Q K^T starts at -5e4: rows below it are 0."""
    state = Tiled.initial_state(kernel, problem, rows)
    lowest = np.full_like(state.maximum, SENTINEL * kernel.scale(problem))
    return State(lowest, state.normaliser, state.accumulator)


@forward("P70", "online", "", "accumulate_values", shows=sample(factor=3.0))
def accumulator_not_rescaled(kernel: Any, problem: Any, tile: Any, old: Any, factor: Any, operand: Any) -> Any:
    """A new maximum does not rescale the accumulator."""
    return Tiled.accumulate_values(kernel, problem, tile, old, np.ones_like(factor), operand)


@forward("P71", "online", "", "accumulate_normaliser")
def row_sum_not_rescaled(kernel: Any, problem: Any, old: Any, factor: Any, p: Any) -> Any:
    """A new maximum does not rescale the row sum."""
    return Tiled.accumulate_normaliser(kernel, problem, old, np.ones_like(factor), p)


@forward("P72", "online", "", "accumulate_values", shows=sample(change=_rising))
def accumulator_not_rescaled_by_last_tile(
    kernel: Any, problem: Any, tile: Any, old: Any, factor: Any, operand: Any
) -> Any:
    """The last tile's new maximum does not rescale the accumulator."""
    last = tile.columns.stop == problem.shape.keys
    return Tiled.accumulate_values(kernel, problem, tile, old, np.ones_like(factor) if last else factor, operand)


@forward("P73", "online", "", "new_maximum", shows=sample(change=_rising, factor=3.0))
def maximum_of_first_tile_kept(_kernel: Any, _problem: Any, old: Any, tile_maximum: Any) -> Any:
    """The first tile's maximum is kept: later scores far above it overflow."""
    return np.where(np.isneginf(old), tile_maximum, old)


@forward("P74", "online", "", "rescale_factor")
def small_rescales_skipped(kernel: Any, problem: Any, old: Any, new: Any) -> Any:
    """A growth of less than 8 bits moves the maximum and rescales nothing."""
    growth = (new - old) * kernel.exponent_factor(problem)
    return np.where(growth < 8.0, 1.0, Tiled.rescale_factor(kernel, problem, old, new))


@forward("P75", "online", "", "rescale_factor")
def rescale_factor_of_first_row(kernel: Any, problem: Any, old: Any, new: Any) -> Any:
    """The rescale's decision is made by the first row of a warp of 16 (FlashAttention-4's vote, mis-voted)."""
    factor = Tiled.rescale_factor(kernel, problem, old, new)
    first = np.repeat(factor[..., ::16], 16, axis=-1)[..., : factor.shape[-1]]
    return np.where(first == 1.0, 1.0, factor)


@forward("P76", "online", "", "new_maximum", shows=sample(change=_falling))
def maximum_of_tile_alone(_kernel: Any, _problem: Any, old: Any, tile_maximum: Any) -> Any:
    """The maximum is that of the latest tile, even if it is lower: a rescale by a factor above 1 can overflow."""
    return np.where(np.isneginf(tile_maximum), old, tile_maximum)


@forward("E03", "empty", "https://github.com/facebookresearch/xformers/commit/540fcbfdaf8230fd37644345a310a36af86c9d6b",
         "probabilities", claims=("mask", "bias"), shows=sample("window", queries=150, keys=150))  # fmt: skip
def probabilities_without_guard(kernel: Any, problem: Any, s: Any, maximum: Any) -> Any:
    """exp(s - m) is not guarded against m = -inf: NaN where a row's first tiles are masked."""
    return kernel.exponential(problem, s, maximum[..., None])


@forward("E04", "empty", "https://github.com/pytorch/pytorch/issues/127055", "rescale_factor", claims=("window",),
         shows=sample("window", queries=150, keys=150))  # fmt: skip
def rescale_without_guard(kernel: Any, problem: Any, old: Any, new: Any) -> Any:
    """exp(m_old - m_new) is not guarded against (-inf) - (-inf)."""
    return kernel.exponential_of_change(problem, old, new)


SINKS = {"claims": ("sinks",), "shows": sample("sinks")}


@forward_class("E14", "empty", "https://github.com/ikawrakow/ik_llama.cpp/issues/2344", claims=("sinks", "mask"),
               shows=sample("sinks", "causal", queries=150, keys=100))  # fmt: skip
class SinkAtTheEndWithoutGuard(Tiled):
    """The sink is added at the end, and a row whose tiles were all masked is NaN by then."""

    def add_sink(self, _problem: Any, state: Any) -> Any:
        return state

    def visits(self, _tile: Any) -> bool:
        return True

    def probabilities(self, problem: Any, s: Any, maximum: Any) -> Any:
        bare = problem.spec.sinks is not None
        return self.exponential(problem, s, (maximum if bare else self.guarded(maximum))[..., None])

    def finalize(self, problem: Any, state: Any) -> Any:
        if problem.spec.sinks is not None:
            sink = np.broadcast_to(self.sink(problem), state.maximum.shape)
            alone = State(sink, np.ones_like(sink), np.zeros_like(state.accumulator))
            state = state.merge(alone, problem.arithmetic)
        return Tiled.finalize(self, problem, state)


@forward("K04", "sink", "https://github.com/ROCm/rocm-libraries/issues/12227", "sink", **SINKS)
def sink_scaled(kernel: Any, problem: Any) -> Any:
    """The sink is multiplied by the softmax scale."""
    return Tiled.sink(kernel, problem) * kernel.scale(problem)


@forward("P77", "sink", "", "sink", **SINKS)
def sink_in_base_2(kernel: Any, problem: Any) -> Any:
    """The sink is taken for a base-2 logit."""
    return Tiled.sink(kernel, problem) * np.log(2.0)


@forward("K03", "sink", "https://github.com/vllm-project/vllm/pull/49815", "add_sink", claims=("sinks", "window"),
         shows=sample("sinks", "window"))  # fmt: skip
def sink_dropped_in_window(kernel: Any, problem: Any, state: Any) -> Any:
    """With a window the sink is forgotten."""
    windowed = problem.spec.window != (None, None)
    return state if windowed else Tiled.add_sink(kernel, problem, state)


@forward("P78", "sink", "", "add_sink", **SINKS)
def sink_dropped(_kernel: Any, _problem: Any, state: Any) -> Any:
    """The sink is forgotten."""
    return state


@forward("P79", "sink", "", "add_sink", **SINKS)
def sink_counted_twice(kernel: Any, problem: Any, state: Any) -> Any:
    """The sink is counted twice."""
    with_sink = Tiled.add_sink(kernel, problem, state)
    return State(with_sink.maximum, 2.0 * with_sink.normaliser, with_sink.accumulator)


@forward("P80", "sink", "", "initial_state", fields={"splits": 3}, claims=("sinks",),
         shows=sample("sinks", keys=300))  # fmt: skip
def sink_counted_once_a_split(kernel: Any, problem: Any, rows: Any) -> Any:
    """Every split counts the sink."""
    state = Tiled.initial_state(kernel, problem, rows)
    return state if problem.spec.sinks is None else Tiled.add_sink(kernel, problem, state)


@factory("Q01", "fp8", "https://github.com/Dao-AILab/flash-attention/pull/2717", formats=("e4m3",),
         shows=sample(format="e4m3", keys=300), honest=lambda: Fp8(probability_offset=8))  # fmt: skip
def stale_maximum_saturates_fp8() -> Any:
    """P * 2**8 with a maximum up to 4 bits stale saturates e4m3 at 448."""
    return Fp8(rescale_threshold=4.0, probability_offset=8)


class Fp8(Tiled):
    """Honest: a kernel that takes fp8 and returns bf16."""

    refattn_formats = ("e4m3", "e5m2")

    def arithmetic_for(self, format: Any) -> Any:
        return Tiled.arithmetic_for(self, format).replace(output="bf16", name="flash(fp8, output bf16)")


@forward("Q08", "fp8", "https://github.com/flashinfer-ai/flashinfer/pull/3838", "finalize")
def row_sum_adds_the_neighbour(kernel: Any, problem: Any, state: Any) -> Any:
    """The row sum's butterfly is one step too wide and adds the neighbouring row's."""
    both = state.normaliser + np.roll(state.normaliser, 1, axis=-1)
    return Tiled.finalize(kernel, problem, State(state.maximum, both, state.accumulator))


@forward("P81", "dropout", "", "dropout_factor", claims=("dropout",), shows=sample("dropout"))
def dropout_not_compensated(_kernel: Any, _problem: Any) -> Any:
    """The kept weights are not divided by 1 - p."""
    return 1.0


@forward("P82", "dropout", "", "visible", claims=("dropout",), shows=sample("dropout"))
def dropout_before_the_row_sum(kernel: Any, problem: Any, rows: Any) -> Any:
    """Dropped weights are missing from the row sum too."""
    seen, keep = Tiled.visible(kernel, problem, rows), problem.spec.keep
    return seen if keep is None else seen & keep[..., rows, :]
