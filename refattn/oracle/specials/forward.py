"""The results of visible NaN and infinities, by the formula in IEEE 754: the rungs get finite numbers only.

The reading, for a visible pair (i, j):

- q_i . k_j is a sum of IEEE products: 0 * inf, inf - inf and NaN give NaN. The scale multiplies it (0 * inf is NaN, a
  negative one turns it round), and a softcap c makes +-inf into +-c.
- A score of NaN makes the row and its log-sum-exp NaN. A score of +inf makes the row NaN (inf - inf) and the
  log-sum-exp +inf. A score of -inf has weight exactly 0; a row of nothing else, without a sink, is 0 / 0: NaN, and its
  log-sum-exp is -inf.
- v[j, c] touches column c only and never the log-sum-exp: NaN gives NaN, whatever its weight; an infinity of positive
  weight gives that infinity, both infinities NaN, and an infinity of weight 0 (score -inf, or dropped out) NaN.
- A sink of NaN makes every row of its head that sees a key NaN, and all their log-sum-exps.

An invisible pair has no influence whatever it holds. Tensors that hold such numbers are read in NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refattn.contract.spec import AttentionSpec, Shape, SoftmaxSpec
from refattn.contract.visibility import Bools, Visibility, block_of
from refattn.numbers.arrays import all_finite, like, namespace, to_numpy
from refattn.oracle.enclosure import Enclosure
from refattn.oracle.truth import AttentionTruth

Array = NDArray[np.float64]

# Pairs classified at a time.
BLOCK_ENTRIES = 1 << 22


@dataclass(frozen=True, eq=False)
class Known:
    """Elements whose value follows from NaN and infinities alone: where `mask`, the value is mid to within rad."""

    mask: Bools
    mid: Array
    rad: Array

    @classmethod
    def nothing(cls, shape: tuple[int, ...]) -> Known:
        """No element known yet."""
        return cls(np.zeros(shape, np.bool_), np.zeros(shape), np.zeros(shape))

    def put(self, where: Bools, value: float, rad: float = 0.0, rows: slice = slice(None)) -> None:
        """Set the elements `where` of the queries `rows`."""
        block = (slice(None), slice(None), rows)
        self.mask[block] |= where
        self.mid[block] = np.where(where, value, self.mid[block])
        self.rad[block] = np.where(where, rad, self.rad[block])

    def overlay(self, computed: Enclosure) -> Enclosure:
        """`computed`, with the known elements in the place of a rung's."""
        low = None if computed.low is None else np.where(self.mask, 0.0, computed.low)
        return Enclosure(np.where(self.mask, self.mid, computed.mid), np.where(self.mask, self.rad, computed.rad), low)


@dataclass(frozen=True, eq=False)
class Specials:
    """A problem of finite numbers, and the results that the removed NaN and infinities settle.

    Pairs with a score of -inf are masked out of `spec`; pairs whose softcapped score is +-c carry it in spec.bias.
    `out` and `lse` are None where nothing is special.
    """

    q: Any
    k: Any
    v: Any
    spec: AttentionSpec
    out: Known | None = None
    lse: Known | None = None

    def overlay(self, truth: AttentionTruth) -> AttentionTruth:
        """The truth of the original problem, from that of the finite one."""
        out = truth.out if self.out is None else self.out.overlay(truth.out)
        lse = truth.lse if self.lse is None else self.lse.overlay(truth.lse)
        return AttentionTruth(out, lse)


def split(q: Any, k: Any, v: Any, spec: AttentionSpec, shape: Shape) -> Specials:
    """Separate NaN and infinities from the finite numbers of a checked problem; one test each if there are none.

    q, k and v come back as they are, in NumPy or as tensors.
    """
    no_nan = all(extra is None or not np.isnan(extra).any() for extra in (spec.sinks, spec.bias))
    plain_scores = no_nan and all_finite(q) and all_finite(k)
    if plain_scores and all_finite(v):
        return Specials(q, k, v, spec)
    work = _Work(to_numpy(q), to_numpy(k), to_numpy(v), spec, shape)
    step = max(1, BLOCK_ENTRIES // max(1, shape.batch * shape.heads * shape.keys))
    for start in range(0, shape.queries, step):
        work.classify(slice(start, min(start + step, shape.queries)), plain_scores)
    specials = work.result()
    return replace(specials, q=like(specials.q, q), k=like(specials.k, k), v=like(specials.v, v))


def split_softmax(x: Any, spec: SoftmaxSpec) -> tuple[Any, Known | None]:
    """x with every row that holds NaN or +inf set to 0, and the results of those rows; x itself if there is none.

    NaN gives NaN. +inf gives NaN too, as inf - inf does, but a log-sum-exp of +inf.
    """
    xp = namespace(x)
    if not xp.any(xp.isnan(x) | (x == np.inf)):
        return x, None
    given, x = x, to_numpy(x)
    bad = np.isnan(x) | np.isposinf(x)
    nan = np.isnan(x).any(axis=spec.axis, keepdims=True)
    touched = bad.any(axis=spec.axis, keepdims=True)
    if spec.kind == "logsumexp":
        mask, value = touched, np.where(nan, np.nan, np.inf)
        mask, value = np.squeeze(mask, spec.axis), np.squeeze(value, spec.axis)
    else:
        mask, value = np.broadcast_to(touched, x.shape), np.full(x.shape, np.nan)
    return like(np.where(touched, 0.0, x), given), Known(mask, np.where(mask, value, 0.0), np.zeros(mask.shape))


@dataclass(eq=False)
class _Work:
    """The classification of one problem, a block of queries at a time."""

    q: Array
    k: Array
    v: Array
    spec: AttentionSpec
    shape: Shape
    out: Known = field(init=False)
    lse: Known = field(init=False)
    dropped: Bools | None = None
    capped: Array | None = None

    def __post_init__(self) -> None:
        shape = self.shape
        self.out = Known.nothing((shape.batch, shape.heads, shape.queries, shape.d_v))
        self.lse = Known.nothing((shape.batch, shape.heads, shape.queries))
        self.visibility = Visibility.of(self.spec, shape)
        # Only the signs of finite numbers count: their products cannot overflow, and inf and NaN spread as IEEE says.
        self.q_sign, self.k_sign = (np.where(np.isfinite(x), np.sign(x), x) for x in (self.q, self.k))

    def classify(self, rows: slice, plain_scores: bool) -> None:
        shape, spec = self.shape, self.spec
        pairs = (shape.batch, shape.heads, rows.stop - rows.start, shape.keys)
        visible = np.broadcast_to(self.visibility.block(rows), pairs)
        minus = np.zeros((1, 1, 1, 1), np.bool_)
        if not plain_scores:
            minus = self._classify_scores(rows, visible)
        weighted = visible & ~minus
        if spec.keep is not None:
            weighted &= block_of(spec.keep, rows).astype(np.bool_)
        self._classify_values(rows, visible, weighted)

    def _classify_scores(self, rows: slice, visible: Bools) -> Bools:
        """Settle the rows that a NaN or infinite score decides; return the visible pairs with a score of -inf."""
        spec = self.spec
        with np.errstate(invalid="ignore"):
            keys = np.repeat(self.k_sign, self.shape.group, axis=1)
            scores = self.q_sign[:, :, rows] @ np.swapaxes(keys, -1, -2)
            if spec.scale is not None:
                scores = scores * np.sign(spec.scale)
            if spec.softcap is not None:
                self._classify_capped(rows, visible, scores)
                scores = np.where(np.isinf(scores), 0.0, scores)
        nan = np.isnan(scores)
        if spec.bias is not None:
            nan = nan | np.isnan(block_of(spec.bias, rows))
        plus: Bools = visible & np.isposinf(scores)
        minus: Bools = visible & np.isneginf(scores)
        row_nan: Bools = np.asarray((visible & nan).any(axis=-1))
        row_plus: Bools = np.asarray(plus.any(axis=-1))
        nothing_left: Bools = np.asarray(visible.any(axis=-1) & ~(visible & ~minus).any(axis=-1))
        if spec.sinks is not None:
            sinks = spec.sinks[None, :, None]
            row_nan |= np.isnan(sinks)
            # With a sink the quotient is 0 / exp(sink), and the log-sum-exp is that of an empty row.
            self.out.put((nothing_left & np.isfinite(sinks))[..., None], 0.0, rows=rows)
            nothing_left &= np.isneginf(sinks)
        self.lse.put(nothing_left, -np.inf, rows=rows)
        self.lse.put(row_plus, np.inf, rows=rows)
        self.lse.put(row_nan, np.nan, rows=rows)
        row_nan &= visible.any(axis=-1)
        self.out.put((nothing_left | row_plus | row_nan)[..., None], np.nan, rows=rows)
        if minus.any():
            if self.dropped is None:
                self.dropped = np.zeros((*visible.shape[:2], self.shape.queries, self.shape.keys), np.bool_)
            self.dropped[:, :, rows] = minus
        return minus

    def _classify_capped(self, rows: slice, visible: Bools, scores: Array) -> None:
        """Move scores of +-c into the bias; where that would round, nothing is known of the row."""
        cap = self.spec.softcap
        saturated = visible & np.isinf(scores)
        if cap is None or not saturated.any():
            return
        if self.capped is None:
            bias = np.zeros(()) if self.spec.bias is None else self.spec.bias
            everywhere = (*visible.shape[:2], self.shape.queries, self.shape.keys)
            self.capped = np.array(np.broadcast_to(np.where(np.isnan(bias), 0.0, bias), everywhere))
        before = self.capped[:, :, rows]
        added = np.where(saturated, np.copysign(cap, scores), 0.0)
        with np.errstate(invalid="ignore", over="ignore"):
            after = before + added
            exact = (after - before == added) & (after - added == before)
        rounded = (saturated & ~exact).any(axis=-1)
        self.capped[:, :, rows] = after
        self.lse.put(rounded, 0.0, np.inf, rows=rows)
        self.out.put(rounded[..., None], 0.0, np.inf, rows=rows)

    def _classify_values(self, rows: slice, visible: Bools, weighted: Bools) -> None:
        """Settle the columns that a NaN or infinite value decides."""
        special = ~np.isfinite(self.v)
        keys = special.any(axis=(0, 1, 3))
        if not keys.any():
            return
        values = np.repeat(self.v[:, :, keys], self.shape.group, axis=1)
        visible, weighted = visible[..., keys], weighted[..., keys]
        plus = _any_pair(weighted, np.isposinf(values))
        minus = _any_pair(weighted, np.isneginf(values))
        nan = _any_pair(visible, np.isnan(values)) | _any_pair(visible & ~weighted, np.isinf(values)) | (plus & minus)
        # A row that its scores have settled stays so, but for the 0 of a sink that has all the weight.
        at = (slice(None), slice(None), rows)
        free = ~self.out.mask[at] | ((self.out.mid[at] == 0.0) & (self.out.rad[at] == 0.0))
        self.out.put(free & plus, np.inf, rows=rows)
        self.out.put(free & minus, -np.inf, rows=rows)
        self.out.put(free & nan, np.nan, rows=rows)

    def result(self) -> Specials:
        spec = self.spec
        if self.dropped is not None:
            mask = ~self.dropped if spec.mask is None else spec.mask & ~self.dropped
            spec = spec.replace(mask=mask)
        if self.capped is not None:
            spec = spec.replace(bias=self.capped)
        elif spec.bias is not None and np.isnan(spec.bias).any():
            spec = spec.replace(bias=np.where(np.isnan(spec.bias), 0.0, spec.bias))
        if spec.sinks is not None and np.isnan(spec.sinks).any():
            spec = spec.replace(sinks=np.where(np.isnan(spec.sinks), 0.0, spec.sinks))
        return Specials(
            _without_special_vectors(self.q),
            _without_special_vectors(self.k),
            np.where(np.isfinite(self.v), self.v, 0.0),
            spec,
            self.out if self.out.mask.any() else None,
            self.lse if self.lse.mask.any() else None,
        )


def _without_special_vectors(x: Array) -> Array:
    """x with each vector that holds NaN or infinity set to 0: then its scores are 0, before bias and ALiBi."""
    return np.where(np.isfinite(x).all(axis=-1, keepdims=True), x, 0.0)


def _any_pair(pairs: Bools, values: Bools) -> Bools:
    """True at (i, c) if some j has pairs[i, j] and values[j, c]; a matrix product, as numbers count exactly in it."""
    return np.asarray((pairs.astype(np.float32) @ values.astype(np.float32)) > 0)
