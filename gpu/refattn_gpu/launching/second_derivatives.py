"""The refusal of second derivatives of kernels that have gradients of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from refattn.errors import InvalidValue


class _NoMore(torch.autograd.Function):
    """Gradients as they are, as a function of what they were computed from, which has no derivative.

    torch's once_differentiable forgets what they were computed from where the upstream gradient requires none: a second
    derivative would then silently lack a term.
    """

    @staticmethod
    def forward(ctx: Any, count: int, *tensors: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
        """The first `count` tensors."""
        del ctx
        return tuple(tensor.view_as(tensor) for tensor in tensors[:count] if tensor is not None)

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Raises InvalidValue."""
        del ctx, upstream
        raise InvalidValue("a gradient by refattn_gpu's kernels is differentiated again: expected no second derivative")


def differentiable_no_more(
    found: Sequence[torch.Tensor | None], causes: Sequence[torch.Tensor | None]
) -> list[torch.Tensor | None]:
    """The gradients; if torch records a graph of them (create_graph), ones that refuse to be differentiated."""
    there = [gradient for gradient in found if gradient is not None]
    if not torch.is_grad_enabled() or not there:
        return list(found)
    apply: Any = _NoMore.apply
    wired = iter(apply(len(there), *there, *causes))
    return [None if gradient is None else next(wired) for gradient in found]
