"""Rung 3 of the ladder: Arb's balls (python-flint), at any precision.

Every operation encloses its own error, so nothing here needs a proof of its own: too few bits give a wide ball, never a
wrong one. Inputs are finite float64 arrays.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refattn.contract.spec import AttentionSpec, Shape, SoftmaxSpec
from refattn.contract.visibility import Bools, Visibility, block_of
from refattn.errors import MissingExtra
from refattn.oracle.enclosure import Enclosure
from refattn.oracle.exact.dyadic import Dyadic
from refattn.oracle.truth import AttentionTruth

Array = NDArray[np.float64]
Balls = NDArray[np.object_]

# Two float64 numbers hold about 107 bits of a midpoint.
ENOUGH_FOR_TAILS = 192


def available() -> bool:
    """True if python-flint is installed."""
    return importlib.util.find_spec("flint") is not None


def arb_module() -> Any:
    """The module flint; raises MissingExtra where it is not installed."""
    if not available():
        raise MissingExtra("python-flint is not installed: expected it for Arb's balls, pip install 'refattn[arb]'")
    import flint

    return flint


@dataclass(frozen=True, eq=False)
class Rows:
    """Scores and weights of some queries of one head, as balls.

    `keys` are the keys that at least one of the queries sees, and `visible` (r, n) says which sees which; product[r, n]
    is scale * q . k, before the softcap; weights[r] holds one ball a key, 0 where invisible; sink[r] is the sink's
    weight, None if there is none; gain[r] is dropout's factors, None if there is no dropout.
    """

    batch: int
    head: int
    queries: NDArray[np.int64]
    keys: NDArray[np.int64]
    visible: Bools
    product: Any
    weights: list[list[Any]]
    sink: list[Any]
    lse: list[Any]
    gain: list[list[Any]] | None

    @property
    def dropped_weights(self) -> list[list[Any]]:
        """The weights with dropout's factor."""
        if self.gain is None:
            return self.weights
        return [[w * g for w, g in zip(*pair, strict=True)] for pair in zip(self.weights, self.gain, strict=True)]


def heads(q: Array, k: Array, spec: AttentionSpec, shape: Shape, wanted: Bools) -> Iterator[Rows]:
    """The queries `wanted` (B, H, Nq), one head at a time, at flint's current precision."""
    visibility = Visibility.of(spec, shape)
    for batch in range(shape.batch):
        for head in range(shape.heads):
            queries = np.flatnonzero(wanted[batch, head])
            if queries.size:
                yield _head(q, k, spec, shape, visibility, (batch, head), queries)


def _head(
    q: Array,
    k: Array,
    spec: AttentionSpec,
    shape: Shape,
    visibility: Visibility,
    place: tuple[int, int],
    queries: NDArray[np.int64],
) -> Rows:
    flint = arb_module()
    arb = flint.arb
    visible = np.concatenate([_head_rows(visibility.block(slice(i, i + 1)), place, shape) for i in queries])
    keys = np.flatnonzero(visible.any(axis=0))
    visible = visible[:, keys]
    scale = 1 / arb(shape.d_qk).sqrt() if spec.scale is None else arb(float(spec.scale))
    product = matrix(q[place][queries]) * matrix(k[place[0], place[1] // shape.group][keys]).transpose() * scale
    cap = None if spec.softcap is None else arb(float(spec.softcap))
    slope = None
    if spec.alibi_slopes is not None:
        slope = arb(float(np.broadcast_to(spec.alibi_slopes, (shape.batch, shape.heads))[place]))
    sink = None if spec.sinks is None or np.isneginf(spec.sinks[place[1]]) else arb(float(spec.sinks[place[1]]))
    zero = arb(0)
    results: list[tuple[list[Any], Any, Any]] = []
    gains: list[list[Any]] = []
    for r, i in enumerate(queries):
        row = slice(int(i), int(i) + 1)
        columns = np.flatnonzero(visible[r])
        logits = [product[r, int(n)] for n in columns]
        if cap is not None:
            logits = [cap * (x / cap).tanh() for x in logits]
        if spec.bias is not None:
            bias = _head_rows(block_of(spec.bias, row), place, shape)[0, keys[columns]]
            logits = [x + float(b) for x, b in zip(logits, bias, strict=True)]
        if slope is not None:
            distance = _head_rows(visibility.distance(row), place, shape)[0, keys[columns]]
            logits = [x - slope * int(n) for x, n in zip(logits, distance, strict=True)]
        weights, lse = normalise(logits if sink is None else [*logits, sink])
        whole = [zero] * len(keys)
        for n, weight in zip(columns, weights, strict=False):
            whole[int(n)] = weight
        results.append((whole, None if sink is None else weights[-1], lse))
        if spec.keep is not None:
            gain = 1 / (1 - arb(float(spec.dropout)))
            gains.append(
                [gain if keep else zero for keep in _head_rows(block_of(spec.keep, row), place, shape)[0, keys]]
            )
    weights_by_row, sinks, lses = (list(column) for column in zip(*results, strict=True))
    gain_by_row = gains if spec.keep is not None else None
    return Rows(*place, queries, keys, visible, product, weights_by_row, sinks, lses, gain_by_row)


def normalise(logits: Sequence[Any]) -> tuple[list[Any], Any]:
    """Softmax and log-sum-exp of a list of balls; -inf, as None, for the log-sum-exp of nothing."""
    if not logits:
        return [], None
    shift = logits[0].mid()
    for x in logits:
        if x.mid() > shift:
            shift = x.mid()
    exponentials = [(x - shift).exp() for x in logits]
    total = sum(exponentials[1:], exponentials[0])
    return [e / total for e in exponentials], shift + total.log()


def attention_balls(
    q: Array, k: Array, v: Array, spec: AttentionSpec, shape: Shape, *, bits: int, wanted: Bools
) -> tuple[Balls, Balls]:
    """Output (B, H, Nq, Dv) and log-sum-exp (B, H, Nq) of the queries `wanted`; None elsewhere and in empty rows."""
    flint = arb_module()
    out: Balls = np.full((*wanted.shape, shape.d_v), None, dtype=object)
    lse: Balls = np.full(wanted.shape, None, dtype=object)
    with flint.ctx.workprec(bits):
        for rows in heads(q, k, spec, shape, wanted):
            head = (rows.batch, rows.head)
            values = matrix(v[rows.batch, rows.head // shape.group][rows.keys])
            outputs = matrix(rows.dropped_weights, len(rows.keys)) * values
            for r, i in enumerate(rows.queries):
                lse[(*head, i)] = rows.lse[r]
                for c in range(shape.d_v if rows.visible[r].any() else 0):
                    out[(*head, i, c)] = outputs[r, c]
    return out, lse


def attention(
    q: Array, k: Array, v: Array, spec: AttentionSpec, shape: Shape, *, bits: int, wanted: Bools | None = None
) -> AttentionTruth:
    """Output and log-sum-exp of the queries `wanted` (B, H, Nq), all by default; rad is inf in the others."""
    rows = np.ones((shape.batch, shape.heads, shape.queries), np.bool_) if wanted is None else wanted
    out, lse = attention_balls(q, k, v, spec, shape, bits=bits, wanted=rows)
    blank = 0.0 if spec.empty_rows == "zero" else math.nan
    return AttentionTruth(enclose(out, blank, rows[..., None]), enclose(lse, -math.inf, rows))


def attention_ends(
    q: Array, k: Array, v: Array, spec: AttentionSpec, shape: Shape, *, bits: int, wanted: Bools
) -> tuple[Balls, Balls]:
    """Lower and upper ends of the output, as Dyadic numbers; None where nothing is known, and in empty rows."""
    out, _ = attention_balls(q, k, v, spec, shape, bits=bits, wanted=wanted)
    return ends(out, bits)


def softmax_balls(x: Array, spec: SoftmaxSpec, *, bits: int, wanted: Bools) -> Balls:
    """softmax, log_softmax or logsumexp of the rows `wanted` (x's shape without the axis); None for -inf and NaN."""
    flint = arb_module()
    rows = np.moveaxis(x, spec.axis, -1)
    reduced = spec.kind == "logsumexp"
    result: Balls = np.full(rows.shape[:-1] if reduced else rows.shape, None, dtype=object)
    with flint.ctx.workprec(bits):
        for index in zip(*np.nonzero(wanted), strict=True):
            entries = np.flatnonzero(~np.isneginf(rows[index]))
            logits = [flint.arb(float(rows[index][n])) for n in entries]
            weights, lse = normalise(logits)
            if reduced:
                result[index] = lse
                continue
            for n, logit, weight in zip(entries, logits, weights, strict=True):
                result[(*index, n)] = weight if spec.kind == "softmax" else logit - lse
    return result if reduced else np.moveaxis(result, -1, spec.axis)


def softmax(x: Array, spec: SoftmaxSpec, *, bits: int, wanted: Bools | None = None) -> Enclosure:
    """softmax, log_softmax or logsumexp of a float64 array without NaN or +inf; rad is inf in rows not `wanted`."""
    dropped = np.isneginf(x)
    empty = np.all(dropped, axis=spec.axis, keepdims=True)
    rows = np.ones(np.squeeze(empty, spec.axis).shape, np.bool_) if wanted is None else wanted
    balls = softmax_balls(x, spec, bits=bits, wanted=rows)
    if spec.kind == "logsumexp":
        return enclose(balls, -math.inf, rows)
    blank = 0.0 if spec.kind == "softmax" else -math.inf
    enclosure = enclose(balls, blank, np.expand_dims(rows, spec.axis))
    if spec.empty_rows == "nan":
        return Enclosure(
            np.where(empty & np.isfinite(enclosure.rad), math.nan, enclosure.mid), enclosure.rad, enclosure.low
        )
    return enclosure


def matrix(rows: Any, columns: int | None = None) -> Any:
    """An arb_mat of a two-dimensional array, exactly, or of a list of rows of balls."""
    flint = arb_module()
    if isinstance(rows, np.ndarray):
        columns, rows = rows.shape[1], rows.tolist()
    if not rows or not columns:
        return flint.arb_mat(len(rows), columns or 0)
    return flint.arb_mat(rows)


def enclose(balls: Balls, blank: float, computed: Bools) -> Enclosure:
    """Balls as an enclosure: None is exactly `blank` where `computed`, and unknown elsewhere."""
    mid, low, rad = (np.zeros(balls.shape) for _ in range(3))
    known = np.broadcast_to(computed, balls.shape)
    with arb_module().ctx.workprec(ENOUGH_FOR_TAILS):
        for index in np.ndindex(balls.shape):
            ball: Any = balls[index]
            if ball is not None:
                mid[index], low[index], rad[index] = _float_ball(ball)
            elif known[index]:
                mid[index] = blank
            else:
                rad[index] = math.inf
    return Enclosure(mid, rad, low)


def ends(balls: Balls, bits: int) -> tuple[Balls, Balls]:
    """Lower and upper ends of balls, rounded outwards to `bits`, as Dyadic numbers; None where none is known."""
    low: Balls = np.full(balls.shape, None, dtype=object)
    high: Balls = np.full(balls.shape, None, dtype=object)
    with arb_module().ctx.workprec(bits):
        for index in np.ndindex(balls.shape):
            ball: Any = balls[index]
            if ball is not None and ball.is_finite():
                low[index] = Dyadic(*map(int, ball.lower().man_exp()))
                high[index] = Dyadic(*map(int, ball.upper().man_exp()))
    return low, high


def _float_ball(ball: Any) -> tuple[float, float, float]:
    """Mid, low, rad of one ball, rad rounded up; a ball that float64 cannot hold has an infinite radius."""
    mid = float(ball.mid()) if ball.is_finite() else math.nan
    if not math.isfinite(mid):
        return 0.0, 0.0, math.inf
    rest = ball - mid
    low = float(rest.mid())
    error = (rest - low).abs_upper()
    rad = float(error)
    return mid, low, rad if type(error)(rad) >= error else math.nextafter(rad, math.inf)


def _head_rows(block: NDArray[Any], place: tuple[int, int], shape: Shape) -> NDArray[Any]:
    """The (rows, Nk) part of a block that belongs to one head."""
    rows = block.shape[2]
    head_rows: NDArray[Any] = np.broadcast_to(block, (shape.batch, shape.heads, rows, shape.keys))[place]
    return head_rows
