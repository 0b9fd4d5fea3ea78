"""Sparse attention as a differentiable function of torch."""

from __future__ import annotations

from typing import Any

import torch

from refattn_gpu.launching.second_derivatives import refuse_second_derivative
from refattn_gpu.sparse.launch import Launch


class SparseFunction(torch.autograd.Function):
    """The two passes of a launch, as torch calls them."""

    @staticmethod
    def forward(
        ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, launch: Launch
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keeps the inputs, the results and the order of tokens."""
        out, lse = launch.forward(q, k, v)
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.launch = launch
        ctx.set_materialize_grads(False)
        return out, lse

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        """Of out's gradient and of lse's."""
        do, dlse = upstream
        if do is None and dlse is None:
            return None, None, None, None
        q, k, v, out, lse = ctx.saved_tensors
        with torch.no_grad():
            gradients = ctx.launch.gradients(q, k, v, torch.zeros_like(out) if do is None else do, out, lse, dlse)
        return *refuse_second_derivative(gradients, (q, k, v, do, dlse)), None


def sparse_function(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, launch: Launch
) -> tuple[torch.Tensor, torch.Tensor]:
    """(out, lse) of a launch, differentiable once with respect to q, k and v."""
    apply: Any = SparseFunction.apply
    out, lse = apply(q, k, v, launch)
    return out, lse
