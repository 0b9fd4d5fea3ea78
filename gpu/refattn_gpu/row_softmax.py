"""Softmax, log-softmax and log-sum-exp of torch tensors along an axis, by refattn_gpu's Triton kernels.

May import: torch, triton, refattn, refattn_gpu.kernels, refattn_gpu.placement.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
import triton

from refattn import formats
from refattn.arithmetic import Arithmetic, Stage
from refattn.errors import InvalidType, InvalidValue
from refattn_gpu.kernels.softmax_backward import softmax_backward
from refattn_gpu.kernels.softmax_forward import softmax_forward
from refattn_gpu.placement import OnThisMachine, check_placed

DTYPES = (torch.bfloat16, torch.float16, torch.float32)


@dataclass(frozen=True)
class Softmax(OnThisMachine):
    """(x, dim=-1) -> y of x's dtype: softmax or log_softmax of x's shape, or logsumexp without the dimension dim.

    Any number of dimensions from 1, any length, any strides (what is not contiguous is copied first). A row of nothing
    but -inf, and one with +inf, gives NaN; its log-sum-exp is -inf, or +inf.

    columns    elements of a row that are taken at a time
    elements   of a tile: as many rows are taken together as fit
    """

    kind: Literal["softmax", "log_softmax", "logsumexp"] = "softmax"
    columns: int = 512
    elements: int = 4096
    warps: int = 4

    refattn_library = "torch"
    refattn_formats = ("bf16", "fp16", "fp32")
    refattn_claims = ("ragged", "deterministic", "ieee")

    @property
    def refattn_kind(self) -> str:
        """Which function it computes."""
        return self.kind

    def arithmetic_for(self, format: Any) -> Arithmetic:
        """The contract that the kernel honours on inputs of a format: fp32 inside, one rounding at the end.

        exp2 and log2 are the hardware's, of 2 ulp, and flush subnormals.
        """
        wide = Stage(formats.fp32)
        return Arithmetic.naive(
            format,
            name=f"refattn_gpu {self.kind}({formats.get(format).name})",
            scores=wide,
            lse=wide,
            exponent="subtract_exp2",
            exp_ulps=2.0,
            log_ulps=4.0,
            tile=self.columns,
            flush_to_zero=True,
        )

    def __call__(self, x: torch.Tensor, dim: int = -1) -> torch.Tensor:
        """Raises InvalidType or InvalidValue before anything is launched, naming the argument."""
        axis = checked("x", x, dim)
        rows = Rows.of(x.shape, axis)
        shape = list(x.shape)
        if self.kind == "logsumexp":
            del shape[axis]
        out = torch.empty(shape, dtype=x.dtype, device=x.device)
        if out.numel() == 0:
            return out
        if rows.columns == 0:
            return out.fill_(-math.inf)
        blocks = self.blocks(rows)
        out_strides = rows.strides if self.kind != "logsumexp" else (rows.count, 1, 0)
        softmax_forward[rows.programs(blocks["BLOCK_R"]),](
            x.contiguous(), out, *rows.strides, *out_strides, rows.count, rows.columns, KIND=self.kind, **blocks
        )
        return out

    def backward(self, y: torch.Tensor, dy: torch.Tensor, dim: int = -1) -> torch.Tensor:
        """The gradient dx of y's shape from the result y and its gradient dy, of y's shape and dtype.

        Not of logsumexp, whose gradient is softmax(x) dy. Raises InvalidType or InvalidValue as calling does.
        """
        if self.kind == "logsumexp":
            raise InvalidValue("kind is 'logsumexp': expected softmax or log_softmax, as y does not determine dx")
        axis = checked("y", y, dim)
        checked("dy", dy, dim)
        if dy.shape != y.shape or dy.dtype != y.dtype or dy.device != y.device:
            raise InvalidValue(
                f"dy is {tuple(dy.shape)} of {dy.dtype} on {dy.device}: "
                f"expected y's {tuple(y.shape)} of {y.dtype} on {y.device}"
            )
        dx = torch.empty(y.shape, dtype=y.dtype, device=y.device)
        if dx.numel() == 0:
            return dx
        rows = Rows.of(y.shape, axis)
        blocks = self.blocks(rows)
        softmax_backward[rows.programs(blocks["BLOCK_R"]),](
            y.contiguous(), dy.contiguous(), dx, *rows.strides, *rows.strides, *rows.strides,
            rows.count, rows.columns, KIND=self.kind, **blocks,
        )  # fmt: skip
        return dx

    def blocks(self, rows: Rows) -> dict[str, Any]:
        """The compile-time constants for so many rows."""
        columns = min(self.columns, triton.next_power_of_2(rows.columns))
        together = min(max(1, self.elements // columns), triton.next_power_of_2(rows.count))
        return {
            "IN_ONE_TILE": rows.columns <= columns,
            "BLOCK_R": together,
            "BLOCK_N": columns,
            "num_warps": self.warps,
        }


@dataclass(frozen=True)
class Rows:
    """A contiguous array as groups of rows along an axis: the axes before it and those after it.

    Rows along the last axis are one group, so that a program takes neighbours in memory either way.
    """

    groups: int
    count: int
    columns: int
    strides: tuple[int, int, int]

    @classmethod
    def of(cls, shape: torch.Size, axis: int) -> Rows:
        """The rows of an array along a non-negative axis."""
        before, columns, after = math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])
        if after == 1:
            return cls(1, before, columns, (0, columns, 1))
        return cls(before, after, columns, (columns * after, 1, after))

    def programs(self, together: int) -> int:
        """How many programs take all of them."""
        return self.groups * int(triton.cdiv(self.count, together))


softmax = Softmax("softmax")
log_softmax = Softmax("log_softmax")
logsumexp = Softmax("logsumexp")


def checked(name: str, tensor: Any, dim: Any) -> int:
    """The axis, counted from the front. Raises InvalidType or InvalidValue where the kernels cannot take it."""
    if not isinstance(tensor, torch.Tensor):
        raise InvalidType(f"{name} is {type(tensor).__name__}: expected a torch tensor")
    if tensor.dtype not in DTYPES:
        raise InvalidType(f"{name} is of {tensor.dtype}: expected one of {', '.join(map(str, DTYPES))}")
    if isinstance(dim, bool) or not isinstance(dim, int):
        raise InvalidType(f"dim is {dim!r}: expected an integer")
    if not -tensor.ndim <= dim < tensor.ndim:
        raise InvalidValue(f"dim is {dim}: expected one of {name}'s {tensor.ndim} dimensions")
    if max(tensor.shape) >= 2**31 - 4096:
        raise InvalidValue(f"{name} has shape {tuple(tensor.shape)}: expected dimensions below 2^31 - 4096")
    check_placed(name, tensor)
    return dim % tensor.ndim
