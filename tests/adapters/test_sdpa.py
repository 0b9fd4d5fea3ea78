"""The adapter of torch's scaled_dot_product_attention, and that of jax.nn.dot_product_attention on the same cases."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from refattn import adapters
from refattn.adapters import CallFailure
from refattn.contract.spec import AttentionSpec
from refattn.contract.visibility import visible
from refattn.numbers import formats
from tests.support.adapter_cases import BIAS, SDPA_SPECS, TORCH_FORMATS, near, random_case, wanted
from tests.support.extras import needed


def sdpa() -> Any:
    return needed("torch").nn.functional.scaled_dot_product_attention


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


@pytest.mark.needs("torch")
@pytest.mark.parametrize("format", ["bf16", "fp16"])
def test_sdpas_exponential_needs_the_declared_relative_error(format: str) -> None:
    """Equal scores show exp(0) of torch's cubic in the log-sum-exp: not 1, and within the declared error."""
    import torch

    kind = {"bf16": torch.bfloat16, "fp16": torch.float16}[format]
    zeros = torch.zeros(1, 1, 1, 64, dtype=kind)
    keys = torch.zeros(1, 1, 64, 64, dtype=kind)
    _, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(zeros, keys, keys, 0.0, False)
    error = abs(float(lse) - math.log(64))
    declared = adapters.get("sdpa").arithmetic(sdpa(), formats.get(format))
    assert error <= declared.exp_error + 8 * formats.fp32.unit_roundoff


@pytest.mark.needs("jax")
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
    import jax

    case = random_case(format, spec)
    if not visible(spec, case.shape).any(-1).all():
        pytest.skip("a row sees no key: JAX gives the mean of V")
    outcome = adapters.get("jax").call(jax.nn.dot_product_attention, case, want_lse=True, want_gradients=True)
    assert near(outcome.out, case)
    assert outcome.gradients["dk"].shape == case.k.shape
    assert ("dbias" in outcome.gradients) == (spec.bias is not None)
