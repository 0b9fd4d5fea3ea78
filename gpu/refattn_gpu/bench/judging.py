"""Whether the very call that is timed is right: some rows of two heads against the oracle, within the declared bound.

Rows are independent, so that some of a long problem are a small one (refattn.select_rows); gradients of all keys are
judged under an upstream gradient that is 0 but for these rows, as the others then add exact zeros to every sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from refattn import bounds, oracle
from refattn.bounds.budget import ErrorBudget
from refattn.contract.arithmetic import Arithmetic
from refattn.contract.rows import select_rows
from refattn.contract.spec import AttentionSpec, SoftmaxSpec
from refattn.numbers import formats
from refattn.numbers.arrays import as_float64
from refattn.numbers.formats import Array
from refattn.numbers.roundoff import gamma, rounded
from refattn.oracle.enclosure import Enclosure
from refattn.suite.comparison import compare, describe


def chosen(count: int) -> list[int]:
    """First, last, around the middle and some between, of so many."""
    places = {0, 1, count // 3, count // 2 - 1, count // 2, 2 * count // 3, count - 2, count - 1}
    return sorted(place for place in places if 0 <= place < count)


@dataclass(frozen=True)
class Head:
    """One query head of a problem as a problem of its own: q (1, 1, Nq, D), k and v (1, 1, Nk, D), where they were.

    The truth is computed there, in float64; budgets are NumPy's.
    """

    batch: int
    head: int
    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    spec: AttentionSpec

    @classmethod
    def of(cls, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, place: tuple[int, int], spec: AttentionSpec) -> Head:
        """That of a batch and a query head; the spec is this head's."""
        batch, head = place
        shared = head // (q.shape[1] // k.shape[1])
        parts = [(q, head), (k, shared), (v, shared)]
        tensors = [x[batch : batch + 1, h : h + 1].detach() for x, h in parts]
        return cls(batch, head, tensors[0], tensors[1], tensors[2], spec)

    def rows(self) -> tuple[list[int], list[torch.Tensor], AttentionSpec]:
        """Those that are judged: their numbers, q of these rows with k and v, and the spec of these rows."""
        rows = chosen(self.q.shape[2])
        q, spec = select_rows(self.q, self.k, self.v, self.spec, rows)
        return rows, [q, self.k, self.v], spec

    def part(self, tensor: torch.Tensor, rows: Sequence[int] | None = None) -> torch.Tensor:
        """Its part (1, 1, N, ...) of a tensor (B, H, N, ...), or some rows of that part."""
        part = tensor[self.batch : self.batch + 1, self.head : self.head + 1].detach()
        return part if rows is None else part[:, :, list(rows)]

    def take(self, tensor: torch.Tensor, rows: Sequence[int] | None = None) -> Array:
        """The same in float64."""
        return as_float64("result", self.part(tensor, rows))


def ends(q: Any) -> list[tuple[int, int]]:
    """The first and the last head of a batch."""
    return list(dict.fromkeys([(0, 0), (q.shape[0] - 1, q.shape[1] - 1)]))


def judged_outputs(arithmetic: Arithmetic, heads: Sequence[Head], out: Any, lse: Any) -> float:
    """The largest share of a bound that the output (B, H, Nq, Dv) and the log-sum-exp (B, H, Nq) take."""
    share = 0.0
    for head in heads:
        rows, (q, k, v), spec = head.rows()
        truth = oracle.attention(q, k, v, spec)
        budget = bounds.attention(q, k, v, spec, arithmetic)
        share = max(
            share,
            within("out", head.take(out, rows), truth.out, budget.out),
            within("lse", head.take(lse, rows), truth.lse, budget.lse),
        )
    return share


def only_rows(do: torch.Tensor) -> torch.Tensor:
    """The upstream gradient (B, H, Nq, Dv) with zeros in all rows but the chosen ones."""
    rows = chosen(do.shape[2])
    sparse_do = torch.zeros_like(do)
    sparse_do[:, :, rows] = do[:, :, rows]
    return sparse_do


def judged_gradients(
    arithmetic: Arithmetic, heads: Sequence[Head], do: Any, timed: Sequence[Any], sparse: Sequence[Any]
) -> float:
    """The largest share of a bound that gradients take: dq of the timed call, and dq, dk, dv of that of `only_rows`."""
    share = 0.0
    for head in heads:
        rows, (q, k, v), spec = head.rows()
        upstream = head.part(do, rows)
        truth = oracle.attention_backward(q, k, v, upstream, spec)
        budget = bounds.attention_backward(q, k, v, upstream, spec, arithmetic)
        share = max(
            share,
            within("dq", head.take(timed[0], rows), truth.dq, budget.dq),
            within("dq", head.take(sparse[0], rows), truth.dq, budget.dq),
            within("dk", head.take(sparse[1]), truth.dk, budget.dk),
            within("dv", head.take(sparse[2]), truth.dv, budget.dv),
        )
    return share


def judged_softmax(arithmetic: Arithmetic, spec: SoftmaxSpec, x: Any, y: Any) -> float:
    """The largest share of a bound that some rows of y, like x of (rows, columns), take."""
    rows = chosen(x.shape[0])
    given, actual = as_float64("x", x[rows]), as_float64("y", y[rows])
    return within("y", actual, oracle.softmax(given, spec=spec), bounds.softmax(given, spec, arithmetic))


def judged_softmax_gradient(y: Any, dy: Any, dx: Any) -> float:
    """The largest share of a bound that some rows of dx = y (dy - sum y dy), of (rows, columns) in bf16, take.

    The bound is that of fp32 inside, sums in any order, and one rounding at the end, of y and dy as they are.
    """
    rows = chosen(y.shape[0])
    weights, given, actual = (as_float64(name, x[rows]) for name, x in (("y", y), ("dy", dy), ("dx", dx)))
    n, lost = y.shape[1], formats.bf16.smallest_normal
    size = np.abs(weights * given).sum(axis=1, keepdims=True)
    total = (weights * given).sum(axis=1, keepdims=True)
    mid = weights * (given - total)
    # Products of bf16 numbers are exact in float64; sums are not.
    known = gamma(n + 3, formats.fp64.unit_roundoff)
    rad = known * (np.abs(weights) * size + np.abs(mid))
    u = formats.fp32.unit_roundoff
    error = np.abs(weights) * rounded(gamma(n + 2, u) * size + n * lost, np.abs(given - total), u)
    error = rounded(rounded(error, np.abs(mid) + rad, u, lost), np.abs(mid) + rad, formats.bf16.unit_roundoff, lost)
    return within("dx", actual, Enclosure(mid, rad), ErrorBudget(error))


def within(name: str, actual: Array, truth: Enclosure, budget: ErrorBudget) -> float:
    """The largest share of the bound. Raises AssertionError where it is above 1, as it is of NaN."""
    comparison = compare(name, actual, truth, budget)
    if comparison.violated and comparison.worst is not None:
        raise AssertionError(describe(comparison.worst))
    return comparison.share or 0.0
