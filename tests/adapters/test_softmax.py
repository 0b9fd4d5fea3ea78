"""The adapter of softmax, log-softmax and log-sum-exp functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from refattn import adapters
from refattn.adapters import CallFailure
from refattn.adapters.softmax import Softmax
from refattn.contract.spec import SoftmaxSpec
from refattn.inputs.cases import SoftmaxCase
from refattn.numbers import formats
from tests.support.adapter_cases import TORCH_FORMATS


def softmax_case(format: str, shape: tuple[int, ...], axis: int, kind: Any = "softmax") -> SoftmaxCase:
    values = formats.get(format).round(np.random.default_rng(6).standard_normal(shape))
    return SoftmaxCase(x=values, spec=SoftmaxSpec(axis, kind), format=formats.get(format))


def softmax(x: Any, axis: int = -1) -> Any:
    weights = np.exp(x - x.max(axis, keepdims=True))
    return weights / weights.sum(axis, keepdims=True)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_a_numpy_softmax_is_called_along_the_axis(axis: int) -> None:
    case = softmax_case("fp64", (2, 3, 4), axis)
    for kernel in (softmax, lambda x, dim: softmax(x, dim)):
        outcome = adapters.get("softmax").call(kernel, case, layout="strided")
        np.testing.assert_array_equal(outcome.out, softmax(case.x, axis))


@pytest.mark.needs("torch")
@pytest.mark.parametrize("format", TORCH_FORMATS)
@pytest.mark.parametrize("kind", ["softmax", "log_softmax", "logsumexp"])
@pytest.mark.parametrize("axis", [0, -1])
def test_torchs_functions_are_recognised_and_called(format: str, kind: Any, axis: int) -> None:
    import torch

    case = softmax_case(format, (3, 5), axis, kind)
    kernel = getattr(torch, kind)
    adapter = Softmax()
    assert adapter.kind(kernel) == kind
    assert adapter.library(kernel).name == "torch"
    expected = np.log(softmax(case.x, axis))
    if kind == "softmax":
        expected = np.exp(expected)
    elif kind == "logsumexp":
        expected = np.take(case.x - expected, 0, axis)
    out = adapter.call(kernel, case).out
    assert np.abs(out - expected).max() <= 16 * case.format.unit_roundoff


def test_a_softmax_kernel_is_not_given_another_functions_case() -> None:
    with pytest.raises(CallFailure, match="computes softmax: the case is about logsumexp"):
        adapters.get("softmax").call(softmax, softmax_case("fp64", (2, 3), -1, "logsumexp"))
