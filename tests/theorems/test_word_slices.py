"""The theorems of proofs/extended_precision.md about slices of weights, and what products of slices leave out: as much
as is stated, and no more.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from tests.support.extras import skip_without

skip_without("numba")

from refattn.oracle.extended import loops, slices, weighted_sums

TIGHTNESS: dict[str, float] = {
    "cut_near": 0.9999,
    "slices_left_out": 0.99,
}


def whole(parts: tuple[float, ...]) -> Fraction:
    """The sum of words, exactly."""
    return sum(map(Fraction, parts), Fraction(0))


def second(rng: np.random.Generator, first: float) -> float:
    """A second word, mostly as large as it can be."""
    return float(first * 2.0**-53 * rng.choice([1.0, -1.0, 0.999, 0.75]))


def cut(weights: tuple[float, float], bits: int, count: int) -> list[float]:
    """The slices of a weight of two words."""
    parts = np.empty((count, 1, 1))
    loops.slice_words(*(np.full((1, 1), word) for word in weights), 0, 0, bits, parts)
    return list(parts[:, 0, 0])


def largest(bits: int, place: int) -> Fraction:
    """Bound of a slice of a number of at most 1."""
    return Fraction(1, 2 ** (bits * place + (place > 0)))


def test_slices_of_two_words_leave_as_much_as_is_stated_and_no_more() -> None:
    """`cut_near`; the second word makes it more than half of the last unit."""
    rng = np.random.default_rng(12)
    worst = Fraction(0)
    for bits, count in [(10, 6), (22, 5), (26, 5), (34, 3)]:
        for _ in range(1500):
            unit = 2.0 ** -(bits * int(rng.integers(1, count + 1)))
            one = float(min(1.0, unit * (rng.integers(0, 2**10) + rng.choice([0.5, rng.random()]))))
            two = second(rng, one)
            parts = cut((one, two), bits, count)
            left = abs(whole((one, two)) - whole(tuple(parts))) * 2 ** (bits * count + 1)
            assert abs(Fraction(parts[0])) <= 1
            for place, part in enumerate(parts):
                assert abs(Fraction(part)) <= largest(bits, place) * Fraction(weighted_sums.SECOND_WORD)
            assert left <= Fraction(weighted_sums.SECOND_WORD)
            worst = max(worst, left / Fraction(weighted_sums.SECOND_WORD))
    assert TIGHTNESS["cut_near"] <= worst
    tie = (2.0**-90 + 2.0**-111, 2.0**-144)
    assert whole(tie) - whole(tuple(cut(tie, 22, 5))) > Fraction(1, 2**111)


def test_levels_of_slices_leave_out_as_much_as_is_stated_and_no_more() -> None:
    """`sliced_exact` and `slices_left_out`, for `slices.dropped`, `level_size`: slices nearly as large as can be."""
    rng = np.random.default_rng(13)
    worst = Fraction(0)
    for bits in (10, 20, 25):
        for _ in range(300):
            x, y = (1 - 2.0**-bits * (0.5 - rng.choice([2.0**-20, rng.random()])) for _ in range(2))
            a, b = (slices.Sliced.of(np.array([[number]]), bits) for number in (x, y))
            for number in range(1, a.count + b.count):
                out = np.empty((number, 1, 1))
                slices.levels(a, b, out)
                error = abs(Fraction(x) * Fraction(y) - whole(tuple(out.ravel())))
                bound = Fraction(slices.dropped(a, b, number)) * 2 ** int(a.exponent[0] + b.exponent[0])
                assert error <= bound
                worst = max(worst, error / bound if bound else Fraction(0))
                for t, level in enumerate(out.ravel()):
                    assert abs(Fraction(level)) <= Fraction(2 if t else 1, 2 ** (bits * t))
    assert worst >= TIGHTNESS["slices_left_out"]


def test_pairs_of_slices_leave_out_no_more_than_is_stated() -> None:
    """`slices_left_out`, for `Values.left_out`: weights of two words, values of one."""
    rng = np.random.default_rng(14)
    for wanted in (30, 60, 104):
        for bits in (8, 30, 53):
            value = np.round(rng.uniform(-1, 1, (40, 1)) * 2.0**bits) * 2.0 ** (rng.integers(-30, 1, (40, 1)) - bits)
            values = weighted_sums.Values.of(value, wanted)
            for v, row in zip(value[:, 0], values.matrix[:, 1:-1], strict=True):
                one = float(rng.choice([1.0, rng.random()])) * 2.0 ** -int(rng.integers(0, 60))
                weight = (one, second(rng, one))
                parts = cut(weight, values.weight_bits, len(values.pairs))
                kept = sum(
                    Fraction(part) * Fraction(row[b])
                    for part, number in zip(parts, values.pairs, strict=True)
                    for b in range(number)
                )
                error = abs(whole(weight) * Fraction(v) - kept)
                assert error <= Fraction(values.left_out) * Fraction(values.size[0])
                assert abs(whole(weight) - whole(tuple(parts))) <= Fraction(values.lost)


def test_sums_of_chunks_are_exact() -> None:
    """`add_exactly_exact`: multiples of one unit, most of them as large as they can be."""
    rng = np.random.default_rng(15)
    for same in (True, False):
        chunks = rng.integers(-(2**53), 2**53, (3000, 1, 4))
        chunks[::3] = 2**53
        chunks = np.abs(chunks) if same else chunks
        totals, rests = np.zeros((1, 4)), np.zeros((1, 4))
        for chunk in chunks:
            loops.add_exactly(np.ldexp(chunk.astype(np.float64), -100), totals, rests)
        for place in range(4):
            exact = Fraction(sum(chunks[:, 0, place].tolist()), 2**100)
            assert whole((totals[0, place], rests[0, place])) == exact
        assert rests.any()
