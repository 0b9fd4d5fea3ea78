"""Rung 2 contains the truth to some 100 bits, in every feature that it takes, and rounds whole arrays correctly."""

from __future__ import annotations

import logging
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from mpmath import mp, mpf

from refattn import oracle
from refattn.contract.spec import AttentionSpec, SoftmaxSpec, problem_shape
from refattn.numbers import formats
from tests.support.extras import skip_without
from tests.support.hard_problems import backward_problems, problems

skip_without("numba", "threadpoolctl", "flint")

from refattn.oracle import rungs
from refattn.oracle.enclosure import Enclosure
from refattn.oracle.exact import ball, ball_gradients
from refattn.oracle.extended import forward, gradients, loops, slices, weighted_sums, words
from refattn.oracle.extended.softmax import extended_softmax
from tests.benchmarks import rung_containment

BITS = 600
PLAIN = AttentionSpec()


def meets(enclosure: Enclosure, exact: Enclosure) -> bool:
    """True if the two enclosures of each element meet: midpoints differ by at most both radii."""
    for index in np.ndindex(enclosure.shape):
        if np.isinf(enclosure.rad[index]):
            continue
        if not np.isfinite(exact.mid[index]):
            if not np.array_equal(enclosure.mid[index], exact.mid[index], equal_nan=True):
                return False
            continue
        ours, theirs = (Fraction(x.mid[index]) + Fraction(x.tail()[index]) for x in (enclosure, exact))
        if abs(ours - theirs) > Fraction(enclosure.rad[index]) + Fraction(exact.rad[index]):
            return False
    return True


def heads(n: int, d: int, seed: int = 0, format: Any = None) -> list[np.ndarray]:
    """q, k, v and do of one head."""
    generator = np.random.default_rng(seed)
    arrays = [generator.standard_normal((1, 1, n, d)) for _ in range(4)]
    return arrays if format is None else [format.round(array) for array in arrays]


@settings(max_examples=150, deadline=None)
@given(problems())
def test_attention_contains_arb(problem: Any) -> None:
    q, k, v, spec = problem
    if forward.obstacle(q, k, v, spec):
        return
    shape = problem_shape(q, k, v, spec)
    truth, exact = forward.attention(q, k, v, spec, shape), ball.attention(q, k, v, spec, shape, bits=BITS)
    assert meets(truth.out, exact.out)
    assert meets(truth.lse, exact.lse)


@settings(max_examples=100, deadline=None)
@given(backward_problems())
def test_gradients_contain_arb(backward: Any) -> None:
    (q, k, v, spec), do, dlse = backward
    if forward.obstacle(q, k, v, spec, do=do, dlse=dlse):
        return
    shape = problem_shape(q, k, v, spec)
    truth = gradients.attention_backward(q, k, v, do, spec, shape, dlse)
    exact = ball_gradients.attention_backward(q, k, v, do, spec, shape, dlse, bits=BITS)
    for name, part, wanted in zip(truth._fields, truth, exact, strict=True):
        assert (part is None) == (wanted is None)
        assert part is None or wanted is None or meets(part, wanted), name


@pytest.mark.parametrize("kind", ["softmax", "log_softmax", "logsumexp"])
@pytest.mark.parametrize("empty_rows", ["nan", "zero"])
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3, 1e290])
def test_softmax_contains_arb(kind: Any, empty_rows: Any, size: float) -> None:
    generator = np.random.default_rng(7)
    x = generator.standard_normal((12, 9)) * size
    x[generator.random(x.shape) < 0.2] = -np.inf
    x[3] = -np.inf
    x[4] = np.round(x[4])
    spec = SoftmaxSpec(kind=kind, empty_rows=empty_rows)
    assert meets(extended_softmax(x, spec), ball.softmax(x, spec, bits=BITS))


SPECS = {
    "plain": PLAIN,
    "causal": AttentionSpec(causal=True),
    "window": AttentionSpec(window=(40, 3), sinks=np.array([0.5])),
    "bias": AttentionSpec(bias=np.random.default_rng(1).standard_normal((1, 1, 1, 700)), scale=0.3),
    "alibi": AttentionSpec(alibi_slopes=np.array([0.1]), causal=True),
    "dropout": AttentionSpec(keep=np.random.default_rng(2).random((1, 1, 700, 700)) < 0.8, dropout=0.2),
}


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("format", [formats.bf16, formats.fp32, formats.fp64], ids=lambda format: format.name)
def test_a_hundred_bits_of_what_is_averaged_are_certified(name: str, format: Any) -> None:
    q, k, v, _ = heads(700, 64, format=format)
    shape = problem_shape(q, k, v, SPECS[name])
    truth = forward.attention(q, k, v, SPECS[name], shape)
    size = np.abs(v).mean() / (1.0 - SPECS[name].dropout)
    assert truth.out.rad.max() <= 2.0**-99 * size
    assert truth.lse.rad.max() <= 2.0**-99 * (1.0 + np.abs(truth.lse.mid).max())
    rows = np.zeros((1, 1, 700), np.bool_)
    rows[..., [0, 350, 699]] = True
    exact = ball.attention(q, k, v, SPECS[name], shape, bits=300, wanted=rows)
    for part, wanted in zip(truth, exact, strict=True):
        assert meets(part[rows], wanted[rows])


def test_gradients_have_ninety_bits_and_most_of_them_ninety_six() -> None:
    q, k, v, do = heads(300, 32)
    spec = AttentionSpec(causal=True, sinks=np.array([0.1]), bias=np.zeros((300, 300)))
    truth = gradients.attention_backward(q, k, v, do, spec, problem_shape(q, k, v, spec))
    for name, part in zip(truth._fields, truth, strict=True):
        assert part is not None
        # A sink's gradient adds up terms of every query, which cancel.
        bits = 89 if name == "dsinks" else 96
        assert part.rad.max() <= 2.0**-bits * np.abs(part.mid).max(), name


def arguments() -> np.ndarray:
    """Where a reduced argument is near its ends, every table entry, tiny and long arguments, and random ones."""
    step = float(mp.log(2)) / words.STEPS
    whole = np.arange(0, 2 * words.STEPS)
    ends = [whole * step, (whole + 0.5) * step, np.nextafter((whole + 0.5) * step, 0.0)]
    generator = np.random.default_rng(3)
    random = generator.uniform(0.0, -words.LOWEST_ARGUMENT, 4000)
    tiny = 2.0 ** -np.arange(1.0, 1000.0, 7.0)
    return -np.concatenate([*ends, random, tiny, [0.0, -words.LOWEST_ARGUMENT]])


def exponential_errors(weights: Any) -> float:
    """The largest relative error of exponentials of three words, in units of what is stated."""
    import flint

    generator = np.random.default_rng(4)
    high = arguments()
    middle = generator.uniform(-1, 1, high.shape) * np.maximum(np.abs(high), 1.0) * 2.0**-53
    low = middle * generator.uniform(-1, 1, high.shape) * 2.0**-53
    one, two = np.empty((1, len(high))), np.empty((1, len(high)))
    weights(high[None], middle[None], low[None], np.zeros(1), one, two)
    worst = 0.0
    with flint.ctx.workprec(300):
        for i in range(len(high)):
            exact = (flint.arb(high[i]) + flint.arb(middle[i]) + flint.arb(low[i])).exp()
            worst = max(worst, abs(float((flint.arb(one[0, i]) + flint.arb(two[0, i])) / exact - 1)))
    return worst / words.EXPONENTIAL_ERROR


def test_the_exponential_errs_by_less_than_is_stated_and_not_by_much_less() -> None:
    assert 0.1 <= exponential_errors(loops.weight_words) <= 1.0


def test_an_exponential_of_one_word_is_seen() -> None:
    def rounded(high: Any, middle: Any, low: Any, shift: Any, one: Any, two: Any) -> None:
        loops.weight_words(high, middle, low, shift, one, two)
        two[...] = 0.0

    assert exponential_errors(rounded) > 1e10


@pytest.mark.parametrize("terms", [1, 16, 64, 100, 256, 300])
def test_products_of_slices_are_exact(terms: int) -> None:
    generator = np.random.default_rng(terms)
    a, b = (generator.standard_normal((3, terms)) * 2.0 ** generator.integers(-9, 9, (3, terms)) for _ in range(2))
    # Every slice as large as it can be.
    a[0], b[0] = 1.0 - 2.0**-53, 1.0 - 2.0**-53
    bits = slices.bits_for(terms)
    rows, others = slices.Sliced.of(a, bits), slices.Sliced.of(b, bits)
    number = rows.count + others.count - 1
    out = np.empty((number, 3, 3))
    slices.levels(rows, others, out)
    assert rows.exact
    assert others.exact
    for i in range(3):
        for j in range(3):
            exact = sum(Fraction(x) * Fraction(y) for x, y in zip(a[i], b[j], strict=True))
            assert sum(Fraction(x) for x in out[:, i, j]) == exact


def test_slices_of_more_bits_would_not_be_exact() -> None:
    a, b = np.random.default_rng(0).random((2, 1, 64))
    rows, others = (slices.Sliced.of(x, slices.bits_for(64) + 5) for x in (a, b))
    out = np.empty((rows.count + others.count - 1, 1, 1))
    slices.levels(rows, others, out)
    exact = sum(Fraction(x) * Fraction(y) for x, y in zip(a[0], b[0], strict=True))
    assert sum(Fraction(x) for x in out[:, 0, 0]) != exact


def without_lower_levels(a: Any, b: Any, out: Any) -> None:
    """A product whose last slices are forgotten."""
    slices.levels(a, b, out)
    out[2:] = 0.0


def without_a_part(weights: Any, values: Any, keys: Any, **keywords: Any) -> Any:
    """Sums whose weights have one word."""
    return weighted_sums.sums_over_keys((weights[0], np.zeros_like(weights[1])), values, keys, **keywords)


@pytest.mark.parametrize(
    ("name", "fault"), [("levels", without_lower_levels), ("sums_over_keys", without_a_part)], ids=["levels", "words"]
)
def test_a_forgotten_part_is_not_contained(name: str, fault: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, name, fault)
    q, k, v, _ = heads(64, 16)
    shape = problem_shape(q, k, v, PLAIN)
    truth = forward.attention(q, k, v, PLAIN, shape)
    assert not meets(truth.out, ball.attention(q, k, v, PLAIN, shape, bits=BITS).out)


def test_every_kind_of_input_is_contained_and_a_forgotten_part_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = rung_containment.contained(1, 0)
    assert all(count.elements and not count.outside for count in counts.values())
    monkeypatch.setattr(forward, "levels", without_lower_levels)
    assert sum(count.outside for count in rung_containment.contained(1, 0).values())


@pytest.mark.parametrize("format", ["bf16", "fp32", "fp64"])
def test_whole_arrays_are_correctly_rounded_and_counted(format: str) -> None:
    q, k, v, _ = heads(384, 32)
    truth = oracle.correctly_rounded(q, k, v, PLAIN, format)
    assert truth.decided.all()
    assert sum(truth.counts.values()) == truth.out.size
    assert truth.counts["ties"] == 0
    if format == "fp64":
        # float64 decides nothing about its own last bit, and a hundred bits nearly all.
        assert truth.counts["slices"] > 0.99 * truth.out.size
    rows = [0, 200, 383]
    for i in rows:
        alone = ball.attention(
            q[:, :, i : i + 1], k, v, PLAIN, problem_shape(q[:, :, i : i + 1], k, v, PLAIN), bits=300
        )
        values, sure = alone.out.correctly_rounded(formats.get(format))
        assert sure.all()
        np.testing.assert_array_equal(truth.out[:, :, i], values[:, :, 0])


def test_exact_ties_go_to_even_and_need_more_bits() -> None:
    # All weights are equal, and the mean of v is a midpoint between two numbers of bf16, or one of them.
    n = 512
    q, k = np.zeros((1, 1, n, 8)), np.zeros((1, 1, n, 8))
    v = np.full((1, 1, n, 2), 1.0)
    v[..., 1::2, 0] += 2.0**-7
    truth = oracle.correctly_rounded(q, k, v, PLAIN, "bf16")
    assert truth.counts["more bits"] == n
    assert (truth.out[..., 0] == 1.0).all()
    assert (truth.out[..., 1] == 1.0).all()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda q, k, v: (q * 2.0**301, k, v, PLAIN), "q holds"),
        (lambda q, k, v: (q, k, v * 2.0**-310, PLAIN), "v holds"),
        (lambda q, k, v: (q, k, v, AttentionSpec(softcap=1.0)), "spec has softcap: expected none of it"),
    ],
)
def test_what_slices_cannot_take_is_said_and_taken_by_the_next_rung(
    change: Any, sentence: str, caplog: pytest.LogCaptureFixture
) -> None:
    q, k, v, spec = change(*heads(2, 4)[:3])
    why = forward.obstacle(q, k, v, spec)
    assert why is not None
    assert why.startswith(sentence)
    with caplog.at_level(logging.INFO, "refattn.oracle"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(rungs, "WORTHWHILE", 1)
        truth = oracle.attention(q, k, v, spec, rtol=2.0**-90)
    assert sentence in caplog.text
    assert np.isfinite(truth.out.rad).all()


def test_a_missing_library_is_named_with_its_remedy(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rungs, "NEEDED", ("no_such_library",))
    monkeypatch.setattr(rungs, "WORTHWHILE", 1)
    q, k, v, _ = heads(4, 4)
    with caplog.at_level(logging.INFO, "refattn.oracle"):
        oracle.attention(q, k, v, PLAIN, rtol=2.0**-90)
    assert "no_such_library is not installed: expected it, pip install 'refattn[fast]'" in caplog.text


def test_scores_beyond_the_words_are_left_to_the_next_rung() -> None:
    q, k, v, _ = heads(3, 4)
    shape = problem_shape(q, k, v, PLAIN)
    truth = forward.attention(q * 2.0**10, k * 2.0**10, v, PLAIN, shape)
    assert np.isinf(truth.out.rad).all()
    assert np.isinf(truth.lse.rad).all()


def test_words_of_a_number_add_up_to_it() -> None:
    with mp.workprec(400):
        third = mpf(1) / 3
        error = abs(sum((mpf(word) for word in words.words_of(third, 3)), mpf(0)) - third)
        assert 0 < error < mpf(2) ** -158
