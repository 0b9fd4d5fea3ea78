"""The launches of the backward pass. May import: torch, triton, refattn, refattn_gpu.arguments, refattn_gpu.kernels."""

from __future__ import annotations

import math

import torch
import triton

from refattn.spec import AttentionSpec, Shape, problem_shape
from refattn_gpu.arguments import Features, Tiling, padded, strides
from refattn_gpu.kernels.attention_backward_delta import attention_backward_delta
from refattn_gpu.kernels.attention_backward_keys import attention_backward_keys
from refattn_gpu.kernels.attention_backward_queries import attention_backward_queries
from refattn_gpu.kernels.sum_axis import sum_axis

# Sums taken by a program of sum_axis, and terms at a time.
SUMS, TERMS = 32, 32


def gradients(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    do: torch.Tensor,
    out: torch.Tensor,
    lse: torch.Tensor,
    dlse: torch.Tensor | None,
    spec: AttentionSpec,
    *,
    tiling: Tiling | None = None,
    nan_safe: bool = True,
) -> tuple[torch.Tensor | None, ...]:
    """(dq, dk, dv, dbias, dsinks) of a checked problem, given the contiguous out and lse of its forward pass."""
    shape = problem_shape(q, k, v, spec)
    rows = (shape.batch, shape.heads, shape.queries)
    features = Features.of(spec, shape, q.device)
    tiling = tiling or suitable(shape, q.dtype)
    dq, dk, dv = (torch.zeros(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v))
    # Tiles of which nothing is visible are not visited.
    ds = None if features.bias is None else torch.zeros((*rows, shape.keys), dtype=torch.float32, device=q.device)
    sink_terms = None if features.sinks is None else torch.zeros(rows, dtype=torch.float32, device=q.device)
    if math.prod(rows):
        delta = torch.empty(rows, dtype=torch.float32, device=q.device)
        of_dlse = (0, 0, 0) if dlse is None else tuple(dlse.stride())
        sizes = (shape.heads, shape.group, shape.queries, shape.keys, shape.d_qk, shape.d_v)
        inputs = (*q.stride(), *k.stride(), *v.stride(), *do.stride())
        extras = (*strides(features.bias), *strides(features.mask))
        flags = features.flags
        has_sinks = flags.pop("HAS_SINKS")
        common = {
            **flags,
            "GUARDS_VALUES": nan_safe and features.hides,
            "PRECISION": "ieee",
            "BLOCK_M": tiling.queries,
            "BLOCK_N": tiling.keys,
            "BLOCK_D": padded(shape.d_qk),
            "BLOCK_DV": padded(shape.d_v),
            "num_warps": tiling.warps,
            "num_stages": tiling.stages,
        }
        by_query = (triton.cdiv(shape.queries, tiling.queries), shape.batch * shape.heads)
        by_key = (triton.cdiv(shape.keys, tiling.keys), shape.batch * shape.kv_heads)
        attention_backward_delta[by_query](
            out, do, dlse, delta, *do.stride(), *of_dlse, shape.heads, shape.queries, shape.d_v,
            HAS_DLSE=dlse is not None, BLOCK_M=tiling.queries, BLOCK_DV=padded(shape.d_v),
        )  # fmt: skip
        attention_backward_queries[by_query](
            q, k, v, do, dlse, lse, delta, dq, ds, sink_terms,
            features.bias, features.mask, features.slopes, features.sinks,
            *inputs, *of_dlse, *extras, *sizes, *features.numbers,
            HAS_SINKS=has_sinks, HAS_DLSE=dlse is not None, **common,
        )  # fmt: skip
        if shape.keys:
            attention_backward_keys[by_key](
                q, k, v, do, lse, delta, dk, dv, features.bias, features.mask, features.slopes,
                *inputs, *extras, *sizes, *features.numbers, **common,
            )  # fmt: skip
    dbias = None if ds is None or spec.bias is None else summed(ds, spec.bias.shape)
    dsinks = None if sink_terms is None else summed(sink_terms, (1, shape.heads, 1)).reshape(shape.heads)
    return dq, dk, dv, dbias, dsinks


def suitable(shape: Shape, dtype: torch.dtype) -> Tiling:
    """Tiles that fit the shared memory of the GPUs that the kernels are compiled for."""
    widest = max(padded(shape.d_qk), padded(shape.d_v)) * dtype.itemsize
    if widest <= 128:
        return Tiling(64, 64)
    return Tiling(32, 64, warps=8) if widest <= 256 else Tiling(16, 32, warps=8, stages=1)


def summed(x: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """A contiguous fp32 tensor added up along the axes that `shape`, to which it broadcasts, lacks or has of size 1.

    One axis after the other, each in an order that is always the same.
    """
    wanted = (1,) * (x.ndim - len(shape)) + tuple(shape)
    for axis, (have, want) in enumerate(zip(x.shape, wanted, strict=True)):
        if have == want:
            continue
        inner = math.prod(x.shape[axis + 1 :])
        outputs = math.prod(x.shape[:axis]) * inner
        found = torch.zeros((*x.shape[:axis], 1, *x.shape[axis + 1 :]), dtype=x.dtype, device=x.device)
        if outputs and have:
            sum_axis[(triton.cdiv(outputs, SUMS),)](x, found, outputs, have, inner, BLOCK=SUMS, CHUNK=TERMS)
        x = found
    return x.reshape(shape)
