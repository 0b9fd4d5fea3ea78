"""The tiled backward pass of FlashAttention: P is recomputed from the log-sum-exp, tile by tile.

With P = exp(S - LSE), dP = dO V^T and Delta = rowsum(dO * O) - dLSE:

    dV = P^T dO        dS = P * (dP - Delta)        dQ = scale * dS K        dK = scale * dS^T Q

A softcap multiplies dS by 1 - tanh^2 on its way to Q and K; the bias takes dS before that. The query heads that share a
key-value head add up their dK and dV. (Dao et al., FlashAttention, 2022, appendix B.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from refattn.contract.arithmetic import Arithmetic
from refattn.contract.spec import AttentionSpec
from refattn.errors import InvalidValue
from refattn.models.kernel import Problem, Tile, TiledKernel
from refattn.numbers.formats import Array

NO_SPEC = AttentionSpec()


class Gradients(NamedTuple):
    """Gradients of q, k, v in their shapes and dtype; of bias and sinks, or None, in the accumulator's format."""

    dq: Any
    dk: Any
    dv: Any
    dbias: Any
    dsinks: Any


@dataclass(frozen=True, eq=False)
class Upstream:
    """The backward pass's arguments besides the problem: out and do (B, H, Nq, Dv), lse and dlse (B, H, Nq)."""

    out: Array
    lse: Array
    do: Array
    dlse: Array


@dataclass(eq=False)
class Sums:
    """The gradients while they are being accumulated, one dk and dv for each query head."""

    dq: Array
    dk: Array
    dv: Array
    dbias: Array | None
    dsinks: Array | None


@dataclass(frozen=True)
class TiledBackward(TiledKernel):
    """(q, k, v, out, lse, do, *, spec, dlse) -> Gradients, tile by tile; see TiledKernel for the fields."""

    def __call__(
        self,
        q: Any,
        k: Any,
        v: Any,
        out: Any,
        lse: Any,
        do: Any,
        *,
        spec: AttentionSpec = NO_SPEC,
        dlse: Any = None,
    ) -> Gradients:
        """Gradients of sum(do * out) + sum(dlse * lse), given out and lse as the forward pass returned them.

        Raises InvalidValue where the arguments do not fit together.
        """
        with np.errstate(all="ignore"):
            problem = self.problem(q, k, v, spec)
            sums = self.accumulate(problem, self.upstream(problem, out, lse, do, dlse))
            return self.finalize(problem, sums)

    def folds_scale(self, problem: Problem) -> bool:
        """False: the backward pass subtracts the log-sum-exp of the scaled scores."""
        del problem
        return False

    def upstream(self, problem: Problem, out: Any, lse: Any, do: Any, dlse: Any) -> Upstream:
        """Check and gather the results of the forward pass, and the upstream gradients."""
        shape = problem.shape
        rows = (shape.batch, shape.heads, shape.queries)
        given = {"out": (out, (*rows, shape.d_v)), "lse": (lse, rows), "do": (do, (*rows, shape.d_v))}
        given["dlse"] = (np.zeros(rows) if dlse is None else dlse, rows)
        arrays = {}
        for name, (array, expected) in given.items():
            if array.shape != expected:
                raise InvalidValue(f"{name} has shape {array.shape}: expected {expected}")
            arrays[name] = np.asarray(array).astype(np.float64)
        return Upstream(**arrays)

    def accumulate(self, problem: Problem, upstream: Upstream) -> Sums:
        """Visit every tile."""
        shape, spec = problem.shape, problem.spec
        keys = (shape.batch, shape.heads, shape.keys)
        bias = None if spec.bias is None else np.zeros((1,) * (4 - spec.bias.ndim) + spec.bias.shape)
        sinks = None if spec.sinks is None else np.zeros(shape.heads)
        sums = Sums(np.zeros_like(problem.q), np.zeros((*keys, shape.d_qk)), np.zeros((*keys, shape.d_v)), bias, sinks)
        for rows in self.row_tiles(problem):
            seen = self.visible(problem, rows)
            delta = self.delta(problem, upstream, rows, seen.any(axis=-1))
            if sums.dsinks is not None:
                sums.dsinks = self.accumulate_sinks(problem, sums.dsinks, upstream.lse[:, :, rows], delta)
            for columns in self.column_tiles(problem):
                tile = Tile(rows, columns, seen[..., columns])
                if tile.seen.any():
                    self.absorb(problem, tile, upstream, delta, sums)
        return sums

    def delta(self, problem: Problem, upstream: Upstream, rows: slice, sees: Any) -> Array:
        """rowsum(dO * O) - dLSE, (B, H, rows); the output of a row that sees no key depends on nothing."""
        products = upstream.do[:, :, rows] * upstream.out[:, :, rows]
        total = problem.stages.accumulator.sum(problem.stages.accumulator(products))
        return problem.stages.accumulator(np.where(sees, total, 0.0) - upstream.dlse[:, :, rows])

    def absorb(self, problem: Problem, tile: Tile, upstream: Upstream, delta: Array, sums: Sums) -> None:
        """Add one tile's terms to every gradient."""
        rows, columns = tile.rows, tile.columns
        do, lse = upstream.do[:, :, rows], upstream.lse[:, :, rows]
        capped = self.capped_scores(problem, tile)
        s = self.mask(self.biased_scores(problem, tile, capped), tile)
        p = self.probabilities(problem, s, lse)
        dp = self.dropout(problem, tile, self.probability_gradient(problem, tile, do))
        ds = self.mask_gradient(self.score_gradient(problem, p, dp, delta), tile)
        if sums.dbias is not None:
            self.accumulate_bias(problem, tile, ds, sums.dbias)
        if problem.spec.softcap is not None:
            ds = problem.stages.accumulator(ds * self.softcap_slope(problem, tile, capped))
        ds = self.cast_operand(problem, ds)
        weights = self.cast_operand(problem, self.dropout(problem, tile, p))
        add = problem.stages.accumulator
        sums.dv[:, :, columns] = add(sums.dv[:, :, columns] + self.value_gradient(problem, tile, weights, do))
        sums.dq[:, :, rows] = add(sums.dq[:, :, rows] + self.query_gradient(problem, tile, ds))
        sums.dk[:, :, columns] = add(sums.dk[:, :, columns] + self.key_gradient(problem, tile, ds))

    # One tile

    def probabilities(self, problem: Problem, s: Array, lse: Array) -> Array:
        """exp(s - LSE): normalised; exactly 0 where the score is -inf."""
        return self.exponential(problem, s, self.guarded(lse)[..., None])

    def dropout(self, problem: Problem, tile: Tile, x: Array) -> Array:
        """x * keep / (1 - p)."""
        if problem.spec.keep is None:
            return x
        return problem.stages.accumulator(x * self.kept(problem, tile) * self.dropout_factor(problem))

    def probability_gradient(self, problem: Problem, tile: Tile, do: Array) -> Array:
        """dP = dO V^T."""
        return problem.stages.dot.product(do, np.swapaxes(self.load_values(problem, tile.columns), -1, -2))

    def score_gradient(self, problem: Problem, p: Array, dp: Array, delta: Array) -> Array:
        """dS = P * (dP - Delta)."""
        rounded = problem.stages.accumulator
        return rounded(p * rounded(dp - delta[..., None]))

    def mask_gradient(self, ds: Array, tile: Tile) -> Array:
        """0 where the key is invisible: P = 0 there, but 0 * NaN is NaN."""
        return np.where(tile.seen, ds, 0.0)

    def softcap_slope(self, problem: Problem, tile: Tile, capped: Array) -> Array:
        """1 - tanh(s / c)**2, from the capped score c * tanh(s / c); 0 where the key is invisible."""
        rounded = problem.stages.scores
        tanh = rounded(capped / float(problem.stages.constant(problem.spec.softcap)))
        return self.mask_gradient(rounded(1.0 - rounded(tanh * tanh)), tile)

    def value_gradient(self, problem: Problem, tile: Tile, weights: Array, do: Array) -> Array:
        """P^T dO."""
        return self.visible_product(_transposed(weights), do, _transposed(tile.seen), problem.stages.accumulator)

    def query_gradient(self, problem: Problem, tile: Tile, ds: Array) -> Array:
        """dS K, not yet scaled."""
        return self.visible_product(ds, self.load_keys(problem, tile.columns), tile.seen, problem.stages.accumulator)

    def key_gradient(self, problem: Problem, tile: Tile, ds: Array) -> Array:
        """dS^T Q, not yet scaled."""
        q = problem.q[:, :, tile.rows]
        return self.visible_product(_transposed(ds), q, _transposed(tile.seen), problem.stages.accumulator)

    def accumulate_bias(self, problem: Problem, tile: Tile, ds: Array, dbias: Array) -> None:
        """dS, summed over the axes along which the bias is broadcast."""
        rounded = problem.stages.accumulator
        for axis in range(4):
            if dbias.shape[axis] == 1:
                ds = np.expand_dims(rounded.sum(ds, axis), axis)
        rows = slice(None) if dbias.shape[2] == 1 else tile.rows
        columns = slice(None) if dbias.shape[3] == 1 else tile.columns
        dbias[:, :, rows, columns] = rounded(dbias[:, :, rows, columns] + ds)

    def accumulate_sinks(self, problem: Problem, dsinks: Array, lse: Array, delta: Array) -> Array:
        """-exp(sink - LSE) * Delta, summed over batch and queries: the sink takes weight and gives no value."""
        rounded = problem.stages.accumulator
        sinks = np.broadcast_to(problem.stages.constant(problem.spec.sinks)[:, None], lse.shape)
        terms = rounded(-self.exponential(problem, sinks, self.guarded(lse)) * delta)
        return rounded(dsinks + rounded.sum(rounded.sum(terms, -1), 0))

    # The end

    def finalize(self, problem: Problem, sums: Sums) -> Gradients:
        """Scale, add up the heads of a group, round to the output's format."""
        scale = self.scale(problem)
        output, wide = problem.arithmetic.output.format.storage, problem.arithmetic.accumulator.format.storage
        dq = problem.stages.accumulator(sums.dq * scale)
        dk = self.sum_over_group(problem, problem.stages.accumulator(sums.dk * scale))
        dv = self.sum_over_group(problem, sums.dv)
        dbias = None if sums.dbias is None else sums.dbias.reshape(problem.spec.bias.shape).astype(wide)
        dsinks = None if sums.dsinks is None else sums.dsinks.astype(wide)
        dq, dk, dv = (problem.stages.output(x).astype(output) for x in (dq, dk, dv))
        return Gradients(dq, dk, dv, dbias, dsinks)

    def sum_over_group(self, problem: Problem, array: Array) -> Array:
        """(B, H, ...) added up over the query heads of each key-value head: (B, Hkv, ...)."""
        shape = problem.shape
        if shape.group == 1:
            return array
        grouped = array.reshape(shape.batch, shape.kv_heads, shape.group, *array.shape[2:])
        return problem.stages.group_sum.sum(problem.stages.group_sum(grouped), 2)


def attention_backward(
    q: Any,
    k: Any,
    v: Any,
    out: Any,
    lse: Any,
    do: Any,
    *,
    spec: AttentionSpec = NO_SPEC,
    dlse: Any = None,
    arithmetic: Arithmetic | None = None,
) -> Gradients:
    """TiledBackward with its defaults, in the given arithmetic (None is Arithmetic.flash of q's format)."""
    return TiledBackward(arithmetic=arithmetic)(q, k, v, out, lse, do, spec=spec, dlse=dlse)


def _transposed(x: Any) -> Any:
    return np.swapaxes(x, -1, -2)
