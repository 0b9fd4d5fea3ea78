"""Visible NaN and infinities give the formula's results, pair by pair; invisible ones change nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refattn.contract.spec import AttentionSpec, SoftmaxSpec, problem_shape
from refattn.contract.visibility import visible
from refattn.oracle.enclosure import Enclosure
from refattn.oracle.specials.forward import Known, split, split_softmax
from refattn.oracle.truth import AttentionTruth

SMALL = st.sampled_from([0.0, 1.0, -1.0, 2.0])
ANY = st.sampled_from([0.0, 1.0, -1.0, 2.0, math.inf, -math.inf, math.nan])


def arrays(elements: st.SearchStrategy[float], *shape: int) -> st.SearchStrategy[np.ndarray]:
    size = math.prod(shape)
    return st.lists(elements, min_size=size, max_size=size).map(lambda xs: np.array(xs).reshape(shape))


def score(q: np.ndarray, k: np.ndarray, spec: AttentionSpec, bias: float) -> float:
    """One score as IEEE arithmetic gives it."""
    total = 0.0
    for a, b in zip(q, k, strict=True):
        total += float(a) * float(b)
    total = total * (1.0 if spec.scale is None else spec.scale)
    if spec.softcap is not None:
        total = spec.softcap * math.tanh(total / spec.softcap)
    return total + bias


def expected_row(scores: list[float], values: list[float], kept: list[bool], sink: float) -> tuple[float, float]:
    """Special value of one output element and of its log-sum-exp; 0 where the value is an ordinary number."""
    if any(math.isnan(s) for s in scores) or math.isnan(sink):
        return math.nan if scores else 0.0, math.nan
    if any(s == math.inf for s in scores):
        return math.nan, math.inf
    if not scores:
        return 0.0, (-math.inf if sink == -math.inf else 0.0)
    if all(s == -math.inf for s in scores) and sink == -math.inf:
        return math.nan, -math.inf
    total = 0.0
    for s, x, keep in zip(scores, values, kept, strict=True):
        weight = 1.0 if s > -math.inf and keep else 0.0
        total += weight * (x if not math.isfinite(x) else 0.0)
    return total, 0.0


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, AttentionSpec]:
    nq, nk, d, dv = 2, draw(st.integers(1, 3)), draw(st.integers(1, 2)), 1
    poisoned = draw(st.sets(st.sampled_from(["q", "k", "v", "bias", "sinks"]), min_size=1))
    q, k, v = (
        draw(arrays(ANY if name in poisoned else SMALL, *shape))
        for name, shape in (("q", (1, 2, nq, d)), ("k", (1, 1, nk, d)), ("v", (1, 1, nk, dv)))
    )
    low = st.sampled_from([0.0, 1.0, -math.inf, math.nan])
    spec = AttentionSpec(
        scale=draw(st.sampled_from([None, 0.5, -1.0, 0.0])),
        causal=draw(st.booleans()),
        softcap=draw(st.sampled_from([None, 4.0])),
        bias=draw(arrays(low, 1, 1, nq, nk)) if "bias" in poisoned else None,
        mask=draw(st.none() | arrays(st.booleans(), nq, nk)),
        sinks=draw(arrays(low, 2)) if "sinks" in poisoned else None,
        keep=draw(st.none() | arrays(st.booleans(), nq, nk)),
    )
    return q, k, v, spec


@settings(max_examples=300, deadline=None)
@given(problems())
def test_every_element_reads_as_the_formula_does(problem):
    q, k, v, spec = problem
    shape = problem_shape(q, k, v, spec)
    specials = split(q, k, v, spec, shape)
    seen = visible(spec, shape)
    out, lse = (specials.out, specials.lse)
    for h in range(2):
        for i in range(shape.queries):
            keys = [j for j in range(shape.keys) if seen[0, h, i, j]]
            bias = [0.0 if spec.bias is None else float(spec.bias[0, 0, i, j]) for j in keys]
            scores = [score(q[0, h, i], k[0, 0, j], spec, b) for j, b in zip(keys, bias, strict=True)]
            kept = [spec.keep is None or bool(spec.keep[i, j]) for j in keys]
            sink = -math.inf if spec.sinks is None else float(spec.sinks[h])
            values = [float(v[0, 0, j, 0]) for j in keys]
            wanted_out, wanted_lse = expected_row(scores, values, kept, sink)
            got_out = out.mid[0, h, i, 0] if out is not None and out.mask[0, h, i, 0] else 0.0
            got_lse = lse.mid[0, h, i] if lse is not None and lse.mask[0, h, i] else 0.0
            np.testing.assert_equal(float(got_out), wanted_out)
            if keys or math.isnan(sink):
                np.testing.assert_equal(float(got_lse), wanted_lse)


@settings(max_examples=200, deadline=None)
@given(problems())
def test_what_is_left_is_finite_with_the_scores_it_had(problem):
    q, k, v, spec = problem
    shape = problem_shape(q, k, v, spec)
    specials = split(q, k, v, spec, shape)
    assert all(np.isfinite(x).all() for x in (specials.q, specials.k, specials.v))
    before, after = visible(spec, shape), visible(specials.spec, shape)
    for _, h, i, j in np.argwhere(before):
        bias = 0.0 if spec.bias is None else float(spec.bias[0, 0, i, j])
        wanted = score(q[0, h, i], k[0, 0, j], spec, bias)
        lse_known = specials.lse is not None and specials.lse.mask[0, h, i]
        if wanted == -math.inf:
            assert not after[0, h, i, j]
        elif not lse_known:
            left = specials.spec.bias
            bias = 0.0 if left is None else float(np.broadcast_to(left, (1, 2, shape.queries, shape.keys))[0, h, i, j])
            assert after[0, h, i, j]
            assert score(specials.q[0, h, i], specials.k[0, 0, j], specials.spec, bias) == wanted


def test_finite_problems_come_back_as_they_are():
    q, k, v = np.ones((1, 1, 2, 3)), np.ones((1, 1, 2, 3)), np.ones((1, 1, 2, 4))
    spec = AttentionSpec(bias=np.array([[0.0, -np.inf], [0.0, 0.0]]), sinks=np.array([-np.inf]))
    specials = split(q, k, v, spec, problem_shape(q, k, v, spec))
    assert (specials.q, specials.k, specials.v, specials.spec) == (q, k, v, spec)
    assert specials.out is None
    assert specials.lse is None


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_invisible_keys_make_nothing_special(poison):
    q, k, v = (np.ones((1, 1, 3, 2)) for _ in range(3))
    k[0, 0, 2] = v[0, 0, 2] = poison
    spec = AttentionSpec(kept_keys=np.array([True, True, False]))
    specials = split(q, k, v, spec, problem_shape(q, k, v, spec))
    assert specials.out is None
    assert specials.lse is None
    assert np.isfinite(specials.k).all()


def test_a_capped_infinity_beside_a_bias_that_it_would_round_is_unknown():
    q, k, v = np.full((1, 1, 1, 1), np.inf), np.ones((1, 1, 1, 1)), np.ones((1, 1, 1, 1))
    spec = AttentionSpec(softcap=1.0, bias=np.full((1, 1, 1, 1), 2.0**-80))
    specials = split(q, k, v, spec, problem_shape(q, k, v, spec))
    assert specials.out is not None
    assert np.isinf(specials.out.rad).all()


def test_known_elements_replace_what_a_rung_found():
    known = Known.nothing((1, 1, 1, 2))
    known.put(np.array([[[[True, False]]]]), np.nan)
    base = Enclosure(np.ones((1, 1, 1, 2)), np.full((1, 1, 1, 2), 0.5), np.full((1, 1, 1, 2), 1e-20))
    overlaid = known.overlay(base)
    np.testing.assert_array_equal(overlaid.mid[0, 0, 0], [np.nan, 1.0])
    np.testing.assert_array_equal(overlaid.rad[0, 0, 0], [0.0, 0.5])
    np.testing.assert_array_equal(overlaid.tail()[0, 0, 0], [0.0, 1e-20])
    assert isinstance(AttentionTruth(overlaid, base).out, Enclosure)


@pytest.mark.parametrize(("kind", "wanted"), [("softmax", np.nan), ("log_softmax", np.nan), ("logsumexp", np.inf)])
def test_a_softmax_row_with_infinity_is_special_and_its_neighbour_is_not(kind, wanted):
    x = np.array([[1.0, np.inf, 2.0], [1.0, -np.inf, 2.0], [np.nan, np.inf, 0.0]])
    left, known = split_softmax(x, SoftmaxSpec(kind=kind))
    assert known is not None
    np.testing.assert_array_equal(left, [[0.0] * 3, [1.0, -np.inf, 2.0], [0.0] * 3])
    np.testing.assert_array_equal(known.mask.reshape(3, -1).any(axis=1), [True, False, True])
    np.testing.assert_array_equal(known.mid.reshape(3, -1)[0], wanted)
    np.testing.assert_array_equal(known.mid.reshape(3, -1)[2], np.nan)


def test_a_finite_softmax_comes_back_as_it_is():
    x = np.array([[1.0, -np.inf]])
    assert split_softmax(x, SoftmaxSpec()) == (x, None)
