"""Where kernels run: on a GPU if they were compiled, on the processor if they are interpreted."""

from __future__ import annotations

import torch
import triton

from refattn.errors import InvalidValue
from refattn_gpu.kernels.sum_axis import sum_axis


def compiled() -> bool:
    """True unless Triton was told to interpret when the kernels were defined (TRITON_INTERPRET)."""
    return isinstance(sum_axis, triton.JITFunction)


class OnThisMachine:
    """Gives a kernel the attribute `refattn_device`, by which refattn's adapters know where to put its arrays."""

    @property
    def refattn_device(self) -> str:
        """ "cuda" where torch sees a GPU (AMD's go by that name too) and the kernels are compiled, or "cpu"."""
        return "cuda" if compiled() and torch.cuda.is_available() else "cpu"


def check_placed(name: str, tensor: torch.Tensor) -> None:
    """Raises InvalidValue where a compiled kernel would be given a tensor of the processor."""
    if compiled() and tensor.device.type == "cpu":
        raise InvalidValue(
            f"{name} is on {tensor.device}: expected a tensor of a GPU, or the interpreter (refattn check --triton-cpu)"
        )
