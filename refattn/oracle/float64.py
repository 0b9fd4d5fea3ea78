"""Rung 1 of the ladder: attention in float64 with a proved radius, blockwise, in memory linear in the lengths.

Every bound below counts roundings to nearest (u = 2**-53) in any order of summation, so it holds for every BLAS, with
or without fused multiply-adds. NumPy's exp, log and tanh are taken to err by at most `FUNCTION_ULPS` ulps.
May import: numpy, refattn.roundoff, refattn.scores, refattn.spec, refattn.oracle.enclosure, .specials, .truth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refattn.oracle.enclosure import Enclosure
from refattn.oracle.truth import AttentionTruth
from refattn.roundoff import gamma
from refattn.scores import Block, blocks, dropout_keep, scale_of, scores_of
from refattn.spec import AttentionSpec, Shape, SoftmaxSpec

Array = NDArray[np.float64]

U = 2.0**-53
# NumPy documents below 1 ulp for its AVX512 loops and 4 ulps for the vector library behind the others; an ulp is 2u.
FUNCTION_ULPS = 4
FUNCTION_ERROR = FUNCTION_ULPS * 2 * U
# Whatever a float64 operation loses to underflow, flushed to zero or not, is less than this.
TINY = 2.0**-1020
# The radius is a sum and product of at most a hundred non-negative numbers: its own roundings are covered by this.
INFLATE = 1.0 + 2.0**-40
# Longest argument of exp whose result does not underflow; beyond it TINY takes over.
LONGEST = 746.0


def gamma64(n: float) -> float:
    """gamma_n of float64."""
    return gamma(n, U)


@dataclass(frozen=True, eq=False)
class Weights:
    """Unnormalised weights exp(score - maximum) of one block, with what is known of their errors.

    weights (r, n); maximum and total (r,): the shift and the row sum, the sink counted; score_error (r,): every
    computed score is within it of the exact one; common_error: relative error of a weight beyond its score's, for
    arguments near 0; `empty` marks the rows that see no key.
    """

    weights: Array
    maximum: Array
    total: Array
    score_error: Array
    common_error: float
    empty: NDArray[np.bool_]

    @property
    def numerator_error(self) -> Array:
        """rho with sum_j |p~_j - p_j| |v_j| <= rho * max|v| * sum_j p_j, for p relative to the same shift.

        A weight errs by the factor exp(t), |t| <= score_error + common_error + u x, where x is its distance from the
        maximum; the average of x under the weights is at most ln n by Gibbs' inequality.
        """
        base = self.score_error + self.common_error
        with np.errstate(over="ignore"):
            return np.asarray(np.expm1(base) + np.exp(base) * U * self._average_distance() * (1.0 + 1e-12))

    @property
    def total_error(self) -> Array:
        """Relative error of `total` as the sum of exp(exact score - computed maximum)."""
        with np.errstate(over="ignore"):
            return (1.0 + self.numerator_error) * (1.0 + gamma64(self.weights.shape[1] + 1)) - 1.0 + self.underflow

    @property
    def own_error(self) -> Array:
        """Relative error of `total` as the sum of exp(computed score - computed maximum)."""
        base = self.common_error
        rho = np.expm1(base) + np.exp(base) * U * self._average_distance() * (1.0 + 1e-12)
        total: Array = np.asarray((1.0 + rho) * (1.0 + gamma64(self.weights.shape[1] + 1)) - 1.0 + self.underflow)
        return total

    @property
    def underflow(self) -> float:
        """All that the weights can lose to underflow, relative to a row sum of at least 1/2."""
        return 2.0 * (float(self.weights.shape[1]) + 1.0) * TINY

    def _average_distance(self) -> float:
        return math.log(self.weights.shape[1] + 1) + 1e-9


def weights_of(block: Block, spec: AttentionSpec, scale: float) -> Weights:
    """Scores and weights of one block, in place."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        score_error = _score_error(block, spec, scale)
        scores = scores_of(block, spec, scale)
        maximum = scores.max(axis=1, initial=-np.inf)
        sink = spec.sinks[block.head] if spec.sinks is not None else -np.inf
        maximum = np.maximum(maximum, sink)
        empty = np.isneginf(maximum)
        maximum = np.where(empty, 0.0, maximum)
        scores -= maximum[:, None]
        weights = np.exp(scores, out=scores)
        total = weights.sum(axis=1) + np.exp(sink - maximum)
        no_key = np.full(len(maximum), block.key.shape[0] == 0)
        if block.visible is not None:
            no_key |= ~block.visible.any(axis=1)
    return Weights(weights, maximum, total, score_error, FUNCTION_ERROR * (1 + U), no_key)


def norms(rows: Array) -> Array:
    """Euclidean lengths of rows (n, d), to d + 4 roundings; no square under- or overflows."""
    largest = np.abs(rows).max(axis=1, initial=0.0)
    ratios = rows / np.where(largest > 0.0, largest, 1.0)[:, None]
    return np.asarray(largest * np.sqrt(np.einsum("ij,ij->i", ratios, ratios)))


def _score_error(block: Block, spec: AttentionSpec, scale: float) -> Array:
    """delta with |computed score - exact score| <= delta for every key of the row, by Cauchy-Schwarz."""
    rows, d = block.query.shape
    if block.key.shape[0] == 0:
        return np.zeros(rows)
    widest = norms(block.key).max()
    size = abs(scale) * norms(block.query) * widest * (1.0 + gamma64(2 * d + 12))
    delta = gamma64(d + 4) * size + d * TINY * (1.0 + widest)
    if spec.softcap is not None:
        delta = delta + (3 * U + FUNCTION_ERROR) * np.minimum(size, 2.0 * spec.softcap) + TINY
    if block.additive is not None:
        delta = delta + 5 * U * (size + block.additive_size) + TINY
    return np.asarray(delta * INFLATE)


def attention(q: Array, k: Array, v: Array, spec: AttentionSpec, shape: Shape) -> AttentionTruth:
    """Output (B, H, Nq, Dv) and log-sum-exp (B, H, Nq) of finite float64 arrays; rad is inf where nothing is proved."""
    scale = scale_of(spec, shape.d_qk)
    out = np.zeros((shape.batch, shape.heads, shape.queries, shape.d_v))
    out_radius = np.zeros_like(out)
    lse = np.full(out.shape[:3], -np.inf)
    lse_radius = np.zeros_like(lse)
    for block in blocks(q, k, spec, shape):
        place = (block.batch, block.head, block.rows)
        found = weights_of(block, spec, scale)
        with np.errstate(over="ignore", invalid="ignore", under="ignore", divide="ignore"):
            out[place], out_radius[place] = _output(block, found, v[block.batch, block.kv_head, block.keys], spec)
            lse[place], lse_radius[place] = _log_sum_exp(found, spec)
    return AttentionTruth(Enclosure(out, _proved(out, out_radius)), Enclosure(lse, _proved_lse(lse, lse_radius)))


def _output(block: Block, found: Weights, value: Array, spec: AttentionSpec) -> tuple[Array, Array]:
    n = value.shape[0]
    weights, gain = found.weights, 1.0
    if spec.keep is not None:
        weights = weights * dropout_keep(block, spec)
        gain = 1.0 / (1.0 - spec.dropout)
    out = weights @ value
    out *= (gain / found.total)[:, None]
    largest = np.abs(value).max(axis=0, initial=0.0) * gain
    numerator = (1.0 + found.numerator_error) * (1.0 + gamma64(n + 8)) - 1.0 + found.underflow
    relative = _quotient(numerator, found.total_error)
    radius = (relative[:, None] + 4 * U) * largest * INFLATE + (n + 2) * TINY * (1.0 + largest)
    if found.empty.any():
        out[found.empty] = 0.0 if spec.empty_rows == "zero" else np.nan
        radius[found.empty] = 0.0
    return out, radius


def _quotient(numerator: Array, denominator: Array) -> Array:
    """Bound of |N'/L' - N/L| / max|v| when N errs by `numerator` max|v| L and L by `denominator` L."""
    return np.where(denominator < 0.5, (numerator + denominator) / (1.0 - denominator), np.inf)


def _log_sum_exp(found: Weights, spec: AttentionSpec) -> tuple[Array, Array]:
    logarithm = np.log(found.total)
    lse = found.maximum + logarithm
    own = np.where(found.own_error < 0.5, -np.log1p(-np.minimum(found.own_error, 0.5)), np.inf)
    radius = (found.score_error + own + FUNCTION_ERROR * np.abs(logarithm) + 2 * U * np.abs(lse)) * INFLATE + TINY
    if spec.sinks is None and found.empty.any():
        lse[found.empty] = -np.inf
        radius[found.empty] = 0.0
    return lse, radius


def _proved(mid: Array, radius: Array) -> Array:
    """inf where the computation overflowed: then nothing is known (an empty row's NaN keeps its radius 0)."""
    return np.where(np.isfinite(mid) | (radius == 0.0), np.where(np.isnan(radius), np.inf, radius), np.inf)


def _proved_lse(mid: Array, radius: Array) -> Array:
    return np.where(
        np.isfinite(mid) | (np.isneginf(mid) & (radius == 0.0)), np.where(np.isnan(radius), np.inf, radius), np.inf
    )


def softmax(x: Array, spec: SoftmaxSpec) -> Enclosure:
    """softmax, log_softmax or logsumexp of a float64 array without NaN or +inf; -inf is an entry of weight zero."""
    rows = np.moveaxis(x, spec.axis, -1)
    n = rows.shape[-1]
    with np.errstate(over="ignore", invalid="ignore", under="ignore", divide="ignore"):
        maximum = rows.max(axis=-1, keepdims=True, initial=-np.inf)
        empty = np.isneginf(maximum)
        shift = np.where(empty, 0.0, maximum)
        distance = rows - shift
        weights = np.exp(distance)
        total = weights.sum(axis=-1, keepdims=True)
        underflow = 2.0 * (n + 1) * TINY
        spread = np.expm1(FUNCTION_ERROR) + 2 * U * (np.log(n + 1.0) + 1e-9)
        total_error = (1.0 + spread) * (1.0 + gamma64(n + 1)) - 1.0 + underflow
        logarithm = np.log(total)
        log_error = -np.log1p(-total_error) + FUNCTION_ERROR * np.abs(logarithm)
        if spec.kind == "logsumexp":
            mid = (shift + logarithm)[..., 0]
            radius = (log_error + 2 * U * np.abs(shift + logarithm))[..., 0] * INFLATE + TINY
            blank = np.broadcast_to(empty[..., 0], mid.shape)
            return Enclosure(np.where(blank, -np.inf, mid), np.where(blank, 0.0, radius))
        if spec.kind == "log_softmax":
            mid = distance - logarithm
            radius = (log_error + 2 * U * (np.abs(distance) + np.abs(mid))) * INFLATE + TINY
            radius = np.where(np.isneginf(rows), 0.0, radius)
        else:
            mid = weights / total
            reach = np.minimum(np.abs(distance), LONGEST)
            relative = (
                np.expm1(FUNCTION_ERROR + U * reach) + total_error * (1.0 + total_error) / (1.0 - total_error) * 2
            )
            radius = mid * (relative + 4 * U) * INFLATE + np.where(np.isneginf(rows), 0.0, 2 * TINY)
        nothing = np.broadcast_to(empty, mid.shape)
        blank_value = np.nan if spec.empty_rows == "nan" else (0.0 if spec.kind == "softmax" else -np.inf)
        mid = np.where(nothing, blank_value, mid)
        radius = np.where(nothing, 0.0, np.where(np.isnan(radius), np.inf, radius))
    return Enclosure(np.moveaxis(mid, -1, spec.axis), np.moveaxis(radius, -1, spec.axis))
