"""Attention on torch tensors by refattn_gpu's Triton kernels.

May import: numpy, torch, triton, refattn, refattn_gpu.kernels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import triton

from refattn.arithmetic import Arithmetic, Stage
from refattn.errors import InvalidType, InvalidValue
from refattn.formats import get
from refattn.spec import AttentionSpec, Shape, problem_shape
from refattn_gpu.kernels.attention_forward import attention_forward

PLAIN = AttentionSpec()
DTYPES = (torch.bfloat16, torch.float16, torch.float32)
# Head dimensions are padded to a power of two; tl.dot takes no less than 16.
SMALLEST_DOT = 16
LARGEST_HEAD = 256
SUPPORTED = frozenset(
    {"scale", "causal", "strict", "alignment", "window", "softcap", "alibi_slopes", "bias", "mask", "sinks"}
)


@dataclass(frozen=True)
class Tiling:
    """Queries and keys of a tile, and how a program is laid out on a GPU."""

    queries: int = 64
    keys: int = 64
    warps: int = 4
    stages: int = 2


@dataclass(frozen=True)
class Attention:
    """(q, k, v, *, spec) -> (out, lse) on torch tensors (B, H, N, D): out in the inputs' dtype, lse (B, H, Nq) in fp32.

    rescale_threshold   a maximum that grows by at most this many powers of two leaves the reference where it is
    nan_safe            NaN and infinities in invisible values reach no row
    """

    tiling: Tiling = Tiling()
    rescale_threshold: float = 0.0
    nan_safe: bool = True

    refattn_library = "torch"
    refattn_formats = ("bf16", "fp16", "fp32")
    refattn_claims = (
        *("causal", "strict_causal", "window", "softcap", "alibi", "bias", "mask", "sinks", "gqa", "cross", "dv"),
        *("scale", "lse", "empty_rows", "ragged", "deterministic", "batch_invariant", "nan_safe", "zero_length"),
    )

    def arithmetic_for(self, format: Any) -> Arithmetic:
        """The contract that the kernels honour on inputs of a format.

        Matrix units truncate the sums of products. exp2 and log2 are the hardware's, of 2 ulp, and flush subnormals.
        """
        wide = Stage(Arithmetic.flash(format).accumulator.format, "truncate")
        return Arithmetic.flash(
            format,
            name=f"refattn_gpu({get(format).name})",
            dot=wide,
            accumulator=wide,
            exponent="fma",
            exp_ulps=2.0,
            lag=self.rescale_threshold * math.log(2.0),
            tanh_ulps=8.0,
            log_ulps=4.0,
            tile=self.tiling.keys,
            flush_to_zero=True,
        )

    def __call__(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, spec: AttentionSpec = PLAIN
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Raises InvalidValue or InvalidType before anything is launched, naming the argument."""
        shape = checked(q, k, v, spec)
        out = torch.empty((shape.batch, shape.heads, shape.queries, shape.d_v), dtype=q.dtype, device=q.device)
        lse = torch.empty(out.shape[:3], dtype=torch.float32, device=q.device)
        if out.shape[:3].numel() == 0:
            return out, lse
        left, right = spec.window
        if spec.causal:
            right = min(0 if right is None else right, -1 if spec.strict else 0)
        bias, mask = (broadcast(spec, name, shape, q.device) for name in ("bias", "mask"))
        slopes = None
        if spec.alibi_slopes is not None:
            slopes = on_device(np.broadcast_to(spec.alibi_slopes, (shape.batch, shape.heads)), q.device)
        sinks = None if spec.sinks is None else on_device(spec.sinks, q.device)
        hides = mask is not None or bias is not None or left is not None or right is not None
        tiling = self.tiling
        grid = (triton.cdiv(shape.queries, tiling.queries), shape.batch * shape.heads)
        attention_forward[grid](
            q, k, v, out, lse, bias, mask, slopes, sinks,
            *q.stride(), *k.stride(), *v.stride(), *out.stride(), *strides(bias), *strides(mask),
            shape.heads, shape.group, shape.queries, shape.keys, shape.d_qk, shape.d_v,
            1.0 / math.sqrt(shape.d_qk) if spec.scale is None else float(spec.scale),
            1.0 if spec.softcap is None else float(spec.softcap),
            0 if left is None else left, 0 if right is None else right,
            shape.keys - shape.queries if spec.alignment == "bottom_right" else 0,
            HAS_SOFTCAP=spec.softcap is not None, HAS_ALIBI=slopes is not None, HAS_BIAS=bias is not None,
            HAS_MASK=mask is not None, HAS_SINKS=sinks is not None,
            HAS_LEFT=left is not None, HAS_RIGHT=right is not None,
            GUARDS_VALUES=self.nan_safe and hides, THRESHOLD=self.rescale_threshold, PRECISION="ieee",
            BLOCK_M=tiling.queries, BLOCK_N=tiling.keys, BLOCK_D=padded(shape.d_qk), BLOCK_DV=padded(shape.d_v),
            num_warps=tiling.warps, num_stages=tiling.stages,
        )  # fmt: skip
        return out, lse


attention = Attention()


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
    return problem_shape(q, k, v, spec)


def on_device(array: Any, device: torch.device) -> torch.Tensor:
    """A contiguous fp32 tensor of an array's numbers, or a boolean one."""
    kind = np.bool_ if array.dtype == np.bool_ else np.float32
    return torch.from_numpy(np.array(array, dtype=kind, order="C")).to(device)


def broadcast(spec: AttentionSpec, name: str, shape: Shape, device: torch.device) -> torch.Tensor | None:
    """A view of the spec's array that is as large as the scores, with strides of 0 along what it lacks."""
    array = getattr(spec, name)
    if array is None:
        return None
    return on_device(array, device).expand(shape.batch, shape.heads, shape.queries, shape.keys)


def strides(tensor: torch.Tensor | None) -> tuple[int, ...]:
    """The four strides of a tensor, 0 of none."""
    return (0, 0, 0, 0) if tensor is None else tuple(tensor.stride())


def padded(size: int) -> int:
    """The power of two that holds so many columns."""
    return max(SMALLEST_DOT, 1 << (size - 1).bit_length())
