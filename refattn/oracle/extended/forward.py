"""Rung 2 of the ladder: attention to some 100 bits, at a few times the price of float64, with a proved radius.

Products of slices are exact in float64 (refattn.oracle.extended.slices). Three things err: the exponential
(refattn.oracle.extended.words), the remainder that slices leave out, and the last word of sums and products of three
words.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
from mpmath import mp, mpf
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from refattn.contract.scores import Block, blocks, dropout_keep, head_of
from refattn.contract.spec import AttentionSpec, Shape
from refattn.contract.visibility import Bools, Visibility, block_of
from refattn.oracle.enclosure import Enclosure
from refattn.oracle.extended import loops
from refattn.oracle.extended.radii import lse_radius, output_radius, weight_radius
from refattn.oracle.extended.slices import Sliced, bits_for, dropped, enough_levels, levels
from refattn.oracle.extended.weighted_sums import Values, sums_over_keys
from refattn.oracle.extended.words import EXPONENTIAL_ERROR, LOGARITHM_ERROR, LOWEST_ARGUMENT, words_of
from refattn.oracle.truth import AttentionTruth

Array = NDArray[np.float64]
Result = TypeVar("Result")

# Wanted bits of a sum of weights times values, relative to the largest of both.
WANTED_BITS = 104
# Wanted error of a score, which is a relative error of its weight.
WANTED_SCORE = 2.0**-108
# Exponents of inputs are at most this in size, so that no product of slices over- or underflows.
LARGEST_EXPONENT = 300
# A row's largest score is its shift to within its second word, of at most 2^-37 here: no weight's first slice, of at
# most PRODUCT_BITS - FEWEST_BITS bits, is more than 1.
LARGEST_SHIFT = 2.0**16
LARGEST_WEIGHT_ERROR = 2.0**-60
# Queries in a block, and keys whose levels are held at once.
ROWS = 256
HELD = 2048
# 256 u^3 of the largest operand: a score errs by twice 64 u^3 (theorem score_near), a product of three words by 56
# (theorem products_near), a sum by 3.02 for each term (theorem add_words_error).
WORDS_ERROR = 2.0**-151
# Of a result in two words, relative to it (theorem quotient_near).
LAST_ROUNDING = 2.0**-105
# A weight below exp(LOWEST_ARGUMENT) is taken for 0.
NEGLIGIBLE = math.exp(LOWEST_ARGUMENT) * 1.001
# Covers the radius's own roundings: fewer than a hundred products and sums of non-negative numbers in float64.
INFLATE = 1.0 + 2.0**-40


@dataclass(frozen=True, eq=False)
class Problem:
    """The data that all blocks of a problem share: queries, keys and values in slices, by head."""

    spec: AttentionSpec
    shape: Shape
    visibility: Visibility
    queries: dict[tuple[int, int], Sliced]
    keys: dict[tuple[int, int], Sliced]
    values: dict[tuple[int, int], Values]
    scale: Array
    kept_share: Array
    gain: Array

    @classmethod
    def of(cls, q: Array, k: Array, v: Array, spec: AttentionSpec, shape: Shape) -> Problem:
        """The problem of finite float64 arrays."""
        bits = bits_for(shape.d_qk)
        wanted = WANTED_BITS + max(1, shape.keys).bit_length()
        return cls(
            spec,
            shape,
            Visibility.of(spec, shape),
            {place: Sliced.of(q[place], bits) for place in np.ndindex(*q.shape[:2])},
            {place: Sliced.of(k[place], bits) for place in np.ndindex(*k.shape[:2])},
            {place: Values.of(v[place], wanted) for place in np.ndindex(*v.shape[:2])},
            scale_words(spec, shape.d_qk),
            *dropout_words(spec),
        )


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores of a block as three words (r, n), -inf where invisible; |computed - exact| <= error (r,)."""

    words: tuple[Array, Array, Array]
    error: Array


def scale_words(spec: AttentionSpec, d_qk: int) -> Array:
    """The spec's scale in three words, to a relative error of 2^-158."""
    with mp.workprec(400):
        return np.array(words_of(mpf(float(spec.scale)) if spec.scale is not None else 1 / mp.sqrt(d_qk), 3))


def dropout_words(spec: AttentionSpec) -> tuple[Array, Array]:
    """1 - dropout, exactly in two words, and its reciprocal in three, to a relative error of 2^-159."""
    with mp.workprec(400):
        share = 1 - mpf(float(spec.dropout))
        return np.array(words_of(share, 2)), np.array(words_of(1 / share, 3))


def obstacle(
    q: Array, k: Array, v: Array, spec: AttentionSpec, *, do: Array | None = None, dlse: Array | None = None
) -> str | None:
    """Why this rung cannot take a problem of finite float64 arrays, in a sentence; None if it can."""
    if spec.softcap is not None:
        return "spec has softcap: expected none of it, as no hyperbolic tangent has enough bits"
    scale = np.array(1.0 if spec.scale is None else spec.scale)
    slopes = np.zeros(1) if spec.alibi_slopes is None else spec.alibi_slopes
    bias = np.zeros(1) if spec.bias is None else np.where(np.isneginf(spec.bias), 0.0, spec.bias)
    named = {"q": q, "k": k, "v": v, "do": do, "dlse": dlse, "scale": scale, "alibi_slopes": slopes, "bias": bias}
    for name, array in named.items():
        if array is None:
            continue
        size = np.abs(array)
        smallest = size.min(initial=1.0, where=size > 0)
        if size.max(initial=0.0) > 2.0**LARGEST_EXPONENT or smallest < 2.0**-LARGEST_EXPONENT:
            return (
                f"{name} holds {smallest if smallest < 2.0**-LARGEST_EXPONENT else size.max()}: expected 0 and numbers "
                f"from 2^-{LARGEST_EXPONENT} to 2^{LARGEST_EXPONENT}, of which no product of slices is subnormal"
            )
    return None


def attention(
    q: Array, k: Array, v: Array, spec: AttentionSpec, shape: Shape, *, wanted: Bools | None = None
) -> AttentionTruth:
    """Output (B, H, Nq, Dv) and log-sum-exp (B, H, Nq) of finite float64 arrays to which there is no `obstacle`.

    rad is inf where nothing is proved: where scores are beyond LARGEST_SHIFT, and in blocks of rows of which none is
    `wanted` (B, H, Nq); None wants all.
    """
    problem = Problem.of(q, k, v, spec, shape)
    size = (shape.batch, shape.heads, shape.queries)
    out, out_low, out_radius = (np.full((*size, shape.d_v), x) for x in (0.0, 0.0, np.inf))
    lse, lse_low, lse_radius = (np.full(size, x) for x in (0.0, 0.0, np.inf))

    def run(block: Block) -> None:
        place = (block.batch, block.head, block.rows)
        if wanted is not None and not wanted[place].any():
            return
        results = rows_of(block, weights_of(block, problem), problem)
        for targets, parts in (((out, out_low, out_radius), results.out), ((lse, lse_low, lse_radius), results.lse)):
            for target, part in zip(targets, parts, strict=True):
                target[place] = part

    for _ in in_threads(run, blocks(q, k, spec, shape, ROWS * max(1, shape.keys))):
        pass
    return AttentionTruth(Enclosure(out, out_radius, out_low), Enclosure(lse, lse_radius, lse_low))


def in_threads(run: Callable[[Block], Result], items: Iterator[Block]) -> Iterator[Result]:
    """The results for each block, in order; a few blocks at a time, as each holds its visible pairs."""
    threads = os.cpu_count() or 1
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(threads) as pool:
        while batch := list(islice(items, 2 * threads)):
            yield from pool.map(run, batch)


@dataclass(frozen=True, eq=False)
class Terms:
    """Terms added to scores: a bias (r, n) or None, and -slope times a distance (r, n) or None; at most `size`."""

    bias: Array | None = None
    slope: float = 0.0
    distance: NDArray[np.int64] | None = None
    size: float = 0.0


NO_TERMS = Terms()
ONE = np.array([1.0, 0.0, 0.0])


def terms_of(block: Block, problem: Problem) -> Terms:
    """The terms of one block; 0 where the bias hides a key."""
    spec, shape = problem.spec, problem.shape
    rows = block.query.shape[0]
    bias = distance = None
    slope = size = 0.0
    if spec.bias is not None:
        whole = head_of(block_of(spec.bias, block.rows), block.batch, block.head)
        bias = np.broadcast_to(whole, (rows, shape.keys))[:, block.keys]
        bias = np.where(np.isneginf(bias), 0.0, bias)
        size = float(np.abs(bias).max(initial=0.0))
    if spec.alibi_slopes is not None:
        slope = float(np.broadcast_to(spec.alibi_slopes, (shape.batch, shape.heads))[block.batch, block.head])
        distance = head_of(problem.visibility.distance(block.rows), block.batch, block.head)[:, block.keys]
        distance = np.ascontiguousarray(distance)
        size += abs(slope) * float(distance.max(initial=0))
    return Terms(bias, slope, distance, size)


def products_of(
    rows: Sliced, others: Sliced, factor: Array, wanted: float, terms: Terms = NO_TERMS, visible: Bools | None = None
) -> Scores:
    """factor * rows (r, d) times others (n, d) transposed, plus terms, -inf where invisible; factor is in three words.

    The error is at most `wanted` if the slices hold enough bits.
    """
    r, n = len(rows.exponent), len(others.exponent)
    words = (np.empty((r, n)), np.empty((r, n)), np.empty((r, n)))
    widest = int(others.exponent.max(initial=-LARGEST_EXPONENT))
    size = rows.columns * abs(factor[0]) * np.ldexp(1.0, rows.exponent + widest)
    number = enough_levels(rows, others, wanted / max(size.max(initial=0.0), wanted))
    if visible is not None:
        visible = np.ascontiguousarray(visible)
    for start in range(0, n, HELD):
        sums = np.empty((number, r, min(HELD, n - start)))
        levels(rows, others[start : start + HELD], sums)
        loops.score_words(sums, start, factor, terms.bias, terms.slope, terms.distance, visible, *words)
    left_out = dropped(rows, others, number)
    return Scores(words, (size * (left_out + WORDS_ERROR) + terms.size * WORDS_ERROR) * INFLATE)


def scores_of(block: Block, problem: Problem) -> Scores:
    """The scores of one block."""
    queries = problem.queries[block.batch, block.head][block.rows]
    keys = problem.keys[block.batch, block.kv_head][block.keys]
    return products_of(queries, keys, problem.scale, WANTED_SCORE, terms_of(block, problem), block.visible)


@dataclass(frozen=True, eq=False)
class Weights:
    """Weights exp(score - shift) of a block as two words (r, n), 0 where invisible.

    shift (r,); sink (r, 2): the sink's weight in two words, 0 without one; error (r,): log-error of a weight, infinite
    where nothing is proved; nonempty (r,): False for a row that sees no key.
    """

    words: tuple[Array, Array]
    shift: Array
    sink: Array
    error: Array
    nonempty: NDArray[np.bool_]


def weights_of(block: Block, problem: Problem) -> Weights:
    """The weights of one block."""
    scores = scores_of(block, problem)
    rows, n = scores.words[0].shape
    sink = -np.inf if problem.spec.sinks is None else float(problem.spec.sinks[block.head])
    maximum = np.maximum(scores.words[0].max(axis=1, initial=-np.inf), sink)
    shift = np.where(np.isneginf(maximum), 0.0, maximum)
    one, two = np.empty((rows, n)), np.empty((rows, n))
    loops.weight_words(*scores.words, shift, one, two)
    weight = np.zeros((2, rows, 1))
    if not math.isinf(sink):
        zeros = np.zeros((rows, 1))
        loops.weight_words(np.full((rows, 1), sink), zeros, zeros, shift, weight[0], weight[1])
    with np.errstate(over="ignore", invalid="ignore"):
        error = weight_radius(scores.error + np.abs(shift) * WORDS_ERROR, EXPONENTIAL_ERROR) * INFLATE
    error = np.where((error <= LARGEST_WEIGHT_ERROR) & (np.abs(shift) <= LARGEST_SHIFT), error, np.inf)
    nonempty = np.full(rows, n > 0) if block.visible is None else block.visible.any(axis=1)
    return Weights((one, two), shift, weight[:, :, 0].T, error, nonempty)


@dataclass(frozen=True, eq=False)
class Rows:
    """The results of a block: out (r, Dv) and lse (r,) as two words and a radius.

    total (r, 3): the normaliser in words, 1 for a row without weights; lost (r,): its relative error beyond that of its
    weights.
    """

    out: tuple[Array, Array, Array]
    lse: tuple[Array, Array, Array]
    total: Array
    lost: Array


def rows_of(block: Block, weights: Weights, problem: Problem) -> Rows:
    """Output and log-sum-exp of one block."""
    spec = problem.spec
    values = problem.values[block.batch, block.kv_head]
    rows, n = weights.words[0].shape
    keep = None if spec.keep is None else dropout_keep(block, spec)
    sums = sums_over_keys(weights.words, values, block.keys, keep=keep)
    total = sums.total
    if weights.sink.any():
        total = words_sum([total, weights.sink])
    total[total[:, 0] == 0.0] = 1.0, 0.0, 0.0
    divisor = total if spec.keep is None else words_product(total, problem.kept_share)
    out, low = np.empty((rows, values.columns)), np.empty((rows, values.columns))
    loops.quotients(*sums.values, divisor, out, low)
    lse, lse_low = np.empty(rows), np.empty(rows)
    loops.logarithms(total, np.log(total[:, 0]), weights.shift, lse, lse_low)
    with np.errstate(over="ignore", invalid="ignore"):
        lost = (n * (values.lost + NEGLIGIBLE) / total[:, 0] + WORDS_ERROR) * INFLATE
        # The words of the products err relative to the whole total, of which the divisor may be a small share.
        share = total[:, 0] / divisor[:, 0]
        left_out = n * (values.left_out + NEGLIGIBLE) / divisor[:, 0] + WORDS_ERROR * share
        doubt = lost if spec.keep is None else lost + WORDS_ERROR
        mean = sums.sizes / divisor[:, :1]
        radius = output_radius(
            weights.error[:, None],
            doubt[:, None],
            mean,
            left_out[:, None] * values.size,
            LAST_ROUNDING * np.abs(out),
        )
        radius = radius * INFLATE
        last = LAST_ROUNDING * (1.0 + np.abs(lse))
        lse_radii = lse_radius(weights.error, lost, LOGARITHM_ERROR, last) * INFLATE
    unknown = np.isinf(weights.error) | ~(lost < LARGEST_WEIGHT_ERROR)
    radius[unknown], lse_radii[unknown] = np.inf, np.inf
    none = ~weights.nonempty
    out[none], low[none], radius[none] = (0.0 if spec.empty_rows == "zero" else np.nan), 0.0, 0.0
    sink = -np.inf if spec.sinks is None else float(spec.sinks[block.head])
    lse[none], lse_low[none], lse_radii[none] = sink, 0.0, 0.0
    return Rows((out, low, radius), (lse, lse_low, lse_radii), total, lost)


def words_sum(terms: list[Array]) -> Array:
    """Sums (r, 3) of numbers in words (r, any)."""
    words = [np.zeros((len(terms[0]), 1)) for _ in range(3)]
    for term in terms:
        for place in reversed(range(term.shape[1])):
            loops.add_words(np.ascontiguousarray(term[:, place : place + 1]), *words)
    return np.concatenate(words, axis=1)


def words_product(x: Array, factor: Array) -> Array:
    """Numbers (r, 3) in words times one factor in words."""
    one, two = np.empty(x.shape), np.empty(x.shape)
    terms = []
    for word in factor:
        loops.products(np.ascontiguousarray(x), word, one, two)
        terms += [two.copy(), one.copy()]
    return words_sum(terms[::-1])
