"""assert_attention and assert_softmax: silent on what the arithmetic allows, precise about the rest."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

import refattn as ra
from refattn.models import safe_softmax, tiled_attention

SPEC = ra.AttentionSpec(causal=True, softcap=20.0)


def inputs(dtype: Any = ml_dtypes.bfloat16) -> list[Any]:
    generator = np.random.default_rng(0)
    shapes = ((1, 4, 24, 16), (1, 2, 40, 16), (1, 2, 40, 8))
    return [generator.standard_normal(shape).astype(dtype) for shape in shapes]


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16, np.float32, np.float64])
def test_an_honest_kernel_passes_with_its_log_sum_exp(dtype: Any) -> None:
    q, k, v = inputs(dtype)
    out, lse = tiled_attention(q, k, v, spec=SPEC)
    ra.assert_attention(out, q, k, v, spec=SPEC, lse=lse)


def test_the_message_names_the_worst_element_and_why() -> None:
    q, k, v = inputs()
    out, _ = tiled_attention(q, k, v, spec=SPEC)
    out[0, 3, 7, 5] += ml_dtypes.bfloat16(1.0)
    with pytest.raises(AssertionError, match=r"out\[0, 3, 7, 5\] is .* the bound .* largest part is .*flash\(bf16\)"):
        ra.assert_attention(out, q, k, v, spec=SPEC)


def test_a_wrong_log_sum_exp_fails_where_the_output_is_right() -> None:
    q, k, v = inputs()
    out, lse = tiled_attention(q, k, v, spec=SPEC)
    with pytest.raises(AssertionError, match=r"^lse\["):
        ra.assert_attention(out, q, k, v, spec=SPEC, lse=lse / np.float32(np.log(2)))


def test_a_declared_arithmetic_is_what_counts() -> None:
    q, k, v = inputs(np.float32)
    out, _ = tiled_attention(q, k, v, spec=SPEC)
    coarse = out.astype(ml_dtypes.bfloat16).astype(np.float32)
    with pytest.raises(AssertionError):
        ra.assert_attention(coarse, q, k, v, spec=SPEC)
    ra.assert_attention(coarse, q, k, v, spec=SPEC, arithmetic=ra.Arithmetic.flash("fp32", output="bf16"))


def test_nan_must_be_where_the_formula_has_it() -> None:
    q, k, v = inputs()
    q[0, 0, 3, 0] = np.nan
    out, _ = tiled_attention(q, k, v, spec=SPEC)
    ra.assert_attention(out, q, k, v, spec=SPEC)
    with pytest.raises(AssertionError, match="exact value is nan"):
        ra.assert_attention(np.nan_to_num(out.astype(np.float32)).astype(out.dtype), q, k, v, spec=SPEC)


def test_softmax_of_each_kind() -> None:
    x = np.random.default_rng(1).standard_normal((3, 70)).astype(np.float32) * 4
    y = safe_softmax(x)
    ra.assert_softmax(y, x)
    with pytest.raises(AssertionError, match="actual"):
        ra.assert_softmax(y * np.float32(1.001), x)
    lse = ra.oracle.logsumexp(x).mid.astype(np.float32)
    ra.assert_softmax(lse, x, spec=ra.SoftmaxSpec(kind="logsumexp"))
    with pytest.raises(AssertionError):
        ra.assert_softmax(lse + np.float32(1e-3), x, spec=ra.SoftmaxSpec(kind="logsumexp"))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda a: a.__setitem__("actual", a["actual"][..., :4]), ra.InvalidValue, "actual has shape"),
        (lambda a: a.__setitem__("k", a["k"].astype(np.float32)), ra.InvalidType, "k is in fp32"),
        (lambda a: a.__setitem__("v", a["v"][:, :, :3]), ra.InvalidValue, "v holds 3 keys"),
        (lambda a: a.__setitem__("q", "text"), ra.InvalidType, "q has dtype"),
        (lambda a: a.__setitem__("q", a["q"][0]), ra.InvalidValue, "q has shape"),
    ],
)
def test_bad_input_gets_one_sentence(change: Any, error: type[Exception], words: str) -> None:
    q, k, v = inputs()
    arguments = {"actual": tiled_attention(q, k, v, spec=SPEC)[0], "q": q, "k": k, "v": v}
    change(arguments)
    with pytest.raises(error, match=words) as caught:
        ra.assert_attention(**arguments, spec=SPEC)
    assert "\n" not in str(caught.value)


@pytest.mark.needs("torch")
def test_torch_tensors_are_taken_as_they_are() -> None:
    import torch

    q, k, v = (torch.randn(1, 2, 20, 16, generator=torch.Generator().manual_seed(0)).bfloat16() for _ in range(3))
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    arithmetic = ra.adapters.get("sdpa").arithmetic(torch.nn.functional.scaled_dot_product_attention, ra.formats.bf16)
    ra.assert_attention(out, q, k, v, arithmetic=arithmetic)
    with pytest.raises(AssertionError):
        ra.assert_attention(out * 1.02, q, k, v, arithmetic=arithmetic)
