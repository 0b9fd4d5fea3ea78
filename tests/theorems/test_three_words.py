"""The theorems of proofs/extended_precision.md about sums, products and scores in three words: no error exceeds its
stated bound, and some reach a good part of it.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from tests.support.extras import skip_without

skip_without("numba", "threadpoolctl")

from refattn.oracle.extended import forward, gradients, loops, weighted_sums, words

TIGHTNESS: dict[str, float] = {
    "add_words_error": 0.05,
    "products_near": 0.4,
    "score_near": 0.008,
    "gradient_product_near": 0.44,
    "height_enough": 0.99,
}
U = Fraction(1, 2**53)
LOST = Fraction(1, 2**1075)


def whole(parts: tuple[float, ...]) -> Fraction:
    """The sum of words, exactly."""
    return sum(map(Fraction, parts), Fraction(0))


def three_words(rng: np.random.Generator, size: float = 1.0) -> tuple[float, float, float]:
    """Words of falling size, mostly as large as they can be."""
    first = float(size * (1 + rng.random()) * rng.choice([-1.0, 1.0]))
    second = first * 2.0**-53 * float(rng.choice([1.0, -1.0, 0.999, 0.6]))
    return words.three_sum(first, second, second * 2.0**-53 * float(rng.choice([1.0, -1.0, 0.9])))


def test_no_number_that_is_added_leaves_out_more_than_is_stated() -> None:
    """`add_words_error`: 3.02 u^3 of the largest partial sum for each number."""
    rng = np.random.default_rng(0)
    worst = Fraction(0)
    for n in [1, 2, 4, 5, 8] * 2000:
        terms = (1 + rng.random(n)) * rng.choice([-1.0, 1.0], n) * 2.0 ** -rng.choice([0, 1, 53, 54, 106, 107], n)
        sums = [np.zeros((1, 1)) for _ in range(3)]
        exact, size = Fraction(0), Fraction(0)
        for term in terms.tolist():
            loops.add_words(np.full((1, 1), term), *sums)
            exact += Fraction(term)
            size = max(size, abs(exact))
        error = abs(whole(tuple(word[0, 0] for word in sums)) - exact)
        bound = n * Fraction(302, 100) * U**3 * size
        assert error <= bound
        worst = max(worst, error / bound)
    assert worst >= TIGHTNESS["add_words_error"]


def test_no_more_numbers_are_added_than_is_allowed_for() -> None:
    """WORDS_ERROR is 256 u^3: of a sum over keys, at most 42 numbers of 3.02 u^3 of twice the sum's size, of which all
    but the first slice's, 14 at most, are of 2^-10 of that.
    """
    most = first = 0
    for wanted in range(105, 131):
        for needed in range(1, wanted + 2):
            choices = range(weighted_sums.FEWEST_BITS, weighted_sums.PRODUCT_BITS - weighted_sums.FEWEST_BITS + 1)
            pairs = min((weighted_sums.pairs_of(bits, needed, wanted) for bits in choices), key=sum)
            most, first = max(most, 2 * sum(pairs)), max(first, 2 * pairs[0])
    assert Fraction(forward.WORDS_ERROR) == 256 * U**3
    assert (first + (most - first) * Fraction(1, 2**10)) * Fraction(302, 100) * 2 <= 256


def test_no_product_of_three_words_is_further_off() -> None:
    """`products_near`, and UNDERFLOW: nine products lose half the smallest number each."""
    rng = np.random.default_rng(1)
    worst = Fraction(0)
    for size in [1.0, 2.0**-480, 2.0**-520] * 700:
        x, y = three_words(rng, size), three_words(rng, size)
        product = forward.words_product(np.array([x]), np.array(y))[0]
        sizes = sum(abs(Fraction(a) * Fraction(b)) for a in x for b in y)
        error = abs(whole(tuple(product)) - whole(x) * whole(y))
        bound = 9 * (Fraction(62, 10) * U**3 * sizes + LOST * (1 + Fraction(1, 2**100)))
        assert error <= bound
        worst = max(worst, error / bound)
    assert worst >= TIGHTNESS["products_near"]
    assert 9 * Fraction(62, 10) * U**3 <= Fraction(forward.WORDS_ERROR)
    assert 9 * LOST * (1 + Fraction(1, 2**100)) <= Fraction(gradients.UNDERFLOW)


def test_no_score_is_further_off() -> None:
    """`score_near` and `sliced_score_near`: 64 u^3 of twice the first level, times the scale, and of what is added."""
    rng = np.random.default_rng(2)
    worst = Fraction(0)
    for number in [1, 2, 3, 6] * 500:
        levels = rng.uniform(-1, 1, number) * 2.0 ** (-rng.choice([10, 22, 53]) * np.arange(number))
        levels[1:] *= 2
        scale = three_words(rng)
        bias, slope, distance = rng.uniform(-1, 1) * 2.0 ** -rng.integers(0, 60), rng.uniform(0, 1), rng.integers(0, 9)
        words = [np.empty((1, 1)) for _ in range(3)]
        added = (np.full((1, 1), bias), float(slope), np.full((1, 1), distance))
        loops.score_words(levels[:, None, None].copy(), 0, np.array(scale), *added, None, *words)
        product = Fraction(slope) * int(distance)
        exact = whole(tuple(levels)) * whole(scale) + Fraction(bias) - product
        size = 2 * abs(whole(scale)) + abs(Fraction(bias)) + abs(product)
        error = abs(whole(tuple(word[0, 0] for word in words)) - exact)
        assert error <= 64 * U**3 * size + 12 * LOST
        assert error <= 128 * U**3 * (size - abs(whole(scale))) + 12 * LOST
        worst = max(worst, error / (64 * U**3 * size))
    assert worst >= TIGHTNESS["score_near"]
    assert Fraction(forward.WORDS_ERROR) >= 2 * 64 * U**3


def test_no_element_of_ds_is_further_off() -> None:
    """`scaled_near`, `subtract_near` and `gradient_product_near`, with dropout's factor and without it."""
    rng = np.random.default_rng(3)
    worst = Fraction(0)
    for kept, apart in [(True, 1.0), (False, 1.0), (True, 2.0**-20), (False, 2.0**-20)] * 700:
        x, gain = three_words(rng), three_words(rng) if kept else (1.0, 0.0, 0.0)
        # What is subtracted is near what it is subtracted from in half of the cases.
        near = float(whole(x) * whole(gain) * Fraction(1 + apart * rng.uniform(-1, 1)))
        less = words.three_sum(near, near * 2.0**-53, near * 2.0**-107)
        weight = float(2.0 ** -rng.integers(0, 900) * (1 + rng.random()))
        low = weight * 2.0**-53 * float(rng.choice([1.0, -1.0, 0.9]))
        one, two = np.empty((1, 1)), np.empty((1, 1))
        keep = np.ones((1, 1), np.bool_) if kept else None
        arrays = [np.full((1, 1), number) for number in (weight, low, *x)]
        loops.score_gradients(*arrays, keep, np.array(gain), np.array([less]), one, two)
        slope = whole(x) * whole(gain) - whole(less)
        exact = slope * whole((weight, low))
        error = abs(whole((one[0, 0], two[0, 0])) - exact)
        words_part = (
            50 * U**3 * (abs(whole(x) * whole(gain)) + abs(whole(less))) * Fraction(weight) * Fraction(1001, 1000)
        )
        assert error <= 8 * U**2 * abs(exact) + words_part
        worst = max(worst, error / (8 * U**2 * abs(exact) + words_part))
    assert worst >= TIGHTNESS["gradient_product_near"]
    assert Fraction(gradients.GRADIENT_ERROR) >= 8 * U**2
    assert Fraction(forward.WORDS_ERROR) >= 50 * U**3


def test_nothing_that_a_weight_is_multiplied_by_is_larger_than_is_stated() -> None:
    """`height_enough`: dP and what is subtracted at their ends, the latter off by half of the bound."""
    rng = np.random.default_rng(4)
    worst = 0.0
    for _ in range(2000):
        do, v = rng.uniform(-1, 1, (2, 5)) if rng.random() < 0.5 else np.ones((2, 5))
        gain, dlse = 1 / (1 - rng.uniform(0, 0.9)), float(rng.normal())
        size = np.abs(do).sum() * np.abs(v).max()
        delta = dlse - rng.uniform(0, 9)
        less = delta - dlse + rng.choice([1.0, rng.uniform(-1, 1)]) * gain * size
        height = 2 * gain * size + abs(less)
        worst = max(worst, abs(gain * float(do @ v) - delta + dlse) / height)
    assert TIGHTNESS["height_enough"] <= worst <= 1 + 2.0**-40
