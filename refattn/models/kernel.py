"""The base of the tiled forward and backward models: the problem, its tiles, and the scores of one tile.

Each step is a small method, so that a subclass can replace any of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from refattn.contract.arithmetic import Arithmetic
from refattn.contract.spec import AttentionSpec, Shape, problem_shape
from refattn.contract.visibility import Bools, Visibility, block_of
from refattn.errors import InvalidValue
from refattn.models import exp2
from refattn.models.rounding import Rounder, Stages
from refattn.numbers.formats import Array

TileOrder = Literal["forward", "reverse"] | Callable[[int], Sequence[int]]
Exponential = Literal["exp", "exp2", "poly"]


@dataclass(frozen=True, eq=False)
class Problem:
    """One call: q (B, H, Nq, D), k (B, Hkv, Nk, D) and v (B, Hkv, Nk, Dv) held in float64, its spec and arithmetic."""

    q: Array
    k: Array
    v: Array
    spec: AttentionSpec
    shape: Shape
    arithmetic: Arithmetic
    stages: Stages
    visibility: Visibility


@dataclass(frozen=True, eq=False)
class Tile:
    """Some queries against some keys: the rows, the columns, and seen(i, j), (B or 1, H or 1, rows, columns)."""

    rows: slice
    columns: slice
    seen: Bools


@dataclass(frozen=True)
class TiledKernel:
    """A kernel that works on tiles of Q K^T.

    arithmetic         the formats of every stage; None is Arithmetic.flash of q's format
    query_tile         queries taken at a time
    key_tile           keys taken at a time; None is the arithmetic's `tile` (which may itself be None: all keys)
    tile_order         order in which the key tiles are visited: "forward", "reverse", or a function from their number
                       to a permutation
    exp                "exp" exp(s - m); "exp2" base 2, exp2(fma(s, c, -m c)) with c = scale * log2(e) unless the
                       arithmetic says "subtract_exp2"; "poly" the same with a polynomial; None is the arithmetic's
    degree             degree of that polynomial, 1 to 5
    nan_safe           whether NaN and infinity in an invisible slot are kept out of the products
    """

    arithmetic: Arithmetic | None = None
    query_tile: int = 64
    key_tile: int | None = None
    tile_order: TileOrder = "forward"
    exp: Exponential | None = None
    degree: int = 3
    nan_safe: bool = True

    masked_score: ClassVar[float] = -math.inf

    def __post_init__(self) -> None:
        if self.query_tile < 1:
            raise InvalidValue(f"query_tile is {self.query_tile!r}: expected a positive number of queries")
        if self.key_tile is not None and self.key_tile < 1:
            raise InvalidValue(f"key_tile is {self.key_tile!r}: expected a positive number of keys or None")
        if self.exp not in (None, "exp", "exp2", "poly"):
            raise InvalidValue(f"exp is {self.exp!r}: expected 'exp', 'exp2', 'poly' or None")
        if self.degree not in exp2.COEFFICIENTS:
            raise InvalidValue(f"degree is {self.degree!r}: expected one of {sorted(exp2.COEFFICIENTS)}")

    def arithmetic_for(self, format: Any) -> Arithmetic:
        """The contract that the kernel honours on inputs of a format (a name, a dtype or a Format)."""
        base = self.arithmetic or Arithmetic.flash(format)
        changes: dict[str, Any] = {}
        if self.key_tile is not None:
            changes["tile"] = self.key_tile
        if self.exp == "exp":
            changes["exponent"] = "subtract"
        elif self.exp is not None and base.exponent == "subtract":
            changes["exponent"] = "fma"
        if self.exp == "poly":
            changes["exp_relative"] = exp2.MAX_RELATIVE_ERROR[self.degree]
            changes["exp_ulps"] = exp2.EVALUATION_ULPS
        return base.replace(**changes) if changes else base

    def problem(self, q: Any, k: Any, v: Any, spec: AttentionSpec) -> Problem:
        """Check the arguments and gather them. Raises InvalidValue or InvalidType, naming the argument."""
        shape = problem_shape(q, k, v, spec)
        arithmetic = self.arithmetic_for(q.dtype)
        return Problem(
            q=np.asarray(q).astype(np.float64),
            k=np.asarray(k).astype(np.float64),
            v=np.asarray(v).astype(np.float64),
            spec=spec,
            shape=shape,
            arithmetic=arithmetic,
            stages=Stages.of(arithmetic),
            visibility=Visibility.of(spec, shape),
        )

    # Tiles

    def row_tiles(self, problem: Problem) -> list[slice]:
        """The query tiles, the last one ragged."""
        return _tiles(0, problem.shape.queries, self.query_tile)

    def column_tiles(self, problem: Problem) -> list[slice]:
        """The key tiles in the order of visiting, the last one of the sequence ragged."""
        return self.ordered(_tiles(0, problem.shape.keys, problem.arithmetic.tile or max(problem.shape.keys, 1)))

    def ordered(self, tiles: list[slice]) -> list[slice]:
        """The tiles in the order of visiting."""
        if self.tile_order == "forward":
            return tiles
        if self.tile_order == "reverse":
            return tiles[::-1]
        return [tiles[n] for n in self.tile_order(len(tiles))]

    def visible(self, problem: Problem, rows: slice) -> Bools:
        """seen(i, j) of a query tile: (B or 1, H or 1, rows, Nk)."""
        return problem.visibility.block(rows)

    # Loads of a query head from a tile, (B, H, tile, D)

    def load_queries(self, problem: Problem, rows: slice) -> Array:
        """The queries; scaled, and rounded to the inputs' format, if the arithmetic says `scale_query`."""
        q = problem.q[:, :, rows]
        if problem.arithmetic.scale_query:
            q = problem.stages.inputs(q * self.scale(problem))
        return q

    def load_keys(self, problem: Problem, columns: slice) -> Array:
        """The keys, once for each query head."""
        return self.for_each_query_head(problem, problem.k[:, :, columns])

    def load_values(self, problem: Problem, columns: slice) -> Array:
        """The values, once for each query head."""
        return self.for_each_query_head(problem, problem.v[:, :, columns])

    def for_each_query_head(self, problem: Problem, array: Array) -> Array:
        """Query head h reads key-value head h // group: (B, Hkv, ...) becomes (B, H, ...)."""
        return array if problem.shape.group == 1 else np.repeat(array, problem.shape.group, axis=1)

    # Scores of a tile, (B, H, rows, columns)

    def scale(self, problem: Problem) -> float:
        """The factor of Q K^T, as the kernel holds it."""
        exact = problem.spec.scale
        if exact is None:
            exact = 1.0 / math.sqrt(problem.shape.d_qk)
        return float(problem.stages.constant(exact))

    def folds_scale(self, problem: Problem) -> bool:
        """True if scores are left unscaled and the scale goes into the exponential's factor c."""
        spec = problem.spec
        plain = spec.softcap is None and spec.bias is None and spec.alibi_slopes is None and spec.sinks is None
        folds = problem.arithmetic.exponent == "fma" and not problem.arithmetic.scale_query
        # With a negative scale the largest raw score would be the smallest one.
        return folds and plain and self.scale(problem) > 0

    def scores(self, problem: Problem, tile: Tile) -> Array:
        """The masked scores of a tile."""
        return self.mask(self.biased_scores(problem, tile, self.capped_scores(problem, tile)), tile)

    def capped_scores(self, problem: Problem, tile: Tile) -> Array:
        """softcap(scale * Q K^T); Q K^T alone if the scale is folded."""
        s = self.dot(problem, self.load_queries(problem, tile.rows), self.load_keys(problem, tile.columns))
        if not (problem.arithmetic.scale_query or self.folds_scale(problem)):
            s = problem.stages.scores(s * self.scale(problem))
        if problem.spec.softcap is not None:
            s = self.softcap(problem, s)
        return s

    def biased_scores(self, problem: Problem, tile: Tile, s: Array) -> Array:
        """The scores with bias and ALiBi."""
        if problem.spec.bias is not None:
            s = problem.stages.scores(s + self.bias(problem, tile))
        if problem.spec.alibi_slopes is not None:
            s = problem.stages.scores(s + self.alibi(problem, tile))
        return s

    def dot(self, problem: Problem, q: Array, k: Array) -> Array:
        """Q K^T, stored in the scores' format."""
        return problem.stages.scores(problem.stages.dot.product(q, np.swapaxes(k, -1, -2)))

    def softcap(self, problem: Problem, s: Array) -> Array:
        """c * tanh(s / c), three roundings."""
        rounded = problem.stages.scores
        cap = float(problem.stages.constant(problem.spec.softcap))
        return rounded(cap * rounded(np.tanh(rounded(s / cap))))

    def bias(self, problem: Problem, tile: Tile) -> Array:
        """The bias of a tile, with whatever axes of size 1 it has."""
        block = block_of(problem.spec.bias, tile.rows)
        return problem.stages.constant(block if block.shape[3] == 1 else block[..., tile.columns])

    def alibi(self, problem: Problem, tile: Tile) -> Array:
        """-slope * |position - j|."""
        slopes = problem.stages.constant(np.atleast_2d(problem.spec.alibi_slopes))[:, :, None, None]
        distance = problem.visibility.distance(tile.rows)[..., tile.columns].astype(np.float64)
        return problem.stages.scores(-slopes * distance)

    def mask(self, s: Array, tile: Tile) -> Array:
        """Replace the scores of invisible keys: nothing computed from such a key, NaN included, goes further."""
        return np.where(tile.seen, s, self.masked_score)

    # Exponentials

    def exponential(self, problem: Problem, s: Array, reference: Array) -> Array:
        """e**(s - reference), scores and reference in the same units (unscaled ones if the scale is folded)."""
        rounded = problem.stages.scores
        if problem.arithmetic.exponent == "subtract":
            return rounded(np.exp(rounded(s - reference)))
        c = self.exponent_factor(problem)
        if problem.arithmetic.exponent == "subtract_exp2":
            return self.exponential_base_2(problem, rounded(rounded(s - reference) * c))
        # The offset is rounded once for the whole row: at the maximum it does not cancel exactly.
        return self.exponential_base_2(problem, rounded.fma(s, c, -rounded(reference * c)))

    def exponential_of_change(self, problem: Problem, old: Array, new: Array) -> Array:
        """e**(old - new) for two references: exactly 1 where nothing changed."""
        if problem.arithmetic.exponent != "fma":
            return self.exponential(problem, old, new)
        rounded = problem.stages.scores
        return self.exponential_base_2(problem, rounded(rounded(old - new) * self.exponent_factor(problem)))

    def exponential_base_2(self, problem: Problem, x: Array) -> Array:
        """2**x, by the library or by a polynomial."""
        if self.exp == "poly":
            return exp2.polynomial_exp2(x, self.degree, problem.stages.scores)
        return problem.stages.scores(np.exp2(x))

    def exponent_factor(self, problem: Problem) -> float:
        """c: log2(e), times the scale if that is folded."""
        scale = self.scale(problem) if self.folds_scale(problem) else 1.0
        return float(problem.stages.constant(scale * math.log2(math.e)))

    def guarded(self, maximum: Array) -> Array:
        """The maximum to subtract: 0 where it is infinite.

        Before any key is seen, (-inf) - (-inf) would be NaN; and a score of +inf must make the log-sum-exp +inf.
        """
        return np.where(np.isinf(maximum), 0.0, maximum)

    # Dropout and products

    def kept(self, problem: Problem, tile: Tile) -> Array:
        """The keep-mask of a tile as 0 and 1, with whatever axes of size 1 it has."""
        block = block_of(problem.spec.keep, tile.rows)
        return (block if block.shape[3] == 1 else block[..., tile.columns]).astype(np.float64)

    def dropout_factor(self, problem: Problem) -> float:
        """1 / (1 - p)."""
        return float(problem.stages.constant(1.0 / (1.0 - problem.spec.dropout)))

    def cast_operand(self, problem: Problem, x: Array) -> Array:
        """P or dS as it enters a product; a format without infinity saturates, as the hardware's conversion does."""
        format = problem.arithmetic.probabilities.format
        largest = math.inf if format.has_infinity else format.max_finite
        return problem.stages.probabilities(np.clip(x, -largest, largest))

    def visible_product(
        self, weights: Array, values: Array, seen: Bools, accumulate: Rounder, start: Array | None = None
    ) -> Array:
        """weights @ values, chained to `start` if there is one; an unseen pair adds nothing, whatever values[j] holds.

        A weight of 0 does not silence NaN or infinity (0 * NaN = NaN). So the rows of `values` that hold one are left
        out of the product, and added afterwards only to the rows that see them.
        """
        finite = np.asarray(np.isfinite(values).all(axis=-1))
        if not self.nan_safe or finite.all():
            return accumulate.product(weights, values, start)
        total = accumulate.product(weights, np.where(finite[..., None], values, 0.0), start)
        seen = np.broadcast_to(seen, weights.shape)
        for j in np.unique(np.nonzero(~finite)[-1]):
            poisoned = seen[..., j] & ~finite[..., None, j]
            term = weights[..., j, None] * values[..., None, j, :]
            total = np.where(poisoned[..., None], accumulate(total + term), total)
        return total


def _tiles(start: int, stop: int, size: int) -> list[slice]:
    return [slice(begin, min(begin + size, stop)) for begin in range(start, stop, size)]
