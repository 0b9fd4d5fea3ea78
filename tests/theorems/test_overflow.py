"""Theorems on overflow: sums, scores and rows just below and beyond the limit, and how near they come to it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable

import numpy as np
import pytest

import refattn
from refattn.bounds.theorems.overflow import (
    claimed_in_range,
    largest_normaliser,
    largest_numerator,
    largest_reference,
    largest_score,
    largest_sum,
)
from refattn.contract.arithmetic import Arithmetic
from refattn.models.tiled import TiledAttention
from refattn.numbers import formats
from refattn.numbers.formats import ALL, Array, Format, bf16, e4m3, e5m2, fp16
from tests.support.float64_evaluation import EVALUATION

NARROW = [e4m3, e5m2, bf16, fp16]
CASES = int(os.environ.get("REFATTN_THEOREM_CASES", "3000"))

# Theorem -> the share of its bound that the worst known case reaches.
TIGHTNESS = {
    "partial_sum_in_range": 0.999,
    "score_in_range": 0.998,
    "numerator_in_range": 0.999,
    "normaliser_in_range": 0.99,
    "reference_in_range": 0.999,
}

Order = Callable[[list[Array], "Adding"], Array]


class Adding:
    """Adds many sums at once, and remembers the largest partial sum of each; NaN and infinity stay."""

    def __init__(self, add: Callable[[Array, Array], Array]) -> None:
        self.add = add
        self.largest = np.zeros(1)

    def __call__(self, a: Array, b: Array) -> Array:
        total = np.asarray(self.add(a, b))
        self.largest = np.maximum(self.largest, np.abs(total))
        return total


def in_sequence(terms: list[Array], adding: Adding) -> Array:
    total = terms[0]
    for term in terms[1:]:
        total = adding(total, term)
    return total


def pairwise(terms: list[Array], adding: Adding) -> Array:
    while len(terms) > 1:
        pairs = [adding(a, b) for a, b in zip(terms[::2], terms[1::2], strict=False)]
        terms = pairs + terms[2 * len(pairs) :]
    return terms[0]


def in_format(fmt: Format) -> Callable[[Array, Array], Array]:
    return lambda a, b: fmt.round(a + b)


def growing(unit: float) -> Callable[[Array, Array], Array]:
    """Every addition errs by as much as it may, away from zero."""
    return lambda a, b: (a + b) * math.exp(unit)


def numbers_of(*values: float) -> list[Array]:
    return [np.array([value]) for value in values]


@pytest.mark.parametrize("fmt", [e4m3, e5m2, fp16], ids=lambda f: f.name)
@pytest.mark.parametrize("order", [in_sequence, pairwise])
def test_no_partial_sum_overflows_below_the_limit(fmt: Format, order: Order) -> None:
    rng = np.random.default_rng(17)
    count = 6
    share = rng.dirichlet(np.full(count, 0.4), CASES) * rng.choice([-1.0, 1.0], (CASES, count))
    signed = np.where(rng.random((CASES, 1)) < 0.5, np.abs(share), share)
    terms = fmt.round(signed * fmt.max_finite * rng.uniform(0.2, 1.5, (CASES, 1)), "truncate")
    magnitude, size = np.abs(terms).sum(axis=1), np.abs(terms.sum(axis=1))
    fits = largest_sum(magnitude, (count - 1) * fmt.unit_roundoff, 0.0) <= fmt.max_finite
    adding = Adding(in_format(fmt))
    order(list(terms.T), adding)
    overflows = ~(adding.largest <= fmt.max_finite)
    assert not (fits & overflows).any()
    assert fits.mean() > 0.1
    assert (overflows & (size <= fmt.max_finite)).any()  # a limit on the sum of the terms would not do


def test_partial_sums_reach_their_bound() -> None:
    # One large term first, which every later addition carries along.
    unit, terms = fp16.unit_roundoff, numbers_of(1.0, *[1e-9] * 63)
    adding = Adding(growing(unit))
    in_sequence(terms, adding)
    (largest,) = adding.largest
    total = math.fsum(float(term[0]) for term in terms)
    bound = largest_sum(total, 63 * unit, 0.0)
    assert largest <= bound
    assert math.log(largest) / math.log(bound) >= TIGHTNESS["partial_sum_in_range"]
    assert largest_sum(total, 62 * unit, 0.0) < largest


def test_no_partial_score_overflows_below_the_limit() -> None:
    rng = np.random.default_rng(23)
    width = 16
    q, k = rng.normal(size=(2, CASES, width))
    size = fp16.max_finite * rng.uniform(0.5, 1.3, CASES) / np.abs(q * k).sum(axis=1)
    q, k = (fp16.round(x * np.sqrt(size)[:, None], "truncate") for x in (q, k))
    products = -np.sort(-q * k, axis=1)  # the worst order: the positive ones first
    magnitude = np.abs(products).sum(axis=1)
    fits = largest_score(magnitude, width, 0.0, fp16.unit_roundoff, fp16.smallest_subnormal / 2) <= fp16.max_finite
    fused = Adding(in_format(fp16))
    in_sequence([np.zeros(CASES), *products.T], fused)
    overflows = ~(fused.largest <= fp16.max_finite)
    assert not (fits & overflows).any()
    assert fits.mean() > 0.1
    scores = rng.dirichlet(np.full(width, 0.4), CASES) * 2 * 60000.0 * rng.choice([-1.0, 1.0], (CASES, width))
    fused = Adding(in_format(fp16))
    in_sequence(list(-np.sort(-scores, axis=1).T), fused)
    overflows = ~(fused.largest <= fp16.max_finite)
    assert (overflows & (np.abs(scores.sum(axis=1)) <= fp16.max_finite)).any()  # |q . k| itself says nothing


def test_partial_scores_reach_their_bound() -> None:
    # Products that underflow, each losing all it may, and one that is as large as they all.
    unit, lost, width = fp16.unit_roundoff, 1e-3, 32
    casting = bf16.unit_roundoff
    total = math.exp(casting) * math.exp(unit) + lost
    for _ in range(width - 1):
        total = (total + lost) * math.exp(unit) + lost
    bound = largest_score(1.0, width, casting, unit, lost)
    assert total <= bound
    assert total / bound >= TIGHTNESS["score_in_range"]
    for smaller in (
        largest_score(1.0, width, 0.0, unit, lost),
        largest_score(1.0, width / 2, casting, unit, lost),
        largest_score(1.0, width, casting, unit, lost / 2),
    ):
        assert smaller < total


def tiles(high: float, later: float) -> tuple[Array, Array, Array]:
    """q, k (1, 1, 4, 1) and v: two keys of score 0 and value `high`, then two of score `later` and value 1."""
    q = np.ones((1, 1, 1, 1))
    k = np.array([0.0, 0.0, later, later]).reshape(1, 1, 4, 1)
    v = np.array([high, high, 1.0, 1.0]).reshape(1, 1, 4, 1)
    return q, k, v


def test_an_early_tile_counts_in_full() -> None:
    # Relative to the last maximum the numerator is 2 + 2 e^-12 60000 = 2.7; the first tile's is 120000, beyond fp16.
    q, k, v = tiles(60000.0, 12.0)
    arithmetic = Arithmetic.flash("float16").replace(accumulator="fp16", tile=2)
    out, _ = TiledAttention(arithmetic=arithmetic, key_tile=2)(q, k, v, spec=refattn.AttentionSpec(scale=1.0))
    assert not np.isfinite(out).all()
    budget = refattn.bounds.attention(q, k, v, refattn.AttentionSpec(scale=1.0), arithmetic)
    assert np.isposinf(budget.out.certified).all()
    # Half of it fits, and is claimed.
    q, k, v = tiles(30000.0, 12.0)
    out, _ = TiledAttention(arithmetic=arithmetic, key_tile=2)(q, k, v, spec=refattn.AttentionSpec(scale=1.0))
    budget = refattn.bounds.attention(q, k, v, refattn.AttentionSpec(scale=1.0), arithmetic)
    assert np.isfinite(out).all()
    assert np.isfinite(budget.out.certified).all()


def test_numerators_reach_their_bound() -> None:
    # All keys at the stale reference's lag, added up pairwise, every operation erring by all it may.
    unit, lag, count, lost = fp16.unit_roundoff, 8 * math.log(2.0), 64, 0.5
    adding = Adding(growing(unit))
    pairwise(numbers_of(*[math.exp(lag + unit)] * count), adding)
    largest = adding.largest[0] + lost
    bound = largest_numerator(count, lag, 7 * unit, lost)
    assert TIGHTNESS["numerator_in_range"] * bound <= largest <= bound * (1 + EVALUATION)
    assert largest_numerator(count, 0.0, 7 * unit, lost) < largest
    assert largest_numerator(count, lag, 6 * unit, lost) < largest
    assert largest_numerator(count, lag, 7 * unit, lost / 2) < largest


@pytest.mark.parametrize("keys", [3, 63, 1023, 65503, 65519])
def test_a_normaliser_overflows_only_beyond_its_bound(keys: int) -> None:
    sums, largest = np.ones(keys + 1), 1.0  # equal keys and a sink
    while len(sums) > 1:
        half = len(sums) // 2
        sums = np.concatenate([fp16.round(sums[:half] + sums[half : 2 * half]), sums[2 * half :]])
        largest = max(largest, float(sums.max()))
    (total,) = sums
    bound = largest_normaliser(keys, 0.0, math.ceil(math.log2(keys + 1)) * fp16.unit_roundoff, 0.0)
    if math.isfinite(total):
        assert TIGHTNESS["normaliser_in_range"] * bound <= largest <= bound
    else:
        assert keys == 65519
        assert bound > fp16.max_finite


def test_the_reference_is_no_further_off_than_the_logarithm_of_the_grown_normaliser() -> None:
    rng = np.random.default_rng(29)
    count = 7
    scores = rng.normal(size=(CASES, count)) * rng.uniform(0, 10, (CASES, 1))
    doubt = rng.exponential(size=(CASES, count)) * rng.uniform(0, 4, (CASES, 1))
    computed = scores + doubt * rng.choice([-1.0, 1.0], scores.shape)
    maximum = scores.max(axis=1)
    weights = np.exp(scores - maximum[:, None])
    total = weights.sum(axis=1)
    excess = (weights / total[:, None] * np.expm1(doubt)).sum(axis=1)
    off = np.abs(computed.max(axis=1) - maximum)
    assert (off <= np.log(total) + np.log1p(excess) + EVALUATION).all()
    assert (np.abs(computed.max(axis=1)) <= largest_reference(maximum, np.log(total), excess) + EVALUATION).all()
    # The largest doubt alone would bound it too, but far above: the bound lies between.
    assert (np.log(total) + np.log1p(excess) < doubt.max(axis=1)).mean() > 0.1
    # A single key whose score errs by all it may; neither share of the bound can be left out.
    single = largest_reference(5.0, 0.0, math.expm1(2.0))
    assert 7.0 / single >= TIGHTNESS["reference_in_range"]
    assert single <= 7.0 * (1 + EVALUATION)
    assert largest_reference(5.0, 0.0, math.expm1(1.9)) < 7.0


@pytest.mark.parametrize("fmt", ALL, ids=lambda f: f.name)
def test_a_difference_that_overflows_has_no_weight(fmt: Format) -> None:
    # e^-max < 2^-max, and max is more than the exponent of half the smallest subnormal number.
    assert fmt.max_finite >= fmt.precision - fmt.emin


@pytest.mark.parametrize("fmt", NARROW, ids=lambda f: f.name)
@pytest.mark.parametrize("rounding", ["nearest", "truncate"])
def test_nothing_below_the_largest_number_overflows(fmt: Format, rounding: formats.Rounding) -> None:
    below = np.nextafter(fmt.max_finite, 0.0)
    assert fmt.round(below, rounding) <= fmt.max_finite
    assert fmt.round(fmt.max_finite, rounding) == fmt.max_finite
    assert not np.isfinite(fmt.round(fmt.max_finite * (1 + fmt.unit_roundoff * 2), "nearest"))


def test_nothing_is_claimed_out_of_range() -> None:
    size = np.array([1.0, 448.0, 449.0, np.inf, np.nan])
    np.testing.assert_array_equal(claimed_in_range(np.ones(5), size, 448.0), [1.0, 1.0, np.inf, np.inf, np.inf])
