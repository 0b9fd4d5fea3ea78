"""The tiled forward pass of FlashAttention: online softmax over tiles of keys, in the formats that an Arithmetic names.

For each tile of queries the keys are visited a tile at a time. The state of a row is (m, l, acc): a reference m close
to the largest score so far, the normaliser l = sum exp(s - m), and the unnormalised output acc = sum exp(s - m) v. A
larger score moves m, and multiplies l and acc by exp(m_old - m_new). (Milakov and Gimelshein, 2018; Dao et al.,
FlashAttention, 2022, algorithm 1.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np

from refattn.contract.arithmetic import Arithmetic
from refattn.contract.spec import AttentionSpec
from refattn.contract.visibility import Bools
from refattn.errors import InvalidValue
from refattn.models import splits
from refattn.models.backward import Gradients, TiledBackward
from refattn.models.kernel import Problem, Tile, TiledKernel
from refattn.models.splits import Partial
from refattn.models.state import State
from refattn.numbers.formats import Array

NO_SPEC = AttentionSpec()


@dataclass(frozen=True)
class TiledAttention(TiledKernel):
    """(q, k, v, *, spec) -> (out, lse), tile by tile; see TiledKernel for the fields on tiles and exponentials.

    rescale_threshold   a growth of the maximum by at most this many powers of two leaves the reference m
                        (FlashAttention-4's conditional rescale); 0 always takes the new maximum
    probability_offset  P is multiplied by 2**offset before it is cast, to use the range of an 8-bit format
    splits              parts into which the keys are shared out (split-KV), later combined by their log-sum-exp
    """

    rescale_threshold: float = 0.0
    probability_offset: int = 0
    splits: int = 1

    initial_maximum: ClassVar[float] = -math.inf
    # Every claim of refattn.adapters.CLAIMS but "ieee": an infinite value whose weight underflows gives NaN here, as
    # 0 * inf does.
    refattn_claims: ClassVar[tuple[str, ...]] = (
        *("causal", "strict_causal", "window", "softcap", "alibi", "bias", "mask", "sinks", "gqa", "cross", "dv"),
        *("scale", "lse", "backward", "empty_rows", "ragged", "varlen", "paged", "sparse", "dropout"),
        *("deterministic", "batch_invariant", "nan_safe", "zero_length"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.rescale_threshold >= 0:
            raise InvalidValue(
                f"rescale_threshold is {self.rescale_threshold!r}: expected at least 0, in powers of two"
            )
        if self.splits < 1:
            raise InvalidValue(f"splits is {self.splits!r}: expected a positive number")

    def arithmetic_for(self, format: Any) -> Arithmetic:
        """The contract that the kernel honours on inputs of a format (a name, a dtype or a Format)."""
        arithmetic = super().arithmetic_for(format)
        stale = self.rescale_threshold * math.log(2.0)
        return arithmetic.replace(lag=max(stale, arithmetic.lag), splits=max(self.splits, arithmetic.splits))

    def __call__(self, q: Any, k: Any, v: Any, *, spec: AttentionSpec = NO_SPEC) -> tuple[Any, Any]:
        """out (B, H, Nq, Dv) in q's dtype, and the natural log-sum-exp (B, H, Nq) in the arithmetic's format.

        Raises InvalidValue or InvalidType where the arguments do not fit together.
        """
        with np.errstate(all="ignore"):
            problem = self.problem(q, k, v, spec)
            self.check(problem)
            out, lse = self.forward(problem)
        arithmetic = problem.arithmetic
        return out.astype(arithmetic.output.format.storage), lse.astype(arithmetic.lse.format.storage)

    def backward(
        self, q: Any, k: Any, v: Any, do: Any, *, spec: AttentionSpec = NO_SPEC, dlse: Any = None
    ) -> Gradients:
        """The gradients of sum(do * out) + sum(dlse * lse): the forward pass, then the backward pass on its results."""
        out, lse = self(q, k, v, spec=spec)
        return self.backward_kernel()(q, k, v, out, lse, do, spec=spec, dlse=dlse)

    def backward_kernel(self) -> TiledBackward:
        """The backward pass that goes with this forward pass: the same tiles, the same arithmetic."""
        return TiledBackward(**{shared.name: getattr(self, shared.name) for shared in fields(TiledKernel)})

    def check(self, problem: Problem) -> None:
        """Refuse to divide P by the row sum before its cast when that sum is not complete then."""
        late = problem.arithmetic.cast == "after"
        if late and (self.splits > 1 or len(self.column_tiles(problem)) > 1):
            raise InvalidValue("cast is 'after': expected all keys in one tile (tile=None) and one split")

    def forward(self, problem: Problem) -> Partial:
        """Output and log-sum-exp of a whole problem, held in float64."""
        shape = problem.shape
        out = np.empty((shape.batch, shape.heads, shape.queries, shape.d_v))
        lse = np.empty((shape.batch, shape.heads, shape.queries))
        for rows in self.row_tiles(problem):
            out[:, :, rows], lse[:, :, rows] = self.rows(problem, rows)
        return out, lse

    def rows(self, problem: Problem, rows: slice) -> Partial:
        """Output and log-sum-exp of a tile of queries."""
        seen = self.visible(problem, rows)
        partials = []
        for part, tiles in enumerate(self.shares(problem)):
            state = self.initial_state(problem, rows)
            if part == 0 and problem.spec.sinks is not None:
                state = self.add_sink(problem, state)
            for columns in tiles:
                tile = Tile(rows, columns, seen[..., columns])
                if self.visits(tile):
                    state = self.absorb(problem, tile, state)
            partials.append(self.finalize(problem, state))
        out, lse = partials[0] if len(partials) == 1 else self.combine_splits(problem, partials)
        return problem.stages.output(self.fill_empty_rows(problem, seen, out, lse)), lse

    def shares(self, problem: Problem) -> list[list[slice]]:
        """The key tiles of each split."""
        tiles = self.column_tiles(problem)
        size = -(-len(tiles) // self.splits)
        return [tiles[part * size : (part + 1) * size] for part in range(self.splits)]

    def visits(self, tile: Tile) -> bool:
        """Whether a tile is worth visiting: one without a visible key changes nothing."""
        return bool(tile.seen.any())

    # The state of a tile of queries

    def initial_state(self, problem: Problem, rows: slice) -> State:
        """The state of rows that have seen nothing."""
        shape = problem.shape
        size = (shape.batch, shape.heads, rows.stop - rows.start)
        return State(np.full(size, self.initial_maximum), np.zeros(size), np.zeros((*size, shape.d_v)))

    def absorb(self, problem: Problem, tile: Tile, state: State) -> State:
        """The state after one more tile."""
        s = self.scores(problem, tile)
        maximum = self.new_maximum(problem, state.maximum, self.tile_maximum(s))
        factor = self.rescale_factor(problem, state.maximum, maximum)
        p = self.probabilities(problem, s, maximum)
        operand = self.cast_operand(problem, p)
        summed = operand if problem.arithmetic.sum_of_cast else p
        normaliser = self.accumulate_normaliser(problem, state.normaliser, factor, summed)
        if problem.arithmetic.cast == "after":
            operand = self.cast_operand(problem, self.normalised(problem, p, normaliser))
        operand = self.dropout(problem, tile, operand)
        accumulator = self.accumulate_values(problem, tile, state.accumulator, factor, operand)
        return State(maximum, normaliser, accumulator)

    def tile_maximum(self, s: Array) -> Array:
        """The largest score of each row; NaN if one is NaN."""
        return np.asarray(s.max(axis=-1))

    def new_maximum(self, problem: Problem, old: Array, tile_maximum: Array) -> Array:
        """The reference after a tile: the maximum, or the stale one while the growth is within the threshold."""
        maximum = np.maximum(old, tile_maximum)
        if self.rescale_threshold > 0:
            growth = (maximum - old) * self.exponent_factor(problem)
            maximum = np.where(growth <= self.rescale_threshold, old, maximum)
        return maximum

    def rescale_factor(self, problem: Problem, old: Array, new: Array) -> Array:
        """exp(m_old - m_new), the factor of the earlier sums."""
        return self.exponential_of_change(problem, old, self.guarded(new))

    def probabilities(self, problem: Problem, s: Array, maximum: Array) -> Array:
        """exp(s - m), (B, H, rows, columns): unnormalised; exactly 0 where the score is -inf."""
        p = self.exponential(problem, s, self.guarded(maximum)[..., None])
        return np.ldexp(p, self.probability_offset) if self.probability_offset else p

    def accumulate_normaliser(self, problem: Problem, old: Array, factor: Array, p: Array) -> Array:
        """l = l * factor + the tile's row sum."""
        rounded = problem.stages.normaliser
        return rounded(rounded(old * factor) + rounded.sum(p))

    def normalised(self, problem: Problem, p: Array, normaliser: Array) -> Array:
        """P divided by its row sum, for kernels that cast after normalising."""
        return problem.stages.scores(p / np.where(normaliser == 0.0, 1.0, normaliser)[..., None])

    def dropout(self, problem: Problem, tile: Tile, operand: Array) -> Array:
        """P without the dropped weights; finalize applies the factor 1 / (1 - p)."""
        return operand if problem.spec.keep is None else operand * self.kept(problem, tile)

    def accumulate_values(self, problem: Problem, tile: Tile, old: Array, factor: Array, operand: Array) -> Array:
        """acc = acc * factor + P V."""
        rounded = problem.stages.accumulator
        rescaled = rounded(old * factor[..., None])
        if problem.arithmetic.chained:
            values = self.load_values(problem, tile.columns)
            return self.visible_product(operand, values, tile.seen, rounded, rescaled)
        return rounded(rescaled + self.values_product(problem, tile, operand))

    def values_product(self, problem: Problem, tile: Tile, operand: Array) -> Array:
        """P V of one tile."""
        values = self.load_values(problem, tile.columns)
        return self.visible_product(operand, values, tile.seen, problem.stages.accumulator)

    def add_sink(self, problem: Problem, state: State) -> State:
        """The state after the sink, a key with no value.

        It comes before the keys: added at the end, a sink far above them would overflow exp(sink - m).
        """
        sink = np.broadcast_to(self.sink(problem), state.maximum.shape)
        weight = np.exp(sink - self.guarded(sink))  # exactly 1; 0 for a sink of -inf
        return State(sink, np.ldexp(weight, self.probability_offset), state.accumulator)

    def sink(self, problem: Problem) -> Array:
        """The sinks' logits, (H, 1): natural units, not scaled."""
        return problem.stages.constant(problem.spec.sinks)[:, None]

    # The end of a row

    def finalize(self, problem: Problem, state: State) -> Partial:
        """Divide by the normaliser, once a row: (out, lse), 0 and -inf for rows that have seen nothing."""
        rounded = problem.stages.accumulator
        empty = np.asarray(state.normaliser == 0.0)
        out = state.accumulator
        if problem.arithmetic.cast == "before":
            out = rounded(out / np.where(empty, 1.0, state.normaliser)[..., None])
        if problem.spec.dropout:
            out = rounded(out * self.dropout_factor(problem))
        return np.where(empty[..., None], 0.0, out), self.log_sum_exp(problem, state)

    def log_sum_exp(self, problem: Problem, state: State) -> Array:
        """m + log(l), natural, m being scaled first if the scale was folded."""
        rounded = problem.stages.lse
        m = self.guarded(state.maximum)
        if self.folds_scale(problem):
            m = rounded(m * self.scale(problem))
        return rounded(m + rounded(np.log(np.ldexp(state.normaliser, -self.probability_offset))))

    def combine_splits(self, problem: Problem, partials: Sequence[Partial]) -> Partial:
        """Output and log-sum-exp of all splits together."""
        return splits.combine([self.stored_partial(problem, *partial) for partial in partials], problem.stages)

    def stored_partial(self, problem: Problem, out: Array, lse: Array) -> Partial:
        """A split's result as it is written to scratch memory, in the accumulator's and the log-sum-exp's formats."""
        return problem.stages.accumulator(out), problem.stages.lse(lse)

    def fill_empty_rows(self, problem: Problem, seen: Bools, out: Array, lse: Array) -> Array:
        """The spec's value in rows that see no key; 0 / 0 in rows that see only scores of -inf."""
        sees = seen.any(axis=-1, keepdims=True)
        out = np.where(sees & np.isneginf(lse)[..., None], np.nan, out)
        return out if problem.spec.empty_rows == "zero" else np.where(sees, out, np.nan)


#: TiledAttention with its defaults: (out, lse) of arrays (B, H, N, D), and `backward` for gradients.
tiled_attention = TiledAttention()
