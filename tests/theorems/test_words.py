"""The theorems of proofs/extended_precision.md about words: sums and products are exact, or err by at most the stated
bounds, on numbers of all sizes, on ties and on sums that cancel.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from tests.support.extras import skip_without

skip_without("numba")

from refattn.oracle.extended import loops, words

TIGHTNESS: dict[str, float] = {
    "multiply_error": 0.45,
    "multiply_words": 0.6,
    "multiply_add_error": 0.7,
    "exponential_near": 0.36,
    "quotient_near": 0.24,
    "weight_near": 0.3,
    "logarithm_near": 0.2,
    "difference_near": 0.24,
    "two_product_lost": 1.0,
    "add_all_error": 0.01,
    "row_dots_error": 0.012,
}
SMALLEST = Fraction(1, 2**1074)
U = Fraction(1, 2**53)


def whole(parts: tuple[float, ...]) -> Fraction:
    """The sum of words, exactly."""
    return sum(map(Fraction, parts), Fraction(0))


def numbers(rng: np.random.Generator, count: int) -> np.ndarray:
    """Of all sizes down to the smallest subnormal one, many of which have few bits or nearly the same size."""
    bits = rng.choice([1, 3, 30, 53], count)
    mantissas = np.round(rng.uniform(-1, 1, count) * 2.0**bits) * 2.0**-bits
    wide = np.ldexp(mantissas, rng.integers(-1074, 900, count))
    return np.where(rng.random(count) < 0.5, wide, np.ldexp(mantissas, rng.integers(-55, 55, count)))


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


def second(rng: np.random.Generator, first: float) -> float:
    """A second word, mostly as large as it can be."""
    return float(first * 2.0**-53 * rng.choice([1.0, -1.0, 0.999, 0.75]))


def test_products_in_two_words_are_no_further_off_where_they_underflow() -> None:
    """`multiply_words`."""
    rng = np.random.default_rng(8)
    worst = Fraction(0)
    for size in [1.0, 2.0**-400, 2.0**-500, 2.0**-520, 2.0**-537] * 1200:
        a, b = (size * (1 + rng.random(2) * 2.0 ** -rng.integers(0, 30))).tolist()
        a_low, b_low = second(rng, a), second(rng, b)
        one, two = words.multiply(a, a_low, b, b_low)
        error = abs(whole((one, two)) - whole((a, a_low)) * whole((b, b_low)))
        bound = (6 * U**2 + 2 * U**3) * Fraction(a) * Fraction(b) + 5 * SMALLEST / 2
        assert error <= bound
        assert abs(Fraction(two)) <= U * abs(Fraction(one))
        worst = max(worst, error / bound)
    assert worst >= TIGHTNESS["multiply_words"]


def added_error(a: float, a_low: float, b: float, b_low: float, c: float, c_low: float) -> Fraction:
    """Error of `multiply_add`, in units of its stated bound."""
    exact = whole((a, a_low)) * whole((b, b_low)) + whole((c, c_low))
    return abs(whole(words.multiply_add(a, a_low, b, b_low, c, c_low)) - exact) / (4 * U**2 * abs(Fraction(c)))


def test_products_that_are_added_to_larger_numbers_come_near_their_error() -> None:
    """`multiply_add_error`; a number of twice the product's size is not enough."""
    rng = np.random.default_rng(9)
    worst = Fraction(0)
    for _ in range(4000):
        a, b = (1 + rng.random(2) * 2.0 ** -rng.integers(0, 20)).tolist()
        c = a * b * (32.001 + rng.random() * rng.choice([0.0, 1.0, 1000.0]))
        worst = max(worst, added_error(a, second(rng, a), b, second(rng, b), c, second(rng, c)))
    assert TIGHTNESS["multiply_add_error"] <= worst <= 1
    a, b, c = 1.1063600661805246, 1.2377667803565853, 2.7955516364526107
    assert c > 2 * a * b
    assert added_error(a, 1.2283064189994304e-16, b, 1.37419717866803e-16, c, 3.1036857933182235e-16) > 1


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
        dot = np.empty((1, 3))
        loops.row_dots(x[None], y[None], y_low[None], dot)
        pairs = zip(np.repeat(x, 2), np.stack([y, y_low], axis=1).ravel(), strict=True)
        products = [Fraction(a) * Fraction(b) for a, b in pairs]
        error = abs(whole(tuple(dot[0])) - sum(products))
        bound = third_power(4 * n) * sum(map(abs, products)) + 2 * n * SMALLEST
        assert error <= bound
        worst = max(worst, error / bound)
    assert worst >= TIGHTNESS["row_dots_error"]


@pytest.mark.needs("flint")
def test_the_constants_are_what_the_theorem_of_the_exponential_supposes() -> None:
    """`exponential_near`: every hypothesis of constants_ok, against arb."""
    import flint

    def near(words: tuple[float, ...], exact: Any, error: float) -> bool:
        return bool(abs(sum(map(flint.arb, words), flint.arb(0)) - exact) <= error)

    def two_words(high: float, low: float) -> bool:
        return abs(Fraction(low)) <= U * abs(Fraction(high))

    with flint.ctx.workprec(400):
        step = flint.arb(2).log() / words.STEPS
        assert words.STEPS == 512
        assert abs(flint.arb(words._STEPS_IN_ONE) * step - 1) <= 2.0**-52
        assert (Fraction(words._FIRST) * 2**41).denominator == 1
        assert Fraction(1, 739) <= Fraction(words._FIRST) <= Fraction(1354, 10**6)
        assert abs(words._SECOND) <= 2.0**-41
        assert abs(words._THIRD) <= 2.0**-94
        assert near((words._FIRST, words._SECOND, words._THIRD), step, 2.0**-140)
        assert two_words(words._THIRD_HIGH, words._THIRD_LOW)
        assert near((words._THIRD_HIGH, words._THIRD_LOW), flint.arb(1) / 6, 2.0**-107)
        assert two_words(words._FOURTH_HIGH, words._FOURTH_LOW)
        assert near((words._FOURTH_HIGH, words._FOURTH_LOW), flint.arb(1) / 24, 2.0**-108)
        assert near((words._FIFTH,), flint.arb(1) / 120, 2.0**-59)
        assert near((words._SIXTH,), flint.arb(1) / 720, 2.0**-62)
        assert near((words._SEVENTH,), flint.arb(1) / 5040, 2.0**-64)
        assert near((words._EIGHTH,), flint.arb(1) / 40320, 2.0**-67)
        for i in range(512):
            high, low = words._POWERS_HIGH[i], words._POWERS_LOW[i]
            assert two_words(high, low)
            assert 1 <= high <= 2
            assert near((high, low), (i * step).exp(), 2.0**-106)
            assert not near((high, low * (1 + 2.0**-40)), (i * step).exp(), 2.0**-106) or abs(low) < 2.0**-65


@pytest.mark.needs("flint")
def test_exponentials_come_near_their_error() -> None:
    """`exponential_near`, at the ends of the argument's range, beside every step and with second words of any size."""
    import flint

    rng = np.random.default_rng(5)
    beside = np.arange(512) * float(np.log(2)) / 512
    high = -np.concatenate([beside, beside + 0.49 * beside[1], rng.uniform(-660, 660, 3000), [660.0, -660.0, 0.0]])
    high = np.concatenate([high, np.ldexp(rng.uniform(-1, 1, 300), rng.integers(-1074, 9, 300))])
    middle = np.ldexp(rng.uniform(-1, 1, high.size), rng.choice([-30, -50, -60, -1000], high.size))
    low = np.ldexp(rng.uniform(-1, 1, high.size), rng.choice([-80, -100, -1070], high.size))
    worst = 0.0
    with flint.ctx.workprec(300):
        for parts in zip(high.tolist(), middle.tolist(), low.tolist(), strict=True):
            one, two, exponent = words.exponential(*parts)
            exact = sum(map(flint.arb, parts), flint.arb(0)).exp()
            computed = (flint.arb(one) + flint.arb(two)) * flint.arb(2) ** exponent
            worst = max(worst, abs(float(computed / exact - 1)))
    assert TIGHTNESS["exponential_near"] <= worst / words.EXPONENTIAL_ERROR <= 1


def quotient_error(numerator: tuple[float, ...], denominator: tuple[float, ...]) -> Fraction:
    """Error of a quotient of three words, in units of 2^-105 of it."""
    one, two = np.empty((1, 1)), np.empty((1, 1))
    parts = [np.full((1, 1), part) for part in numerator]
    loops.quotients(*parts, np.array([denominator]), one, two)
    error = abs(whole((one[0, 0], two[0, 0])) - whole(numerator) / whole(denominator))
    return error * 2**105 / abs(Fraction(one[0, 0]))


def test_a_quotient_whose_second_words_cancel_keeps_its_third() -> None:
    """The second words of the dividend, and of what is subtracted from it, add up to 0; what they round does not."""
    dividend = (1.0046006505938287, -5.821845355145422e-17, 0.0)
    divisor = (1.0040982691471554, -1.1098741143991242e-16, -1.2310337783441686e-32)
    assert quotient_error(dividend, divisor) <= 1


def test_quotients_come_near_their_error() -> None:
    """`quotient_near`, down to the smallest weights that there are."""
    rng = np.random.default_rng(6)
    worst = Fraction(0)
    for size in [1.0, 2.0**-300, 2.0**-953] * 1500:
        dividend, divisor = 1 + rng.random() * 2.0 ** -rng.integers(0, 9), 1 + rng.random() * 2.0 ** -rng.integers(0, 9)
        numerator = (dividend * size, second(rng, dividend) * size, 0.0)
        middle = second(rng, divisor)
        worst = max(worst, quotient_error(numerator, (divisor, middle, second(rng, middle))))
    assert TIGHTNESS["quotient_near"] <= worst <= 1


@pytest.mark.needs("flint")
def test_weights_come_near_their_error() -> None:
    """`weight_near` and `whole_exponential_near`, of scores of three words of any sizes that they may have."""
    import flint

    rng = np.random.default_rng(10)
    worst = 0.0
    with flint.ctx.workprec(300):
        for shift in np.ldexp(rng.uniform(-1, 1, 3000), rng.choice([-20, 0, 9, 16], 3000)).tolist():
            high = shift + float(rng.uniform(-659.9, 0) * rng.choice([1.0, 2.0**-9, 2.0**-30]))
            middle, low = float(np.ldexp(rng.uniform(-1, 1), -37)), float(np.ldexp(rng.uniform(-1, 1), -90))
            computed = sum(map(flint.arb, loops.weight(high, middle, low, shift)), flint.arb(0))
            exact = sum(map(flint.arb, (high, middle, low, -shift)), flint.arb(0)).exp()
            off = 2.0**-53 * (2.0**-53 * (2.0**-53 * abs(high - shift) + abs(middle)) + abs(low))
            worst = max(worst, abs(float(computed / exact - 1)) / (words.EXPONENTIAL_ERROR + off * (1 + 2.0**-40)))
    assert TIGHTNESS["weight_near"] <= worst <= 1


@pytest.mark.needs("flint")
def test_logarithms_come_near_their_error() -> None:
    """`logarithm_near`, of totals of three words, where shift and logarithm cancel and where they do not."""
    import flint

    rng = np.random.default_rng(11)
    totals = np.empty((4000, 3))
    totals[:, 0] = np.exp(rng.uniform(-0.4, 12.0, 4000))
    totals[:, 1] = totals[:, 0] * 2.0**-53 * rng.choice([1.0, -1.0, 0.9, 0.0], 4000) * (1 - rng.random(4000) / 9)
    totals[:, 2] = totals[:, 1] * 2.0**-53 * rng.choice([1.0, -1.0, 0.9], 4000)
    guesses = np.log(totals[:, 0])
    shift = np.where(rng.random(4000) < 0.7, -guesses, rng.uniform(-9, 9, 4000))
    one, two = np.empty(4000), np.empty(4000)
    loops.logarithms(totals, guesses, shift, one, two)
    worst = 0.0
    with flint.ctx.workprec(300):
        for i in range(4000):
            exact = flint.arb(shift[i]) + sum(map(flint.arb, totals[i].tolist()), flint.arb(0)).log()
            error = abs(float(flint.arb(one[i]) + flint.arb(two[i]) - exact))
            worst = max(worst, error / (2.0**-106 * (14 + (1 + 2.0**-48) * abs(one[i]))))
    assert TIGHTNESS["logarithm_near"] <= worst <= 1
    assert words.LOGARITHM_ERROR == 15 * 2.0**-106


def test_no_difference_with_a_logarithm_is_further_off() -> None:
    """`difference_near`, where the two cancel and where they do not."""
    rng = np.random.default_rng(16)
    y = rng.uniform(-1, 1, 4000) * 2.0 ** rng.integers(-9, 9, 4000)
    y_low = y * 2.0**-53 * rng.choice([1.0, -1.0, 0.9], 4000)
    x = np.where(rng.random(4000) < 0.5, y * (1 + 2.0**-20 * rng.uniform(-1, 1, 4000)), rng.uniform(-9, 9, 4000))
    one, two = np.empty((4000, 1)), np.empty((4000, 1))
    loops.differences(x[:, None].copy(), y, y_low, one, two)
    worst = Fraction(0)
    for parts in zip(x.tolist(), y.tolist(), y_low.tolist(), one[:, 0].tolist(), two[:, 0].tolist(), strict=True):
        error = abs(whole(parts[3:]) - (Fraction(parts[0]) - whole(parts[1:3])))
        worst = max(worst, error / (U**2 * (abs(Fraction(parts[3])) + abs(Fraction(parts[1])))))
    assert TIGHTNESS["difference_near"] <= worst <= 1 + 2.0**-48


def test_a_guess_that_is_far_off_gives_no_logarithm() -> None:
    totals, shift, one, two = np.array([[3.0, 0.0, 0.0]] * 2), np.zeros(2), np.empty(2), np.empty(2)
    loops.logarithms(totals, np.log(3.0) + np.array([2.0**-39, 2.0**-36]), shift, one, two)
    assert np.isnan(one).tolist() == [False, True]
