"""Rung 1 of the gradients contains the definition, and its radius is as small as it promises."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from refattn.contract import scores
from refattn.contract.spec import AttentionSpec, problem_shape
from refattn.oracle.exact import definition
from refattn.oracle.float64 import gradients
from refattn.oracle.truth import GradientTruth
from tests.support.attention_problems import SPECS, float64, inputs
from tests.support.hard_problems import backward_problems

U = 2.0**-53
NAMES = ("dq", "dk", "dv", "dbias", "dsinks")


def rung(q: Any, k: Any, v: Any, do: Any, spec: AttentionSpec, dlse: Any = None) -> GradientTruth:
    return gradients.attention_backward(q, k, v, do, spec, problem_shape(q, k, v, spec), dlse)


def assert_contains(truth: GradientTruth, wanted: Any) -> None:
    for name in NAMES:
        enclosure, exact = getattr(truth, name), getattr(wanted, name)
        assert (enclosure is None) == (exact is None)
        assert enclosure is None or enclosure.contains(exact).all(), name


def contained(truth: GradientTruth, wanted: Any) -> dict[str, bool]:
    pairs = {name: (getattr(truth, name), getattr(wanted, name)) for name in NAMES}
    return {name: bool(a.contains(b).all()) for name, (a, b) in pairs.items() if a is not None}


@settings(max_examples=120)
@given(backward_problems())
def test_gradients_contain_the_definition(backward: Any) -> None:
    (q, k, v, spec), do, dlse = backward
    assert_contains(rung(q, k, v, do, spec, dlse), definition.attention_backward(q, k, v, do, spec, dlse))


TINY, HUGE = 1.1e-170, 1.3e150
ODD_SIZES = {
    "tiny do, huge v": (1.0, 1.0, HUGE, TINY, None),
    "huge do, tiny v": (1.0, 1.0, TINY, HUGE, None),
    "tiny k, large scale": (1.0, 1e-300, 1.0, 1.0, 2.0**990),
    "tiny q, large scale": (1e-300, 1.0, 1.0, 1.0, 2.0**990),
    "tiny do, large scale": (1e-300, 1e-10, 1.0, 1e-300, 2.0**990),
}


@pytest.mark.parametrize("name", ODD_SIZES)
def test_sizes_at_the_ends_of_the_range_are_contained(name: str) -> None:
    rng = np.random.default_rng(3)
    *factors, scale = ODD_SIZES[name]
    shapes = ((1, 1, 2, 3), (1, 1, 4, 3), (1, 1, 4, 2), (1, 1, 2, 2))
    q, k, v, do = (rng.standard_normal(shape) * factor for shape, factor in zip(shapes, factors, strict=True))
    spec = AttentionSpec(scale=scale, bias=np.zeros((2, 4)), sinks=np.zeros(1))
    assert_contains(rung(q, k, v, do, spec), definition.attention_backward(q, k, v, do, spec))


def test_a_weight_that_underflows_still_counts_against_a_huge_upstream_gradient() -> None:
    q, k, v, do = (np.array(x).reshape(1, 1, -1, 1) for x in ([1.0], [0.0, -800.0], [1.0, -1.0], [HUGE]))
    spec = AttentionSpec(bias=np.zeros((1, 2)), sinks=np.array([-801.0]))
    assert_contains(rung(q, k, v, do, spec), definition.attention_backward(q, k, v, do, spec))


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("entries", [1, 40])
def test_every_feature_in_blocks_of_any_size_gives_the_whole(
    name: str, entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    q, k, v, do, dlse = (float64(x) for x in inputs())
    whole = rung(q, k, v, do, SPECS[name], dlse)
    monkeypatch.setattr(gradients, "blocks", partial(scores.blocks, entries=entries))
    parts = rung(q, k, v, do, SPECS[name], dlse)
    for one, other in zip(whole, parts, strict=True):
        assert (one is None) == (other is None)
        assert one is None or (np.abs(one.mid - other.mid) <= one.rad + other.rad).all()


@pytest.mark.parametrize("name", ["plain", "sinks_empty", "everything"])
def test_features_together_contain_the_definition(name: str) -> None:
    q, k, v, do, dlse = (float64(x) for x in inputs(batch=2))
    spec = SPECS[name]
    if spec.sinks is not None:
        # A sink of -inf in a row that sees no key is 0 / 0 in the definition.
        spec = spec.replace(sinks=np.maximum(spec.sinks, -9.0))
    assert_contains(rung(q, k, v, do, spec, dlse), definition.attention_backward(q, k, v, do, spec, dlse, bits=80))


@pytest.mark.parametrize("keys", [3, 60])
def test_the_radius_is_what_the_roundings_explain(keys: int) -> None:
    """Each product of a gradient errs by the relative error of P, the sums' lengths and a few roundings, each of at
    most |P| (|dP| + |Delta|) <= 2 P |do| max|v| and of its factor.
    """
    rng = np.random.default_rng(1)
    rows, d, width = 5, 8, 4
    q, k, v, do = (rng.standard_normal((1, 1, n, c)) for n, c in ((rows, d), (keys, d), (keys, width), (rows, width)))
    truth = rung(q, k, v, do, AttentionSpec())
    size = np.linalg.norm(q, axis=-1).max() * np.linalg.norm(k, axis=-1).max() / math.sqrt(d)
    # exp's arguments reach 746 before they underflow; every weight is charged with that.
    relative = 2 * (d + 4) * size + 2 * (8 + keys) + 746 + 2 * math.log(keys + 1)
    height = 2 * np.linalg.norm(do, axis=-1).max() * np.linalg.norm(v, axis=-1).max()
    lengths = 4 * (rows + keys + width + 30)
    error = 1.5 * U * height * (3 * relative + lengths) / math.sqrt(d)
    assert (truth.dq.rad <= error * np.abs(k).max()).all()
    assert (truth.dk.rad <= error * np.abs(q).sum(axis=2).max()).all()
    assert (truth.dv.rad <= 1.5 * U * (relative + lengths) * np.abs(do).sum(axis=2).max()).all()
    assert error <= 2.0**-12 * 2.0**-24 * height


def test_a_query_that_sees_nothing_moves_nothing() -> None:
    q, k, v, do, dlse = (float64(x) for x in inputs())
    spec = AttentionSpec(kept_queries=np.zeros(q.shape[2], bool), bias=np.zeros((1, 1)))
    truth = rung(q, k, v, do, spec, dlse)
    for name in ("dq", "dk", "dv", "dbias"):
        assert not getattr(truth, name).mid.any()
        assert (getattr(truth, name).rad <= 2.0**-900).all()


# A wrong rung does not contain the definition.


def _without_dlse(problem: Any) -> GradientTruth:
    q, k, v, do, spec, _ = problem
    return rung(q, k, v, do, spec)


def _without_softcap_slope(problem: Any) -> GradientTruth:
    class Wrong(gradients._Backward):
        def _through_softcap(self, slope: Any, *arguments: Any) -> Any:
            del arguments
            return slope

    q, k, v, do, spec, dlse = problem
    backward = Wrong(q, k, v, do, dlse, spec, problem_shape(q, k, v, spec))
    for block in scores.blocks(q, k, spec, problem_shape(q, k, v, spec)):
        backward.add(block)
    return backward.truth()


def _without_the_last_row(problem: Any) -> GradientTruth:
    q, k, v, do, spec, dlse = problem
    last = np.ones((1, 1, do.shape[2], 1))
    last[:, :, -1] = 0.0
    return rung(q, k, v, do * last, spec, dlse)


FAULTS = {
    "dlse": (_without_dlse, {"dq", "dk", "dbias", "dsinks"}),
    "softcap": (_without_softcap_slope, {"dq", "dk"}),
    "last_row": (_without_the_last_row, {"dq", "dk", "dv", "dbias", "dsinks"}),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_wrong_rung_does_not_contain_the_definition(name: str) -> None:
    wrong, moved = FAULTS[name]
    q, k, v, do, dlse = (float64(x) for x in inputs())
    bias = np.linspace(-1.0, 1.0, q.shape[2] * k.shape[2]).reshape(q.shape[2], k.shape[2])
    spec = AttentionSpec(softcap=2.0, bias=bias, sinks=np.array([0.1, 0.2, -0.3, 0.4]))
    exact = definition.attention_backward(q, k, v, do, spec, dlse, bits=80)
    assert_contains(rung(q, k, v, do, spec, dlse), exact)
    inside_by_name = contained(wrong((q, k, v, do, spec, dlse)), exact)
    assert {name for name, inside in inside_by_name.items() if not inside} == moved
