"""softmax and log_softmax as torch differentiates them, by the gradients of refattn_gpu's own kernels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from refattn.contract.arithmetic import Arithmetic
from refattn.errors import InvalidValue
from refattn_gpu.launching.placement import OnThisMachine
from refattn_gpu.launching.second_derivatives import refuse_second_derivative
from refattn_gpu.row_softmax.rows import Softmax


@dataclass(frozen=True)
class DifferentiableSoftmax(OnThisMachine):
    """(x, dim=-1) -> y of refattn_gpu.softmax or log_softmax, differentiable once: `kernel.backward`, bit by bit."""

    kernel: Softmax = field(default_factory=Softmax)

    refattn_library = "torch"
    refattn_formats = Softmax.refattn_formats
    refattn_claims = Softmax.refattn_claims

    def __post_init__(self) -> None:
        if self.kernel.kind == "logsumexp":
            raise InvalidValue("kernel is of kind 'logsumexp': expected softmax or log_softmax")

    @property
    def refattn_kind(self) -> str:
        """Which function it computes."""
        return self.kernel.kind

    def arithmetic_for(self, format: Any) -> Arithmetic:
        """That of the kernel."""
        return self.kernel.arithmetic_for(format)

    def __call__(self, x: torch.Tensor, dim: int = -1) -> torch.Tensor:
        """Raises InvalidType or InvalidValue before anything is launched, naming the argument."""
        apply: Any = _Softmax.apply
        y: torch.Tensor = apply(x, dim, self.kernel)
        return y


differentiable_softmax = DifferentiableSoftmax()
differentiable_log_softmax = DifferentiableSoftmax(Softmax("log_softmax"))


class _Softmax(torch.autograd.Function):
    """Both passes of a kernel of rows."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, dim: int, kernel: Softmax) -> torch.Tensor:
        """Keeps the result."""
        y = kernel(x, dim)
        ctx.save_for_backward(y)
        ctx.kernel, ctx.dim = kernel, dim
        return y

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Of the result's gradient."""
        (y,), (dy,) = ctx.saved_tensors, upstream
        return *refuse_second_derivative([ctx.kernel.backward(y, dy, ctx.dim)], (y, dy)), None, None
