"""The refusal of second derivatives of kernels that have gradients of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from refattn.errors import InvalidValue


class _Refusing(torch.autograd.Function):
    """The identity on gradients; its derivative with respect to what they were computed from raises.

    torch's once_differentiable forgets these inputs where the upstream gradient requires no gradient: a second
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


def refuse_second_derivative(
    gradients: Sequence[torch.Tensor | None], inputs: Sequence[torch.Tensor | None]
) -> list[torch.Tensor | None]:
    """The gradients. Where torch records how they come from the inputs (create_graph), differentiating them raises."""
    given = [gradient for gradient in gradients if gradient is not None]
    if not torch.is_grad_enabled() or not given:
        return list(gradients)
    apply: Any = _Refusing.apply
    refusing = iter(apply(len(given), *given, *inputs))
    return [None if gradient is None else next(refusing) for gradient in gradients]
