"""Attention on torch tensors by refattn_gpu's Triton kernels.

May import: torch, triton, refattn, refattn_gpu.arguments, refattn_gpu.backward, refattn_gpu.kernels,
refattn_gpu.placement.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
import triton

from refattn.arithmetic import Arithmetic, Stage
from refattn.formats import get
from refattn.spec import AttentionSpec, Shape
from refattn_gpu.arguments import Features, Tiling, checked, checked_upstream, padded, strides
from refattn_gpu.backward import gradients
from refattn_gpu.kernels.attention_forward import attention_forward
from refattn_gpu.placement import OnThisMachine

PLAIN = AttentionSpec()
# Of a GPU's last-level cache what keys and values may take: that of an A100 holds 40 MB, that of an H100 50 MB.
CACHE_BYTES = 24 << 20


@dataclass(frozen=True)
class Attention(OnThisMachine):
    """(q, k, v, *, spec) -> (out, lse) on torch tensors (B, H, N, D): out in the inputs' dtype, lse (B, H, Nq) in fp32.

    Gradients are its method `backward`.

    backward_tiling     that of `backward`; None is one that suits the head dimension
    rescale_threshold   a maximum that grows by at most this many powers of two leaves the reference where it is
    nan_safe            NaN and infinities in invisible values reach no row
    """

    tiling: Tiling = field(default_factory=Tiling)
    backward_tiling: Tiling | None = None
    rescale_threshold: float = 0.0
    nan_safe: bool = True

    refattn_library = "torch"
    refattn_formats = ("bf16", "fp16", "fp32")
    refattn_claims = (
        *("causal", "strict_causal", "window", "softcap", "alibi", "bias", "mask", "sinks", "gqa", "cross", "dv"),
        *("scale", "lse", "backward", "empty_rows", "ragged", "deterministic", "batch_invariant", "nan_safe"),
        "zero_length",
    )

    def arithmetic_for(self, format: Any) -> Arithmetic:
        """The contract that the kernels honour on inputs of a format.

        Matrix units truncate the sums of products. exp2 and log2 are the hardware's, of 2 ulp, and flush subnormals.
        """
        wide = Stage(Arithmetic.flash(format).accumulator.format, "truncate")
        return Arithmetic.flash(
            format,
            name=f"refattn_gpu({get(format).name})",
            dot=wide,
            accumulator=wide,
            exponent="fma",
            exp_ulps=2.0,
            lag=self.rescale_threshold * math.log(2.0),
            tanh_ulps=8.0,
            log_ulps=4.0,
            tile=self.tiling.keys,
            flush_to_zero=True,
        )

    def __call__(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, spec: AttentionSpec = PLAIN
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Raises InvalidValue or InvalidType before anything is launched, naming the argument."""
        shape = checked(q, k, v, spec)
        out = torch.empty((shape.batch, shape.heads, shape.queries, shape.d_v), dtype=q.dtype, device=q.device)
        lse = torch.empty(out.shape[:3], dtype=torch.float32, device=q.device)
        if out.shape[:3].numel() == 0:
            return out, lse
        features, tiling = Features.of(spec, shape, q.device), self.tiling
        attention_forward[(triton.cdiv(shape.queries, tiling.queries) * shape.batch * shape.heads,)](
            q, k, v, out, lse, features.bias, features.mask, features.slopes, features.sinks,
            *q.stride(), *k.stride(), *v.stride(), *out.stride(), *strides(features.bias), *strides(features.mask),
            shape.batch * shape.heads, shape.heads, shape.group, shape.queries, shape.keys,
            together(shape, q.element_size()), *features.numbers, **features.flags,
            GUARDS_VALUES=self.nan_safe and features.hides, THRESHOLD=self.rescale_threshold,
            PRECISION="ieee", D_QK=shape.d_qk, D_V=shape.d_v, BLOCK_M=tiling.queries, BLOCK_N=tiling.keys,
            BLOCK_D=padded(shape.d_qk), BLOCK_DV=padded(shape.d_v),
            num_warps=tiling.warps, num_stages=tiling.stages,
        )  # fmt: skip
        return out, lse

    def backward(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        do: torch.Tensor,
        *,
        spec: AttentionSpec = PLAIN,
        dlse: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor | None, ...]:
        """(dq, dk, dv, dbias, dsinks) of sum(do * out) + sum(dlse * lse): the first three like q, k, v, the others in
        fp32 and of the spec's shapes, None where it has none. The forward pass is computed again.

        Raises InvalidValue or InvalidType before anything is launched, naming the argument.
        """
        checked_upstream(q, do, dlse, checked(q, k, v, spec))
        out, lse = self(q, k, v, spec=spec)
        return gradients(q, k, v, do, out, lse, dlse, spec, tiling=self.backward_tiling, nan_safe=self.nan_safe)


attention = Attention()


def together(shape: Shape, size: int) -> int:
    """Query heads whose keys and values, in elements of so many bytes, fit the cache of a GPU at one time."""
    of_head = shape.keys * (shape.d_qk + shape.d_v) * size
    return max(1, CACHE_BYTES // max(of_head, 1)) * shape.group
