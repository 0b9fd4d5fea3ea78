"""Attention as torch differentiates it, by the gradients of refattn_gpu's own kernels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from refattn.contract.arithmetic import Arithmetic
from refattn.contract.spec import AttentionSpec
from refattn.errors import InvalidType, InvalidValue
from refattn_gpu.dense.backward import gradients
from refattn_gpu.dense.forward import Attention
from refattn_gpu.launching.placement import OnThisMachine
from refattn_gpu.launching.second_derivatives import refuse_second_derivative

PLAIN = AttentionSpec()


@dataclass(frozen=True)
class DifferentiableAttention(OnThisMachine):
    """(q, k, v, *, spec, bias, sinks) -> (out, lse) of refattn_gpu.attention, differentiable once.

    out and lse may both have a gradient; those of q, k, v, bias and sinks are those of `kernel.backward`, bit
    by bit, without a second forward pass.
    """

    kernel: Attention = field(default_factory=Attention)

    refattn_library = "torch"
    refattn_formats = Attention.refattn_formats
    refattn_claims = Attention.refattn_claims

    def arithmetic_for(self, format: Any) -> Arithmetic:
        """That of the kernel."""
        return self.kernel.arithmetic_for(format)

    def __call__(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        *,
        spec: AttentionSpec = PLAIN,
        bias: torch.Tensor | None = None,
        sinks: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """bias and sinks are tensors that replace the spec's, of any floating dtype, in which their gradients are; they
        are copied to the CPU, where a spec holds its arrays.

        Raises InvalidValue or InvalidType before anything is launched, naming the argument.
        """
        for name, tensor in (("bias", bias), ("sinks", sinks)):
            if tensor is None:
                continue
            if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point():
                kind = tensor.dtype if isinstance(tensor, torch.Tensor) else type(tensor).__name__
                raise InvalidType(f"{name} is {kind}: expected a torch tensor of floating-point numbers")
            if getattr(spec, name) is not None:
                raise InvalidValue(f"{name} is given and spec has {name} too: expected one of them")
            spec = spec.replace(**{name: tensor.detach().double().cpu().numpy()})
        apply: Any = _Attention.apply
        out, lse = apply(q, k, v, bias, sinks, self.kernel, spec)
        return out, lse


differentiable_attention = DifferentiableAttention()


class _Attention(torch.autograd.Function):
    """Both passes of a kernel; the spec has the numbers of bias and sinks."""

    @staticmethod
    def forward(
        ctx: Any,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        bias: torch.Tensor | None,
        sinks: torch.Tensor | None,
        kernel: Attention,
        spec: AttentionSpec,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keeps the inputs and the results."""
        out, lse = kernel(q, k, v, spec=spec)
        ctx.save_for_backward(q, k, v, bias, sinks, out, lse)
        ctx.kernel, ctx.spec = kernel, spec
        ctx.set_materialize_grads(False)
        return out, lse

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        """Of out's gradient and of lse's, either of which may be missing."""
        do, dlse = upstream
        if do is None and dlse is None:
            return (None,) * 7
        *inputs, out, lse = ctx.saved_tensors
        q, k, v = inputs[:3]
        kernel = ctx.kernel
        every = gradients(
            q,
            k,
            v,
            torch.zeros_like(out) if do is None else do,
            out,
            lse,
            dlse,
            ctx.spec,
            tiling=kernel.backward_tiling,
            nan_safe=kernel.nan_safe,
            numerics=kernel.numerics,
        )
        wanted = [
            gradient.to(tensor.dtype) if needed and gradient is not None else None
            for gradient, tensor, needed in zip(every, inputs, ctx.needs_input_grad[:5], strict=True)
        ]
        return *refuse_second_derivative(wanted, (*inputs, do, dlse)), None, None
