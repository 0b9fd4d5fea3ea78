"""The theorems of proofs/extended_precision.md: sums of slices are exact, no errors that they allow go beyond the radii
of rung 2, and some reach them.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
from mpmath import mp, mpf

from refattn.oracle.extended import slices
from refattn.oracle.extended.radii import (
    gathered_radius,
    lse_radius,
    output_radius,
    query_gradient_radius,
    scaled_radius,
    score_gradient_radius,
    share_error,
    share_radius,
    slope_radius,
    value_weight_radius,
    weight_radius,
)

Array = np.ndarray
TIGHTNESS: dict[str, float] = {
    "weight_radius": 0.99,
    "output_radius": 0.98,
    "lse_radius": 0.99,
    "share_radius": 0.99,
    "share_error": 0.99,
    "slope_radius": 0.99,
    "score_gradient_radius": 0.99,
    "query_gradient_radius": 0.95,
    "value_weight_radius": 0.99,
    "gathered_radius": 0.99,
    "scaled_radius": 0.99,
}
KEYS = 5
CASES = 4000
# Errors are drawn far above float64's own; only the latter are forgiven.
FORGIVEN = 1e-9


def sizes(rng: np.random.Generator, high: float = 0.1) -> Array:
    """Log-uniform, and 0 in a tenth of the cases."""
    drawn = np.exp(rng.uniform(np.log(1e-4), np.log(high), CASES))
    return np.where(rng.random(CASES) < 0.1, 0.0, drawn)


def ways(rng: np.random.Generator) -> Array:
    """Outwards in most cases, elsewhere at random."""
    return np.where(rng.random(CASES) < 0.7, 1.0, rng.uniform(-1.0, 1.0, CASES))


def judge(name: str, error: Array, radius: Array) -> None:
    share = error / np.maximum(radius, 1e-300)
    assert share.max() <= 1 + FORGIVEN
    assert share.max() >= TIGHTNESS[name]


def test_no_weight_is_further_off() -> None:
    rng = np.random.default_rng(0)
    score, exponential = sizes(rng), sizes(rng)
    error = np.abs(score * ways(rng) + np.log1p(-exponential * ways(rng)))
    judge("weight_radius", np.where(error > 1e-3, error, 0.0), weight_radius(score, exponential))
    small = np.abs(np.log1p(-exponential / 100))
    assert (small <= weight_radius(0 * score, exponential / 100) * (1 + FORGIVEN)).all()


def test_no_output_is_further_off() -> None:
    """Weights e^t apart, up where values are positive and down where not; a total and products that err besides."""
    rng = np.random.default_rng(1)
    error, lost, left_out, last = (sizes(rng, 0.01) for _ in range(4))
    q = rng.random((CASES, KEYS))
    v = np.where(rng.random((CASES, 1)) < 0.5, 1.0, rng.uniform(-1, 1, (CASES, KEYS)))
    v = v * np.where(rng.random((CASES, 1)) < 0.5, 1.0, rng.random((CASES, 1)) * 1e-2)
    apart = np.where(rng.random((CASES, KEYS)) < 0.5, np.sign(v), rng.uniform(-1, 1, (CASES, KEYS)))
    p = q * np.exp(error[:, None] * apart)
    # l and q's sum differ by lost l.
    total = q.sum(axis=1) / (1 - lost * ways(rng))
    computed = ((q * v).sum(axis=1) - left_out * total * ways(rng)) / total - last * ways(rng)
    exact = (p * v).sum(axis=1) / p.sum(axis=1)
    mean = (q * np.abs(v)).sum(axis=1) / total
    radius = output_radius(error, lost, mean, left_out, last)
    assert (np.abs(computed - exact) <= radius * (1 + FORGIVEN)).all()


def test_an_output_reaches_its_radius() -> None:
    """Values 1 and -1, of which nearly all of the weight is on the first: all errors add up."""
    rng = np.random.default_rng(2)
    error, lost, left_out, last = (sizes(rng, 1e-3) for _ in range(4))
    # Two keys of equal weight with values 1 and -1: the weights' errors move the mean by tanh(t), the rest adds up.
    exact = np.tanh(error)
    total = 2.0 / (1 + lost)
    computed = -left_out - last
    judge("output_radius", np.abs(computed - exact), output_radius(error, lost, 2.0 / total, left_out, last))


def test_no_log_sum_exp_is_further_off() -> None:
    rng = np.random.default_rng(3)
    error, lost, logarithm, last = (sizes(rng) for _ in range(4))
    total = rng.random(CASES) + 0.5
    exact = np.log(total * (1 - lost * ways(rng))) - error * ways(rng)
    computed = np.log(total) + logarithm * ways(rng) + last * ways(rng)
    judge("lse_radius", np.abs(computed - exact), lse_radius(error, lost, logarithm, last))


def test_no_share_is_further_off() -> None:
    rng = np.random.default_rng(4)
    error, lost, last = sizes(rng), sizes(rng), sizes(rng)
    q, total = rng.random(CASES), 1 + rng.random(CASES)
    exact = q * np.exp(error * ways(rng)) / (total * (1 - lost * ways(rng)) * np.exp(-error * ways(rng)))
    computed = q / total - last * ways(rng)
    judge("share_radius", np.abs(computed - exact), share_radius(error, lost, np.abs(computed), last, 0.0))
    # A weight that is taken for 0.
    assert (sizes(rng) <= share_radius(error, lost, 0.0, 0.0, sizes(np.random.default_rng(4)) * 0 + 0.1)).all()


def test_no_computed_share_is_further_off() -> None:
    rng = np.random.default_rng(9)
    error, lost, last = (sizes(rng, 0.01) for _ in range(3))
    ends = ways(rng), ways(rng), ways(rng)
    # The exact normaliser is e^(-error) (1 - lost) of the computed one, the weight e^error of its own.
    exact = np.exp(error * ends[0]) / ((1 - lost * ends[1]) * np.exp(-error * ends[0]))
    judge("share_error", np.abs(np.log(exact / (1 - last * ends[2]))), share_error(error, lost, last))


def test_no_slope_is_further_off() -> None:
    rng = np.random.default_rng(10)
    product, words = sizes(rng), sizes(rng)
    gain, height = 1 + rng.random(CASES), 1 + rng.random(CASES)
    upstream, radius = rng.uniform(-1, 1, (CASES, KEYS)), rng.random((CASES, KEYS)) * 1e-2
    outwards = np.sign(upstream) * np.where(rng.random((CASES, 1)) < 0.5, 1.0, rng.uniform(-1, 1, (CASES, KEYS)))
    error = gain * product * ways(rng) + (upstream * radius * outwards).sum(axis=1) + words * height * ways(rng)
    delta = (np.abs(upstream) * radius).sum(axis=1)
    judge("slope_radius", np.abs(error), slope_radius(gain, product, delta, words, height))


def score_gradients(
    rng: np.random.Generator, shape: tuple[int, ...], share: Array, product: Array, slope: Array
) -> Any:
    """Weights and elements of dS as computed, and exact ones of both, with errors that mostly add up."""
    weight, x = rng.random(shape), rng.uniform(-1, 1, shape)
    turn = np.where(rng.random(shape[:1] + (1,) * (len(shape) - 1)) < 0.7, 1.0, rng.uniform(-1, 1, shape))
    gradient = weight * x * (1 - product * turn)
    return weight, gradient, weight * np.exp(share * turn), x + np.sign(x) * slope * turn


def test_no_element_of_ds_is_further_off() -> None:
    rng = np.random.default_rng(11)
    share, product, slope = (sizes(rng, 0.01) for _ in range(3))
    weight, gradient, exact, x = score_gradients(rng, (CASES,), share, product, slope)
    radius = score_gradient_radius(share, product, np.abs(gradient), weight, slope, 0.0)
    judge("score_gradient_radius", np.abs(gradient - exact * x), radius)
    assert (np.abs(exact * x) <= score_gradient_radius(share, product, 0.0, 0.0, slope, np.abs(exact * x))).all()


def test_no_query_gradient_is_further_off() -> None:
    rng = np.random.default_rng(12)
    share, product, slope, left_out = (sizes(rng, 0.01)[:, None] for _ in range(4))
    _, gradient, exact, x = score_gradients(rng, (CASES, KEYS), share, product, slope)
    whole = exact.sum(axis=1, keepdims=True)
    gradient, exact = gradient / whole, exact / whole
    # Keys that all errors move the same way, and random ones.
    k = np.where(rng.random((CASES, 1)) < 0.5, np.sign(x), rng.uniform(-1, 1, x.shape))
    moved, size = np.abs(gradient * k).sum(axis=1), np.abs(k).max(axis=1)
    error = np.abs(((exact * x - gradient) * k).sum(axis=1)) + left_out[:, 0]
    radius = query_gradient_radius(share[:, 0], product[:, 0], moved, slope[:, 0], 0.0, size, left_out[:, 0])
    judge("query_gradient_radius", np.where(error > 1e-9, error, 0.0), radius)
    # A key that is taken for 0 besides.
    more = query_gradient_radius(share[:, 0], product[:, 0], moved, slope[:, 0], 0.1, size, left_out[:, 0])
    assert (error + 0.1 * size <= more * (1 + FORGIVEN)).all()


def test_no_kept_weight_and_no_sum_over_queries_is_further_off() -> None:
    rng = np.random.default_rng(13)
    share, product, left_out = (sizes(rng, 0.01)[:, None] for _ in range(3))
    kept, gain = rng.random((CASES, KEYS)), 1 + rng.random((CASES, 1))
    turn = np.where(rng.random((CASES, 1)) < 0.7, 1.0, rng.uniform(-1, 1, kept.shape))
    error = np.abs(kept * gain * np.exp(share * turn) - kept * gain * (1 - product * turn))
    radius = value_weight_radius(share, product, kept * gain * (1 - product * turn), 0.0)
    judge("value_weight_radius", error, radius)
    assert (kept <= value_weight_radius(share, product, 0.0, kept)).all()
    b = np.where(rng.random((CASES, 1)) < 0.5, 1.0, rng.uniform(-1, 1, kept.shape))
    gathered = (error * b).sum(axis=1) + left_out[:, 0]
    total = gathered_radius(radius.sum(axis=1), np.abs(b).max(axis=1), left_out[:, 0])
    judge("gathered_radius", np.abs(gathered), total)
    factor = rng.uniform(-2, 2, CASES)
    judge("scaled_radius", np.abs(gathered * factor), scaled_radius(total, np.abs(factor), 0.0))
    assert (np.abs(gathered * factor) + 0.1 <= scaled_radius(total, np.abs(factor), 0.1) * (1 + FORGIVEN)).all()


@pytest.mark.parametrize("terms", [1, 2, 3, 64, 100, 128, 129, 512])
def test_no_more_bits_would_do(terms: int) -> None:
    """`bits_for_enough`: the largest products of one level are at most 2^53 units, and not with a bit more."""

    def most(bits: int) -> int:
        later = [1 << (2 * bits - 2)] * (slices.MOST_SLICES - 2) + [1 << (2 * bits - 1)] * 2
        return terms * max(1 << (2 * bits), sum(later))

    bits = slices.bits_for(terms)
    assert most(bits) <= 2**53 < most(bits + 1)


@pytest.mark.parametrize("unit", [-60, -7, 0, 40])
def test_leading_is_exact(unit: int) -> None:
    """`leading_exact` and `products_of_slices_exact`, on numbers of all sizes, ties and the largest ones."""
    rng = np.random.default_rng(5)
    x = rng.uniform(-1, 1, 2000) * 2.0 ** rng.integers(unit - 60, unit + 51, 2000)
    x = np.concatenate([x, (np.arange(-9, 9) + 0.5) * 2.0**unit, [np.nextafter(2.0 ** (unit + 51), 0.0)]])
    part = slices.leading(x, np.array(unit))
    for number, multiple, rest in zip(x, part, x - part, strict=True):
        assert (Fraction(multiple) / Fraction(2) ** unit).denominator == 1
        assert Fraction(number) - Fraction(multiple) == Fraction(rest)
        assert abs(Fraction(rest)) <= Fraction(2) ** unit / 2


def test_products_of_slices_are_added_in_any_order_without_an_error() -> None:
    """`products_of_slices_exact` and `chunk_enough`, in several orders, with every slice as large as it can be."""
    rng = np.random.default_rng(6)
    keys, weight_bits, value_bits = 512, 22, 22
    for largest, order in product((True, False), range(5)):
        a = np.full(keys, 2**weight_bits) if largest else rng.integers(-(2**weight_bits), 2**weight_bits, keys)
        b = np.full(keys, 2**value_bits) if largest else rng.integers(-(2**value_bits), 2**value_bits, keys)
        places = rng.permutation(keys) if order else np.arange(keys)
        total = 0.0
        for i in places:
            total += float(a[i]) * float(b[i])
        assert int(total) == sum(int(x) * int(y) for x, y in zip(a, b, strict=True))


@pytest.mark.needs("numba")
def test_a_logarithm_that_cancels_errs_by_no_more_than_is_stated() -> None:
    """shift + log of sums that are near exp(-shift): what the steps round is not hidden by the result's size."""
    from refattn.oracle.extended import loops, words

    rng = np.random.default_rng(8)
    totals = np.zeros((3000, 3))
    totals[:, 0] = np.exp(rng.uniform(0.0, 12.0, 3000))
    guesses = np.log(totals[:, 0])
    one, two = np.empty(3000), np.empty(3000)
    loops.logarithms(totals, guesses, -guesses, one, two)
    worst = 0.0
    with mp.workprec(300):
        for i in range(3000):
            exact = mp.log(mpf(totals[i, 0])) - mpf(guesses[i])
            error = abs(mpf(one[i]) + mpf(two[i]) - exact)
            worst = max(worst, float(error / (words.LOGARITHM_ERROR + 2.0**-105 * (1.0 + abs(one[i])))))
    assert 0.1 <= worst <= 1.0


@pytest.mark.needs("numba", "threadpoolctl", "flint")
def test_dropouts_factor_does_not_err_by_more_than_the_gradients_radius() -> None:
    """Where dLSE cancels D dP and hardly any weight is left, D has to have more than two words."""
    from refattn.contract.spec import AttentionSpec, problem_shape
    from refattn.oracle.exact import ball_gradients
    from refattn.oracle.extended import forward, gradients

    rng = np.random.default_rng(0)
    worst = 0.0
    for _ in range(20):
        q, do, v = np.ones((1, 1, 1, 4)), np.ones((1, 1, 1, 4)), np.ones((1, 1, 3, 4))
        k = np.zeros((1, 1, 3, 4))
        k[0, 0, 0], v[0, 0, 0] = -rng.uniform(2, 20), 2.0**30
        dropout = float(rng.uniform(0, 0.9))
        spec = AttentionSpec(
            dropout=dropout, bias=np.zeros((1, 1, 1, 3)), keep=np.ones((1, 1, 1, 3), np.bool_), scale=1.0
        )
        shape = problem_shape(q, k, v, spec)
        out = forward.attention(q, k, v, spec, shape).out.mid
        with mp.workprec(300):
            whole = mp.fsum(mpf(x) for x in out.ravel().tolist()) - 4 * mpf(2) ** 30 / (1 - mpf(dropout))
        dlse = np.full((1, 1, 1), float(whole))
        truth = gradients.attention_backward(q, k, v, do, spec, shape, dlse)
        exact = ball_gradients.attention_backward(q, k, v, do, spec, shape, dlse, bits=400)
        for part, wanted in ((truth.dk, exact.dk), (truth.dbias, exact.dbias)):
            assert part is not None
            assert wanted is not None
            error = np.abs((part.mid - wanted.mid) + (part.tail() - wanted.tail()))
            worst = max(worst, float((error / part.rad).max()))
    assert 0.1 <= worst <= 1.0
