"""Rung 2 of the ladder for gradients: some 100 bits with a proved radius, blockwise over the queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refattn.contract.scores import Block, blocks, dropout_keep
from refattn.contract.spec import AttentionSpec, Shape
from refattn.numbers.roundoff import compound, log_error
from refattn.oracle.enclosure import Enclosure
from refattn.oracle.extended import loops
from refattn.oracle.extended.forward import (
    INFLATE,
    LARGEST_WEIGHT_ERROR,
    LAST_ROUNDING,
    NEGLIGIBLE,
    ONE,
    ROWS,
    WANTED_BITS,
    WORDS_ERROR,
    Problem,
    Rows,
    Weights,
    in_threads,
    products_of,
    rows_of,
    weights_of,
    words_product,
    words_sum,
)
from refattn.oracle.extended.radii import (
    gathered_radius,
    query_gradient_radius,
    scaled_radius,
    score_gradient_radius,
    share_error,
    slope_radius,
    value_weight_radius,
)
from refattn.oracle.extended.slices import Sliced, bits_for
from refattn.oracle.extended.weighted_sums import SECOND_WORD, Values, sums_over_keys, sums_over_rows
from refattn.oracle.extended.words import PRODUCT_ERROR
from refattn.oracle.truth import GradientTruth

Array = NDArray[np.float64]

# Wanted error of do . v, relative to the largest of both.
WANTED_PRODUCT = 2.0**-108
LOWEST_EXPONENT = -500
# Relative error of a weight times a number of three words whose last two are added first (theorem
# gradient_product_near).
GRADIENT_ERROR = compound(PRODUCT_ERROR, LAST_ROUNDING)
# Relative error of a weight times the first two words of dropout's factor.
KEPT_ERROR = compound(PRODUCT_ERROR, 2.0**-106)
# Loss of a few products of three words that underflow (theorem products_near).
UNDERFLOW = 2.0**-1070
# Slices of dS: sums of up to 2^27 of them are exact.
BIAS_BITS = 26
BIAS_SLICES = 5


@dataclass(frozen=True, eq=False)
class Operands:
    """Arrays of a problem in the slices that the gradients' products need, by head: the factors of P and dS, and the
    rows of dO V^T.
    """

    queries: dict[tuple[int, int], Values]
    keys: dict[tuple[int, int], Values]
    upstream: dict[tuple[int, int], Values]
    upstream_rows: dict[tuple[int, int], Sliced]
    value_rows: dict[tuple[int, int], Sliced]

    @classmethod
    def of(cls, q: Array, k: Array, v: Array, do: Array) -> Operands:
        """The operands of finite float64 arrays."""
        bits = bits_for(v.shape[3])
        key_bits, row_bits = (WANTED_BITS + max(1, n).bit_length() for n in (k.shape[2], ROWS))
        return cls(
            {place: Values.of(q[place], row_bits) for place in np.ndindex(*q.shape[:2])},
            {place: Values.of(k[place], key_bits) for place in np.ndindex(*k.shape[:2])},
            {place: Values.of(do[place], row_bits) for place in np.ndindex(*do.shape[:2])},
            {place: Sliced.of(do[place], bits) for place in np.ndindex(*do.shape[:2])},
            {place: Sliced.of(v[place], bits) for place in np.ndindex(*v.shape[:2])},
        )


@dataclass(frozen=True, eq=False)
class Part:
    """A gradient's terms of one block in words, and their radius."""

    words: Any
    rad: Any


class Sums:
    """Sums in three words, and their radius."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.words = np.zeros((3, *shape))
        self.rad = np.zeros(shape)

    def add(self, head: tuple[int, ...], place: Any, part: Part) -> None:
        """Add terms (m, c) to a place of that shape in one head's sums.

        Integers and index arrays are used one after the other: together they would move axes.
        """
        words = [word[head] for word in self.words]
        totals = [np.array(word[place], order="C") for word in words]
        size = np.abs(totals[0]) + sum(np.abs(term) for term in part.words)
        for term in reversed(part.words):
            loops.add_words(np.array(np.broadcast_to(term, totals[0].shape), order="C"), *totals)
        for word, total in zip(words, totals, strict=True):
            word[place] = total
        self.rad[head][place] += part.rad + WORDS_ERROR * size

    def enclosure(self, shape: tuple[int, ...], factor: Array = ONE) -> Enclosure:
        """The sums times a factor in words."""
        words = np.ascontiguousarray(self.words.reshape(3, -1).T)
        with np.errstate(over="ignore", invalid="ignore"):
            product = words_product(words, factor)
            mid, low = product[:, 0], product[:, 1]
            last = LAST_ROUNDING * np.abs(mid) + UNDERFLOW * (self.rad.reshape(-1) > 0.0)
            rad = scaled_radius(self.rad.reshape(-1), abs(factor[0]), last) * INFLATE
        known = np.isfinite(mid) & np.isfinite(rad)
        parts = (np.where(known, mid, 0.0), np.where(known, rad, np.inf), np.where(known, low, 0.0))
        return Enclosure(*(part.reshape(shape) for part in parts))


@dataclass(frozen=True, eq=False)
class Contribution:
    """The terms that one block adds to each gradient; None where the spec has no bias or no sinks."""

    block: Block
    dq: Part
    dk: Part
    dv: Part
    dbias: Part | None
    dsink: Part | None


def attention_backward(
    q: Array, k: Array, v: Array, do: Array, spec: AttentionSpec, shape: Shape, dlse: Array | None = None
) -> GradientTruth:
    """Gradients of sum(do * out) + sum(dlse * lse) for finite float64 arrays to which there is no `obstacle`; rad is
    inf where nothing is proved.

    With P the weights, D = dropout's factor, dP = do V^T and Delta = do . out: dS = P (D dP - Delta + dlse), from which
    dQ, dK, dbias and dsinks follow linearly, and dV = (P D)^T do.
    """
    problem = Problem.of(q, k, v, spec, shape)
    operands = Operands.of(q, k, v, do)
    dq, dk, dv = (Sums(array.shape) for array in (q, k, v))
    dbias = None if spec.bias is None else Sums((1,) * (4 - spec.bias.ndim) + spec.bias.shape)
    dsinks = None if spec.sinks is None else Sums((shape.heads, 1))

    def run(block: Block) -> Contribution:
        place = (block.batch, block.head, block.rows)
        with np.errstate(over="ignore", invalid="ignore"):
            return _contribution(block, problem, operands, v, do[place], None if dlse is None else dlse[place])

    for contribution in in_threads(run, blocks(q, k, spec, shape, ROWS * max(1, shape.keys))):
        block = contribution.block
        dq.add((block.batch, block.head), block.rows, contribution.dq)
        dk.add((block.batch, block.kv_head), block.keys, contribution.dk)
        dv.add((block.batch, block.kv_head), block.keys, contribution.dv)
        if dbias is not None and contribution.dbias is not None:
            b, h, rows, keys = dbias.rad.shape
            place = (block.rows if rows > 1 else slice(0, 1), block.keys if keys > 1 else slice(0, 1))
            dbias.add((block.batch if b > 1 else 0, block.head if h > 1 else 0), place, contribution.dbias)
        if dsinks is not None and contribution.dsink is not None:
            dsinks.add((), slice(block.head, block.head + 1), contribution.dsink)
    return GradientTruth(
        dq.enclosure(q.shape, problem.scale),
        dk.enclosure(k.shape, problem.scale),
        dv.enclosure(v.shape),
        None if dbias is None else dbias.enclosure(spec.bias.shape),
        None if dsinks is None else dsinks.enclosure((shape.heads,)),
    )


def _contribution(
    block: Block, problem: Problem, operands: Operands, v: Array, do: Array, dlse: Array | None
) -> Contribution:
    spec = problem.spec
    head, kv_head = (block.batch, block.head), (block.batch, block.kv_head)
    weights = weights_of(block, problem)
    rows = rows_of(block, weights, problem)
    n = weights.words[0].shape[1]
    p, p_low = np.empty_like(weights.words[0]), np.empty_like(weights.words[0])
    loops.quotients(*weights.words, np.zeros_like(p), rows.total, p, p_low)
    share = share_error(weights.error, rows.lost, LAST_ROUNDING)
    # Infinite for a row of which nothing is proved, where the log-error would be negative.
    share = np.where(rows.lost < LARGEST_WEIGHT_ERROR, share, np.inf)[:, None]
    negligible = NEGLIGIBLE / rows.total[:, 0]
    keep = None if spec.keep is None else np.ascontiguousarray(dropout_keep(block, spec))
    gain = problem.gain

    dp = products_of(
        operands.upstream_rows[head][block.rows], operands.value_rows[kv_head][block.keys], ONE, WANTED_PRODUCT
    )
    out, out_low, out_rad = (np.where(weights.nonempty[:, None], part, 0.0) for part in rows.out)
    delta = np.empty((len(do), 3))
    loops.row_dots(np.ascontiguousarray(do), out, out_low, delta)
    size = np.abs(do)
    less = delta if dlse is None else words_sum([delta, -dlse[:, None]])
    # Theorem height_enough.
    value = np.abs(v[kv_head][block.keys]).max(initial=0.0)
    height = (gain[0] * 2.0 * size.sum(axis=1) * value + np.abs(less[:, 0])) * INFLATE
    # Delta adds up 4 Dv numbers; the error of their sum shrinks by gamma_n with each word (theorem row_dots_error).
    words = WORDS_ERROR + log_error(4 * out.shape[1] * 2.0**-53) ** 3
    slope = slope_radius(gain[0], dp.error, (size * out_rad).sum(axis=1), words, height) * INFLATE
    slope, hidden = slope[:, None], (negligible * height)[:, None]
    ds, ds_low = np.empty_like(p), np.empty_like(p)
    loops.score_gradients(p, p_low, *dp.words, keep, gain, less, ds, ds_low)
    ds_rad = score_gradient_radius(share, GRADIENT_ERROR, np.abs(ds), p, slope, hidden)

    exponent = exponent_of(ds)
    largest = np.ldexp(1.0, exponent)
    keys, queries = operands.keys[kv_head], operands.queries[head]
    sums = sums_over_keys((ds, ds_low), keys, block.keys, exponent=exponent)
    left_out = n * (keys.left_out + WORDS_ERROR) * largest * keys.size
    rad = query_gradient_radius(share, GRADIENT_ERROR, sums.sizes, slope, n * hidden, keys.size, left_out)
    dq = Part(sums.values, rad * INFLATE)
    left_out = len(do) * (queries.left_out + WORDS_ERROR) * largest * queries.size
    rad = gathered_radius(ds_rad.sum(axis=0)[:, None], queries.size, left_out)
    dk = Part(sums_over_rows((ds, ds_low), queries, block.rows, exponent=exponent), rad * INFLATE)

    upstream = operands.upstream[head]
    sink = _sink(weights, rows, less, slope, hidden, share, spec)
    exponent_of_kept = 0
    if keep is not None:
        exponent_of_kept = int(np.frexp(gain[0])[1])
        loops.times(p, p_low, gain, keep)
    factor_radius = value_weight_radius(share, 0.0 if keep is None else KEPT_ERROR, p, gain[0] * negligible[:, None])
    left_out = len(do) * (upstream.left_out + WORDS_ERROR) * np.ldexp(1.0, exponent_of_kept) * upstream.size
    rad = gathered_radius(factor_radius.sum(axis=0)[:, None], upstream.size, left_out)
    dv = Part(sums_over_rows((p, p_low), upstream, block.rows, exponent=exponent_of_kept), rad * INFLATE)

    dbias = None if spec.bias is None else _bias(ds, ds_low, ds_rad, exponent, spec.bias)
    return Contribution(block, dq, dk, dv, dbias, sink)


def _bias(ds: Array, ds_low: Array, rad: Array, exponent: int, bias: Array) -> Part:
    """Terms of the bias's gradient, added up along the axes that the bias lacks: sums of slices are exact."""
    shape = (1,) * (4 - bias.ndim) + bias.shape
    axes = tuple(axis for axis in (0, 1) if shape[2 + axis] == 1)
    parts = np.empty((BIAS_SLICES, *ds.shape))
    loops.slice_words(ds, ds_low, 0, exponent, BIAS_BITS, parts)
    terms = [part.sum(axis=axes, keepdims=True) for part in parts]
    lost = SECOND_WORD * np.ldexp(1.0, exponent - BIAS_BITS * BIAS_SLICES - 1)
    return Part(terms, (rad + lost).sum(axis=axes, keepdims=True) * INFLATE)


def _sink(
    weights: Weights, rows: Rows, less: Array, slope: Array, hidden: Array, share: Array, spec: AttentionSpec
) -> Part | None:
    """Terms of a sink's gradient: minus its weight times Delta - dLSE, which is subtracted from dP."""
    if spec.sinks is None:
        return None
    weight, low = np.empty((len(less), 1)), np.empty((len(less), 1))
    sink = np.ascontiguousarray(weights.sink)
    loops.quotients(sink[:, :1].copy(), sink[:, 1:].copy(), np.zeros_like(weight), rows.total, weight, low)
    terms = []
    for factor in (weight[:, 0], low[:, 0]):
        one, two = np.empty_like(less), np.empty_like(less)
        loops.row_products(less, factor, one, two)
        terms += [-one, -two]
    whole = np.concatenate(terms, axis=1)
    # The products are exact unless they underflow; their sum errs as Delta's does (theorem add_all_error).
    size = weight * np.abs(less[:, :1])
    rad = score_gradient_radius(share, 0.0, size, weight, slope, hidden).sum()
    words = log_error(whole.size * 2.0**-53) ** 3 * size.sum()
    return Part(column_sum(whole), (rad + words + UNDERFLOW * len(less)) * INFLATE)


def column_sum(x: Array) -> Array:
    """The sum of all elements of an array, in words (3, 1, 1)."""
    words = [np.zeros((1, 1)) for _ in range(3)]
    loops.add_all(np.ascontiguousarray(x), *words)
    return np.stack(words)


def exponent_of(x: Array) -> int:
    """e with |x| < 2^e, of an array; slices of numbers below 2^LOWEST_EXPONENT would be subnormal."""
    largest = float(np.abs(x).max(initial=0.0))
    return max(LOWEST_EXPONENT, int(np.frexp(largest)[1])) if np.isfinite(largest) else 0
