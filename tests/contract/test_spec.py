"""Specs: every bad field is refused in one sentence that names it; good ones are stored in one form."""

from __future__ import annotations

import dataclasses
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from refattn.contract.spec import AttentionSpec, Shape, SoftmaxSpec, problem_shape
from refattn.errors import InvalidType, InvalidValue, RefattnError

NAN, INF = float("nan"), float("inf")
RECORD = np.zeros(2, dtype=[("a", "f4")])

BAD_FIELDS: list[tuple[str, dict[str, Any], type[RefattnError]]] = [
    ("scale", {"scale": "1"}, InvalidType),
    ("scale", {"scale": True}, InvalidType),
    ("scale", {"scale": NAN}, InvalidValue),
    ("scale", {"scale": INF}, InvalidValue),
    ("causal", {"causal": "yes"}, InvalidType),
    ("causal", {"causal": None}, InvalidType),
    ("strict", {"causal": True, "strict": 1}, InvalidType),
    ("strict", {"strict": True}, InvalidValue),
    ("alignment", {"alignment": "top_right"}, InvalidValue),
    ("alignment", {"alignment": np.zeros(2)}, InvalidValue),
    ("window", {"window": 3}, InvalidType),
    ("window", {"window": (1, 2, 3)}, InvalidType),
    ("window", {"window": (1.5, None)}, InvalidType),
    ("window", {"window": (True, None)}, InvalidType),
    ("window", {"window": (-1, 0)}, InvalidValue),
    ("window", {"window": (0, -1)}, InvalidValue),
    ("softcap", {"softcap": "30"}, InvalidType),
    ("softcap", {"softcap": 0.0}, InvalidValue),
    ("softcap", {"softcap": -1.0}, InvalidValue),
    ("softcap", {"softcap": INF}, InvalidValue),
    ("alibi_slopes", {"alibi_slopes": ["a"]}, InvalidType),
    ("alibi_slopes", {"alibi_slopes": [True]}, InvalidType),
    ("alibi_slopes", {"alibi_slopes": [INF]}, InvalidValue),
    ("alibi_slopes", {"alibi_slopes": [NAN]}, InvalidValue),
    ("bias", {"bias": [[1.0], [1.0, 2.0]]}, InvalidType),
    ("bias", {"bias": [1j]}, InvalidType),
    ("bias", {"bias": RECORD}, InvalidType),
    ("bias", {"bias": [INF]}, InvalidValue),
    ("mask", {"mask": [0.0, 1.0]}, InvalidType),
    ("mask", {"mask": [0, 1]}, InvalidType),
    ("sinks", {"sinks": [None]}, InvalidType),
    ("sinks", {"sinks": [INF]}, InvalidValue),
    ("documents", {"documents": [0, 0, 1]}, InvalidType),
    ("documents", {"documents": ([0.0], [0.0])}, InvalidType),
    ("kept_keys", {"kept_keys": [1, 0]}, InvalidType),
    ("kept_queries", {"kept_queries": [1.0]}, InvalidType),
    ("buckets", {"buckets": np.zeros((2, 3))}, InvalidType),
    ("buckets", {"buckets": ([0], [0.5])}, InvalidType),
    ("key_positions", {"key_positions": [0.0, 1.0]}, InvalidType),
    ("key_positions", {"key_positions": [0], "documents": ([0], [0])}, InvalidValue),
    ("query_positions", {"query_positions": [0.5]}, InvalidType),
    ("keep", {"keep": [1.0], "dropout": 0.1}, InvalidType),
    ("dropout", {"dropout": "0.1", "keep": [True]}, InvalidType),
    ("dropout", {"dropout": 1.0, "keep": [True]}, InvalidValue),
    ("dropout", {"dropout": -0.1, "keep": [True]}, InvalidValue),
    ("dropout", {"dropout": NAN, "keep": [True]}, InvalidValue),
    ("dropout", {"dropout": 0.5}, InvalidValue),
    ("empty_rows", {"empty_rows": "inf"}, InvalidValue),
    ("empty_rows", {"empty_rows": None}, InvalidValue),
]


def is_one_clear_sentence(error: BaseException, name: str) -> bool:
    message = str(error)
    return message.startswith(name) and "\n" not in message and len(message) < 200


@pytest.mark.parametrize(("name", "fields", "error"), BAD_FIELDS, ids=lambda x: str(x)[:40])
def test_a_bad_field_is_refused_by_name(name: str, fields: dict[str, Any], error: type[RefattnError]) -> None:
    with pytest.raises(error) as caught:
        AttentionSpec(**fields)
    assert is_one_clear_sentence(caught.value, name)


def test_every_field_has_a_bad_value_above() -> None:
    assert {name for name, _, _ in BAD_FIELDS} == {field.name for field in dataclasses.fields(AttentionSpec)}


def test_numbers_are_stored_as_float64_integers_and_booleans() -> None:
    spec = AttentionSpec(
        bias=np.zeros(3, ml_dtypes.bfloat16),
        sinks=[1, -INF],
        documents=([0], np.array([1], np.int8)),
        mask=[[True]],
        window=[np.int32(2), None],
    )
    assert (spec.bias.dtype, spec.sinks.dtype) == (np.float64, np.float64)
    assert spec.documents is not None
    assert [ids.dtype for ids in spec.documents] == [np.int64, np.int64]
    assert spec.mask.dtype == np.bool_
    assert spec.window == (2, None)
    assert type(spec.window[0]) is int


def test_a_spec_is_frozen_and_replace_checks_again() -> None:
    spec = AttentionSpec(causal=True)
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.causal = False
    assert spec.replace(strict=True).strict
    with pytest.raises(InvalidValue, match=r"^strict"):
        spec.replace(strict=True, causal=False)


def test_features_are_the_fields_that_differ_from_the_defaults() -> None:
    assert AttentionSpec().features() == {}
    spec = AttentionSpec(causal=True, window=(3, 0), sinks=[0.0])
    assert list(spec.features()) == ["causal", "window", "sinks"]


def arrays(q: tuple[int, ...], k: tuple[int, ...], v: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.zeros(q), np.zeros(k), np.zeros(v)


def test_a_problem_has_the_sizes_of_its_arrays() -> None:
    shape = problem_shape(*arrays((2, 6, 3, 8), (2, 3, 5, 8), (2, 3, 5, 4)), AttentionSpec())
    assert shape == Shape(batch=2, heads=6, kv_heads=3, queries=3, keys=5, d_qk=8, d_v=4)
    assert shape.group == 2


def test_zero_keys_and_zero_queries_are_problems() -> None:
    assert problem_shape(*arrays((1, 1, 0, 4), (1, 1, 0, 4), (1, 1, 0, 4)), AttentionSpec()).keys == 0


Q, K, V = (2, 6, 3, 8), (2, 3, 5, 8), (2, 3, 5, 4)
BAD_SHAPES: list[tuple[str, tuple[Any, Any, Any]]] = [
    ("q", ((6, 3, 8), K, V)),
    ("k", (Q, (2, 3, 5), V)),
    ("v", (Q, K, (5, 4))),
    ("q, k, v", (Q, (1, 3, 5, 8), V)),
    ("q, k, v", (Q, K, (1, 3, 5, 4))),
    ("k", (Q, (2, 3, 5, 7), V)),
    ("v", (Q, K, (2, 3, 4, 4))),
    ("v", (Q, K, (2, 6, 5, 4))),
    ("q", (Q, (2, 4, 5, 8), (2, 4, 5, 4))),
    ("q", ((2, 6, 3, 0), (2, 3, 5, 0), V)),
]


@pytest.mark.parametrize(("name", "shapes"), BAD_SHAPES)
def test_arrays_that_do_not_fit_together_are_refused_by_name(name: str, shapes: tuple[Any, Any, Any]) -> None:
    with pytest.raises(InvalidValue) as caught:
        problem_shape(*arrays(*shapes), AttentionSpec())
    assert is_one_clear_sentence(caught.value, f"{name} ha") or is_one_clear_sentence(caught.value, f"{name} holds")


@pytest.mark.parametrize("position", [0, 1, 2])
def test_something_without_a_shape_is_refused_by_name(position: int) -> None:
    good: list[Any] = list(arrays(Q, K, V))
    good[position] = [1.0]
    with pytest.raises(InvalidType, match=rf"^{'qkv'[position]} is a list: expected an array"):
        problem_shape(*good, AttentionSpec())


BAD_ARRAYS: list[tuple[str, dict[str, Any]]] = [
    ("bias", {"bias": np.zeros((3, 4))}),
    ("bias", {"bias": np.zeros((1, 2, 6, 3, 5))}),
    ("mask", {"mask": np.ones((4, 1), bool)}),
    ("keep", {"keep": np.ones(4, bool), "dropout": 0.5}),
    ("kept_keys", {"kept_keys": np.ones(3, bool)}),
    ("kept_queries", {"kept_queries": np.ones(5, bool)}),
    ("alibi_slopes", {"alibi_slopes": np.ones(3)}),
    ("alibi_slopes", {"alibi_slopes": np.ones((1, 6))}),
    ("sinks", {"sinks": np.ones((2, 6))}),
    ("documents (query ids)", {"documents": ([0] * 5, [0] * 5)}),
    ("documents (key ids)", {"documents": ([0] * 3, [0] * 3)}),
    ("buckets (query)", {"buckets": ([0] * 5, [0] * 5)}),
    ("buckets (key)", {"buckets": ([0] * 3, [0] * 3)}),
    ("key_positions", {"key_positions": [0, 1, 2]}),
    ("key_positions", {"key_positions": [0, 1, 2, 2, 3]}),
    ("key_positions", {"key_positions": [0, 1, 2, 4, -1]}),
    ("key_positions", {"key_positions": [0, 1, 2, -2, -1]}),
    ("query_positions", {"query_positions": [0, 1, 2, 3, 4]}),
]


@pytest.mark.parametrize(("name", "fields"), BAD_ARRAYS, ids=lambda x: str(x)[:40])
def test_an_array_that_does_not_fit_the_problem_is_refused_by_name(name: str, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue) as caught:
        problem_shape(*arrays(Q, K, V), AttentionSpec(**fields))
    assert is_one_clear_sentence(caught.value, name)
    assert "expected" in str(caught.value)


def test_arrays_that_broadcast_are_taken() -> None:
    spec = AttentionSpec(
        bias=0.0,
        mask=np.ones((3, 1), bool),
        kept_keys=np.ones((2, 1, 5), bool),
        alibi_slopes=np.ones((2, 6)),
        buckets=(np.zeros((6, 3), int), np.zeros(5, int)),
        key_positions=[4, -1, 0, 1, 2],
    )
    with pytest.raises(InvalidValue, match=r"^key_positions"):
        problem_shape(*arrays(Q, K, V), spec)
    assert problem_shape(*arrays(Q, K, V), spec.replace(key_positions=[3, -1, 0, 1, 2])).keys == 5


@pytest.mark.parametrize(
    ("name", "fields", "error"),
    [
        ("axis", {"axis": 1.0}, InvalidType),
        ("axis", {"axis": True}, InvalidType),
        ("kind", {"kind": "sigmoid"}, InvalidValue),
        ("empty_rows", {"empty_rows": 0}, InvalidValue),
    ],
)
def test_a_bad_softmax_field_is_refused_by_name(name: str, fields: dict[str, Any], error: type[RefattnError]) -> None:
    with pytest.raises(error) as caught:
        SoftmaxSpec(**fields)
    assert is_one_clear_sentence(caught.value, name)
