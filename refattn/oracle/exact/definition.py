"""The definition of softmax and attention in mpmath, as a person would write it: slow, and obviously right.

Results are object arrays of mpmath numbers. The working precision grows with the size of the scores, so that for
`bits` = b an output errs by at most 2**-b of the largest |v| (times 1 / (1 - dropout)), a log_softmax or log-sum-exp by
2**-b, a softmax by 2**-b of itself, and a gradient by 2**-b of the sum of the absolute values of the products that it
adds up. mpmath treats NaN and infinities in the formula as IEEE 754 does; only the log-sum-exp of an infinite maximum
is that maximum.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from mpmath import mp, mpf
from numpy.typing import NDArray

from refattn.contract.spec import AttentionSpec, Shape, SoftmaxSpec, problem_shape
from refattn.contract.visibility import Visibility

Array = NDArray[np.float64]
Numbers = NDArray[np.object_]

PLAIN_ATTENTION = AttentionSpec()
PLAIN_SOFTMAX = SoftmaxSpec()

# Covers the few roundings of one score, of its exponential and of the quotient; sums have their own bits.
GUARD_BITS = 16


class Gradients(NamedTuple):
    """Gradients of sum(do * out) + sum(dlse * lse), in the shapes of q, k, v, spec.bias and spec.sinks."""

    dq: Numbers
    dk: Numbers
    dv: Numbers
    dbias: Numbers | None
    dsinks: Numbers | None


def normalise(logits: list[mpf]) -> tuple[list[mpf], mpf]:
    """Softmax and log-sum-exp of a list of numbers, at the working precision."""
    if not logits:
        return [], mpf("-inf")
    largest = mpf("nan") if any(mp.isnan(x) for x in logits) else max(logits)
    weights = [mp.exp(x - largest) for x in logits]
    total = _sum(weights)
    lse = largest if mp.isinf(largest) else largest + mp.log(total)
    return [weight / total for weight in weights], lse


def softmax(
    x: Array, spec: SoftmaxSpec = PLAIN_SOFTMAX, *, bits: int = 200, wanted: NDArray[np.bool_] | None = None
) -> Numbers:
    """softmax, log_softmax or logsumexp of a float64 array along spec.axis; 0 in rows outside `wanted`."""
    rows = np.moveaxis(x, spec.axis, -1)
    result = _zeros(rows.shape[:-1] if spec.kind == "logsumexp" else rows.shape)
    with mp.workprec(bits + GUARD_BITS + _size_bits(rows.shape[-1]) + _size_bits(_largest(x))):
        for index in np.ndindex(rows.shape[:-1]):
            if wanted is not None and not wanted[index]:
                continue
            logits = [mpf(float(entry)) for entry in rows[index]]
            weights, lse = normalise(logits)
            if spec.kind == "logsumexp":
                result[index] = lse
                continue
            if spec.empty_rows == "zero" and all(entry == mpf("-inf") for entry in logits):
                weights, lse = [mpf(0)] * len(logits), mpf(0)
            if spec.kind == "log_softmax":
                undefined = mp.isnan(lse) or mp.isinf(lse)
                weights = [mpf("nan") if undefined else entry - lse for entry in logits]
            for j, weight in enumerate(weights):
                result[(*index, j)] = weight
    return result if spec.kind == "logsumexp" else np.moveaxis(result, -1, spec.axis)


def attention(
    q: Array,
    k: Array,
    v: Array,
    spec: AttentionSpec = PLAIN_ATTENTION,
    *,
    bits: int = 200,
    wanted: NDArray[np.bool_] | None = None,
) -> tuple[Numbers, Numbers]:
    """Output (B, H, Nq, Dv) and log-sum-exp (B, H, Nq) of float64 arrays; 0 in queries outside `wanted` (B, H, Nq)."""
    problem = _Problem(q, k, v, spec)
    shape = problem.shape
    out = _zeros((shape.batch, shape.heads, shape.queries, shape.d_v))
    lse = _zeros(out.shape[:3])
    with mp.workprec(bits + problem.extra_bits()):
        for row in np.ndindex(lse.shape):
            if wanted is not None and not wanted[row]:
                continue
            keys = problem.keys(row)
            weights, lse[row] = problem.weights(row, keys)
            for c in range(shape.d_v):
                value = _sum(
                    w * problem.dropout(row, j) * problem.v(row, j, c) for w, j in zip(weights, keys, strict=False)
                )
                out[(*row, c)] = mpf("nan") if spec.empty_rows == "nan" and not keys else value
    return out, lse


def attention_backward(
    q: Array,
    k: Array,
    v: Array,
    do: Array,
    spec: AttentionSpec = PLAIN_ATTENTION,
    dlse: Array | None = None,
    *,
    bits: int = 200,
) -> Gradients:
    """Gradients of sum(do * out) + sum(dlse * lse) by the textbook's formulas.

    For one row, with weights P, dropout factors F and dP = F do V^T: delta = sum_j P dP, dS = P (dP - delta + dlse),
    dV = (P F)^T do; through the softcap, c tanh(s / c), dS is multiplied by 1 - tanh^2 = 1 / cosh^2.
    """
    problem = _Problem(q, k, v, spec)
    shape = problem.shape
    dq, dk, dv = _zeros(q.shape), _zeros(k.shape), _zeros(v.shape)
    dscores = _zeros((shape.batch, shape.heads, shape.queries, shape.keys))
    dsinks = _zeros((shape.heads,))
    with mp.workprec(bits + problem.extra_bits()):
        scale = problem.scale()
        for row in np.ndindex(dscores.shape[:3]):
            b, h, _ = row
            keys = problem.keys(row)
            weights, _ = problem.weights(row, keys)
            upstream = [mpf(float(x)) for x in do[row]]
            dlse_row = mpf(0) if dlse is None else mpf(float(dlse[row]))
            dp = [
                problem.dropout(row, j) * _sum(x * problem.v(row, j, c) for c, x in enumerate(upstream)) for j in keys
            ]
            delta = _sum(w * x for w, x in zip(weights, dp, strict=False))
            for w, x, j in zip(weights, dp, keys, strict=False):
                ds = w * (x - delta + dlse_row)
                dscores[(*row, j)] = ds
                d_product = ds * problem.softcap_slope(row, j) * scale
                place = (b, h // shape.group, j)
                for d in range(shape.d_qk):
                    dq[(*row, d)] += d_product * problem.k(row, j, d)
                    dk[(*place, d)] += d_product * problem.q(row, d)
                for c, x in enumerate(upstream):
                    dv[(*place, c)] += w * problem.dropout(row, j) * x
            if spec.sinks is not None:
                dsinks[h] += weights[-1] * (dlse_row - delta)
        dbias = None if spec.bias is None else _sum_to(dscores, spec.bias.shape)
    return Gradients(dq, dk, dv, dbias, None if spec.sinks is None else dsinks)


class _Problem:
    """One attention problem, read element by element in exact numbers."""

    def __init__(self, q: Array, k: Array, v: Array, spec: AttentionSpec) -> None:
        self.shape: Shape = problem_shape(q, k, v, spec)
        self.spec = spec
        self.arrays = (q, k, v)
        shape = self.shape
        full = (shape.batch, shape.heads, shape.queries, shape.keys)
        visibility = Visibility.of(spec, shape)
        self.visible = visibility.full()
        self.distance = np.broadcast_to(visibility.distance(), full)
        self.bias = None if spec.bias is None else np.broadcast_to(spec.bias, full)
        self.keep = None if spec.keep is None else np.broadcast_to(spec.keep, full)
        self.slopes = None if spec.alibi_slopes is None else np.broadcast_to(spec.alibi_slopes, full[:2])

    def q(self, row: tuple[int, ...], d: int) -> mpf:
        return mpf(float(self.arrays[0][(*row, d)]))

    def k(self, row: tuple[int, ...], j: int, d: int) -> mpf:
        return mpf(float(self.arrays[1][row[0], row[1] // self.shape.group, j, d]))

    def v(self, row: tuple[int, ...], j: int, c: int) -> mpf:
        return mpf(float(self.arrays[2][row[0], row[1] // self.shape.group, j, c]))

    def keys(self, row: tuple[int, ...]) -> list[int]:
        return [int(j) for j in np.flatnonzero(self.visible[row])]

    def scale(self) -> mpf:
        return 1 / mp.sqrt(self.shape.d_qk) if self.spec.scale is None else mpf(float(self.spec.scale))

    def product(self, row: tuple[int, ...], j: int) -> mpf:
        return self.scale() * _sum(self.q(row, d) * self.k(row, j, d) for d in range(self.shape.d_qk))

    def score(self, row: tuple[int, ...], j: int) -> mpf:
        score = self.product(row, j)
        if self.spec.softcap is not None:
            cap = mpf(float(self.spec.softcap))
            score = cap * mp.tanh(score / cap)
        if self.bias is not None:
            score += mpf(float(self.bias[(*row, j)]))
        if self.slopes is not None:
            score -= mpf(float(self.slopes[row[:2]])) * int(self.distance[(*row, j)])
        return score

    def softcap_slope(self, row: tuple[int, ...], j: int) -> mpf:
        if self.spec.softcap is None:
            return mpf(1)
        return 1 / mp.cosh(self.product(row, j) / mpf(float(self.spec.softcap))) ** 2

    def weights(self, row: tuple[int, ...], keys: list[int]) -> tuple[list[mpf], mpf]:
        """Weights of the visible keys, then of the sink if there is one; and the log-sum-exp."""
        logits = [self.score(row, j) for j in keys]
        if self.spec.sinks is None:
            return normalise(logits)
        sink = mpf(float(self.spec.sinks[row[1]]))
        if sink == mpf("-inf"):
            # Like no sink, also in a row without a visible key.
            weights, lse = normalise(logits)
            return [*weights, mpf(0)], lse
        return normalise([*logits, sink])

    def dropout(self, row: tuple[int, ...], j: int) -> mpf:
        if self.keep is None:
            return mpf(1)
        return int(self.keep[(*row, j)]) / (1 - mpf(float(self.spec.dropout)))

    def extra_bits(self) -> int:
        """Bits beyond the result's: before the point of the largest score, of the sums, and of the guard."""
        q, k, v = self.arrays
        shape, spec = self.shape, self.spec
        scale = 1.0 if spec.scale is None else float(spec.scale)
        farthest = float(self.distance.max(initial=0))
        terms = (
            _size_bits(_largest(q)) + _size_bits(_largest(k)) + _size_bits(shape.d_qk) + _size_bits(scale),
            0 if spec.bias is None else _size_bits(_largest(spec.bias)),
            0 if spec.sinks is None else _size_bits(_largest(spec.sinks)),
            0 if spec.alibi_slopes is None else _size_bits(_largest(spec.alibi_slopes)) + _size_bits(farthest),
        )
        sums = _size_bits(shape.keys * shape.group) + _size_bits(shape.queries * shape.batch) + _size_bits(v.shape[3])
        return GUARD_BITS + max(terms) + sums


def _sum(terms: Iterable[Any]) -> mpf:
    return sum(terms, mpf(0))


def _zeros(shape: tuple[int, ...]) -> Numbers:
    return np.full(shape, mpf(0), dtype=object)


def _largest(x: Array) -> float:
    return float(np.abs(x[np.isfinite(x)]).max(initial=0.0))


def _size_bits(size: float) -> int:
    """Bits before the binary point."""
    return max(0, int(np.frexp(size)[1]))


def _sum_to(x: Numbers, shape: tuple[int, ...]) -> Numbers:
    """Sum over the axes along which an array of `shape` was broadcast to x's."""
    four = (1,) * (x.ndim - len(shape)) + shape
    axes = tuple(axis for axis, n in enumerate(four) if n == 1)
    return np.asarray(x.sum(axis=axes, keepdims=True), dtype=object).reshape(shape)
