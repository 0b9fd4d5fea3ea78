"""Adapters give kernels what their conventions say, and notice what kernels should not do."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from refattn import adapters, formats
from refattn.adapters import CallFailure
from refattn.adapters.memory import Block
from refattn.adapters.softmax import Softmax
from refattn.arithmetic import Arithmetic
from refattn.cases import AttentionCase, SoftmaxCase
from refattn.errors import InvalidType, InvalidValue
from refattn.spec import AttentionSpec, SoftmaxSpec
from refattn.visibility import visible

TORCH_FORMATS = ("fp32", "bf16", "fp16", "fp64")


def random_case(
    format: Any = "fp32",
    spec: AttentionSpec | None = None,
    *,
    batch: int = 2,
    heads: int = 4,
    kv_heads: int = 2,
    queries: int = 5,
    keys: int = 7,
    d: int = 4,
    d_v: int = 4,
) -> AttentionCase:
    generator = np.random.default_rng(0)
    kind = formats.get(format)

    def draw(*shape: int) -> np.ndarray:
        return kind.round(generator.standard_normal(shape))

    return AttentionCase(
        q=draw(batch, heads, queries, d),
        k=draw(batch, kv_heads, keys, d),
        v=draw(batch, kv_heads, keys, d_v),
        do=draw(batch, heads, queries, d_v),
        spec=AttentionSpec() if spec is None else spec,
        format=kind,
    )


def defined(q: Any, k: Any, v: Any, spec: AttentionSpec, shape: Any) -> tuple[Any, Any]:
    """The definition in float64: out and log-sum-exp."""
    group = q.shape[1] // k.shape[1]
    k, v = np.repeat(k, group, 1), np.repeat(v, group, 1)
    scale = 1 / math.sqrt(q.shape[-1]) if spec.scale is None else spec.scale
    scores = scale * (q @ np.swapaxes(k, -1, -2)) + (0.0 if spec.bias is None else spec.bias)
    scores = np.where(visible(spec, shape), scores, -np.inf)
    top = np.maximum(scores.max(-1, initial=-np.inf, keepdims=True), -1e300)
    weights = np.exp(scores - top)
    total = weights.sum(-1, keepdims=True)
    with np.errstate(divide="ignore"):
        lse = (top + np.log(total))[..., 0]
    return (weights / np.where(total > 0, total, 1)) @ v, lse


def wanted(case: AttentionCase) -> Any:
    return defined(case.q, case.k, case.v, case.spec, case.shape)[0]


def near(actual: Any, case: AttentionCase) -> bool:
    """Within the budget of a sloppy kernel: no more than which keys were seen, and in what order, is asked here."""
    return bool(np.abs(actual - wanted(case)).max() <= 2**-6 * np.abs(case.v).max())


def native(q: Any, k: Any, v: Any, *, spec: Any) -> Any:
    """A NumPy kernel of the native convention, with log-sum-exp."""
    from refattn.spec import problem_shape

    shape = problem_shape(q, k, v, spec)
    out, lse = defined(*(a.astype(np.float64) for a in (q, k, v)), spec, shape)
    return out.astype(q.dtype), lse.astype(np.float32 if q.dtype.itemsize < 8 else np.float64)


# Memory


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
        pytest.importorskip("torch")

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


def test_a_torch_kernel_is_differentiated() -> None:
    torch = pytest.importorskip("torch")

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


# torch's scaled_dot_product_attention


def sdpa() -> Any:
    return pytest.importorskip("torch").nn.functional.scaled_dot_product_attention


BIAS = formats.bf16.round(np.random.default_rng(4).standard_normal((4, 5, 7)))
MASK = np.random.default_rng(5).random((5, 7)) < 0.6
SDPA_SPECS = [
    AttentionSpec(),
    AttentionSpec(scale=0.75),
    AttentionSpec(causal=True, alignment="top_left"),
    AttentionSpec(causal=True, alignment="bottom_right"),
    AttentionSpec(causal=True, strict=True),
    AttentionSpec(mask=MASK),
    AttentionSpec(mask=MASK, causal=True, alignment="top_left"),
    AttentionSpec(bias=BIAS),
    AttentionSpec(bias=BIAS, mask=MASK, causal=True),
    AttentionSpec(window=(2, 1)),
    AttentionSpec(kept_keys=np.array([True, False, True, True, False, True, True])),
]


@pytest.mark.parametrize("format", TORCH_FORMATS)
@pytest.mark.parametrize("spec", SDPA_SPECS, ids=lambda s: "+".join(s.features()) or "plain")
@pytest.mark.parametrize("d_v", [4, 3])
def test_sdpa_is_told_every_visibility(format: str, spec: AttentionSpec, d_v: int) -> None:
    case = random_case(format, spec, d_v=d_v)
    assert near(adapters.get("sdpa").call(sdpa(), case).out, case)


def test_sdpas_own_causal_mask_is_used_at_the_top_left_only() -> None:
    flags: list[bool] = []
    real = sdpa()

    def kernel(*args: Any, **keywords: Any) -> Any:
        flags.append("is_causal" in keywords)
        return real(*args, **keywords)

    for alignment, queries, own in (("top_left", 5, True), ("bottom_right", 5, False), ("bottom_right", 7, True)):
        case = random_case(spec=AttentionSpec(causal=True, alignment=alignment), queries=queries)
        assert near(adapters.get("sdpa").call(kernel, case).out, case)
        assert flags.pop() is own


@pytest.mark.parametrize("layout", adapters.LAYOUTS)
def test_sdpa_gives_the_same_bits_in_every_layout(layout: Any) -> None:
    case = random_case("bf16")
    case = case.replace(k=case.k[:, :1].repeat(2, 1), v=case.v[:, :1].repeat(2, 1))
    adapter = adapters.get("sdpa")
    assert adapter.call(sdpa(), case, layout=layout).same_bits(adapter.call(sdpa(), case))


@pytest.mark.parametrize("bias", [None, BIAS, BIAS[0]])
def test_sdpas_gradients_are_those_of_finite_differences(bias: Any) -> None:
    case = random_case("fp64", AttentionSpec(bias=bias))
    gradients = adapters.get("sdpa").call(sdpa(), case, want_gradients=True).gradients
    step = 2.0**-20
    for name in ("q", "k", "v"):
        array = getattr(case, name)
        index = (1, 1, 2, 3)
        moved = []
        for sign in (1, -1):
            other = array.copy()
            other[index] += sign * step
            moved.append((wanted(case.replace(**{name: other})) * case.do).sum())
        slope = (moved[0] - moved[1]) / (2 * step)
        # The third derivative, at most about 10 here, times step**2 / 6, and cancellation: 2**-50 / step.
        assert abs(slope - gradients[f"d{name}"][index]) < 2.0**-26
    assert ("dbias" in gradients) == (bias is not None)
    if bias is not None:
        assert gradients["dbias"].shape == bias.shape


@pytest.mark.parametrize(
    ("case", "options", "text"),
    [
        (random_case(spec=AttentionSpec(softcap=5.0)), {}, "no argument for softcap"),
        (random_case(spec=AttentionSpec(sinks=np.zeros(4))), {}, "no argument for sinks"),
        (random_case(spec=AttentionSpec(empty_rows="nan")), {}, "gives 0 for rows that see no key"),
        (random_case(), {"want_lse": True}, "returns no log-sum-exp"),
        (random_case("bf16", AttentionSpec(bias=np.full((5, 7), 0.1))), {}, "neither bf16 nor fp32"),
    ],
)
def test_sdpa_refuses_what_it_cannot_say(case: Any, options: Any, text: str) -> None:
    with pytest.raises(CallFailure, match=text) as caught:
        adapters.get("sdpa").call(sdpa(), case, **options)
    assert caught.value.kind == "signature"


def test_sdpas_arithmetic_follows_its_path() -> None:
    adapter, kernel = adapters.get("sdpa"), sdpa()
    flash = adapter.arithmetic(kernel, formats.bf16, None, random_case("bf16").shape)
    assert flash.probabilities.format == formats.bf16
    assert flash.exp_relative == 2.0**-13
    assert flash.tile == 512
    math_path = adapter.arithmetic(kernel, formats.bf16, None, random_case("bf16", d_v=3).shape)
    assert math_path.probabilities.format == formats.fp32
    assert math_path.output.format == formats.bf16


@pytest.mark.parametrize("format", ["bf16", "fp16"])
def test_sdpas_exponential_needs_the_declared_relative_error(format: str) -> None:
    """Equal scores show exp(0) of torch's cubic in the log-sum-exp: not 1, and within the declared error."""
    torch = pytest.importorskip("torch")
    kind = {"bf16": torch.bfloat16, "fp16": torch.float16}[format]
    zeros = torch.zeros(1, 1, 1, 64, dtype=kind)
    keys = torch.zeros(1, 1, 64, 64, dtype=kind)
    _, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(zeros, keys, keys, 0.0, False)
    error = abs(float(lse) - math.log(64))
    declared = adapters.get("sdpa").arithmetic(sdpa(), formats.get(format))
    assert error <= declared.exp_error + 8 * formats.fp32.unit_roundoff


# flash_attn and varlen, with a stand-in kernel


def flash_attn_func(
    q: Any,
    k: Any,
    v: Any,
    softmax_scale: Any = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
    alibi_slopes: Any = None,
    return_attn_probs: bool = False,
) -> Any:
    assert softcap == 0.0
    assert alibi_slopes is None
    torch = pytest.importorskip("torch")
    q, k, v = (a.transpose(1, 2).double() for a in (q, k, v))
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    scores = q @ k.mT * (1 / math.sqrt(q.shape[-1]) if softmax_scale is None else softmax_scale)
    i = torch.arange(q.shape[2])[:, None] + k.shape[2] - q.shape[2]
    j = torch.arange(k.shape[2])
    left, right = window_size
    seen = ((i >= j) | (not causal)) & ((j >= i - left) | (left < 0)) & ((j <= i + right) | (right < 0))
    scores = scores.masked_fill(~seen, -math.inf)
    out = (torch.softmax(scores, -1).nan_to_num() @ v).transpose(1, 2)
    lse = torch.logsumexp(scores, -1).float()
    return (out.bfloat16(), lse, None) if return_attn_probs else out.bfloat16()


def flash_attn_varlen_func(
    q: Any, k: Any, v: Any, cu_seqlens_q: Any, cu_seqlens_k: Any, max_seqlen_q: int, max_seqlen_k: int, **rest: Any
) -> Any:
    torch = pytest.importorskip("torch")
    starts, others = cu_seqlens_q.tolist(), cu_seqlens_k.tolist()
    assert max(np.diff(starts)) == max_seqlen_q
    assert max(np.diff(others)) == max_seqlen_k
    parts = [
        flash_attn_func(q[None, a:b], k[None, c:d], v[None, c:d], **rest)
        for a, b, c, d in zip(starts, starts[1:], others, others[1:], strict=False)
    ]
    if not rest.get("return_attn_probs"):
        return torch.cat([part[0] for part in parts])
    return torch.cat([part[0][0] for part in parts]), torch.cat([part[1][0] for part in parts], -1), None


DOCUMENTS = (np.array([0, 0, 2, 2, 2]), np.array([0, 0, 0, 1, 2, 2, 2]))
FLASH_SPECS = [AttentionSpec(), AttentionSpec(causal=True, scale=0.5), AttentionSpec(window=(2, None))]


@pytest.fixture(scope="module")
def _torch() -> None:
    pytest.importorskip("torch")


@pytest.mark.usefixtures("_torch")
@pytest.mark.parametrize("spec", FLASH_SPECS)
@pytest.mark.parametrize("layout", adapters.LAYOUTS)
def test_flash_attn_gets_heads_after_tokens_and_its_own_keywords(spec: AttentionSpec, layout: Any) -> None:
    case = random_case("bf16", spec, queries=4)
    outcome = adapters.get("flash_attn").call(flash_attn_func, case, want_lse=True, want_gradients=True, layout=layout)
    out, lse = defined(case.q, case.k, case.v, case.spec, case.shape)
    np.testing.assert_array_equal(outcome.out, formats.bf16.round(out))
    np.testing.assert_array_equal(outcome.lse, formats.fp32.round(lse))
    assert {name: g.shape for name, g in outcome.gradients.items()} == {
        "dq": case.q.shape,
        "dk": case.k.shape,
        "dv": case.v.shape,
    }


@pytest.mark.usefixtures("_torch")
@pytest.mark.parametrize("documents", [None, DOCUMENTS])
@pytest.mark.parametrize("causal", [False, True])
def test_varlen_packs_documents_and_unpacks_results(documents: Any, causal: bool) -> None:
    case = random_case("bf16", AttentionSpec(documents=documents, causal=causal))
    outcome = adapters.get("varlen").call(flash_attn_varlen_func, case, want_lse=True, want_gradients=True)
    out, lse = defined(case.q, case.k, case.v, case.spec, case.shape)
    np.testing.assert_array_equal(outcome.out, formats.bf16.round(out))
    np.testing.assert_array_equal(outcome.lse, formats.fp32.round(lse))
    assert outcome.gradients["dk"].shape == case.k.shape


@pytest.mark.usefixtures("_torch")
def test_flash_attn_refuses_other_alignments_and_varlen_other_orders() -> None:
    with pytest.raises(CallFailure, match="bottom right"):
        adapters.get("flash_attn").call(
            flash_attn_func, random_case("bf16", AttentionSpec(causal=True, alignment="top_left"))
        )
    shuffled = AttentionSpec(documents=(DOCUMENTS[0][::-1], DOCUMENTS[1]))
    with pytest.raises(CallFailure, match="increasing ids"):
        adapters.get("varlen").call(flash_attn_varlen_func, random_case("bf16", shuffled))


# JAX


@pytest.mark.parametrize("format", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize(
    "spec",
    [
        *(spec for spec in SDPA_SPECS if not (spec.strict or spec.mask is not None)),
        AttentionSpec(window=(2, 1), alignment="top_left"),
        AttentionSpec(window=(None, 1), alignment="top_left"),
        AttentionSpec(mask=np.tri(5, 7, dtype=bool), causal=True),
    ],
    ids=lambda s: "+".join(s.features()) or "plain",
)
def test_jax_is_told_every_visibility(format: str, spec: AttentionSpec) -> None:
    jax = pytest.importorskip("jax")
    case = random_case(format, spec)
    if not visible(spec, case.shape).any(-1).all():
        pytest.skip("a row sees no key: JAX gives the mean of V")
    outcome = adapters.get("jax").call(jax.nn.dot_product_attention, case, want_lse=True, want_gradients=True)
    assert near(outcome.out, case)
    assert outcome.gradients["dk"].shape == case.k.shape
    assert ("dbias" in outcome.gradients) == (spec.bias is not None)


# Softmax


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


@pytest.mark.parametrize("format", TORCH_FORMATS)
@pytest.mark.parametrize("kind", ["softmax", "log_softmax", "logsumexp"])
@pytest.mark.parametrize("axis", [0, -1])
def test_torchs_functions_are_recognised_and_called(format: str, kind: Any, axis: int) -> None:
    torch = pytest.importorskip("torch")
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
    found = adapter.call(kernel, case).out
    assert np.abs(found - expected).max() <= 16 * case.format.unit_roundoff


def test_a_softmax_kernel_is_not_given_another_functions_case() -> None:
    with pytest.raises(CallFailure, match="computes softmax: the case is about logsumexp"):
        adapters.get("softmax").call(softmax, softmax_case("fp64", (2, 3), -1, "logsumexp"))
