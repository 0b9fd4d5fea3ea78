"""The theorems of proofs/extended_precision.md about words: sums and products are exact, or err by what is stated of
them, on numbers of all sizes, on ties and on sums that cancel.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

words = pytest.importorskip("refattn.oracle.words")
loops = pytest.importorskip("refattn.oracle.loops")

TIGHTNESS: dict[str, float] = {
    "multiply_error": 0.45,
    "two_product_lost": 1.0,
    "add_all_error": 0.01,
    "row_dots_error": 0.012,
}
SMALLEST = Fraction(1, 2**1074)


def whole(parts: tuple[float, ...]) -> Fraction:
    """The sum of words, exactly."""
    return sum(map(Fraction, parts), Fraction(0))


def numbers(rng: np.random.Generator, count: int) -> np.ndarray:
    """Of all sizes down to the smallest subnormal one, many of which have few bits or nearly the same size."""
    bits = rng.choice([1, 3, 30, 53], count)
    found = np.round(rng.uniform(-1, 1, count) * 2.0**bits) * 2.0**-bits
    wide = np.ldexp(found, rng.integers(-1074, 900, count))
    return np.where(rng.random(count) < 0.5, wide, np.ldexp(found, rng.integers(-55, 55, count)))


def test_sums_of_two_numbers_are_exact() -> None:
    """`two_sum_exact`, and `ordered_sum_exact` where it says so."""
    rng = np.random.default_rng(0)
    ordered = 0
    for a, b in numbers(rng, 8000).reshape(-1, 2).tolist():
        assert whole(words.two_sum(a, b)) == whole((a, b))
        assert whole(words.ordered_sum(0.0, b)) == Fraction(b)
        if abs(b) <= abs(a) or abs(a + b) < 2.0**-1022:
            ordered += 1
            assert whole(words.ordered_sum(a, b)) == whole((a, b))
    assert ordered > 1000


def test_a_sum_in_the_wrong_order_is_not_exact() -> None:
    """The hypothesis of `ordered_sum_exact` is needed."""
    assert whole(words.ordered_sum(1.0, 2.0**60 + 2.0**8)) != 2**60 + 2**8 + 1


def test_products_of_two_numbers_lose_what_underflows() -> None:
    """`two_product_lost`: half the smallest number at most, and all of that where a product is a tie."""
    rng = np.random.default_rng(1)
    worst = Fraction(0)
    pairs = np.ldexp(1 + rng.integers(0, 2**20, (2000, 2)) * 2.0**-20, rng.integers(-540, -440, (2000, 2))).tolist()
    for a, b in [*pairs, (2.0**-537, 3 * 2.0**-538)]:
        worst = max(worst, abs(whole(words.two_product(a, b)) - Fraction(a) * Fraction(b)))
    assert TIGHTNESS["two_product_lost"] <= worst / (SMALLEST / 2) <= 1


def test_three_words_are_exact() -> None:
    """`three_sum_exact`: of all sizes, and of numbers that cancel all but the last bits of each other."""
    rng = np.random.default_rng(2)
    drawn = numbers(rng, 9000).reshape(-1, 3)
    near = np.ldexp(np.round(rng.uniform(1, 2, 3000) * 2.0**52), -52)
    steps = rng.integers(-3, 4, (3000, 2))
    cancelling = np.stack([near, -near + steps[:, 0] * 2.0**-53, steps[:, 1] * 2.0 ** rng.integers(-110, -50, 3000)])
    for a, b, c in np.concatenate([drawn, cancelling.T[:, rng.permutation(3)]]).tolist():
        x, y, z = words.three_sum(a, b, c)
        assert whole((x, y, z)) == whole((a, b, c))
        assert abs(z) <= abs(y) * 2.0**-53


def test_products_of_two_words_come_near_their_error() -> None:
    """`multiply_error`, and `two_product_exact` and `sum_error_held`: second words as large as they can be."""
    rng = np.random.default_rng(7)
    worst = Fraction(0)
    for _ in range(4000):
        a, b = (1 + rng.random(2) * 2.0 ** -rng.integers(0, 4)).tolist()
        a_low, b_low = (np.array([a, b]) * 2.0**-53 * rng.choice([1.0, -1.0, 0.999, 0.75], 2)).tolist()
        assert whole(words.two_sum(a, b)) == whole((a, b))
        assert whole(words.two_product(a, b)) == Fraction(a) * Fraction(b)
        exact = whole((a, a_low)) * whole((b, b_low))
        worst = max(worst, abs(whole(words.multiply(a, a_low, b, b_low)) / exact - 1))
    assert TIGHTNESS["multiply_error"] <= float(worst) / words.PRODUCT_ERROR <= 1


def third_power(n: int) -> Fraction:
    """(n u / (1 - n u))^3."""
    return (Fraction(n, 2**53) / (1 - Fraction(n, 2**53))) ** 3


def layered(rng: np.random.Generator, n: int) -> np.ndarray:
    """Numbers that fill words: near 1 or a few words below it, in both directions."""
    return (1 + rng.random(n)) * rng.choice([-1.0, 1.0], n) * 2.0 ** -rng.choice([0, 53, 54, 106, 107, 160], n)


def test_no_sum_in_three_words_is_further_off() -> None:
    """`add_all_error`, with n from 0 on."""
    rng = np.random.default_rng(3)
    worst = Fraction(0)
    for n in [0, 1, 2, 3, *[4, 5, 6, 8, 40] * 1500]:
        x = layered(rng, n)
        sums = [np.zeros((1, 1)) for _ in range(3)]
        loops.add_all(x[None], *sums)
        error = abs(whole(tuple(word[0, 0] for word in sums)) - whole(tuple(x)))
        bound = third_power(n) * whole(tuple(np.abs(x)))
        assert error <= bound
        worst = max(worst, error / bound if bound else Fraction(0))
    assert worst >= TIGHTNESS["add_all_error"]


def test_no_dot_product_in_three_words_is_further_off() -> None:
    """`row_dots_error`: 2 n words of n products, of which the smallest underflow."""
    rng = np.random.default_rng(4)
    worst = Fraction(0)
    for n in [1, 2, 3, 20] * 1500:
        size = 2.0 ** -rng.choice([0, 0, 480])
        x, y = layered(rng, n) * size, (1 + rng.random(n)) * rng.choice([-1.0, 1.0], n) * size
        y_low = y * 2.0**-53 * rng.uniform(-1, 1, n)
        found = np.empty((1, 3))
        loops.row_dots(x[None], y[None], y_low[None], found)
        pairs = zip(np.repeat(x, 2), np.stack([y, y_low], axis=1).ravel(), strict=True)
        products = [Fraction(a) * Fraction(b) for a, b in pairs]
        error = abs(whole(tuple(found[0])) - sum(products))
        bound = third_power(4 * n) * sum(map(abs, products)) + 2 * n * SMALLEST
        assert error <= bound
        worst = max(worst, error / bound)
    assert worst >= TIGHTNESS["row_dots_error"]
