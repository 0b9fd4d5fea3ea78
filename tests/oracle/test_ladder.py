"""The public oracle contains the definition everywhere, is as narrow as promised, and rounds correctly."""

from __future__ import annotations

import sys

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf

from refattn import oracle
from refattn.contract.spec import AttentionSpec, SoftmaxSpec, problem_shape
from refattn.contract.visibility import visible
from refattn.errors import InvalidType, InvalidValue
from refattn.numbers import formats
from refattn.oracle import ladder
from refattn.oracle.exact import ball, definition
from refattn.oracle.exact.dyadic import Dyadic, round_nearest
from refattn.oracle.magnitudes import gradient_sizes, largest_values, likely_largest_values
from tests.support.extras import skip_without
from tests.support.hard_problems import Problem, backward_problems, problems, softmax_rows

# A definition to this many bits is exact to the comparisons below: scores have at most 1000 bits before the point, and
# enclosures tell two numbers apart to 2**-1074.
BITS = 1200
RUNGS = ["arb", "definition"]


@pytest.fixture(params=RUNGS)
def rung(request, monkeypatch):
    """The rung above float64."""
    if request.param == "definition":
        monkeypatch.setattr(ball, "available", lambda: False)
    else:
        skip_without("flint")
    return request.param


def heads(*arrays: list[float]) -> list[np.ndarray]:
    """One head of one-dimensional vectors each."""
    return [np.array(x, dtype=np.float64).reshape(1, 1, -1, 1) for x in arrays]


@settings(max_examples=40, deadline=None)
@given(problems(), st.sampled_from([None, 2.0**-60]))
def test_attention_contains_the_definition_and_is_narrow(problem: Problem, rtol: float | None):
    q, k, v, spec = problem
    truth = oracle.attention(q, k, v, spec, rtol)
    out, lse = definition.attention(q, k, v, spec, bits=BITS)
    assert truth.out.contains(out).all()
    assert truth.lse.contains(lse).all()
    shape = problem_shape(q, k, v, spec)
    size = largest_values(v, spec, shape, np.ones(q.shape[:3], bool))
    lse_mid = np.abs(np.where(np.isfinite(truth.lse.mid), truth.lse.mid, 0.0))
    mid = np.abs(np.where(np.isfinite(truth.out.mid), truth.out.mid, 0.0))
    if rtol is None:
        assert (truth.out.rad <= np.maximum(2.0**-30 * size, 2.0**-1074)).all()
        assert (truth.lse.rad <= 2.0**-30 * np.maximum(1.0, lse_mid)).all()
    else:
        assert (truth.out.rad <= np.maximum(rtol * mid, 2.0**-1074)).all()
        assert (truth.lse.rad <= np.maximum(rtol * lse_mid, 2.0**-1074)).all()


@settings(max_examples=20, deadline=None)
@given(problems())
def test_without_python_flint_the_definition_takes_over(problem: Problem):
    q, k, v, spec = problem
    out, lse = definition.attention(q, k, v, spec, bits=BITS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ball, "available", lambda: False)
        truth = oracle.attention(q, k, v, spec, 2.0**-60)
    assert truth.out.contains(out).all()
    assert truth.lse.contains(lse).all()
    assert np.isfinite(truth.out.rad).all()


@settings(max_examples=40, deadline=None)
@given(backward_problems(), st.sampled_from(RUNGS))
def test_gradients_contain_the_definition_and_are_narrow(backward, rung: str):
    (q, k, v, spec), do, dlse = backward
    with pytest.MonkeyPatch.context() as patch:
        if rung == "definition":
            patch.setattr(ball, "available", lambda: False)
        truth = oracle.attention_backward(q, k, v, do, spec, dlse)
    wanted = definition.attention_backward(q, k, v, do, spec, dlse, bits=BITS)
    sizes = gradient_sizes(q, k, v, do, dlse, spec, problem_shape(q, k, v, spec))
    for name, exact in wanted._asdict().items():
        enclosure, size = getattr(truth, name), getattr(sizes, name)
        assert (enclosure is None) == (exact is None)
        if exact is None:
            continue
        assert enclosure.contains(exact).all(), name
        held = np.array([abs(x) < mpf(2) ** 1000 for x in exact.ravel()], dtype=bool).reshape(exact.shape)
        limit = np.broadcast_to(2.0**-30 * np.where(np.isfinite(size), size, np.inf), exact.shape)
        assert (enclosure.rad[held] <= np.maximum(limit, 2.0**-1074)[held]).all(), name


@settings(max_examples=20, deadline=None)
@given(softmax_rows(), st.sampled_from([None, 2.0**-70]), st.sampled_from(RUNGS))
@pytest.mark.parametrize("kind", ["softmax", "log_softmax", "logsumexp"])
def test_softmax_contains_the_definition_and_is_narrow(kind, x, rtol, rung):
    spec = SoftmaxSpec(axis=0, kind=kind)
    with pytest.MonkeyPatch.context() as patch:
        if rung == "definition":
            patch.setattr(ball, "available", lambda: False)
        enclosure = oracle.softmax(x.T, spec=spec, rtol=rtol)
    assert enclosure.contains(definition.softmax(x.T, spec, bits=BITS)).all()
    assert np.isfinite(enclosure.rad).all()
    if kind == "logsumexp":
        again = oracle.logsumexp(x.T, axis=0, rtol=rtol)
        np.testing.assert_array_equal(again.mid, enclosure.mid)


@settings(max_examples=40, deadline=None)
@given(problems())
def test_sizes_are_what_they_say(problem: Problem):
    q, k, v, spec = problem
    shape = problem_shape(q, k, v, spec)
    seen = visible(spec, shape)
    rows = np.ones(q.shape[:3], bool)
    largest, some = largest_values(v, spec, shape, rows), likely_largest_values(v, spec, shape)
    for b, h, i in np.ndindex(rows.shape):
        values = np.abs(v[b, h // shape.group][seen[b, h, i]])
        wanted = values.max(axis=0, initial=0.0)
        assert (largest[b, h, i] >= wanted / (1.0 - spec.dropout)).all()
        assert (largest[b, h, i] <= wanted / (1.0 - spec.dropout) * (1 + 2.0**-19)).all()
        assert (some[b, h, i] <= wanted).all()
        keys = np.flatnonzero(seen[b, h, i])
        is_run = keys.size == 0 or keys[-1] - keys[0] + 1 == keys.size
        assert (some[b, h, i] == (wanted if is_run else np.maximum(values[0], values[-1]))).all()


@settings(max_examples=40, deadline=None)
@given(problems(), st.sampled_from(["bf16", "fp16", "fp32", "fp64", "e4m3"]), st.sampled_from(RUNGS))
def test_correct_rounding_is_that_of_the_definition(problem: Problem, name: str, rung: str):
    q, k, v, spec = problem
    format = formats.get(name)
    with pytest.MonkeyPatch.context() as patch:
        if rung == "definition":
            patch.setattr(ball, "available", lambda: False)
        truth = oracle.correctly_rounded(q, k, v, spec, format)
    out, _ = definition.attention(q, k, v, spec, bits=4000 if not truth.decided.all() else 2 * BITS)
    for index in np.ndindex(out.shape):
        value = out[index]
        if not mp.isfinite(value):
            np.testing.assert_equal(truth.out[index], float(value))
            continue
        man, exp = value.man_exp
        exact = Dyadic(-abs(int(man)) if value < 0 else abs(int(man)), int(exp))
        if truth.decided[index]:
            np.testing.assert_equal(abs(truth.out[index]), abs(round_nearest(exact, format)))
        else:
            # A tie, within the definition's own error: its neighbours lie on both sides.
            low, high = (mpf(float(step(truth.out[index]))) for step in (format.next_down, format.next_up))
            with mp.workprec(5000):
                assert (
                    min(abs(2 * value - low - truth.out[index]), abs(2 * value - high - truth.out[index]))
                    <= abs(value) * mpf(2) ** -900
                )


@pytest.mark.usefixtures("rung")
@pytest.mark.parametrize(
    ("values", "wanted"), [([1.0, 1.0, 1 + 3 * 2.0**-8], 1.0), ([1.0, 1 + 2.0**-6, 1 + 5 * 2.0**-8], 1 + 2.0**-6)]
)
def test_a_tie_of_weights_that_are_not_binary_numbers_goes_to_even_and_is_not_decided(values, wanted):
    truth = oracle.correctly_rounded(*heads([0.0], [1.0, 2.0, 3.0], values), format="bfloat16")
    assert (truth.out.item(), truth.decided.item()) == (wanted, False)


@pytest.mark.usefixtures("rung")
@pytest.mark.parametrize("nudge", [-1, 0, 1])
def test_a_near_tie_is_decided_however_near(nudge):
    """Weights of 1/2 -+ about 2**-202 move the output off the midpoint of 1 and 1 + 2**-7 by about 2**-209."""
    q, k, v = heads([1.0], [0.0, nudge * 2.0**-200], [1.0, 1.0 + 2.0**-7])
    truth = oracle.correctly_rounded(q, k, v, format="bf16")
    assert truth.out.item() == (1.0 + 2.0**-7 if nudge > 0 else 1.0)
    assert truth.decided.item() or nudge == 0


@pytest.mark.usefixtures("rung")
def test_large_offsets_need_a_higher_rung_and_get_it():
    q, k, v = heads([1e19], [1e19, np.nextafter(1e19, 0.0)], [0.0, 1.0])
    spec = AttentionSpec(scale=2.0**-63)
    truth = oracle.attention(q, k, v, spec)
    with mp.workprec(400):
        gap = mpf(1e19) * (mpf(1e19) - mpf(float(k[0, 0, 1, 0]))) * mpf(2) ** -63
        assert truth.out.contains(1 / (1 + mp.exp(gap))).all()
    assert 0 < truth.out.rad.item() <= 2.0**-30


@pytest.mark.needs("flint")
def test_only_rows_that_need_it_are_computed_again(monkeypatch):
    asked = []
    original = ball.attention

    def spy(*args, **kwargs):
        asked.append(kwargs["wanted"].copy())
        return original(*args, **kwargs)

    monkeypatch.setattr(ball, "attention", spy)
    oracle.attention(*heads([1.0, 1e19], [1e19, 0.5e19], [0.25, 1.0]))
    assert asked
    assert not any(wanted[0, 0, 0] for wanted in asked[1:])
    assert asked[0][0, 0, 1]


def test_values_that_are_all_zero_give_exactly_zero_without_climbing(monkeypatch):
    monkeypatch.setattr(ladder, "PRECISIONS", (128,))
    monkeypatch.setattr(ball, "attention", None)
    q, k, v = heads([1.0], [1.0, 2.0], [0.0, 0.0])
    truth = oracle.attention(q, k, v)
    assert (truth.out.mid.item(), truth.out.rad.item()) == (0.0, 0.0)


def test_poison_in_an_invisible_slot_changes_nothing():
    generator = np.random.default_rng(3)
    q, k, v = (generator.standard_normal((1, 2, 5, 4)) for _ in range(3))
    spec = AttentionSpec(causal=True, kept_keys=np.arange(5) != 2)
    do = generator.standard_normal(q.shape)
    truths = []
    for poison in (0.0, np.nan, np.inf, -np.inf, 1e300):
        k[0, :, 2] = v[0, :, 2] = poison
        truths.append((*oracle.attention(q, k, v, spec), *oracle.attention_backward(q, k, v, do, spec)[:3]))
    for truth in truths[1:]:
        for ours, theirs in zip(truth, truths[0], strict=True):
            np.testing.assert_array_equal(ours.mid, theirs.mid)


def test_visible_nan_spreads_to_the_rows_that_see_it_and_no_further():
    q, k, v = (np.ones((1, 1, 3, 2)) for _ in range(3))
    v[0, 0, 1, 0] = np.nan
    truth = oracle.attention(q, k, v, AttentionSpec(causal=True))
    np.testing.assert_array_equal(np.isnan(truth.out.mid[0, 0]), [[False] * 2, [True, False], [True, False]])
    assert np.isfinite(truth.lse.mid).all()
    gradients = oracle.attention_backward(q, k, v, np.ones_like(q), AttentionSpec(causal=True))
    np.testing.assert_array_equal(np.isnan(gradients.dq.mid[0, 0, :, 0]), [False, True, True])
    np.testing.assert_array_equal(np.isnan(gradients.dk.mid[0, 0, :, 0]), [True, True, True])
    assert np.isfinite(gradients.dv.mid).all()


@settings(max_examples=40, deadline=None)
@given(backward_problems(), st.data())
def test_what_nan_reaches_in_the_gradients_is_what_the_definition_makes_nan(backward, data):
    (q, k, v, spec), do, dlse = backward
    q, k, v, do = (np.clip(x, -100.0, 100.0) for x in (q, k, v, do))
    poison = data.draw(st.sampled_from([np.nan, np.nan, np.inf]))
    array = data.draw(st.sampled_from([x for x in (q, k, v, do, dlse) if x is not None and x.size]))
    array.flat[data.draw(st.integers(0, array.size - 1))] = poison
    truth = oracle.attention_backward(q, k, v, do, spec, dlse)
    wanted = definition.attention_backward(q, k, v, do, spec, dlse, bits=BITS)
    for name, exact in wanted._asdict().items():
        if exact is not None:
            enclosure = getattr(truth, name)
            assert enclosure.contains(exact).all(), name
            if np.isnan(poison):
                nan = np.array([mp.isnan(x) for x in exact.ravel()], dtype=bool).reshape(exact.shape)
                np.testing.assert_array_equal(np.isnan(enclosure.mid), nan)


@pytest.mark.needs("torch")
def test_every_float_type_is_read_exactly():
    import torch

    plain = heads([1.5], [0.5, -2.0], [1.0, 3.0])
    wanted = oracle.attention(*plain)
    for dtype in (np.float32, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn):
        truth = oracle.attention(*(x.astype(dtype) for x in plain))
        np.testing.assert_array_equal(truth.out.mid, wanted.out.mid)
    truth = oracle.attention(*(torch.tensor(x).bfloat16() for x in plain))
    np.testing.assert_array_equal(truth.lse.mid, wanted.lse.mid)
    assert "torch" in sys.modules


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda q, k, v: oracle.attention(q[0], k, v), InvalidValue, "q has shape"),
        (lambda q, k, v: oracle.attention(q.astype(int), k, v), InvalidType, "q has dtype int64"),
        (lambda q, k, v: oracle.attention(q, k.astype(np.float32), v), InvalidType, "k is in fp32 and q in fp64"),
        (lambda q, k, v: oracle.attention(q, k, v, {}), InvalidType, "spec is dict"),
        (lambda q, k, v: oracle.attention(q, k, v, rtol=0.0), InvalidValue, "rtol is 0.0"),
        (lambda q, k, v: oracle.attention(q, k, v, rtol="1"), InvalidType, "rtol is '1'"),
        (lambda q, k, v: oracle.attention(q, k * np.nan, v, require_finite=True), InvalidValue, "require_finite"),
        (lambda q, k, v: oracle.attention_backward(q, k, v, q[..., :1]), InvalidValue, "do has shape"),
        (lambda q, k, v: oracle.attention_backward(q, k, v, q, dlse=q), InvalidValue, "dlse has shape"),
        (
            lambda q, k, v: oracle.attention_backward(q, k, v, q * np.inf, require_finite=True),
            InvalidValue,
            "require_finite",
        ),
        (lambda q, k, v: oracle.softmax(q, axis=4), InvalidValue, "axis is 4"),
        (lambda q, k, v: oracle.softmax(q, axis=0, spec=SoftmaxSpec(axis=1)), InvalidValue, "axis is 0"),
        (lambda q, k, v: oracle.softmax(q, spec=AttentionSpec()), InvalidType, "spec is AttentionSpec"),
        (lambda q, k, v: oracle.logsumexp(q * np.nan, require_finite=True), InvalidValue, "require_finite"),
        (lambda q, k, v: oracle.correctly_rounded(q, k, v, format="fp7"), InvalidValue, "'fp7'"),
    ],
)
def test_bad_input_gets_one_sentence_naming_it(change, error, message):
    with pytest.raises(error, match=message) as caught:
        change(*(np.ones((1, 1, 2, 2)) for _ in range(3)))
    assert "expected" in str(caught.value)


def test_a_finite_truth_does_not_mind_poison_that_no_query_sees():
    q, k, v = heads([1.0], [1.0, np.nan], [2.0, np.inf])
    spec = AttentionSpec(mask=np.array([True, False]))
    assert oracle.attention(q, k, v, spec, require_finite=True).out.contains(2.0).all()


def test_gradients_that_underflow_float64_are_not_taken_for_zero():
    """One key: dS is dlse, and dq is dlse k = 2**-1200, below float64's smallest number but not 0."""
    q, k, v, do = heads([0.0], [2.0**-600], [0.0], [0.0])
    truth = oracle.attention_backward(q, k, v, do, AttentionSpec(scale=1.0), np.full((1, 1, 1), 2.0**-600))
    assert truth.dq.contains(mpf(2) ** -1200).all()
    assert truth.dk.contains(0.0).all()
    assert truth.dk.rad.item() == 0.0


def test_problems_without_keys_or_queries_have_a_truth():
    empty = oracle.attention(np.ones((1, 1, 2, 1)), np.ones((1, 1, 0, 1)), np.ones((1, 1, 0, 3)))
    np.testing.assert_array_equal(empty.out.mid, np.zeros((1, 1, 2, 3)))
    np.testing.assert_array_equal(empty.lse.mid, np.full((1, 1, 2), -np.inf))
    assert oracle.attention(np.ones((1, 1, 0, 1)), np.ones((1, 1, 2, 1)), np.ones((1, 1, 2, 3))).out.shape == (
        1,
        1,
        0,
        3,
    )
