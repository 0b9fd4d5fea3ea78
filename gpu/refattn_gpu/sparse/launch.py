"""The launches of sparse attention, forward and backward, on checked tensors and the order of their tokens."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import triton

from refattn.contract.spec import Shape
from refattn_gpu.dense.backward import sum_to_shape
from refattn_gpu.kernels.attention_backward_delta import attention_backward_delta
from refattn_gpu.kernels.parameters import Schedule
from refattn_gpu.kernels.sparse_backward_keys import sparse_backward_keys
from refattn_gpu.kernels.sparse_backward_queries import sparse_backward_queries
from refattn_gpu.kernels.sparse_forward import sparse_forward
from refattn_gpu.launching.arguments import Tiling, matrix, padded, sizes, strided_vector, tile, vector
from refattn_gpu.launching.tilings import heads_per_wave
from refattn_gpu.sparse.order import Order

# The indices of a tile's rows are loaded before the rows: the third stage prefetches them.
PREFETCHING = 3


@dataclass(frozen=True)
class Launch:
    """What both passes of one problem share; `order` is None where there are no queries or no keys."""

    shape: Shape
    order: Order | None
    scale: float
    tiling: Tiling
    backward_tiling: Tiling | None
    nan_safe: bool

    def constants(self, tiling: Tiling) -> dict[str, Any]:
        """The compile-time constants of a kernel, and its launch options."""
        return {
            "TILE": tile(self.shape, tiling.queries, tiling.keys),
            "NAN_SAFE": self.nan_safe and self.order is not None and self.order.hides,
            "PRECISION": "ieee",
            "num_warps": tiling.warps,
            "num_stages": tiling.stages,
            "enable_fp_fusion": True,
        }

    def numbers(self, size: int) -> tuple[Any, ...]:
        """The sizes, the schedule and the scale, for elements of `size` bytes."""
        schedule = Schedule(self.shape.batch * self.shape.heads, heads_per_wave(self.shape, size))
        return sizes(self.shape), schedule, self.scale

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(out, lse): (B, H, Nq, Dv) in the inputs' dtype and (B, H, Nq) in fp32, both contiguous."""
        shape, order = self.shape, self.order
        size = (shape.batch, shape.heads, shape.queries)
        if order is None:
            out = torch.zeros((*size, shape.d_v), dtype=q.dtype, device=q.device)
            return out, torch.full(size, -torch.inf, dtype=torch.float32, device=q.device)
        out = torch.empty((*size, shape.d_v), dtype=q.dtype, device=q.device)
        lse = torch.empty(size, dtype=torch.float32, device=q.device)
        tiling = fit_tiling(self.tiling, shape, q.dtype)
        sparse_forward[(triton.cdiv(shape.queries, tiling.queries) * shape.batch * shape.heads,)](
            *map(matrix, (q, k, v)), out, lse, order.queries, vector(order.columns),
            *self.numbers(q.element_size()), **self.constants(tiling),
        )  # fmt: skip
        return out, lse

    def gradients(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        do: torch.Tensor,
        out: torch.Tensor,
        lse: torch.Tensor,
        dlse: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(dq, dk, dv), contiguous, given the out and lse of the forward pass.

        Heads that share keys visit them in different orders, so that each stores its own dk and dv, (B, H, Nk, D + Dv)
        numbers in fp32, which are then summed.
        """
        shape, order = self.shape, self.order
        if order is None:
            dq, dk, dv = (torch.zeros(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v))
            return dq, dk, dv
        tiling = self.backward_tiling or fit_gradient_tiling(shape, q.dtype)
        every_head = (shape.batch, shape.heads)
        summand = q.dtype if shape.group == 1 else torch.float32
        dq = torch.empty(q.shape, dtype=q.dtype, device=q.device)
        dk, dv = (torch.empty((*every_head, *x.shape[2:]), dtype=summand, device=q.device) for x in (k, v))
        delta = torch.empty_like(lse)
        inputs = tuple(map(matrix, (q, k, v, do)))
        heads, tiles = shape.batch * shape.heads, triton.cdiv(shape.queries, tiling.queries)
        attention_backward_delta[(tiles, heads)](
            matrix(out), matrix(do), strided_vector(dlse), vector(delta), None,
            shape.heads, shape.queries, shape.d_v, PACKED=False, HAS_DLSE=dlse is not None,
            BLOCK_M=tiling.queries, BLOCK_DV=padded(shape.d_v), num_warps=tiling.warps, enable_fp_fusion=True,
        )  # fmt: skip
        sparse_backward_queries[(tiles * heads,)](
            *inputs, lse, delta, dq, order.queries, vector(order.columns),
            *self.numbers(q.element_size()), **self.constants(tiling),
        )  # fmt: skip
        sparse_backward_keys[(triton.cdiv(shape.keys, tiling.keys) * heads,)](
            *inputs, lse, delta, dk, dv, vector(order.rows), order.keys,
            *self.numbers(q.element_size()), **self.constants(tiling),
        )  # fmt: skip
        if shape.group > 1:
            dk, dv = (sum_over_group(x, shape).to(q.dtype) for x in (dk, dv))
        return dq, dk, dv


def fit_tiling(tiling: Tiling, shape: Shape, dtype: torch.dtype) -> Tiling:
    """The tiling with fewer queries and stages where wide heads leave no room for them. The keys stay."""
    widest = row_bytes(shape, dtype)
    if widest <= 128:
        return tiling
    if widest <= 256:
        # IEEE fp32 products take no matrix unit: operands lie in registers.
        return replace(tiling, queries=min(tiling.queries, 32) if dtype == torch.float32 else tiling.queries, warps=8)
    # These fit every target; 64 queries would fit, too, and were not timed.
    return replace(tiling, queries=min(tiling.queries, 32 if widest <= 512 else 16), warps=8, stages=1)


def fit_gradient_tiling(shape: Shape, dtype: torch.dtype) -> Tiling:
    """A tiling of the backward pass that fits the registers and the shared memory of GPUs."""
    widest = row_bytes(shape, dtype)
    if widest <= 128:
        return Tiling(64, 64, stages=PREFETCHING)
    if widest <= 256:
        # fp32 operands lie in registers and leave none for prefetching.
        return Tiling(32, 64, warps=8, stages=1 if dtype == torch.float32 else PREFETCHING)
    # gfx942 has 64 KiB of shared memory.
    return Tiling(16, 32 if widest <= 512 else 16, warps=8, stages=1)


def row_bytes(shape: Shape, dtype: torch.dtype) -> int:
    """Bytes of a padded row of K or V, the wider of the two."""
    return max(padded(shape.d_qk), padded(shape.d_v)) * dtype.itemsize


def sum_over_group(x: torch.Tensor, shape: Shape) -> torch.Tensor:
    """(B, H, N, D) to its sums (B, Hkv, N, D) over the heads of a group."""
    batch, _, length, d = x.shape
    sums = (batch, shape.kv_heads, 1, length * d)
    return sum_to_shape(x.reshape(batch, shape.kv_heads, shape.group, length * d), sums).reshape(batch, -1, length, d)
