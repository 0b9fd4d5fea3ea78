"""Rung 1 of the ladder: attention in float64 with a proved radius, blockwise, in memory linear in the lengths.

The same code takes NumPy arrays and torch tensors, which stay on their device, in blocks that suit it; results are
NumPy's. Every bound below counts roundings to nearest (u = 2**-53) in any order of summation.
refattn.oracle.float64.platform says what this assumes of a library and a device, and checks it before first use: exp,
log and tanh err by at most 4 ulps, or by more where it has measured more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refattn.contract.scores import Block, blocks, dropout_keep, largest, scale_of, scores_of
from refattn.contract.spec import AttentionSpec, Shape, SoftmaxSpec
from refattn.numbers.arrays import device, namespace, to_numpy
from refattn.numbers.roundoff import compound, gamma
from refattn.oracle.enclosure import Enclosure
from refattn.oracle.float64.platform import function_error
from refattn.oracle.truth import AttentionTruth

# float64 or booleans, of NumPy or torch.
Array = Any

U = 2.0**-53
# A float64 operation loses less than this to underflow, flushed to zero or not.
TINY = 2.0**-1020
# Covers the radius's own roundings: at most a hundred sums and products of non-negative numbers.
INFLATE = 1.0 + 2.0**-40
# exp of a larger negative argument underflows: TINY covers it.
LONGEST = 746.0


def gamma64(n: float) -> float:
    """gamma_n of float64."""
    return gamma(n, U)


@dataclass(frozen=True, eq=False)
class Weights:
    """Unnormalised weights exp(score - maximum) of one block, with bounds of their errors.

    weights (r, n); maximum and total (r,): the shift and the row sum, with the sink; score_error (r,): bound of the
    error of the row's scores; function_error: relative error of exp, log and tanh; `empty` marks the rows that see no
    key.
    """

    weights: Array
    maximum: Array
    total: Array
    score_error: Array
    function_error: float
    empty: Array

    @property
    def common_error(self) -> float:
        """Relative error of a weight beyond its score's, for arguments near 0."""
        return self.function_error * (1 + U)

    @property
    def numerator_error(self) -> Array:
        """rho with sum_j |p~_j - p_j| |v_j| <= rho * max|v| * sum_j p_j, for p relative to the same shift.

        A weight errs by the factor exp(t), |t| <= score_error + common_error + u x, where x is its distance from the
        maximum; the average of x under the weights is at most ln n by Gibbs' inequality.
        """
        xp = namespace(self.weights)
        base = self.score_error + self.common_error
        with np.errstate(over="ignore"):
            return xp.expm1(base) + xp.exp(base) * U * self._average_distance() * (1.0 + 1e-12)

    @property
    def total_error(self) -> Array:
        """Relative error of `total` as the sum of exp(exact score - computed maximum)."""
        with np.errstate(over="ignore"):
            return compound(self.numerator_error, gamma64(self.weights.shape[1] + 1)) + self.underflow

    @property
    def own_error(self) -> float:
        """Relative error of `total` as the sum of exp(computed score - computed maximum)."""
        base = self.common_error
        rho = math.expm1(base) + math.exp(base) * U * self._average_distance() * (1.0 + 1e-12)
        return float(compound(rho, gamma64(self.weights.shape[1] + 1)) + self.underflow)

    @property
    def underflow(self) -> float:
        """Most that the weights can lose to underflow, relative to a row sum of at least 1/2."""
        return 2.0 * (float(self.weights.shape[1]) + 1.0) * TINY

    def _average_distance(self) -> float:
        return math.log(self.weights.shape[1] + 1) + 1e-9


def weights_of(block: Block, spec: AttentionSpec, scale: float, function_error: float) -> Weights:
    """Scores and weights of one block, in place."""
    xp = namespace(block.query)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        score_error = _score_error(block, spec, scale, function_error)
        scores = scores_of(block, spec, scale)
        sink = float(spec.sinks[block.head]) if spec.sinks is not None else -math.inf
        maximum = largest(scores, -math.inf)
        maximum = maximum if sink == -math.inf else xp.clip(maximum, min=sink)
        maximum = xp.where(maximum == -math.inf, 0.0, maximum)
        scores -= maximum[:, None]
        weights = xp.exp(scores, out=scores)
        total = xp.sum(weights, axis=1) + xp.exp(sink - maximum)
        if block.visible is None:
            empty = xp.full(maximum.shape, block.key.shape[0] == 0, dtype=xp.bool, device=device(maximum))
        else:
            empty = ~xp.any(block.visible, axis=1)
    return Weights(weights, maximum, total, score_error, function_error, empty)


def norms(rows: Array) -> Array:
    """Euclidean lengths of rows (n, d), to d + 4 roundings; no square under- or overflows."""
    xp = namespace(rows)
    widest = largest(xp.abs(rows), 0.0)
    ratios = rows / xp.where(widest > 0.0, widest, 1.0)[:, None]
    return widest * xp.sqrt(xp.vecdot(ratios, ratios))


def _score_error(block: Block, spec: AttentionSpec, scale: float, function_error: float) -> Array:
    """delta with |computed score - exact score| <= delta for every key of the row, by Cauchy-Schwarz."""
    xp = namespace(block.query)
    rows, d = block.query.shape
    if block.key.shape[0] == 0:
        return xp.zeros(rows, dtype=xp.float64, device=device(block.query))
    widest = float(xp.max(norms(block.key)))
    size = abs(scale) * norms(block.query) * widest * (1.0 + gamma64(2 * d + 12))
    delta = gamma64(d + 4) * size + d * TINY * (1.0 + widest)
    if spec.softcap is not None:
        delta = delta + (3 * U + function_error) * xp.clip(size, max=2.0 * spec.softcap) + TINY
    if block.additive is not None:
        delta = delta + 5 * U * (size + block.additive_size) + TINY
    return delta * INFLATE


def attention(q: Array, k: Array, v: Array, spec: AttentionSpec, shape: Shape) -> AttentionTruth:
    """Output (B, H, Nq, Dv) and log-sum-exp (B, H, Nq) of finite float64 arrays of one library and device, in NumPy.

    rad is inf where nothing is proved. Raises PlatformError where the library cannot be relied on.
    """
    scale, exp_error = scale_of(spec, shape.d_qk), function_error(q)
    out, out_radius = (zeros((shape.batch, shape.heads, shape.queries, shape.d_v), q) for _ in range(2))
    lse, lse_radius = (zeros(out.shape[:3], q) for _ in range(2))
    for block in blocks(q, k, spec, shape):
        place = (block.batch, block.head, block.rows)
        weights = weights_of(block, spec, scale, exp_error)
        with np.errstate(over="ignore", invalid="ignore", under="ignore", divide="ignore"):
            out[place], out_radius[place] = _output(block, weights, v[block.batch, block.kv_head, block.keys], spec)
            lse[place], lse_radius[place] = _log_sum_exp(weights, spec)
    out, out_radius, lse, lse_radius = map(to_numpy, (out, out_radius, lse, lse_radius))
    return AttentionTruth(Enclosure(out, _proved(out, out_radius)), Enclosure(lse, _proved_lse(lse, lse_radius)))


def zeros(shape: tuple[int, ...], model: Array) -> Array:
    """Zeros in the library and on the device of `model`."""
    xp = namespace(model)
    return xp.zeros(shape, dtype=xp.float64, device=device(model))


def _output(block: Block, weights: Weights, value: Array, spec: AttentionSpec) -> tuple[Array, Array]:
    xp = namespace(value)
    n = value.shape[0]
    factors, gain = weights.weights, 1.0
    if spec.keep is not None:
        factors = factors * dropout_keep(block, spec)
        gain = 1.0 / (1.0 - spec.dropout)
    out = xp.matmul(factors, value)
    out *= (gain / weights.total)[:, None]
    widest = largest(xp.abs(value), 0.0, axis=0) * gain
    numerator = compound(weights.numerator_error, gamma64(n + 8)) + weights.underflow
    relative = _quotient(numerator, weights.total_error)
    radius = (relative[:, None] + 4 * U) * widest * INFLATE + (n + 2) * TINY * (1.0 + widest)
    if xp.any(weights.empty):
        out[weights.empty] = 0.0 if spec.empty_rows == "zero" else math.nan
        radius[weights.empty] = 0.0
    return out, radius


def _quotient(numerator: Array, denominator: Array) -> Array:
    """Bound of |N'/L' - N/L| / max|v| when N errs by `numerator` max|v| L and L by `denominator` L."""
    return namespace(numerator).where(denominator < 0.5, (numerator + denominator) / (1.0 - denominator), math.inf)


def _log_sum_exp(weights: Weights, spec: AttentionSpec) -> tuple[Array, Array]:
    xp = namespace(weights.total)
    logarithm = xp.log(weights.total)
    lse = weights.maximum + logarithm
    own = -math.log1p(-weights.own_error) if weights.own_error < 0.5 else math.inf
    radius = (
        weights.score_error + own + weights.function_error * xp.abs(logarithm) + 2 * U * xp.abs(lse)
    ) * INFLATE + TINY
    if spec.sinks is None and xp.any(weights.empty):
        lse[weights.empty] = -math.inf
        radius[weights.empty] = 0.0
    return lse, radius


def _proved(mid: NDArray[np.float64], radius: NDArray[np.float64]) -> NDArray[np.float64]:
    """inf where the computation overflowed: then nothing is known (an empty row's NaN keeps its radius 0)."""
    return np.where(np.isfinite(mid) | (radius == 0.0), np.where(np.isnan(radius), np.inf, radius), np.inf)


def _proved_lse(mid: NDArray[np.float64], radius: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(
        np.isfinite(mid) | (np.isneginf(mid) & (radius == 0.0)), np.where(np.isnan(radius), np.inf, radius), np.inf
    )


def softmax(x: Array, spec: SoftmaxSpec) -> Enclosure:
    """softmax, log_softmax or logsumexp of a float64 array without NaN or +inf; -inf is an entry of weight zero.

    The result is NumPy's. Raises PlatformError where the library cannot be relied on.
    """
    xp, exp_error = namespace(x), function_error(x)
    rows = xp.moveaxis(x, spec.axis, -1)
    n = rows.shape[-1]
    with np.errstate(over="ignore", invalid="ignore", under="ignore", divide="ignore"):
        maximum = xp.reshape(
            largest(xp.reshape(rows, (math.prod(rows.shape[:-1]), n)), -math.inf), (*rows.shape[:-1], 1)
        )
        empty = maximum == -math.inf
        shift = xp.where(empty, 0.0, maximum)
        distance = rows - shift
        weights = xp.exp(distance)
        total = xp.sum(weights, axis=-1, keepdims=True)
        underflow = 2.0 * (n + 1) * TINY
        spread = math.expm1(exp_error) + 2 * U * (math.log(n + 1.0) + 1e-9)
        total_error = compound(spread, gamma64(n + 1)) + underflow
        logarithm = xp.log(total)
        log_error = -math.log1p(-total_error) + exp_error * xp.abs(logarithm)
        if spec.kind == "logsumexp":
            mid = (shift + logarithm)[..., 0]
            radius = (log_error + 2 * U * xp.abs(shift + logarithm))[..., 0] * INFLATE + TINY
            blank = empty[..., 0]
            return _enclosure(xp.where(blank, -math.inf, mid), xp.where(blank, 0.0, radius))
        if spec.kind == "log_softmax":
            mid = distance - logarithm
            radius = (log_error + 2 * U * (xp.abs(distance) + xp.abs(mid))) * INFLATE + TINY
            radius = xp.where(rows == -math.inf, 0.0, radius)
        else:
            mid = weights / total
            reach = xp.clip(xp.abs(distance), max=LONGEST)
            relative = xp.expm1(exp_error + U * reach) + total_error * (1.0 + total_error) / (1.0 - total_error) * 2
            radius = mid * (relative + 4 * U) * INFLATE + 2 * TINY * xp.astype(rows != -math.inf, xp.float64)
        blank_value = math.nan if spec.empty_rows == "nan" else (0.0 if spec.kind == "softmax" else -math.inf)
        mid = xp.where(empty, blank_value, mid)
        radius = xp.where(empty, 0.0, xp.where(xp.isnan(radius), math.inf, radius))
    return _enclosure(xp.moveaxis(mid, -1, spec.axis), xp.moveaxis(radius, -1, spec.axis))


def _enclosure(mid: Array, radius: Array) -> Enclosure:
    return Enclosure(to_numpy(mid), to_numpy(radius))
