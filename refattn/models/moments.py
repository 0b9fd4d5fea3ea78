"""The log-sum-exp of a set of scores, predicted from a few moments of the keys behind them."""

from __future__ import annotations

from typing import Any

import numpy as np

from refattn.contract.visibility import Bools
from refattn.numbers.formats import Array


def mean_and_variance(query: Array, key: Array, seen: Bools, basis: Array | None = None) -> tuple[Array, Array, Array]:
    """Number, mean and variance of the scores of queries (r, D) and the keys (n, D) that each sees, `seen` (r, n).

    The mean is q.mu and the variance q'S q, with mean mu and covariance S of the seen keys, or q'B (B'S B) B'q for a
    basis B (D, r): both follow from the sums of 1, k and k k' over these keys, whatever q is. An invisible key may hold
    anything. Where no key is seen the number is 0, and mean and variance are 0.
    """
    used = np.asarray(seen.any(axis=0))
    key = np.where(used[:, None], key, 0.0)
    count = seen.sum(axis=1).astype(np.float64)
    divisor = np.maximum(count, 1.0)
    # np.where and no product with zeros: an unseen key must not reach the query, NaN included.
    scores = np.where(seen, query @ key.T, 0.0)
    along = scores if basis is None else np.where(seen, (query @ basis) @ (key @ basis).T, 0.0)
    centre = along.sum(axis=1) / divisor
    variance = (np.where(seen, along - centre[:, None], 0.0) ** 2).sum(axis=1) / divisor
    mean = scores.sum(axis=1) / divisor
    return count, mean, variance


def log_sum_exp(count: Array, mean: Array, variance: Array) -> Array:
    """log n + mean + growth: exact of normally distributed scores in the limit; -inf where n is 0."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(count) + mean + growth(count, variance))


def growth(count: Array, variance: Array) -> Array:
    """log(mean of exp(x)) less the mean of x, for `count` normally distributed x.

    variance / 2 in the limit of many x. Of n numbers, none is likely to exceed the mean by more than sqrt(2 log n)
    standard deviations: beyond variance = 2 log n the largest dominates, and the sum grows like it
    (Derrida, "Random-energy model", Phys. Rev. B 24, 2613, 1981).
    """
    reach = np.sqrt(2 * np.log(np.maximum(count, 1.0)))
    return np.where(variance <= reach**2, variance / 2, np.sqrt(variance) * reach - reach**2 / 2)


def nearest(k: Array, centroids: Array) -> Any:
    """The nearest of the centroids (Hkv, C, E) to each key (B, Hkv, Nk, E), (B, Hkv, Nk), the first of equal ones."""
    with np.errstate(invalid="ignore", over="ignore"):
        distance = (centroids**2).sum(axis=-1)[:, None] - 2 * k @ np.swapaxes(centroids, -1, -2)
    return np.argmin(distance, axis=-1)
