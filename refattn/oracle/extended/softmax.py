"""Rung 2 of the ladder for softmax: some 100 bits of every element, with a proved radius."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from refattn.contract.spec import SoftmaxSpec
from refattn.oracle.enclosure import Enclosure
from refattn.oracle.extended import loops
from refattn.oracle.extended.forward import INFLATE, LAST_ROUNDING, NEGLIGIBLE, WORDS_ERROR, words_sum
from refattn.oracle.extended.radii import lse_radius, share_radius, weight_radius
from refattn.oracle.extended.weighted_sums import SECOND_WORD
from refattn.oracle.extended.words import EXPONENTIAL_ERROR, LOGARITHM_ERROR

Array = NDArray[np.float64]

# Slices of the weights of a row: sums of up to 2^27 of them are exact.
BITS = 26
SLICES = 5
# The rest that they leave of a weight (theorem cut_near).
LEFT = SECOND_WORD * 2.0 ** (-BITS * SLICES - 1)
# Log-error of a weight, whose score is exact.
WEIGHT_ERROR = weight_radius(0.0, EXPONENTIAL_ERROR)
# Elements of rows that are taken together.
HELD = 1 << 18


def extended_softmax(x: Array, spec: SoftmaxSpec) -> Enclosure:
    """softmax, log_softmax or logsumexp of a float64 array without NaN or +inf; -inf is an entry of weight zero."""
    moved = np.moveaxis(x, spec.axis, -1)
    rows = np.ascontiguousarray(moved).reshape(-1, moved.shape[-1])
    n = rows.shape[1]
    shape = (len(rows),) if spec.kind == "logsumexp" else rows.shape
    mid, low, rad = np.empty(shape), np.empty(shape), np.empty(shape)
    step = max(1, HELD // max(1, n))
    for start in range(0, len(rows), step):
        chunk = slice(start, start + step)
        mid[chunk], low[chunk], rad[chunk] = _rows(rows[chunk], spec)
    if spec.kind == "logsumexp":
        final = moved.shape[:-1]
        return Enclosure(mid.reshape(final), rad.reshape(final), low.reshape(final))
    mid, rad, low = (np.moveaxis(part.reshape(moved.shape), -1, spec.axis) for part in (mid, rad, low))
    return Enclosure(mid, rad, low)


def _rows(x: Array, spec: SoftmaxSpec) -> tuple[Array, Array, Array]:
    """mid, low and rad of rows (r, n)."""
    rows, n = x.shape
    maximum = x.max(axis=1, initial=-np.inf)
    empty = np.isneginf(maximum)
    shift = np.where(empty, 0.0, maximum)
    zeros = np.zeros((rows, n))
    one, two = np.empty((rows, n)), np.empty((rows, n))
    loops.weight_words(x, zeros, zeros, shift, one, two)
    total = _total(one, two)
    total[empty] = 1.0, 0.0, 0.0
    lost = (n * (LEFT + NEGLIGIBLE) / total[:, 0] + WORDS_ERROR) * INFLATE
    if spec.kind == "softmax":
        mid, low = np.empty((rows, n)), np.empty((rows, n))
        loops.quotients(one, two, zeros, total, mid, low)
        rad = share_radius(WEIGHT_ERROR, lost[:, None], mid, LAST_ROUNDING * mid, NEGLIGIBLE) * INFLATE
        return _filled(mid, low, np.where(np.isneginf(x), 0.0, rad), empty, 0.0, spec)
    lse, lse_low = np.empty(rows), np.empty(rows)
    loops.logarithms(total, np.log(total[:, 0]), shift, lse, lse_low)
    error = lse_radius(WEIGHT_ERROR, lost, LOGARITHM_ERROR, LAST_ROUNDING * (1.0 + np.abs(lse))) * INFLATE
    if spec.kind == "logsumexp":
        lse[empty], lse_low[empty], error[empty] = -np.inf, 0.0, 0.0
        return lse, lse_low, error
    mid, low = np.empty((rows, n)), np.empty((rows, n))
    loops.differences(x, lse, lse_low, mid, low)
    rad = (error[:, None] + LAST_ROUNDING * np.abs(mid)) * INFLATE
    gone = np.isneginf(x)
    mid[gone], low[gone], rad[gone] = -np.inf, 0.0, 0.0
    return _filled(mid, low, rad, empty, -np.inf, spec)


def _total(one: Array, two: Array) -> Array:
    """Sums (r, 3) of weights of two words (r, n)."""
    parts = np.empty((SLICES, *one.shape))
    loops.slice_words(one, two, 0, 0, BITS, parts)
    return words_sum([part.sum(axis=1, keepdims=True) for part in parts[::-1]])


def _filled(
    mid: Array, low: Array, rad: Array, empty: NDArray[np.bool_], blank: float, spec: SoftmaxSpec
) -> tuple[Array, Array, Array]:
    """mid, low and rad, with the results of rows of nothing but -inf filled in."""
    mid[empty], low[empty], rad[empty] = (np.nan if spec.empty_rows == "nan" else blank), 0.0, 0.0
    return mid, low, rad
