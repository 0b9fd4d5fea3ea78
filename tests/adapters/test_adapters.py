"""Adapters give kernels what their conventions say, and notice what kernels should not do."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from refattn import adapters
from refattn.adapters import CallFailure
from refattn.adapters.memory import Block
from refattn.contract.arithmetic import Arithmetic
from refattn.contract.spec import AttentionSpec
from refattn.errors import InvalidType, InvalidValue
from refattn.numbers import formats
from tests.support.adapter_cases import native, random_case, wanted
from tests.support.extras import skip_without


@pytest.mark.parametrize("layout", adapters.LAYOUTS)
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 1, 1, 1), (3,), (2, 5), (0, 2, 3, 4), (1, 2, 0, 3)])
@pytest.mark.parametrize("format", ["e4m3", "bf16", "fp32", "fp64"])
def test_every_layout_holds_the_numbers_and_is_surrounded_by_nan(layout: Any, shape: Any, format: str) -> None:
    kind = formats.get(format)
    values = kind.round(np.random.default_rng(1).standard_normal(shape))
    block = Block.of(values, kind, layout)
    np.testing.assert_array_equal(block.numbers().astype(np.float64), values)
    flat = block.flat.view(kind.storage).astype(np.float64)
    assert np.isnan(flat).sum() == flat.size - values.size
    assert np.isnan(flat[0])
    assert np.isnan(flat[-1])


def test_layouts_differ_as_they_say() -> None:
    values = np.random.default_rng(2).standard_normal((2, 3, 4, 5))
    contiguous, strided, offset = (Block.of(values, formats.fp64, name) for name in adapters.LAYOUTS[:3])
    assert contiguous.numbers().flags.c_contiguous
    assert contiguous.numbers().ctypes.data % 64 == 0
    assert not strided.numbers().flags.c_contiguous
    assert strided.strides[-1] == 1
    assert strided.strides[1] < strided.strides[2]
    assert offset.numbers().ctypes.data % 64 == 8


def test_broadcast_gives_stride_zero_only_where_all_is_equal() -> None:
    values = np.random.default_rng(3).standard_normal((2, 1, 4, 5))
    heads = np.broadcast_to(values, (2, 3, 4, 5))
    assert Block.of(heads, formats.fp64, "broadcast0").strides == (20, 0, 5, 1)
    assert Block.of(values.repeat(2, 0), formats.fp64, "broadcast0").strides == (20, 0, 5, 1)


# Native kernels: what is noticed


def test_the_native_convention_passes_arrays_of_the_formats_dtype_and_the_spec() -> None:
    seen: dict[str, Any] = {}

    def kernel(q: Any, k: Any, v: Any, *, spec: Any) -> Any:
        seen.update(dtypes={a.dtype for a in (q, k, v)}, spec=spec)
        return native(q, k, v, spec=spec)

    case = random_case("bf16", AttentionSpec(causal=True))
    outcome = adapters.get("native").call(kernel, case, want_lse=True)
    assert seen["dtypes"] == {np.dtype(ml_dtypes.bfloat16)}
    assert seen["spec"] is case.spec
    np.testing.assert_array_equal(outcome.out, formats.bf16.round(wanted(case)))
    assert outcome.raw["out"].dtype == np.uint16
    assert outcome.formats == {"out": formats.bf16, "lse": formats.fp32}


def broken(change: Callable[[Any], Any]) -> Callable[..., Any]:
    def kernel(q: Any, k: Any, v: Any, *, spec: Any) -> Any:
        return change(native(q, k, v, spec=spec))

    return kernel


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        (lambda r: None, "type", "builtins.NoneType as out: expected a NumPy array"),
        (lambda r: r[0].tolist()[0][0][:1], "type", "builtins.list as out"),
        (lambda r: (r[0], r[1], r[1]), "type", "3 values"),
        (lambda r: r[0][:, :, :-1], "shape", "out of shape (2, 4, 4, 4): expected (2, 4, 5, 4)"),
        (lambda r: r[0].astype(np.float64), "dtype", "out in float64: expected float32"),
        (lambda r: (r[0], r[1][..., None]), "shape", "lse of shape (2, 4, 5, 1): expected (2, 4, 5)"),
        (lambda r: (r[0], r[1].astype(np.float16)), "dtype", "lse in float16"),
        (lambda r: r[0], "type", "no log-sum-exp"),
    ],
)
def test_a_wrong_result_is_named(change: Any, kind: str, text: str) -> None:
    with pytest.raises(CallFailure) as caught:
        adapters.get("native").call(broken(change), random_case(), want_lse=True)
    assert caught.value.kind == kind
    assert text in caught.value.message


@pytest.mark.parametrize("name", ["q", "k", "v"])
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_a_changed_input_is_noticed_and_named(name: str, library: str) -> None:
    if library == "torch":
        skip_without("torch")

    def kernel(q: Any, k: Any, v: Any, *, spec: Any) -> Any:
        del spec
        result = q * 1
        {"q": q, "k": k, "v": v}[name][1, 0, 2, 3] += 1
        return result

    with pytest.raises(CallFailure, match=f"input {name} changed") as caught:
        adapters.get("native", library).call(kernel, random_case())
    assert caught.value.kind == "inputs"


@pytest.mark.parametrize("layout", adapters.LAYOUTS)
def test_a_write_beside_an_input_is_noticed(layout: Any) -> None:
    def kernel(q: Any, k: Any, v: Any, *, spec: Any) -> Any:
        del v, spec
        result = q * 1
        np.lib.stride_tricks.as_strided(k, (2,), (-k.itemsize,))[1] = 0.0
        return result

    with pytest.raises(CallFailure, match="input k written outside its bounds"):
        adapters.get("native").call(kernel, random_case(), layout=layout)


def test_a_changed_array_of_the_spec_is_noticed_and_restored() -> None:
    bias = np.zeros((5, 7))

    def kernel(q: Any, k: Any, v: Any, *, spec: Any) -> Any:
        del k, v
        spec.bias[0, 0] = 3.0
        return q * 1

    case = random_case(spec=AttentionSpec(bias=bias))
    with pytest.raises(CallFailure, match=r"spec\.bias changed"):
        adapters.get("native").call(kernel, case)
    assert not case.spec.bias.any()


def test_same_bits_tells_zeros_and_nans_apart() -> None:
    def outcome(value: float) -> Any:
        return adapters.get("native").call(broken(lambda r: np.full_like(r[0], value)), random_case())

    assert outcome(0.0).same_bits(outcome(0.0))
    assert not outcome(0.0).same_bits(outcome(-0.0))
    assert outcome(math.nan).same_bits(outcome(math.nan))
    assert not outcome(math.nan).same_bits(outcome(-math.nan))


# Native kernels: gradients


def test_a_backward_attribute_gives_gradients_and_claims_them() -> None:
    class Kernel:
        def __call__(self, q: Any, k: Any, v: Any, *, spec: Any) -> Any:
            return native(q, k, v, spec=spec)

        def backward(self, q: Any, k: Any, v: Any, do: Any, *, spec: Any, dlse: Any = None) -> Any:
            del do, spec
            assert dlse is None
            return q * 2, k * 2, v * 2, None

    adapter = adapters.get("native")
    case = random_case()
    outcome = adapter.call(Kernel(), case, want_gradients=True)
    assert set(outcome.gradients) == {"dq", "dk", "dv"}
    np.testing.assert_array_equal(outcome.gradients["dk"], case.k * 2)
    assert "backward" in adapter.default_claims(Kernel())
    assert "backward" not in adapter.default_claims(native)


def test_gradients_of_a_kernel_without_any_are_refused() -> None:
    with pytest.raises(CallFailure, match="no attribute backward") as caught:
        adapters.get("native").call(native, random_case(), want_gradients=True)
    assert caught.value.kind == "signature"
    with pytest.raises(CallFailure, match="no upstream gradient do"):
        adapters.get("native").call(native, random_case().replace(do=None), want_gradients=True)


@pytest.mark.needs("torch")
def test_a_torch_kernel_is_differentiated() -> None:
    import torch

    def kernel(q: Any, k: Any, v: Any, *, spec: Any) -> Any:
        del spec, v
        return q * 3 + 0 * k[:, :1, :1], torch.logsumexp(q, -1) * 0 + q.sum(-1)

    case = random_case(heads=2, kv_heads=2)
    case = case.replace(dlse=np.ones(case.q.shape[:3]))
    outcome = adapters.get("native", "torch").call(kernel, case, want_gradients=True)
    np.testing.assert_array_equal(
        outcome.gradients["dq"], formats.fp32.round(formats.fp32.round(case.do * 3) + case.dlse[..., None])
    )
    assert not outcome.gradients["dv"].any()


def test_the_backward_convention_calls_the_kernel_of_gradients_itself() -> None:
    def kernel(q: Any, k: Any, v: Any, do: Any, *, spec: Any) -> Any:
        del q, spec
        return do * 1, k * 1, v * 1

    case = random_case()
    outcome = adapters.get("backward").call(kernel, case)
    assert outcome.out is None
    np.testing.assert_array_equal(outcome.gradients["dq"], case.do)


def test_decode_takes_one_query() -> None:
    adapter = adapters.get("decode")
    assert adapter.call(native, random_case(queries=1)).out is not None
    with pytest.raises(CallFailure, match="takes 1 query: the case has 5"):
        adapter.call(native, random_case())


# What a kernel says of itself


def test_a_kernels_attributes_override_the_convention() -> None:
    def kernel(q: Any, k: Any, v: Any, *, spec: Any) -> Any:
        return native(q, k, v, spec=spec)[0]

    kernel.refattn_claims = ("causal", "sinks")
    kernel.refattn_arithmetic = {"bfloat16": Arithmetic.naive("bf16")}
    adapter = adapters.get("native")
    assert adapter.default_claims(kernel) == {"causal", "sinks"}
    assert adapter.formats(kernel) == (formats.bf16,)
    assert adapter.arithmetic(kernel, formats.bf16) == Arithmetic.naive("bf16")
    with pytest.raises(InvalidValue, match="no entry for fp32"):
        adapter.arithmetic(kernel, formats.fp32)
    kernel.refattn_arithmetic = lambda format: Arithmetic.flash(format, exp_ulps=3.0)
    assert adapter.arithmetic(kernel, formats.fp32).exp_ulps == 3.0
    kernel.refattn_arithmetic = "flash"
    with pytest.raises(InvalidType, match="declares str"):
        adapter.arithmetic(kernel, formats.fp32)
    kernel.refattn_claims = ("speed",)
    with pytest.raises(InvalidValue, match="claim 'speed'"):
        adapter.default_claims(kernel)


def test_an_adapter_of_ones_own_is_found_by_name() -> None:
    class Mine(adapters.get("native").__class__):
        name = "mine"
        summary = "as native"

    adapters.register(Mine)
    try:
        assert isinstance(adapters.get("mine"), Mine)
        assert "mine" in adapters.names()
    finally:
        adapters._ADAPTERS.pop("mine")
    with pytest.raises(InvalidType):
        adapters.register(int)  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match="call is 'theirs': expected one of native"):
        adapters.get("theirs")


def like_sdpa(query: Any, key: Any, value: Any, attn_mask: Any = None, is_causal: bool = False) -> None: ...
def like_flash(q: Any, k: Any, v: Any, softmax_scale: Any = None, causal: bool = False) -> None: ...
def like_softmax(x: Any, dim: int) -> None: ...
def like_backward(q: Any, k: Any, v: Any, do: Any, *, spec: Any) -> None: ...
def like_varlen(q: Any, k: Any, v: Any, cu_seqlens_q: Any, causal: bool = False, softmax_scale: Any = 1) -> None: ...


@pytest.mark.parametrize(
    ("target", "kernel", "expected"),
    [
        ("torch.nn.functional:scaled_dot_product_attention", min, "sdpa"),
        ("torch:softmax", min, "softmax"),
        ("torch.nn.functional:log_softmax", min, "softmax"),
        ("scipy.special:logsumexp", min, "softmax"),
        ("flash_attn:flash_attn_func", min, "flash_attn"),
        ("flash_attn:flash_attn_varlen_func", min, "varlen"),
        ("jax.nn:dot_product_attention", min, "jax"),
        ("mine:kernel", native, "native"),
        ("mine:kernel", like_sdpa, "sdpa"),
        ("mine:kernel", like_flash, "flash_attn"),
        ("mine:kernel", like_varlen, "varlen"),
        ("mine:kernel", like_softmax, "softmax"),
        ("mine:kernel", like_backward, "backward"),
        ("mine:kernel", min, "native"),
    ],
)
def test_the_convention_is_guessed_from_name_and_parameters(target: str, kernel: Any, expected: str) -> None:
    assert adapters.guess(target, kernel) == expected
