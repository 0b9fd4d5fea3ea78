"""Rung 1 contains the definition, its radius is as small as promised, and blocks of any size give the same."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from refattn.contract import scores
from refattn.contract.spec import AttentionSpec, SoftmaxSpec, problem_shape
from refattn.oracle.enclosure import Enclosure
from refattn.oracle.exact import definition
from refattn.oracle.float64 import forward
from refattn.oracle.truth import AttentionTruth
from tests.support.hard_problems import Problem, problems, softmax_rows

U = 2.0**-53
KINDS = ("softmax", "log_softmax", "logsumexp")


def rung(q: Any, k: Any, v: Any, spec: AttentionSpec) -> AttentionTruth:
    return forward.attention(q, k, v, spec, problem_shape(q, k, v, spec))


def sequence(*values: float) -> Any:
    """One head of one-dimensional vectors."""
    return np.array(values, dtype=np.float64).reshape(1, 1, -1, 1)


def normal(queries: int, keys: int, d: int = 16, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    sizes = ((1, 2, queries, d), (1, 1, keys, d), (1, 1, keys, 3))
    return tuple(rng.standard_normal(size) for size in sizes)


@settings(max_examples=150)
@given(problems())
def test_output_and_log_sum_exp_contain_the_definition(problem: Problem) -> None:
    truth, (out, lse) = rung(*problem), definition.attention(*problem)
    assert truth.out.contains(out).all()
    assert truth.lse.contains(lse).all()


@settings(max_examples=40)
@given(softmax_rows())
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("empty_rows", ["zero", "nan"])
def test_softmax_contains_the_definition(kind: Any, empty_rows: Any, x: Any) -> None:
    spec = SoftmaxSpec(axis=0, kind=kind, empty_rows=empty_rows)
    assert forward.softmax(x.T, spec).contains(definition.softmax(x.T, spec)).all()


@pytest.mark.parametrize(
    ("q", "k", "scale"),
    [(1e-170, 1e150, 2.0**560), (1e200, 1e-200, 1.0), (1e-200, 1e-200, 2.0**1000), (3e200, 3e200, 2.0**-1000)],
)
def test_norms_whose_squares_leave_the_range_do_not_lose_the_score_error(q: float, k: float, scale: float) -> None:
    spec = AttentionSpec(scale=scale)
    queries, keys, values = normal(2, 5)
    truth = rung(q * queries, k * keys, values, spec)
    out, lse = definition.attention(q * queries, k * keys, values, spec)
    assert truth.out.contains(out).all()
    assert truth.lse.contains(lse).all()
    sizes = abs(scale * q) * np.linalg.norm(queries, axis=-1) * k * np.linalg.norm(keys, axis=-1).max()
    # The radius of the log-sum-exp counts at least the 16 products of each score.
    assert (truth.lse.rad >= 16 * U * sizes).all()


# How wide the radius is


def assert_narrow(truth: AttentionTruth, q: Any, k: Any, v: Any, scale: float) -> None:
    """The radii are at most the sum of all roundings, 2 (e^t - 1) + the sum's n, with a tenth to spare.

    t counts d + 4 roundings of a score of size at most |q| |k|, 8 u for the exponential and ln n of the distance.
    """
    n, d = k.shape[2], k.shape[3]
    size = scale * np.linalg.norm(q, axis=-1).max() * np.linalg.norm(k, axis=-1).max()
    weight = (d + 4) * size + 8 + math.log(n + 1)
    largest = np.abs(v).max(axis=(0, 1, 2))
    assert (truth.out.rad <= 1.1 * U * (2 * weight + 2 * n + 20) * largest).all()
    assert (truth.lse.rad <= 1.1 * U * ((d + 4) * size + 16 + n + 10 * (1 + np.abs(truth.lse.mid)))).all()


@pytest.mark.parametrize("keys", [1, 7, 300])
@pytest.mark.parametrize("causal", [False, True])
def test_the_radius_is_what_the_roundings_explain(keys: int, causal: bool) -> None:
    q, k, v = normal(9, keys)
    truth = rung(q, k, v, AttentionSpec(causal=causal, alignment="top_left"))
    assert_narrow(truth, q, k, v, 0.25)
    # Far finer than a rounding to fp32.
    assert (truth.out.rad <= 2.0**-16 * 2.0**-24 * np.abs(v).max()).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_radius_of_a_softmax_is_what_the_roundings_explain(kind: Any) -> None:
    x = np.random.default_rng(0).standard_normal((5, 40)) * 3
    enclosure = forward.softmax(x, SoftmaxSpec(kind=kind))
    reach = np.ptp(x, axis=1).max()
    roundings = 60 + 2 * 40 + 4 * reach + 4 * math.log(41)
    size = np.abs(enclosure.mid) if kind == "softmax" else 1 + np.abs(enclosure.mid)
    assert (enclosure.rad <= 1.1 * U * roundings * size).all()


def test_empty_rows_are_exact() -> None:
    q, k, v = normal(3, 4)
    for empty_rows, value in (("zero", 0.0), ("nan", math.nan)):
        spec = AttentionSpec(kept_queries=np.array([True, False, True]), empty_rows=empty_rows)
        truth = rung(q, k, v, spec)
        np.testing.assert_array_equal(truth.out.mid[:, :, 1], np.full((1, 2, 3), value))
        np.testing.assert_array_equal(truth.lse.mid[:, :, 1], np.full((1, 2), -np.inf))
        assert not truth.out.rad[:, :, 1].any()
        assert not truth.lse.rad[:, :, 1].any()
        assert (truth.out.rad[:, :, ::2] > 0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("empty_rows", "value"), [("zero", 0.0), ("nan", math.nan)])
def test_softmax_rows_of_nothing_are_exact(kind: Any, empty_rows: Any, value: float) -> None:
    enclosure = forward.softmax(np.full((2, 3), -np.inf), SoftmaxSpec(kind=kind, empty_rows=empty_rows))
    wanted = -math.inf if kind == "logsumexp" or (kind, empty_rows) == ("log_softmax", "zero") else value
    np.testing.assert_array_equal(enclosure.mid, np.full(enclosure.shape, wanted))
    assert not enclosure.rad.any()


def test_nothing_is_claimed_of_what_overflows() -> None:
    q, k, v = sequence(1e200), sequence(1e200, -1e200), sequence(1.0, 2.0)
    truth = rung(q, k, v, AttentionSpec())
    assert np.isinf(truth.out.rad).all()
    assert np.isinf(truth.lse.rad).all()
    assert truth.out.contains(1.0).all()
    x = np.array([1.7e308, -1.7e308])
    for kind in KINDS:
        spec = SoftmaxSpec(kind=kind)
        assert forward.softmax(x, spec).contains(definition.softmax(x, spec)).all()


# Blocks


FEATURES = AttentionSpec(
    causal=True,
    window=(40, None),
    softcap=3.0,
    alibi_slopes=np.array([0.5, 0.25]),
    bias=np.linspace(-1.0, 1.0, 2 * 50).reshape(2, 1, 50),
    sinks=np.array([0.3, -np.inf]),
    kept_keys=np.arange(50) % 7 != 3,
    keep=(np.arange(33 * 50) % 5 != 0).reshape(33, 50),
    dropout=0.2,
)


@pytest.mark.parametrize("entries", [1, 50, 400])
@pytest.mark.parametrize("spec", [AttentionSpec(), FEATURES], ids=["plain", "features"])
def test_blocks_of_any_size_give_the_whole(entries: int, spec: AttentionSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = normal(33, 50)
    whole = rung(q, k, v, spec)
    monkeypatch.setattr(forward, "blocks", partial(scores.blocks, entries=entries))
    parts = rung(q, k, v, spec)
    for one, other in zip(whole, parts, strict=True):
        assert (np.abs(one.mid - other.mid) <= one.rad + other.rad).all()
        # A block of fewer queries has fewer keys, never more.
        assert (other.rad <= one.rad * (1 + 2.0**-30)).all()


def test_memory_grows_with_the_lengths_and_not_with_their_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "blocks", partial(scores.blocks, entries=1 << 14))
    n = 2048
    q, k, v = normal(n, n, d=4)
    tracemalloc.start()
    try:
        rung(q, k, v, AttentionSpec(causal=True))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The booleans of visibility alone, of all pairs, would be n * n bytes.
    assert peak < n * n


# A wrong rung does not contain the definition.


def _without_the_last_key(*arguments: Any, **options: Any) -> Any:
    for block in scores.blocks(*arguments, **options):
        last = slice(0, block.key.shape[0] - 1)
        yield replace(
            block,
            key=block.key[last],
            keys=slice(block.keys.start, block.keys.stop - 1),
            visible=None if block.visible is None else block.visible[:, last],
            additive=None if block.additive is None else block.additive[:, last],
        )


def _scores_with(change: Callable[[Any, AttentionSpec], Any]) -> Callable[..., Any]:
    return lambda block, spec, scale: change(scores.scores_of(block, spec, scale), spec)


FAULTS: dict[str, tuple[str, Any, AttentionSpec]] = {
    "last_key": ("blocks", _without_the_last_key, AttentionSpec()),
    "scale_without_root": ("scale_of", lambda spec, d: 1.0 / d, AttentionSpec()),
    "scale_in_fp32": ("scale_of", lambda spec, d: float(np.float32(1.0 / math.sqrt(d))), AttentionSpec()),
    "no_softcap": (
        "scores_of",
        lambda block, spec, scale: scores.scores_of(block, spec.replace(softcap=None), scale),
        AttentionSpec(softcap=2.0),
    ),
    "one_score_off_by_2_to_the_-40": (
        "scores_of",
        _scores_with(lambda s, spec: s + 2.0**-40 * (np.arange(s.shape[1]) == 1)),
        AttentionSpec(),
    ),
    "dropout_not_rescaled": (
        "dropout_keep",
        lambda block, spec: scores.dropout_keep(block, spec) * (1.0 - spec.dropout),
        AttentionSpec(keep=np.array([[True, False, True, True, True]]), dropout=0.25),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_wrong_rung_does_not_contain_the_definition(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attribute, fault, spec = FAULTS[name]
    problem = (*normal(3, 5, d=3), spec)
    out, lse = definition.attention(*problem)
    assert rung(*problem).out.contains(out).all()
    monkeypatch.setattr(forward, attribute, fault)
    wrong = rung(*problem)
    assert not wrong.out.contains(out).all()
    if attribute != "dropout_keep":
        assert not wrong.lse.contains(lse).all()


def test_a_log_sum_exp_off_by_a_few_radii_is_outside() -> None:
    q, k, v = normal(2, 6)
    truth = rung(q, k, v, AttentionSpec())
    _, lse = definition.attention(q, k, v)
    moved = Enclosure(truth.lse.mid + 3 * truth.lse.rad, truth.lse.rad)
    assert not moved.contains(lse).any()
