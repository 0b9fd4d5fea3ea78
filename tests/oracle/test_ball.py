"""Arb's balls contain what the definition gives, narrow as the precision grows, and round correctly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from mpmath import mp

from refattn.contract.spec import AttentionSpec, SoftmaxSpec, problem_shape
from refattn.errors import MissingExtra
from refattn.oracle.enclosure import Enclosure
from refattn.oracle.exact import ball, ball_gradients, definition
from tests.support.extras import needed
from tests.support.hard_problems import Problem, backward_problems, problems, softmax_rows

flint = needed("flint")


def narrow(enclosure: Enclosure, size: float) -> bool:
    """Every radius is below 2**-90 of `size`, the error that 128 bits leave to numbers that need at most 38 of them."""
    return bool((enclosure.rad <= 2.0**-90 * size + 2.0**-1074).all())


@settings(max_examples=40, deadline=None)
@given(problems())
def test_attention_contains_the_definition(problem: Problem):
    q, k, v, spec = problem
    shape = problem_shape(q, k, v, spec)
    wanted = definition.attention(q, k, v, spec, bits=1200)
    for bits in (64, 1100):
        truth = ball.attention(q, k, v, spec, shape, bits=bits)
        assert truth.out.contains(wanted[0]).all()
        assert truth.lse.contains(wanted[1]).all()
    # The largest score has at most 1000 bits before the point.
    assert narrow(truth.out, float(np.abs(v).max(initial=0.0)))
    assert (
        truth.lse.rad[np.isfinite(truth.lse.mid)] <= 2.0**-90 * (1 + np.abs(truth.lse.mid[np.isfinite(truth.lse.mid)]))
    ).all()


@settings(max_examples=40, deadline=None)
@given(backward_problems())
def test_gradients_contain_the_definition(backward):
    (q, k, v, spec), do, dlse = backward
    shape = problem_shape(q, k, v, spec)
    wanted = definition.attention_backward(q, k, v, do, spec, dlse, bits=2500)
    for bits in (64, 1500):
        truth = ball_gradients.attention_backward(q, k, v, do, spec, shape, dlse, bits=bits)
        for name, exact in wanted._asdict().items():
            enclosure = getattr(truth, name)
            assert (enclosure is None) == (exact is None)
            if exact is not None:
                assert enclosure.contains(exact).all(), name


@settings(max_examples=15, deadline=None)
@given(softmax_rows())
@pytest.mark.parametrize("kind", ["softmax", "log_softmax", "logsumexp"])
@pytest.mark.parametrize("empty_rows", ["zero", "nan"])
def test_softmax_contains_the_definition(kind, empty_rows, x):
    spec = SoftmaxSpec(axis=0, kind=kind, empty_rows=empty_rows)
    x = x.T
    enclosure = ball.softmax(x, spec, bits=700)
    assert enclosure.contains(definition.softmax(x, spec, bits=800)).all()
    finite = np.isfinite(enclosure.mid)
    assert (enclosure.rad[finite] <= 2.0**-90 * (1 + np.abs(enclosure.mid[finite]))).all()


def test_the_midpoint_carries_more_than_float64():
    q, k, v = (np.array(x).reshape(1, 1, -1, 1) for x in ([1.0], [1.0, 0.5], [1.0, 0.0]))
    spec = AttentionSpec()
    truth = ball.attention(q, k, v, spec, problem_shape(q, k, v, spec), bits=128)
    assert truth.out.rad.item() < 2.0**-100
    with mp.workprec(300):
        exact = 1 / (1 + mp.exp(mp.mpf("-0.5")))
        assert truth.out.mid.item() == float(exact)
        assert truth.out.tail().item() == float(exact - mp.mpf(float(exact)))


def test_rows_that_were_not_asked_for_are_unknown():
    q = k = v = np.ones((1, 1, 3, 1))
    spec = AttentionSpec(causal=True, strict=True)
    wanted = np.array([[[True, False, True]]])
    truth = ball.attention(q, k, v, spec, problem_shape(q, k, v, spec), bits=64, wanted=wanted)
    np.testing.assert_array_equal(np.isfinite(truth.out.rad[..., 0]), wanted)
    np.testing.assert_array_equal(np.isfinite(truth.lse.rad), wanted)
    assert truth.lse.mid[0, 0, 0] == -np.inf


def test_too_few_bits_give_an_infinite_radius_not_an_error():
    q = k = np.full((1, 1, 1, 1), 1e200)
    k = np.concatenate([k, k / 2], axis=2)
    v = np.ones_like(k)
    spec = AttentionSpec()
    shape = problem_shape(q, k, v, spec)
    assert np.isinf(ball.attention(q, k, v, spec, shape, bits=20).out.rad).all()
    assert ball.attention(q, k, v, spec, shape, bits=2000).out.contains(1.0).all()


def test_a_log_sum_exp_beyond_float64_is_unknown():
    q = k = np.full((1, 1, 1, 1), 1e200)
    spec = AttentionSpec()
    truth = ball.attention(q, k, k, spec, problem_shape(q, k, k, spec), bits=2000)
    assert np.isinf(truth.lse.rad).all()
    assert truth.lse.contains(mp.mpf(10) ** 400).all()


def test_radii_are_rounded_up():
    x = flint.arb(1, 2.0**-60) / 3
    enclosure = ball.enclose(np.array([x], dtype=object), 0.0, np.array([True]))
    with flint.ctx.workprec(400):
        reach = flint.arb(enclosure.mid[0]) + enclosure.tail()[0]
        for end in (x.lower(), x.upper()):
            assert abs(end - reach) <= flint.arb(enclosure.rad[0])


def test_without_python_flint_the_error_names_the_extra(monkeypatch):
    monkeypatch.setattr(ball.importlib.util, "find_spec", lambda name: None)
    assert not ball.available()
    with pytest.raises(MissingExtra, match=r"refattn\[arb\]"):
        ball.arb_module()
