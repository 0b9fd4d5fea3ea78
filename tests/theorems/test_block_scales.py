"""The theorems on block scales and perturbed scores (proofs/block_scales.md), and on the rms model (proofs/rms.md)."""

from __future__ import annotations

import itertools
import math
import os
from fractions import Fraction
from random import Random

import numpy as np
import pytest

from refattn.bounds.theorems.block_scales import (
    block_scale_distance,
    block_scale_output_error,
    block_scale_row_sum,
    least_scale_distance,
    softmax_distance,
)
from refattn.contract.arithmetic import Stage
from refattn.numbers import formats
from tests.support.float64_evaluation import EVALUATION

CASES = int(os.environ.get("REFATTN_THEOREM_CASES", "2000"))

#: Theorem -> share of its bound that some row reaches.
TIGHTNESS = {
    "distance_exact": 1.0,
    "row_sum_error": 1.0,
    "output_error": 1.0,
    "no_scales_for_all_rows": 1.0,
    "softmax_distance_bounds": 0.9999,
    "quotient_remainder": 0.99,
}


def distribution(random: Random, size: int) -> list[Fraction]:
    """Non-negative fractions that sum to 1."""
    parts = [Fraction(random.randint(0, 20)) for _ in range(size)]
    parts[random.randrange(size)] += 1
    return [part / sum(parts) for part in parts]


def test_distance_row_sum_and_leak_are_exact() -> None:
    random = Random(0)
    for _ in range(CASES):
        blocks = random.randint(1, 5)
        exact = distribution(random, blocks)
        used = [Fraction(random.randint(0, 30), random.randint(1, 30)) for _ in range(blocks)]
        softmaxes = [distribution(random, random.randint(1, 4)) for _ in range(blocks)]
        sizes = [[Fraction(random.randint(-9, 9)) for _ in block] for block in softmaxes]
        differences = [a - b for a, b in zip(used, exact, strict=True)]
        moved = [[d * p for p in block] for d, block in zip(differences, softmaxes, strict=True)]
        assert block_scale_distance(*differences) == sum(abs(x) for block in moved for x in block)
        assert block_scale_row_sum(*differences) == abs(sum(x for block in moved for x in block))
        error = sum(x * v for block, row in zip(moved, sizes, strict=True) for x, v in zip(block, row, strict=True))
        largest = [max(abs(v) for v in row) for row in sizes]
        terms = [x for pair in zip(differences, largest, strict=True) for x in pair]
        limit = block_scale_output_error(*terms)
        assert abs(error) <= limit <= max(largest) * block_scale_distance(*differences)


def test_values_of_the_differences_signs_reach_the_outputs_bound() -> None:
    differences, sizes = [Fraction(1, 3), Fraction(-1, 7), Fraction(0)], [2, 5, 9]
    reached = sum(d * (size if d >= 0 else -size) for d, size in zip(differences, sizes, strict=True))
    terms = [x for pair in zip(differences, sizes, strict=True) for x in pair]
    assert reached / block_scale_output_error(*terms) == TIGHTNESS["output_error"]


def test_exact_scales_are_those_of_the_log_sum_exps() -> None:
    rng = np.random.default_rng(0)
    scores = rng.standard_normal(40) * 5
    blocks = [scores[:7], scores[7:8], scores[8:]]
    lse = [np.log(np.exp(block).sum()) for block in blocks]
    whole = np.log(np.exp(scores).sum())
    scales = np.exp(np.array(lse) - whole)
    assert abs(scales.sum() - 1) < EVALUATION
    joined = np.concatenate([a * np.exp(block) / np.exp(block).sum() for a, block in zip(scales, blocks, strict=True)])
    assert np.abs(joined - np.exp(scores - whole)).max() < EVALUATION


def test_a_block_that_no_query_may_see_leaks_all_of_its_scale() -> None:
    # A softmax over a block of equal masked scores is uniform: 1/4 each, times the scale.
    learned = [Fraction(3, 5), Fraction(1, 2)]
    exact = [Fraction(1), Fraction(0)]
    leaked = sum(learned[1] / 4 for _ in range(4))
    assert leaked == learned[1]
    assert block_scale_distance(*(a - b for a, b in zip(learned, exact, strict=True))) == Fraction(2, 5) + leaked


@pytest.mark.parametrize("blocks", range(1, 9))
def test_no_scales_fit_all_rows_and_equal_ones_are_best(blocks: int) -> None:
    def worst(scales: list[Fraction]) -> Fraction:
        rows = ([Fraction(i == k) for i in range(blocks)] for k in range(blocks))
        return max(block_scale_distance(*(a - b for a, b in zip(scales, row, strict=True))) for row in rows)

    least = least_scale_distance(Fraction(blocks))
    assert worst([Fraction(1, blocks)] * blocks) == least
    random = Random(blocks)
    for _ in range(CASES // 30):
        scales = distribution(random, blocks)
        # Negative scales are no way out.
        scales = [3 * scales[0] - 2 * scales[-1], *scales[1:-1], 3 * scales[-1] - 2 * scales[0]][:blocks]
        if sum(scales) == 1:
            assert worst(scales) >= least


def moved_by(weights: np.ndarray, errors: np.ndarray) -> float:
    """Sum of |p' - p|."""
    moved = weights * np.exp(errors)
    return float(np.abs(moved / moved.sum() - weights).sum())


def test_no_perturbed_softmax_is_farther_than_the_bound() -> None:
    rng = np.random.default_rng(1)
    for _ in range(CASES):
        weights = rng.dirichlet(np.full(rng.integers(2, 9), rng.choice([0.1, 1.0, 10.0])))
        errors = rng.uniform(-1, 1, weights.shape) * rng.choice([1e-3, 0.1, 2.0, 20.0])
        if rng.random() < 0.5:
            errors = np.sign(errors) * np.abs(errors).max()
        assert moved_by(weights, errors) <= softmax_distance(np.ptp(errors)) * (1 + EVALUATION) + EVALUATION


@pytest.mark.parametrize("spread", [1e-3, 0.1, 1.0, 5.0, 30.0])
def test_two_levels_reach_the_bound_of_a_perturbed_softmax(spread: float) -> None:
    share = 1 / (1 + math.exp(spread / 2))
    reached = moved_by(np.array([share, 1 - share]), np.array([spread, 0.0]))
    assert reached >= TIGHTNESS["softmax_distance_bounds"] * softmax_distance(spread)
    # Two ways to one number, of at most eight operations each, which err by an ulp at most.
    closed = 2 * math.tanh(spread / 4)
    assert abs(softmax_distance(spread) - closed) <= 16 * 2.0**-52 * closed
    assert reached > 0.9 * softmax_distance(spread * 1.1)


def test_mean_square_of_a_sum_of_independent_errors() -> None:
    # Every outcome of three independent errors with mean 0, as fractions.
    laws = [
        [(Fraction(1, 2), Fraction(-1)), (Fraction(1, 2), Fraction(1))],
        [(Fraction(1, 3), Fraction(-2)), (Fraction(2, 3), Fraction(1))],
        [(Fraction(1, 4), Fraction(-3)), (Fraction(1, 2), Fraction(1)), (Fraction(1, 4), Fraction(1))],
    ]
    weights, values = [Fraction(1, 5), Fraction(3, 10), Fraction(1, 2)], [Fraction(3), Fraction(-2), Fraction(7)]
    middle = sum(w * v for w, v in zip(weights, values, strict=True))
    factors = [w * (v - middle) for w, v in zip(weights, values, strict=True)]
    square = Fraction(0)
    for outcome in itertools.product(*laws):
        probability = math.prod((p for p, _ in outcome), start=Fraction(1))
        square += probability * sum(c * e for c, (_, e) in zip(factors, outcome, strict=True)) ** 2
    assert square == sum(c * c * sum(p * e * e for p, e in law) for c, law in zip(factors, laws, strict=True))


def test_the_first_order_is_the_whole_error_but_for_one_factor() -> None:
    random = Random(2)
    for _ in range(CASES):
        keys = random.randint(1, 5)
        weights = distribution(random, keys)
        values = [Fraction(random.randint(-9, 9)) for _ in weights]
        shared, product, term = ([Fraction(random.randint(-9, 9), 40) for _ in weights] for _ in range(3))
        rows = list(zip(weights, values, shared, product, term, strict=True))
        out = sum((w * v for w, v, *_ in rows), Fraction(0))
        total = sum((w * (1 + s + t) for w, _, s, _, t in rows), Fraction(0))
        computed = sum((w * (1 + s + p) * v for w, v, s, p, _ in rows), Fraction(0)) / total
        first = sum((w * s * (v - out) + w * p * v - out * w * t for w, v, s, p, t in rows), Fraction(0))
        assert computed - out == first / total
        relative = abs(total - 1)
        assert abs(computed - out - first) <= abs(first) * relative / (1 - relative)


def test_the_remainder_reaches_its_bound() -> None:
    # Terms that are all too small: the first order is short by that factor.
    d, first = 0.01, 0.01
    error = first / (1 - d)
    assert (error - first) >= TIGHTNESS["quotient_remainder"] * first * d / (1 - d)


@pytest.mark.parametrize("name", ["bf16", "fp16", "e4m3"])
def test_mean_square_of_rounding_log_uniform_significands(name: str) -> None:
    format = formats.get(name)
    samples = 400_000
    x = np.exp2(np.random.default_rng(3).random(samples))
    square = np.mean((format.round(x) / x - 1) ** 2)
    # Six standard deviations of the samples' mean: E d^4 / (E d^2)^2 = 9/5 of a uniform error times 1.155 of
    # log-uniform significands. And within one spacing their density is not quite constant: it falls by 2u.
    near = 6 * math.sqrt((1.8 * 1.155 - 1) / samples) + 2 * format.unit_roundoff
    assert abs(square / Stage(format).mean_square - 1) <= near
    toward_zero = np.mean((format.round(x, "down") / x - 1) ** 2)
    assert abs(toward_zero / Stage(format, "truncate").mean_square - 1) <= near
