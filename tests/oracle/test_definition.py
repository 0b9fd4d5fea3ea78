"""The definition agrees with closed forms, with symmetries, and its gradients with differences of itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from mpmath import mp, mpf

from refattn.contract.spec import AttentionSpec, SoftmaxSpec, problem_shape
from refattn.oracle.exact import definition
from refattn.oracle.specials.forward import split
from tests.support.hard_problems import Problem, problems

BITS = 200
# The largest difference of two evaluations at BITS, relative to the largest |v| or to 1: each errs by at most 2**-BITS.
APART = mpf(2) ** (1 - BITS)


def sequence(*values: float) -> np.ndarray:
    """One head of one-dimensional vectors."""
    return np.array(values, dtype=np.float64).reshape(1, 1, -1, 1)


def within(a: object, b: object, bound: object) -> bool:
    with mp.workprec(4 * BITS):
        return bool(np.all(np.abs(np.asarray(a, dtype=object) - np.asarray(b, dtype=object)) <= bound))


def test_one_key_returns_its_value_and_its_score():
    spec = AttentionSpec(scale=0.5, bias=np.array(0.25), alibi_slopes=np.array([3.0]), alignment="top_left")
    out, lse = definition.attention(sequence(1.0, 2.0), sequence(3.0), sequence(7.0), spec)
    assert list(out.ravel()) == [7, 7]
    assert list(lse.ravel()) == [mpf("1.75"), mpf("0.25")]


def test_uniform_scores_return_the_mean():
    out, lse = definition.attention(sequence(0.0), sequence(5.0, -1.0, 2.0), sequence(1.0, 2.0, 6.0))
    assert within(out, 3, 6 * APART)
    with mp.workprec(2 * BITS):
        assert within(lse, mp.log(3), APART)


def test_two_keys_give_the_logistic_function():
    out, lse = definition.attention(sequence(1.0), sequence(2.0, 0.75), sequence(1.0, 0.0))
    with mp.workprec(2 * BITS):
        assert within(out, 1 / (1 + mp.exp(mpf("-1.25"))), APART)
        assert within(lse, mpf(2) + mp.log1p(mp.exp(mpf("-1.25"))), APART)


def test_the_default_scale_is_the_real_square_root():
    q = np.array([1.0, 0.0, 0.0]).reshape(1, 1, 1, 3)
    _, lse = definition.attention(q, q, q)
    with mp.workprec(2 * BITS):
        assert within(lse, 1 / mp.sqrt(3), APART)
        assert not within(lse, mpf(1.0 / math.sqrt(3.0)), APART)


def test_softcap_comes_before_bias_and_a_sink_takes_weight_without_a_value():
    spec = AttentionSpec(softcap=2.0, bias=np.array(1.0), sinks=np.array([0.5]))
    out, lse = definition.attention(sequence(3.0), sequence(1.0), sequence(1.0), spec)
    with mp.workprec(2 * BITS):
        score = 2 * mp.tanh(mpf("1.5")) + 1
        assert within(out, mp.exp(score) / (mp.exp(score) + mp.exp(mpf("0.5"))), APART)
        assert within(lse, mp.log(mp.exp(score) + mp.exp(mpf("0.5"))), APART)


def test_dropout_multiplies_normalised_weights_and_not_the_log_sum_exp():
    plain = AttentionSpec()
    spec = AttentionSpec(keep=np.array([[True, False]]), dropout=0.75)
    arrays = (sequence(0.0), sequence(1.0, 2.0), sequence(3.0, 5.0))
    out, lse = definition.attention(*arrays, spec)
    assert within(out, 6, 20 * APART)
    assert (lse == definition.attention(*arrays, plain)[1]).all()


@pytest.mark.parametrize(("empty_rows", "wanted"), [("zero", 0.0), ("nan", math.nan)])
def test_a_row_without_keys_is_empty(empty_rows, wanted):
    spec = AttentionSpec(causal=True, strict=True, empty_rows=empty_rows)
    out, lse = definition.attention(sequence(1.0, 1.0), sequence(1.0, 1.0), sequence(1.0, 4.0), spec)
    np.testing.assert_equal(float(out[0, 0, 0, 0]), wanted)
    assert lse[0, 0, 0] == mpf("-inf")
    assert out[0, 0, 1, 0] == 1


def test_an_empty_row_with_a_sink_has_its_logit():
    spec = AttentionSpec(mask=np.array(False), sinks=np.array([0.25]))
    out, lse = definition.attention(sequence(1.0), sequence(1.0), sequence(1.0), spec)
    assert (out.item(), lse.item()) == (0, mpf("0.25"))


def test_a_sink_of_minus_infinity_is_none_in_an_empty_row_too():
    spec = AttentionSpec(mask=np.array([[[[True], [False]]]]), sinks=np.array([-np.inf]))
    q = do = np.ones((1, 1, 2, 1))
    out, lse = definition.attention(q, q[:, :, :1], q[:, :, :1], spec)
    assert (out[0, 0, 1, 0], lse[0, 0, 1]) == (0, mpf("-inf"))
    gradients = definition.attention_backward(q, q[:, :, :1], q[:, :, :1], do, spec)
    assert gradients.dsinks.item() == 0


def test_precision_follows_the_size_of_the_scores():
    q, k, v = sequence(1e150), sequence(1e150, np.nextafter(1e150, 0.0)), sequence(0.0, 1.0)
    spec = AttentionSpec(scale=2.0**-940)
    out, lse = definition.attention(q, k, v, spec)
    with mp.workprec(6000):
        high, low = (mpf(1e150) * mpf(float(x)) * mpf(2) ** -940 for x in k.ravel())
        assert within(lse, high + mp.log1p(mp.exp(low - high)), APART)
        assert within(out, 1 / (1 + mp.exp(high - low)), APART)


@settings(max_examples=25, deadline=None)
@given(problems())
def test_a_permutation_of_the_keys_changes_nothing_without_positions(problem: Problem):
    q, k, v, spec = problem
    plain = AttentionSpec(scale=spec.scale, softcap=spec.softcap, sinks=spec.sinks)
    out, lse = definition.attention(q, k, v, plain)
    turned, turned_lse = definition.attention(q, k[:, :, ::-1], v[:, :, ::-1], plain)
    assert within(out, turned, APART * mpf(float(np.abs(v).max(initial=0.0))))
    finite = np.array([not mp.isinf(x) for x in lse.ravel()])
    assert within(lse.ravel()[finite], turned_lse.ravel()[finite], APART)


def test_a_shift_of_the_scores_moves_only_the_log_sum_exp():
    arrays = (sequence(1.0, -0.3), sequence(0.1, 2.0, -1.0), sequence(1.0, -5.0, 2.0))
    out, lse = definition.attention(*arrays)
    shifted, shifted_lse = definition.attention(*arrays, AttentionSpec(bias=np.array(2.0**70)))
    assert within(out, shifted, 5 * APART)
    with mp.workprec(2 * BITS):
        assert within(lse + mpf(2) ** 70, shifted_lse, APART)


@settings(max_examples=25, deadline=None)
@given(problems())
def test_more_bits_change_no_more_than_promised(problem: Problem):
    q, k, v, spec = problem
    size = mpf(float(np.abs(v).max(initial=0.0))) / (1 - mpf(spec.dropout))
    for few, many, bound in zip(
        definition.attention(q, k, v, spec, bits=60),
        definition.attention(q, k, v, spec, bits=BITS),
        (size, mpf(1)),
        strict=True,
    ):
        usual = np.array([mp.isfinite(x) for x in many.ravel()], dtype=bool)
        assert all(str(a) == str(b) for a, b in zip(few.ravel()[~usual], many.ravel()[~usual], strict=True))
        assert within(few.ravel()[usual], many.ravel()[usual], bound * mpf(2) ** -59)


@settings(max_examples=60, deadline=None)
@given(problems())
def test_poison_spreads_as_the_specials_say(problem: Problem):
    q, k, v, spec = problem
    poison = (np.nan, np.inf, -np.inf, 1.0)
    q, k, v = (np.clip(x, -1e3, 1e3) for x in (q, k, v))
    for array, value in zip((k, v, q), poison, strict=False):
        if array.size:
            array.ravel()[-1] = value
    shape = problem_shape(q, k, v, spec)
    known = split(q, k, v, spec, shape)
    for result, special in zip(definition.attention(q, k, v, spec), (known.out, known.lse), strict=True):
        usual = np.array([mp.isfinite(x) for x in result.ravel()], dtype=bool).reshape(result.shape)
        mask = np.zeros(result.shape, bool) if special is None else special.mask
        for index in np.argwhere(mask & (True if special is None else special.rad == 0)):
            assert special is not None
            np.testing.assert_equal(float(result[tuple(index)]), special.mid[tuple(index)])
        empty = ~mask & ~usual
        assert all(spec.empty_rows == "nan" or result[i] == mpf("-inf") for i in zip(*np.nonzero(empty), strict=True))


FEATURES = {
    "plain": AttentionSpec(),
    "scale": AttentionSpec(scale=0.75),
    "softcap": AttentionSpec(softcap=0.75, causal=True),
    "bias": AttentionSpec(bias=np.array([[[0.25, -0.125, -np.inf]]])),
    "sinks": AttentionSpec(sinks=np.array([0.25, -0.5]), alibi_slopes=np.array([0.5, 0.25])),
    "dropout": AttentionSpec(keep=np.array([[True, False, True], [True, True, False]]), dropout=0.25),
    "empty": AttentionSpec(kept_queries=np.array([True, False]), sinks=np.array([0.25, -0.5])),
}
STEP = 2.0**-45
# The remainder of a central difference is h^2 / 6 times the loss's third derivative along the input. One row's is a
# fourth cumulant of numbers below 2 * 2 * 2 (values do . v) and 2 * 2 (derivatives of scores), at most 26 * 8 * 4^3; at
# most 4 rows move together; the softcap's own derivatives are below 16: less than 2^20 in all.
REMAINDER = mpf(2) ** (20 - 90)


def gradient_case() -> dict[str, np.ndarray]:
    """Arrays of multiples of 1/64 in [-2, 2], to which STEP adds exactly."""
    generator = np.random.default_rng(7)
    shapes = {"q": (1, 2, 2, 2), "k": (1, 1, 3, 2), "v": (1, 1, 3, 2), "do": (1, 2, 2, 2), "dlse": (1, 2, 2)}
    return {name: generator.integers(-128, 129, shape) / 64 for name, shape in shapes.items()}


def loss(arrays: dict[str, np.ndarray], spec: AttentionSpec) -> mpf:
    out, lse = definition.attention(arrays["q"], arrays["k"], arrays["v"], spec, bits=BITS)
    pairs = zip(
        [*arrays["do"].ravel(), *arrays["dlse"].ravel()],
        [*out.ravel(), *(x if mp.isfinite(x) else mpf(0) for x in lse.ravel())],
        strict=True,
    )
    return sum((mpf(float(a)) * b for a, b in pairs), mpf(0))


@pytest.mark.parametrize("name", FEATURES)
def test_gradients_are_derivatives(name):
    spec, arrays = FEATURES[name], gradient_case()
    gradients = definition.attention_backward(
        arrays["q"], arrays["k"], arrays["v"], arrays["do"], spec, arrays["dlse"], bits=BITS
    )._asdict()
    for field, gradient in gradients.items():
        origin = arrays[field[1:]] if field[1:] in arrays else getattr(spec, field[1:])
        assert (gradient is None) == (origin is None)
        for index in [] if origin is None else np.ndindex(origin.shape):
            if np.isneginf(origin[index]):
                assert gradient[index] == 0
                continue
            values = []
            for step in (STEP, -STEP):
                moved = origin.copy()
                moved[index] += step
                inside = field[1:] in arrays
                with mp.workprec(2 * BITS):
                    values.append(
                        loss(arrays | {field[1:]: moved}, spec)
                        if inside
                        else loss(arrays, spec.replace(**{field[1:]: moved}))
                    )
            with mp.workprec(2 * BITS):
                difference = (values[0] - values[1]) / (2 * mpf(STEP))
                assert abs(difference - gradient[index]) <= REMAINDER


def test_a_bias_that_broadcasts_collects_every_pair_it_touches():
    arrays = gradient_case()
    inputs = [arrays[name] for name in ("q", "k", "v", "do")]
    whole = definition.attention_backward(*inputs, AttentionSpec(bias=np.zeros((1, 2, 2, 3)))).dbias
    row = definition.attention_backward(*inputs, AttentionSpec(bias=np.zeros((2, 1, 3)))).dbias
    assert whole is not None
    assert row is not None
    with mp.workprec(2 * BITS):
        assert within(whole.sum(axis=(0, 2)), row[:, 0], 64 * APART)


@pytest.mark.parametrize("kind", ["softmax", "log_softmax", "logsumexp"])
def test_a_softmax_is_the_attention_weight_of_each_entry(kind):
    x = np.array([[0.5, -1.0, 3.0], [-np.inf, 2.0, 1e5]])
    result = definition.softmax(x.T, SoftmaxSpec(axis=0, kind=kind), bits=BITS)
    for row, column in enumerate(x):
        with mp.workprec(2 * BITS):
            v = np.eye(3).reshape(1, 1, 3, 3)
            bias = AttentionSpec(bias=column[None], scale=1.0)
            out, lse = definition.attention(np.zeros((1, 1, 1, 3)), np.zeros((1, 1, 3, 3)), v, bias)
            wanted = {
                "softmax": list(out.ravel()),
                "log_softmax": [mpf(float(entry)) - lse.item() for entry in column],
                "logsumexp": [lse.item()],
            }[kind]
            for a, b in zip(np.atleast_2d(result)[..., row].ravel(), wanted, strict=True):
                assert a == b or within(a, b, APART * max(1, abs(b)))


@pytest.mark.parametrize(
    ("kind", "empty_rows", "wanted"),
    [
        ("softmax", "nan", math.nan),
        ("softmax", "zero", 0.0),
        ("log_softmax", "nan", math.nan),
        ("log_softmax", "zero", -math.inf),
        ("logsumexp", "nan", -math.inf),
    ],
)
def test_a_softmax_row_of_nothing(kind, empty_rows, wanted):
    result = definition.softmax(np.full((1, 2), -np.inf), SoftmaxSpec(kind=kind, empty_rows=empty_rows))
    for value in result.ravel():
        np.testing.assert_equal(float(value), wanted)


def test_a_tiny_softmax_keeps_its_relative_accuracy():
    weight = definition.softmax(np.array([0.0, -1e5]), bits=BITS)[1]
    with mp.workprec(2 * BITS):
        wanted = 1 / (1 + mp.exp(mpf(10) ** 5))
        assert within(weight, wanted, APART * wanted)
