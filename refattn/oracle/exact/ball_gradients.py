"""Rung 3 of the ladder for gradients: Arb's balls, at any precision."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from refattn.contract.spec import AttentionSpec, Shape
from refattn.oracle.enclosure import Enclosure
from refattn.oracle.exact.ball import Balls, Rows, arb_module, enclose, heads, matrix
from refattn.oracle.truth import GradientTruth

Array = NDArray[np.float64]


def attention_backward(
    q: Array, k: Array, v: Array, do: Array, spec: AttentionSpec, shape: Shape, dlse: Array | None = None, *, bits: int
) -> GradientTruth:
    """Gradients of sum(do * out) + sum(dlse * lse) for finite float64 arrays."""
    flint = arb_module()
    with flint.ctx.workprec(bits):
        sums = _Sums(q, k, v, do, spec, shape, dlse)
        for rows in heads(q, k, spec, shape, np.ones(q.shape[:3], np.bool_)):
            sums.add(rows)
        return GradientTruth(
            _enclosed(sums.dq),
            _enclosed(sums.dk),
            _enclosed(sums.dv),
            None if spec.bias is None else _enclosed(sums.dbias.reshape(spec.bias.shape)),
            None if spec.sinks is None else _enclosed(sums.dsinks),
        )


class _Sums:
    """The gradients of the heads added so far."""

    def __init__(
        self, q: Array, k: Array, v: Array, do: Array, spec: AttentionSpec, shape: Shape, dlse: Array | None
    ) -> None:
        arb = arb_module().arb
        self.inputs = (q, k, v, do)
        self.spec, self.shape = spec, shape
        self.dlse = np.zeros(q.shape[:3]) if dlse is None else dlse
        self.scale = 1 / arb(shape.d_qk).sqrt() if spec.scale is None else arb(float(spec.scale))
        self.dq, self.dk, self.dv = (_zeros(array.shape) for array in (q, k, v))
        self.dsinks = _zeros((shape.heads,))
        bias_shape: tuple[int, ...] = () if spec.bias is None else spec.bias.shape
        self.dbias = _zeros((int(np.prod(bias_shape, dtype=np.int64)),))
        everywhere = (shape.batch, shape.heads, shape.queries, shape.keys)
        # The element of the bias that each pair reads.
        self.bias_place = np.broadcast_to(np.arange(self.dbias.size).reshape(bias_shape), everywhere)

    def add(self, rows: Rows) -> None:
        q, k, v, do = self.inputs
        query_place = (rows.batch, rows.head, rows.queries)
        key_place = (rows.batch, rows.head // self.shape.group, rows.keys)
        if not rows.keys.size and self.spec.sinks is None:
            return
        keys = len(rows.keys)
        upstream = matrix(do[query_place])
        dp = (upstream * matrix(v[key_place]).transpose()).table() if keys else [[] for _ in rows.queries]
        ds = [self._scores(rows, r, dp[r]) for r in range(len(rows.queries))]
        products = [self._products(rows, r, row) for r, row in enumerate(ds)]
        d_product = matrix(products, keys)
        _add(self.dq, query_place, d_product * matrix(k[key_place]))
        _add(self.dk, key_place, d_product.transpose() * matrix(q[query_place]))
        _add(self.dv, key_place, matrix(rows.dropped_weights, keys).transpose() * upstream)
        if self.spec.bias is not None:
            for r, i in enumerate(rows.queries):
                places = self.bias_place[rows.batch, rows.head, i, rows.keys]
                for place, x in zip(places, ds[r], strict=True):
                    self.dbias[place] += x

    def _scores(self, rows: Rows, r: int, dp: list[Any]) -> list[Any]:
        """dS = P (dP - delta + dlse) of one row; the sink's share goes into dsinks."""
        if rows.gain is not None:
            dp = [x * g for x, g in zip(dp, rows.gain[r], strict=True)]
        arb = arb_module().arb
        delta = sum((w * x for w, x in zip(rows.weights[r], dp, strict=True)), arb(0))
        shift = arb(float(self.dlse[rows.batch, rows.head, rows.queries[r]])) - delta
        if rows.sink[r] is not None:
            self.dsinks[rows.head] += rows.sink[r] * shift
        return [w * (x + shift) for w, x in zip(rows.weights[r], dp, strict=True)]

    def _products(self, rows: Rows, r: int, ds: list[Any]) -> list[Any]:
        """The gradient of q . k: through the softcap, 1 - tanh^2 = sech^2, and the scale."""
        if self.spec.softcap is None:
            return [x * self.scale for x in ds]
        cap = float(self.spec.softcap)
        return [x * self.scale * (rows.product[r, n] / cap).sech() ** 2 for n, x in enumerate(ds)]


def _zeros(shape: tuple[int, ...]) -> Balls:
    return np.full(shape, arb_module().arb(0), dtype=object)


def _add(total: Balls, place: tuple[Any, ...], term: Any) -> None:
    """Add an arb_mat to the block of rows at `place`."""
    block: Any = total[place]
    for r in range(term.nrows()):
        for c in range(term.ncols()):
            block[r, c] += term[r, c]
    total[place] = block


def _enclosed(balls: Balls) -> Enclosure:
    return enclose(balls, 0.0, np.ones(balls.shape, np.bool_))
