"""The convention of torch.nn.functional.scaled_dot_product_attention."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from refattn.adapters import autograd, rendering
from refattn.adapters.base import Adapter, Kernel
from refattn.adapters.receiving import array_of, receive_gradients
from refattn.adapters.session import Session
from refattn.contract.arithmetic import Arithmetic
from refattn.numbers import formats
from refattn.numbers.formats import Format

if TYPE_CHECKING:
    from refattn.inputs.cases import AttentionCase


class SDPA(Adapter):
    """kernel(query, key, value, attn_mask=, is_causal=, scale=, enable_gqa=) -> out, torch tensors (B, H, N, D).

    is_causal is aligned at the top left, in torch's CPU kernel as in its math path, whatever the lengths. A boolean
    mask expresses what has no argument: causal masks aligned at the bottom right, windows, documents.
    """

    name = "sdpa"
    summary = "torch's scaled_dot_product_attention(query, key, value, attn_mask, is_causal, scale, enable_gqa)"
    alignment = "top_left"
    usual_library = "torch"

    def usual_claims(self, kernel: Kernel) -> frozenset[str]:
        """What torch documents, and what was measured: rows without keys give 0, and so do no keys at all."""
        del kernel
        features = {"causal", "mask", "bias", "gqa", "cross", "dv", "scale", "backward"}
        return frozenset(features | {"empty_rows", "ragged", "deterministic", "zero_length"})

    def usual_arithmetic(self, kernel: Kernel, format: Format, spec: Any, shape: Any) -> Arithmetic:
        """The arithmetic of torch's CPU kernels; on other devices, of a tiled kernel with a fused exponent."""
        del spec
        if not str(getattr(kernel, "refattn_device", "cpu")).startswith("cpu"):
            return Arithmetic.flash(format, exponent="fma", exp_ulps=2.0, flush_to_zero=flushes(format))
        # sdp_utils_cpp.cpp (use_flash_attention_cpp): the flash kernel needs one head dimension for Q, K and V.
        return math_path(format) if shape is not None and shape.d_v != shape.d_qk else flash_path(format)

    def refuses(self, kernel: Kernel, case: Any, *, want_lse: bool = False, want_gradients: bool = False) -> str | None:
        """The convention has no softcap, ALiBi, sinks or dropout mask, and no log-sum-exp."""
        if want_lse or (want_gradients and case.dlse is not None):
            return "the sdpa convention returns no log-sum-exp"
        if case.spec.empty_rows != "zero":
            return "the sdpa convention gives 0 for rows that see no key: the case expects NaN"
        foreign = rendering.foreign_feature(case.spec, {"scale", "bias", *rendering.VISIBILITY}, self.name)
        return foreign or super().refuses(kernel, case, want_lse=want_lse, want_gradients=want_gradients)

    def exchange(
        self,
        kernel: Kernel,
        case: AttentionCase,
        session: Session,
        output: Format,
        want_lse: bool,
        want_gradients: bool,
    ) -> None:
        """Run the forward pass, and the backward pass by automatic differentiation."""
        del want_lse
        given = {name: session.give(name, getattr(case, name)) for name in ("q", "k", "v")}
        keywords = self._keywords(case, session)
        if want_gradients:
            given = autograd.leaves(given)
            if case.spec.bias is not None:
                given["bias"] = keywords["attn_mask"] = autograd.leaves({"bias": keywords["attn_mask"]})["bias"]
        out = session.invoke(kernel, given["q"], given["k"], given["v"], **keywords)
        session.receive("out", out, (*case.q.shape[:3], case.v.shape[3]), (output,))
        if want_gradients:
            do = session.give("do", array_of(case.do))
            gradients = autograd.pull_back(session, {"out": out}, {"out": do}, given)
            if "bias" in gradients and gradients["bias"].numel() == case.spec.bias.size:
                gradients["bias"] = gradients["bias"].reshape(case.spec.bias.shape)
            else:
                # A mask widened the bias: torch then rounds the terms of the bias's gradient and not their sum.
                gradients.pop("bias", None)
            receive_gradients(session, case, tuple(gradients.values()))

    def _keywords(self, case: AttentionCase, session: Session) -> dict[str, Any]:
        spec = case.spec
        keywords: dict[str, Any] = {}
        bias = rendering.bias_of(case)
        # torch documents that attn_mask and is_causal exclude each other.
        if spec.causal and bias is None and rendering.only(spec, "causal") and rendering.aligned(case, self.alignment):
            keywords["is_causal"] = True
        else:
            mask = rendering.mask_of(case)
            if bias is not None:
                values = bias[0] if mask is None else np.where(mask, bias[0], -np.inf)
                keywords["attn_mask"] = session.give("bias", values, bias[1], contiguous=True)
            elif mask is not None:
                keywords["attn_mask"] = session.library.plain(mask)
        if spec.scale is not None:
            keywords["scale"] = float(spec.scale)
        if case.shape.group > 1:
            keywords["enable_gqa"] = True
        return keywords


def flushes(format: Format) -> bool:
    """True for formats with fp32's range, in which flushing fp32's subnormal results shows."""
    return format.emin == formats.fp32.emin


@functools.cache
def flash_path(format: Format) -> Arithmetic:
    """torch's CPU flash kernel (aten/src/ATen/native/cpu/FlashAttentionKernel.cpp), read and measured on torch 2.13."""
    narrow = format.precision < formats.fp32.precision
    return Arithmetic.flash(
        format,
        name=f"torch CPU flash({format.name})",
        # cpublas::gemm adds products of reduced inputs in fp32 (measured: scores within 2^-24 of sum|q||k|).
        # kv_split_size is 512 in flash_attention_kernel_impl.
        tile=512,
        # _exp_reduce_sum_fusion_kernel stores exp in the inputs' dtype, and adds it before that cast.
        cast="before",
        sum_of_cast=False,
        # vec256_float.h, vec512_float.h: exp_u20 errs by at most 3.3 ulp on [-87, 0]; double's exp is Sleef's, 1 ulp.
        exp_ulps=1.0 if format.precision > formats.fp32.precision else 4.0,
        # vec256_float.h, vec512_float.h: fexp_u20, a cubic for reduced inputs, errs by 1.13e-4 (its exp(0) is 0.99995).
        exp_relative=2.0**-13 if narrow else 0.0,
        # Both give 0 below ln(FLT_MIN); fp16 has lost such weights anyway.
        flush_to_zero=flushes(format),
        # repeat_interleave's backward adds the heads of a group in the inputs' dtype.
        group_sum=format,
        # cpu_flash_attention_backward adds each block's product to dQ, dK, dV in the inputs' dtype; the smallest is 32.
        gradient_sum=format,
        gradient_tile=32,
    )


@functools.cache
def math_path(format: Format) -> Arithmetic:
    """torch's math path (aten/src/ATen/native/transformers/attention.cpp, _scaled_dot_product_attention_math).

    It casts reduced inputs to fp32, scales Q and K each by sqrt(scale), keeps scores and probabilities in fp32, and
    casts the result.
    """
    wide = format if format.precision >= formats.fp32.precision else formats.fp32
    return Arithmetic.naive(
        format,
        name=f"torch CPU math({format.name})",
        scores=wide,
        probabilities=wide,
        # Scaling both operands costs roundings relative to sum|q||k|; `scale_query` means the inputs' format.
        scale_query=format is wide,
        exp_ulps=2.0,
        flush_to_zero=False,
        group_sum=format,
    )
