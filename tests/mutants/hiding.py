"""Faults in what is hidden: causal masks, windows, masked rows, ragged tails, dropped keys, poison behind a mask."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from refattn.contract.visibility import Visibility
from refattn.models import State, Tile
from refattn.models import TiledAttention as Tiled
from refattn.numbers import formats
from tests.mutants.registry import forward, forward_class
from tests.mutants.samples import sample
from tests.mutants.scores import FP16

CAUSAL = {"shows": sample("causal")}
WINDOW = {"claims": ("window",), "shows": sample("window")}
EMPTY = {"claims": ("mask",), "shows": sample("causal", queries=150, keys=70)}


def seen_of(problem: Any, rows: Any, **changes: Any) -> Any:
    """seen(i, j) of the problem with some fields of its spec changed."""
    return Visibility.of(problem.spec.replace(**changes), problem.shape).block(rows)


def _shifted(problem: Any, rows: Any, shift: int) -> Any:
    visibility = problem.visibility
    return replace(visibility, query_positions=visibility.query_positions + shift).block(rows)


def _missing(_kernel: Any, problem: Any, tile: Any) -> int:
    """How many keys the ragged last tile lacks."""
    size = problem.arithmetic.tile
    return size - (tile.columns.stop - tile.columns.start) if tile.columns.stop == problem.shape.keys else 0


@forward("P50", "mask", "", "visible", **CAUSAL)
def causal_shows_the_next_key(kernel: Any, problem: Any, rows: Any) -> Any:
    """The causal mask shows one future key."""
    return _shifted(problem, rows, 1) if problem.spec.causal else Tiled.visible(kernel, problem, rows)


@forward("P51", "mask", "", "visible", **CAUSAL)
def causal_hides_the_diagonal(kernel: Any, problem: Any, rows: Any) -> Any:
    """The causal mask hides the query's own key."""
    return _shifted(problem, rows, -1) if problem.spec.causal else Tiled.visible(kernel, problem, rows)


@forward("P52", "mask", "", "visible", claims=("strict_causal",), shows=sample("strict_causal"))
def strict_causal_taken_for_causal(_kernel: Any, problem: Any, rows: Any) -> Any:
    """A strict causal mask shows the diagonal."""
    return seen_of(problem, rows, strict=False)


@forward("P53", "mask", "", "visible", **CAUSAL)
def causal_aligned_top_left(_kernel: Any, problem: Any, rows: Any) -> Any:
    """The causal mask is aligned at the top left."""
    return seen_of(problem, rows, alignment="top_left")


@forward("P54", "mask", "", "visible", shows=sample("causal", queries=150, keys=150))
def causal_by_tile(kernel: Any, problem: Any, rows: Any) -> Any:
    """The causal mask lets every row of a tile see what the tile's last row sees."""
    seen = Tiled.visible(kernel, problem, rows)
    return np.broadcast_to(seen[..., -1:, :], seen.shape) if problem.spec.causal else seen


@forward("M06", "mask", "https://github.com/huggingface/transformers/issues/39408", "visible", **WINDOW)
def window_one_key_too_wide(_kernel: Any, problem: Any, rows: Any) -> Any:
    """The window shows one key too many on the left."""
    left, right = problem.spec.window
    return seen_of(problem, rows, window=(None if left is None else left + 1, right))


@forward("P55", "mask", "", "visible", **WINDOW)
def window_exclusive_on_the_left(_kernel: Any, problem: Any, rows: Any) -> Any:
    """The window's left side is taken as exclusive."""
    left, right = problem.spec.window
    return seen_of(problem, rows, window=(left if not left else left - 1, right))


@forward("P56", "mask", "", "visible", **WINDOW)
def window_one_key_too_wide_on_the_right(_kernel: Any, problem: Any, rows: Any) -> Any:
    """The window shows one key too many on the right."""
    left, right = problem.spec.window
    return seen_of(problem, rows, window=(left, None if right is None else right + 1))


@forward("P57", "mask", "", "visible", **WINDOW)
def window_without_offset(_kernel: Any, problem: Any, rows: Any) -> Any:
    """The window is counted from the top left while the causal mask is aligned at the bottom right."""
    whole = seen_of(problem, rows, window=(None, None))
    return whole & seen_of(problem, rows, alignment="top_left", causal=False, strict=False)


@forward("P58", "mask", "", "visible", claims=("window",), shows=sample("window", "causal"))
def window_dropped_when_causal(kernel: Any, problem: Any, rows: Any) -> Any:
    """With a causal mask the window is forgotten."""
    forgets = problem.spec.causal
    return seen_of(problem, rows, window=(None, None)) if forgets else Tiled.visible(kernel, problem, rows)


@forward("P59", "mask", "", "visible", claims=("mask",), shows=sample("mask"))
def mask_of_first_batch(kernel: Any, problem: Any, rows: Any) -> Any:
    """A mask per batch is read with a batch stride of 0."""
    mask = problem.spec.mask
    if mask is None or mask.ndim < 4:
        return Tiled.visible(kernel, problem, rows)
    return seen_of(problem, rows, mask=mask[:1])


# Rows that see nothing


@forward("E01", "empty", "https://github.com/pytorch/pytorch/issues/103749", "finalize", **EMPTY)
def empty_row_is_nan(kernel: Any, problem: Any, state: Any) -> Any:
    """A fully masked row is 0 / 0."""
    out, lse = Tiled.finalize(kernel, problem, state)
    return np.where((state.normaliser == 0.0)[..., None], np.nan, out), lse


@forward_class("E02", "empty", "https://github.com/NVIDIA/apex/issues/1390", **EMPTY)
class MaskedByMinusTenThousand(Tiled):
    """Masked scores are -10000: a fully masked row is the mean of V."""

    masked_score = -1e4

    def visits(self, _tile: Any) -> bool:
        return True


@forward_class("P60", "empty", "", **EMPTY)
class MaskedByHugeNumber(Tiled):
    """Masked scores are -1e30: a fully masked row is the mean of V."""

    masked_score = -1e30

    def visits(self, _tile: Any) -> bool:
        return True


@forward_class("E20", "empty", "https://github.com/microsoft/onnxruntime/pull/8549", **EMPTY)
class MaskAdded(Tiled):
    """The mask adds -10000 to the score instead of replacing it."""

    def mask(self, s: Any, tile: Any) -> Any:
        return np.where(tile.seen, s, s - 1e4)

    def visits(self, _tile: Any) -> bool:
        return True


@forward_class("E19", "empty", "https://github.com/tensorflow/tensorflow/pull/59657", formats=("fp16",),
               claims=("mask",), shows=sample("causal", queries=150, keys=70, format="fp16"))  # fmt: skip
class MaskAddedInFp16(Tiled):
    """The mask adds fp16's lowest number in fp16: with a negative score that is -inf."""

    def mask(self, s: Any, tile: Any) -> Any:
        return np.where(tile.seen, s, FP16(FP16(s) - formats.fp16.max_finite))

    def visits(self, _tile: Any) -> bool:
        return True


@forward("M13", "empty", "https://github.com/flashinfer-ai/flashinfer/pull/1533", "fill_empty_rows", **EMPTY)
def empty_rows_not_stored(kernel: Any, problem: Any, seen: Any, out: Any, lse: Any) -> Any:
    """Rows that see no key are never stored: the output keeps what its memory held."""
    filled = Tiled.fill_empty_rows(kernel, problem, seen, out, lse)
    return np.where(seen.any(axis=-1, keepdims=True), filled, 0.125)


@forward("P61", "empty", "", "log_sum_exp", **EMPTY)
def log_sum_exp_of_empty_row_is_positive_infinity(kernel: Any, problem: Any, state: Any) -> Any:
    """The log-sum-exp of a row that sees no key is +inf."""
    lse = Tiled.log_sum_exp(kernel, problem, state)
    return np.where(state.normaliser == 0.0, np.inf, lse)


# Ragged tails


@forward("P62", "tail", "", "absorb")
def tail_of_zero_keys_counted(kernel: Any, problem: Any, tile: Any, state: Any) -> Any:
    """The last tile is filled up with keys of zeros, which are not masked: each has the score 0."""
    state = Tiled.absorb(kernel, problem, tile, state)
    missing = _missing(kernel, problem, tile)
    size = state.maximum.shape
    padding = State(np.zeros(size), np.full(size, float(missing)), np.zeros_like(state.accumulator))
    return state.merge(padding, problem.arithmetic) if missing else state


@forward("P63", "tail", "", "absorb")
def tail_of_stale_keys_counted(kernel: Any, problem: Any, tile: Any, state: Any) -> Any:
    """The last tile is filled up with stale keys (here the first ones), which are not masked."""
    state = Tiled.absorb(kernel, problem, tile, state)
    stale = slice(0, min(_missing(kernel, problem, tile), problem.shape.keys))
    if stale.stop == 0:
        return state
    seen = np.ones((1, 1, tile.rows.stop - tile.rows.start, stale.stop), np.bool_)
    return Tiled.absorb(kernel, problem, Tile(tile.rows, stale, seen), state)


@forward("P64", "tail", "", "visible")
def last_key_dropped(kernel: Any, problem: Any, rows: Any) -> Any:
    """The last key is dropped where there are several."""
    seen = Tiled.visible(kernel, problem, rows).copy()
    seen[..., max(1, problem.shape.keys - 1) :] = False
    return seen


@forward("P65", "tail", "", "column_tiles")
def ragged_tile_dropped(kernel: Any, problem: Any) -> Any:
    """The number of key tiles is rounded down."""
    tiles = Tiled.column_tiles(kernel, problem)
    return tiles[: max(1, problem.shape.keys // problem.arithmetic.tile)]


@forward("T09", "tail", "https://github.com/pytorch/xla/pull/8431", "forward", shows=sample(keys=128))
def full_last_tile_not_stored(kernel: Any, problem: Any) -> Any:
    """The output is stored after tile Nk // 64, which does not exist where Nk is a multiple of 64."""
    out, lse = Tiled.forward(kernel, problem)
    return (np.zeros_like(out), lse) if problem.shape.keys % problem.arithmetic.tile == 0 else (out, lse)


@forward("P66", "tail", "", "rows", shows=sample(queries=70))
def last_query_tile_reads_past_the_end(kernel: Any, problem: Any, rows: Any) -> Any:
    """The ragged last tile of queries is shifted back to be full, and its rows are stored unshifted."""
    missing = kernel.query_tile - (rows.stop - rows.start)
    if missing == 0 or rows.start == 0:
        return Tiled.rows(kernel, problem, rows)
    out, lse = Tiled.rows(kernel, problem, slice(rows.start - missing, rows.stop))
    count = rows.stop - rows.start
    return out[:, :, :count], lse[:, :, :count]


# Poison behind a mask


def _nan_hidden(case: Any) -> Any:
    v = case.v.copy()
    v[:, :, 40] = np.nan
    return case.replace(v=v, spec=case.spec.replace(window=(5, 5)))


def _nan_in_unused_slots(case: Any) -> Any:
    unused = (case.spec.key_positions < 0)[:, None]
    return case.replace(k=np.where(unused, np.nan, case.k), v=np.where(unused, np.nan, case.v))


def _nan_in_slot_0(case: Any) -> Any:
    positions = np.roll(case.spec.key_positions, -int(np.argmin(case.spec.key_positions)))
    return _nan_in_unused_slots(case.replace(spec=case.spec.replace(key_positions=positions)))


PAGED = ("paged", "nan_safe")


@forward_class("T05", "poison", "https://github.com/vllm-project/vllm/pull/30887", claims=("window", "nan_safe"),
               shows=sample("window", queries=4, keys=70, change=_nan_hidden))  # fmt: skip
class ValuesNotMasked(Tiled):
    """P is 0 outside the window, V is not masked there: 0 * NaN."""

    def values_product(self, problem: Any, tile: Any, operand: Any) -> Any:
        return problem.stages.accumulator.product(operand, self.load_values(problem, tile.columns))


@forward("T06", "poison", "https://github.com/flashinfer-ai/flashinfer/pull/942", "values_product", claims=PAGED,
         shows=sample("paged", queries=4, change=_nan_in_unused_slots))  # fmt: skip
def tail_of_last_page_loaded(kernel: Any, problem: Any, tile: Any, operand: Any) -> Any:
    """The values of a page's unused slots enter the product with weight 0."""
    values = kernel.load_values(problem, tile.columns)
    if problem.spec.key_positions is None:
        return Tiled.values_product(kernel, problem, tile, operand)
    return problem.stages.accumulator.product(operand, values)


@forward("T07", "poison", "https://github.com/ROCm/aiter/pull/4245", "values_product", claims=PAGED,
         shows=sample("paged", queries=4, change=_nan_in_slot_0))  # fmt: skip
def invalid_pages_read_slot_0(kernel: Any, problem: Any, tile: Any, operand: Any) -> Any:
    """Slots beyond the sequence read page 0, whose values enter the product with weight 0."""
    product = Tiled.values_product(kernel, problem, tile, operand)
    if problem.spec.key_positions is None or tile.seen.all():
        return product
    first = kernel.load_values(problem, slice(0, 1))
    return product + 0.0 * first


@forward("E17", "poison", "https://github.com/pytorch/pytorch/issues/141128", "finalize",
         shows=sample(change=lambda case: case.replace(q=np.where(np.arange(24) == 3, np.nan, case.q))))  # fmt: skip
def nan_swallowed(kernel: Any, problem: Any, state: Any) -> Any:
    """The guard of empty rows, m > -inf, is false for NaN: a row with NaN is 0."""
    out, lse = Tiled.finalize(kernel, problem, state)
    return np.where((state.maximum > -np.inf)[..., None], out, 0.0), lse


@forward("P67", "poison", "", "load_keys",
         shows=sample(change=lambda case: case.replace(k=np.where(np.arange(24) == 3, np.nan, case.k))))  # fmt: skip
def nan_in_keys_cleaned(kernel: Any, problem: Any, columns: Any) -> Any:
    """NaN in K is read as 0."""
    keys = Tiled.load_keys(kernel, problem, columns)
    return np.where(np.isnan(keys), 0.0, keys)
