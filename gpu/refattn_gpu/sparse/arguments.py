"""What sparse attention takes: checked tensors of bucket ids and of kept tokens, and specs with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from refattn.contract.spec import AttentionSpec, Shape, problem_shape
from refattn.errors import InvalidType, InvalidValue
from refattn_gpu.launching.arguments import checked
from refattn_gpu.sparse.order import Order

INTEGERS = (torch.int8, torch.int16, torch.int32, torch.int64)
FEATURES = frozenset({"scale", "causal", "strict", "alignment", "empty_rows"})
SPARSE = ("buckets", "kept_queries", "kept_keys")


@dataclass(frozen=True)
class Selection:
    """Which tokens meet, as tensors of three axes (B or 1, H or 1, N) on the device, or None."""

    buckets: tuple[torch.Tensor, torch.Tensor] | None = None
    kept_queries: torch.Tensor | None = None
    kept_keys: torch.Tensor | None = None

    @classmethod
    def of_spec(cls, spec: AttentionSpec, device: torch.device) -> Selection:
        """That of a checked spec, copied to the device."""
        queries, keys = (None if x is None else to_three_axes(x, device) for x in (spec.kept_queries, spec.kept_keys))
        if spec.buckets is None:
            return cls(None, queries, keys)
        return cls((to_three_axes(spec.buckets[0], device), to_three_axes(spec.buckets[1], device)), queries, keys)

    @classmethod
    def of_tensors(
        cls,
        shape: Shape,
        device: torch.device,
        *,
        query_buckets: Any,
        key_buckets: Any,
        kept_queries: Any,
        kept_keys: Any,
    ) -> Selection:
        """That of tensors or Nones. Raises InvalidValue or InvalidType, naming the argument."""
        rows, columns = ((shape.batch, shape.heads, n) for n in (shape.queries, shape.keys))
        queries = check_tensor("query_buckets", query_buckets, INTEGERS, rows, device)
        keys = check_tensor("key_buckets", key_buckets, INTEGERS, columns, device)
        if (queries is None) != (keys is None):
            missing = "query_buckets" if queries is None else "key_buckets"
            raise InvalidType(f"{missing} is None: expected a tensor of integers, as the other tokens have buckets")
        return cls(
            None if queries is None or keys is None else (queries, keys),
            check_tensor("kept_queries", kept_queries, (torch.bool,), rows, device),
            check_tensor("kept_keys", kept_keys, (torch.bool,), columns, device),
        )

    def order(self, spec: AttentionSpec, shape: Shape, device: torch.device) -> Order | None:
        """The order of a checked problem; None where there are no queries or no keys."""
        if not shape.batch * shape.heads * shape.queries * shape.keys:
            return None
        reach = None
        if spec.causal:
            reach = (shape.keys - shape.queries if spec.alignment == "bottom_right" else 0) - int(spec.strict)
        return Order.of(
            shape,
            device,
            buckets=self.buckets,
            kept_queries=self.kept_queries,
            kept_keys=self.kept_keys,
            reach=reach,
        )


def checked_sparse(q: Any, k: Any, v: Any, spec: AttentionSpec) -> Shape:
    """The problem's shape. Raises InvalidValue or InvalidType where the kernels cannot take it."""
    foreign = sorted(spec.features().keys() - FEATURES - set(SPARSE))
    if foreign:
        raise InvalidValue(f"spec has {foreign[0]}: expected none of it, as the kernel has no such argument")
    checked(q, k, v, spec.replace(**dict.fromkeys(SPARSE)))
    return problem_shape(q, k, v, spec)


def check_tensor(
    name: str, tensor: Any, dtypes: tuple[torch.dtype, ...], size: tuple[int, int, int], device: torch.device
) -> torch.Tensor | None:
    """A view of three axes. Raises InvalidType or InvalidValue unless the tensor broadcasts to the size."""
    if tensor is None:
        return None
    expected = " or ".join(map(str, dtypes))
    if not isinstance(tensor, torch.Tensor):
        raise InvalidType(f"{name} is {type(tensor).__name__}: expected a torch tensor of {expected}")
    if tensor.dtype not in dtypes:
        raise InvalidType(f"{name} is of {tensor.dtype}: expected {expected}")
    if tensor.device != device:
        raise InvalidValue(f"{name} is on {tensor.device} and q on {device}: expected one device")
    axes = (1,) * (3 - tensor.ndim) + tuple(tensor.shape)
    if len(axes) > 3 or any(n not in (1, wanted) for n, wanted in zip(axes, size, strict=True)):
        raise InvalidValue(f"{name} has shape {tuple(tensor.shape)}: expected one that broadcasts to {size}")
    return tensor.reshape(axes)


def to_three_axes(array: Any, device: torch.device) -> torch.Tensor:
    """A tensor of three axes of a spec's array."""
    return torch.from_numpy(np.array(array, order="C").reshape((1,) * (3 - array.ndim) + array.shape)).to(device)
