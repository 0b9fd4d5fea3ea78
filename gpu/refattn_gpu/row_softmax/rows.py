"""Softmax, log-softmax and log-sum-exp of torch tensors along an axis, by refattn_gpu's Triton kernels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
import triton

from refattn.contract.arithmetic import Arithmetic, Stage
from refattn.errors import InvalidType, InvalidValue
from refattn.numbers import formats
from refattn_gpu.kernels.parameters import Lines
from refattn_gpu.kernels.softmax_backward import softmax_backward
from refattn_gpu.kernels.softmax_forward import softmax_forward
from refattn_gpu.launching.placement import OnThisMachine, check_placed

DTYPES = (torch.bfloat16, torch.float16, torch.float32)


@dataclass(frozen=True)
class Softmax(OnThisMachine):
    """(x, dim=-1) -> y of x's dtype: softmax or log_softmax of x's shape, or logsumexp without the dimension dim.

    Any number of dimensions from 1, any length, any strides; the result is contiguous. A row of nothing but -inf, and
    one with +inf, gives NaN; its log-sum-exp is -inf, or +inf.

    Rows are read where they lie if at most three strides, of neighbouring dimensions taken together, say where: that is
    so of every tensor of up to four dimensions, and of every contiguous one. Others are copied first, as torch copies
    all tensors that are not contiguous.

    columns    elements of a row in a tile
    elements   of a tile, which holds as many rows as fit
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
        shape = list(x.shape)
        if self.kind == "logsumexp":
            shape[axis] = 1
        out = torch.empty(shape, dtype=x.dtype, device=x.device)
        result = out.squeeze(axis) if self.kind == "logsumexp" else out
        if out.numel() == 0:
            return result
        if x.shape[axis] == 0:
            return result.fill_(-math.inf)
        rows, (x, out) = row_layout(axis, x, out)
        blocks = self.blocks(rows)
        softmax_forward[rows.programs(blocks["BLOCK_R"]),](
            *rows.lines(x, out), rows.groups, rows.count, rows.columns, KIND=self.kind, **blocks
        )
        return result

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
        rows, (y, dy, dx) = row_layout(axis, y, dy, dx)
        blocks = self.blocks(rows)
        softmax_backward[rows.programs(blocks["BLOCK_R"]),](
            *rows.lines(y, dy, dx), rows.groups, rows.count, rows.columns, KIND=self.kind, **blocks
        )
        return dx

    def blocks(self, rows: Rows) -> dict[str, Any]:
        """The compile-time constants and launch options for these rows."""
        columns = min(self.columns, triton.next_power_of_2(rows.columns))
        rows_per_program = min(max(1, self.elements // columns), triton.next_power_of_2(rows.count))
        return {
            "IN_ONE_TILE": rows.columns <= columns,
            "BLOCK_R": rows_per_program,
            "BLOCK_N": columns,
            "num_warps": self.warps,
            "enable_fp_fusion": True,
        }


@dataclass(frozen=True)
class Rows:
    """The rows of some tensors along an axis: `outer` sets of `groups` of `count` rows of `columns` elements, each of
    these at equal distances in every tensor.

    strides are (outer, group, row, column) of each tensor, in elements.
    """

    outer: int
    groups: int
    count: int
    columns: int
    strides: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, axis: int, *tensors: torch.Tensor) -> Rows | None:
        """Those of tensors of one shape, but for the axis; None where they do not lie so.

        Neighbouring dimensions are one where that is how they lie in every tensor.
        """
        sizes, distances = [1, 1, 1], [(0,) * len(tensors)] * 3
        for dim, size in enumerate(tensors[0].shape):
            if dim == axis or size == 1:
                continue
            steps = tuple(tensor.stride(dim) for tensor in tensors)
            if sizes[-1] > 1 and distances[-1] == tuple(size * step for step in steps):
                sizes[-1] *= size
                distances[-1] = steps
            else:
                sizes.append(size)
                distances.append(steps)
        if len(sizes) > 6:
            return None
        strides = zip(*distances[-3:], (tensor.stride(axis) for tensor in tensors), strict=True)
        outer, groups, count = sizes[-3:]
        return cls(outer, groups, count, tensors[0].shape[axis], tuple(strides))

    def lines(self, *tensors: torch.Tensor) -> list[Lines]:
        """The tensors as kernels take them."""
        return [Lines(tensor, *strides) for tensor, strides in zip(tensors, self.strides, strict=True)]

    def programs(self, rows_per_program: int) -> int:
        """The number of programs for all rows."""
        return self.outer * self.groups * int(triton.cdiv(self.count, rows_per_program))


def row_layout(axis: int, *tensors: torch.Tensor) -> tuple[Rows, tuple[torch.Tensor, ...]]:
    """Where the rows of tensors lie, and the tensors, or contiguous copies of them where Rows cannot say it."""
    rows = Rows.of(axis, *tensors)
    if rows is None:
        tensors = tuple(tensor.contiguous() for tensor in tensors)
        rows = Rows.of(axis, *tensors)
        assert rows is not None
    return rows, tensors


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
