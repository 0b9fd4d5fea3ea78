"""The arguments of refattn_gpu's kernels: checked tensors, the spec's features, and groups of parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from refattn.contract.spec import AttentionSpec, Shape, problem_shape
from refattn.errors import InvalidType, InvalidValue
from refattn_gpu.kernels.parameters import (
    Has,
    Matrix,
    Scoring,
    Sizes,
    StridedVector,
    Strides,
    Tile,
    Vector,
    constants,
)
from refattn_gpu.launching.placement import check_placed

DTYPES = (torch.bfloat16, torch.float16, torch.float32)
# Head dimensions are padded to a power of two; tl.dot takes no less than 16.
SMALLEST_DOT = 16
# Of queries and of keys: kernels.special_values counts no more.
LARGEST_TILE = 128
LARGEST_HEAD = 256
SUPPORTED = frozenset(
    {"scale", "causal", "strict", "alignment", "window", "softcap", "alibi_slopes", "bias", "mask", "sinks"}
)


@dataclass(frozen=True)
class Tiling:
    """Queries and keys of a tile, and how a program is laid out on a GPU. Raises InvalidValue, naming the field."""

    queries: int = 64
    keys: int = 64
    warps: int = 4
    stages: int = 2

    def __post_init__(self) -> None:
        for name in ("queries", "keys"):
            check_tile(name, getattr(self, name))


@dataclass(frozen=True)
class Features:
    """A spec as the kernels take it: tensors on the device or None, numbers, and flags for the compiler.

    bias, mask      views of the shape of the scores, with strides of 0 along broadcast axes
    slopes          (B, H); sinks (H,)
    left, right     the window's; right is at most 0 under a causal mask
    alignment       added to a query's index to compare it with a key's
    """

    bias: torch.Tensor | None
    mask: torch.Tensor | None
    slopes: torch.Tensor | None
    sinks: torch.Tensor | None
    left: int | None
    right: int | None
    alignment: int
    scale: float
    softcap: float | None

    @classmethod
    def of(cls, spec: AttentionSpec, shape: Shape, device: torch.device) -> Features:
        """Those of a checked spec."""
        left, right = spec.window
        if spec.causal:
            right = min(0 if right is None else right, -1 if spec.strict else 0)
        # A wider window hides nothing more, and its int32 could overflow when it is added to an index.
        reach = shape.queries + shape.keys
        bias, mask = (broadcast(spec, name, shape, device) for name in ("bias", "mask"))
        slopes = None
        if spec.alibi_slopes is not None:
            slopes = to_device(np.broadcast_to(spec.alibi_slopes, (shape.batch, shape.heads)), device)
        return cls(
            bias,
            mask,
            slopes,
            None if spec.sinks is None else to_device(spec.sinks, device),
            None if left is None else min(left, reach),
            None if right is None else min(right, reach),
            shape.keys - shape.queries if spec.alignment == "bottom_right" else 0,
            1.0 / math.sqrt(shape.d_qk) if spec.scale is None else float(spec.scale),
            None if spec.softcap is None else float(spec.softcap),
        )

    @property
    def hides_keys(self) -> bool:
        """True if a query may not see some key."""
        return any(x is not None for x in (self.bias, self.mask, self.left, self.right))

    @property
    def has_arrays(self) -> bool:
        """True if tiles of a bias or a mask are loaded."""
        return self.bias is not None or self.mask is not None

    @property
    def scoring(self) -> Scoring:
        """The numbers, with a placeholder where there is None."""
        softcap = 1.0 if self.softcap is None else self.softcap
        return Scoring(self.scale, softcap, self.left or 0, self.right or 0, self.alignment)

    @property
    def has(self) -> Has:
        """The features that a kernel is compiled for."""
        given = (self.softcap, self.slopes, self.bias, self.mask, self.sinks, self.left, self.right)
        return constants(Has(*(x is not None for x in given)))


def checked(q: Any, k: Any, v: Any, spec: AttentionSpec) -> Shape:
    """The problem's shape. Raises InvalidValue or InvalidType where the kernels cannot take it."""
    for name, tensor in (("q", q), ("k", k), ("v", v)):
        if not isinstance(tensor, torch.Tensor):
            raise InvalidType(f"{name} is {type(tensor).__name__}: expected a torch tensor")
        if tensor.dtype not in DTYPES:
            raise InvalidType(f"{name} is of {tensor.dtype}: expected one of {', '.join(map(str, DTYPES))}")
        if tensor.dtype != q.dtype:
            raise InvalidType(f"{name} is of {tensor.dtype} and q of {q.dtype}: expected one dtype")
        if tensor.device != q.device:
            raise InvalidValue(f"{name} is on {tensor.device} and q on {q.device}: expected one device")
        if tensor.ndim == 4 and tensor.shape[3] > LARGEST_HEAD:
            raise InvalidValue(f"{name} has head dimension {tensor.shape[3]}: expected at most {LARGEST_HEAD}")
    if spec.empty_rows != "zero":
        raise InvalidValue(f"spec.empty_rows is {spec.empty_rows!r}: expected 'zero', which is what the kernel gives")
    foreign = sorted(spec.features().keys() - SUPPORTED - {"empty_rows"})
    if foreign:
        raise InvalidValue(f"spec has {foreign[0]}: expected none of it, as the kernel has no such argument")
    shape = problem_shape(q, k, v, spec)
    check_placed("q", q)
    return shape


def checked_upstream(q: torch.Tensor, do: Any, dlse: Any, shape: Shape) -> None:
    """Raises InvalidValue or InvalidType where upstream gradients do not fit a checked problem."""
    rows = (shape.batch, shape.heads, shape.queries)
    expected: dict[str, tuple[Any, torch.dtype, tuple[int, ...]]]
    expected = {"do": (do, q.dtype, (*rows, shape.d_v))}
    if dlse is not None:
        expected["dlse"] = (dlse, torch.float32, rows)
    for name, (tensor, dtype, size) in expected.items():
        if not isinstance(tensor, torch.Tensor):
            raise InvalidType(f"{name} is {type(tensor).__name__}: expected a torch tensor")
        if tensor.dtype != dtype:
            raise InvalidType(f"{name} is of {tensor.dtype}: expected {dtype}")
        if tensor.device != q.device:
            raise InvalidValue(f"{name} is on {tensor.device} and q on {q.device}: expected one device")
        if tuple(tensor.shape) != size:
            raise InvalidValue(f"{name} has shape {tuple(tensor.shape)}: expected {size}")


def to_device(array: Any, device: torch.device) -> torch.Tensor:
    """A contiguous fp32 tensor of an array's numbers, or a boolean one."""
    kind = np.bool_ if array.dtype == np.bool_ else np.float32
    return torch.from_numpy(np.array(array, dtype=kind, order="C")).to(device)


def broadcast(spec: AttentionSpec, name: str, shape: Shape, device: torch.device) -> torch.Tensor | None:
    """A view of the spec's array of the shape of the scores, with strides of 0 along broadcast axes."""
    array = getattr(spec, name)
    if array is None:
        return None
    return to_device(array, device).expand(shape.batch, shape.heads, shape.queries, shape.keys)


def strides(tensor: torch.Tensor, packed: bool = False) -> tuple[int, ...]:
    """The strides of a tensor; that of the batch is 0 where sequences are packed."""
    return (0, *tensor.stride()[1:]) if packed else tuple(tensor.stride())


def matrix(tensor: torch.Tensor | None, packed: bool = False) -> Matrix:
    """A tensor (batch, head, row, column), or none."""
    return Matrix(None, 0, 0, 0, 0) if tensor is None else Matrix(tensor, *strides(tensor, packed))


def matrix_strides(tensor: torch.Tensor, packed: bool = False) -> Strides:
    """The strides of a tensor (batch, head, row, column)."""
    return Strides(*strides(tensor, packed))


def vector(tensor: torch.Tensor, packed: bool = False) -> Vector:
    """A tensor (batch, head, row) whose rows are adjacent."""
    return Vector(tensor, *strides(tensor, packed)[:2])


def strided_vector(tensor: torch.Tensor | None, packed: bool = False) -> StridedVector:
    """A tensor (batch, head, row), or none."""
    return StridedVector(None, 0, 0, 0) if tensor is None else StridedVector(tensor, *strides(tensor, packed))


def sizes(shape: Shape) -> Sizes:
    """Those of a shape."""
    return Sizes(shape.heads, shape.group, shape.queries, shape.keys)


def tile(shape: Shape, queries: int, keys: int) -> Tile:
    """A tile of so many queries and keys of a shape's head dimensions."""
    return constants(Tile(queries, keys, shape.d_qk, shape.d_v, padded(shape.d_qk), padded(shape.d_v)))


def check_tile(name: str, size: Any) -> None:
    """Raises InvalidValue unless a tile can have so many queries or keys."""
    if size not in (SMALLEST_DOT, 32, 64, LARGEST_TILE):
        raise InvalidValue(f"{name} is {size!r}: expected a power of two from {SMALLEST_DOT} to {LARGEST_TILE}")


def padded(size: int) -> int:
    """The number of columns of a tile that holds `size` columns: a power of two."""
    return max(SMALLEST_DOT, 1 << (size - 1).bit_length())
