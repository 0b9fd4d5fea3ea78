"""Some rows of a problem are the whole problem's: bit for bit by the definition, whatever the spec has."""

from __future__ import annotations

from functools import partial
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import refattn as ra
from refattn import bounds, oracle
from refattn.contract import scores
from refattn.contract.rows import select_rows
from refattn.contract.spec import AttentionSpec, problem_shape
from refattn.contract.visibility import Visibility, visible
from refattn.models import tiled_attention
from refattn.oracle.exact import definition
from tests.support.attention_problems import SPECS, float64, inputs
from tests.support.hard_problems import Problem, backward_problems, problems

ROWS = [5, 0, 3]


@pytest.fixture(autouse=True)
def one_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """The definition's precision follows the largest numbers, which some rows may not have."""
    monkeypatch.setattr(definition._Problem, "extra_bits", lambda self: 2600)


def assert_same(part: Any, whole: Any) -> None:
    """The same numbers of mpmath, NaN included."""
    assert part.shape == whole.shape
    assert [x._mpf_ for x in part.ravel()] == [x._mpf_ for x in whole.ravel()]


def some_rows(data: st.DataObject, problem: Problem) -> list[int]:
    return data.draw(st.lists(st.integers(0, problem[0].shape[2] - 1), max_size=4))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=120)
@given(problems(), st.data())
def test_the_definition_of_some_rows_is_that_of_the_whole(problem: Problem, data: st.DataObject) -> None:
    q, k, v, spec = problem
    rows = some_rows(data, problem)
    few, few_spec = select_rows(q, k, v, spec, rows)
    for part, whole in zip(
        definition.attention(few, k, v, few_spec, bits=80), definition.attention(q, k, v, spec, bits=80), strict=True
    ):
        assert_same(part, whole[:, :, rows])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(backward_problems(), st.data())
def test_the_gradient_of_some_queries_is_that_of_the_whole(backward: Any, data: st.DataObject) -> None:
    (q, k, v, spec), do, dlse = backward
    rows = some_rows(data, (q, k, v, spec))
    few, few_spec = select_rows(q, k, v, spec, rows)
    some = None if dlse is None else dlse[:, :, rows]
    part = definition.attention_backward(few, k, v, do[:, :, rows], few_spec, some, bits=80).dq
    assert_same(part, definition.attention_backward(q, k, v, do, spec, dlse, bits=80).dq[:, :, rows])


@pytest.mark.parametrize("name", SPECS)
def test_visibility_and_distance_are_those_of_the_rows(name: str) -> None:
    q, k, v, *_ = inputs(batch=2)
    spec = SPECS[name]
    few, few_spec = select_rows(q, k, v, spec, ROWS)
    whole, part = problem_shape(q, k, v, spec), problem_shape(few, k, v, few_spec)
    np.testing.assert_array_equal(visible(few_spec, part), visible(spec, whole)[:, :, ROWS])
    distances = (Visibility.of(s, n).distance() for s, n in ((few_spec, part), (spec, whole)))
    np.testing.assert_array_equal(next(distances), next(distances)[:, :, ROWS])


@pytest.mark.parametrize("name", SPECS)
def test_some_rows_of_some_rows_are_rows(name: str) -> None:
    q, k, v, *_ = inputs(batch=2)
    once, spec = select_rows(q, k, v, SPECS[name], ROWS)
    twice, twice_spec = select_rows(once, k, v, spec, [2, 0])
    direct, direct_spec = select_rows(q, k, v, SPECS[name], [ROWS[2], ROWS[0]])
    np.testing.assert_array_equal(twice, direct)
    assert twice_spec.features().keys() == direct_spec.features().keys()
    shape = problem_shape(twice, k, v, twice_spec)
    np.testing.assert_array_equal(visible(twice_spec, shape), visible(direct_spec, shape))


@pytest.mark.parametrize("name", SPECS)
def test_truth_and_bounds_of_some_rows_are_those_of_the_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit where a block holds one row; in larger blocks a row's bounds include keys that other rows see."""
    for module in ("refattn.oracle.float64.forward", "refattn.bounds.forward"):
        monkeypatch.setattr(f"{module}.blocks", partial(scores.blocks, entries=1))
    q, k, v, *_ = (float64(x) for x in inputs(batch=2))
    few, spec = select_rows(q, k, v, SPECS[name], ROWS)
    whole, part = oracle.attention(q, k, v, SPECS[name]), oracle.attention(few, k, v, spec)
    arithmetic = ra.Arithmetic.flash("fp16")
    allowed, own = (bounds.attention(x, k, v, s, arithmetic) for x, s in ((q, SPECS[name]), (few, spec)))
    for mine, theirs in zip(part, whole, strict=True):
        np.testing.assert_array_equal(mine.mid, theirs.mid[:, :, ROWS])
        np.testing.assert_array_equal(mine.rad, theirs.rad[:, :, ROWS])
    for mine, theirs in zip(own, allowed, strict=True):
        np.testing.assert_array_equal(mine.certified, theirs.certified[:, :, ROWS])
        np.testing.assert_array_equal(mine.rms, theirs.rms[:, :, ROWS])


@pytest.mark.parametrize("fields", [{"causal": True}, {"window": (1, 1)}, {"alibi_slopes": np.ones(4)}])
def test_rows_without_their_positions_are_other_rows(fields: dict[str, Any]) -> None:
    q, k, v, *_ = (float64(x) for x in inputs())
    spec = AttentionSpec(**fields)
    few, few_spec = select_rows(q, k, v, spec, ROWS)
    whole = oracle.attention(q, k, v, spec).out[:, :, ROWS]
    lost = oracle.attention(few, k, v, few_spec.replace(query_positions=None)).out
    assert (np.abs(lost.mid - whole.mid) > lost.rad + whole.rad).any()


# Judging them


SPEC = AttentionSpec(causal=True, softcap=20.0, alibi_slopes=np.array([0.5, 0.25, 0.125, 0.0]))


def judged(dtype: Any = ml_dtypes.bfloat16) -> tuple[Any, ...]:
    generator = np.random.default_rng(0)
    q, k, v = (generator.standard_normal((1, h, n, 16)).astype(dtype) for h, n in ((4, 24), (2, 40), (2, 40)))
    return (*tiled_attention(q, k, v, spec=SPEC), q, k, v)


def test_only_the_rows_asked_for_are_judged_and_named_by_their_own_index() -> None:
    out, lse, q, k, v = judged()
    ra.assert_attention(out, q, k, v, spec=SPEC, lse=lse, rows=[23, 4])
    out[0, 3, 7, 5] += ml_dtypes.bfloat16(1.0)
    lse[0, 2, 9] += 1.0
    ra.assert_attention(out, q, k, v, spec=SPEC, lse=lse, rows=np.array([8, 6, 10]))
    with pytest.raises(AssertionError, match=r"^out\[0, 3, 7, 5\] is "):
        ra.assert_attention(out, q, k, v, spec=SPEC, rows=[23, 7])
    with pytest.raises(AssertionError, match=r"^lse\[0, 2, 9\] is "):
        ra.assert_attention(out, q, k, v, spec=SPEC, lse=lse, rows=range(8, 12))


def test_rows_at_other_positions_are_caught() -> None:
    out, _, q, k, v = judged()
    with pytest.raises(AssertionError):
        ra.assert_attention(np.roll(out, 1, axis=2), q, k, v, spec=SPEC, rows=[3, 17])


@pytest.mark.needs("torch")
def test_torch_tensors_have_rows_too() -> None:
    import torch

    q, k, v = (torch.randn(1, 2, 20, 16, generator=torch.Generator().manual_seed(0)) for _ in range(3))
    few, spec = ra.select_rows(q, k, v, AttentionSpec(causal=True), torch.tensor([4, 2]))
    assert torch.equal(few, q[:, :, [4, 2]])
    np.testing.assert_array_equal(spec.query_positions, [4, 2])


@pytest.mark.parametrize(
    ("rows", "error", "words"),
    [
        ([24], ra.InvalidValue, "rows holds 24: expected integers from 0 to 23"),
        ([0, -1], ra.InvalidValue, "rows holds -1: expected integers from 0 to 23"),
        ([0.5], ra.InvalidType, "rows has .*: expected a sequence of integers"),
        (3, ra.InvalidType, "rows has .*: expected a sequence of integers"),
        ([True], ra.InvalidType, "rows has .*: expected a sequence of integers"),
        ([[1], [1, 2]], ra.InvalidType, "rows is list: expected a sequence of integers"),
    ],
)
def test_bad_rows_get_one_sentence(rows: Any, error: type[Exception], words: str) -> None:
    out, _, q, k, v = judged()
    with pytest.raises(error, match=f"^{words}$"):
        ra.assert_attention(out, q, k, v, spec=SPEC, rows=rows)
