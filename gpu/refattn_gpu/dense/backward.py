"""The launches of the backward pass."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import triton

from refattn.contract.spec import AttentionSpec, Shape, problem_shape
from refattn_gpu.dense.sequences import Sequences
from refattn_gpu.kernels.attention_backward_delta import attention_backward_delta
from refattn_gpu.kernels.attention_backward_keys import attention_backward_keys
from refattn_gpu.kernels.attention_backward_queries import attention_backward_queries
from refattn_gpu.kernels.sum_axis import sum_axis
from refattn_gpu.launching.arguments import Features, Tiling, padded, strides
from refattn_gpu.launching.numerics import Numerics
from refattn_gpu.launching.tilings import of_backward, roomy, together

# Sums taken by a program of sum_axis, and terms at a time.
SUMS, TERMS = 32, 32
PLAIN = Numerics()


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
    numerics: Numerics = PLAIN,
) -> tuple[torch.Tensor | None, ...]:
    """(dq, dk, dv, dbias, dsinks) of a checked problem, given the out and the contiguous lse of its forward pass."""
    shape = problem_shape(q, k, v, spec)
    features = Features.of(spec, shape, q.device)
    # Tiles of which nothing is visible are not visited.
    rows = (shape.batch, shape.heads, shape.queries)
    ds = None if features.bias is None else torch.zeros((*rows, shape.keys), dtype=torch.float32, device=q.device)
    sink_terms = None if features.sinks is None else torch.zeros(rows, dtype=torch.float32, device=q.device)
    dq, dk, dv = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v))
    launch(
        Pass(q, k, v, do, out, lse, dlse, dq, dk, dv, ds, sink_terms),
        shape,
        features,
        tiling=tiling,
        nan_safe=nan_safe,
        numerics=numerics,
    )
    dbias = None if ds is None or spec.bias is None else summed(ds, spec.bias.shape)
    dsinks = None if sink_terms is None else summed(sink_terms, (1, shape.heads, 1)).reshape(shape.heads)
    return dq, dk, dv, dbias, dsinks


class Pass(NamedTuple):
    """The tensors of a backward pass: those of the forward pass, upstream gradients, and those to be written.

    Axes are (batch, head, row, column); delta will lie as lse does, and ds and sink_terms are contiguous.
    """

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    do: torch.Tensor
    out: torch.Tensor
    lse: torch.Tensor
    dlse: torch.Tensor | None
    dq: torch.Tensor
    dk: torch.Tensor
    dv: torch.Tensor
    ds: torch.Tensor | None = None
    sink_terms: torch.Tensor | None = None


def launch(
    tensors: Pass,
    shape: Shape,
    features: Features,
    *,
    tiling: Tiling | None,
    nan_safe: bool,
    numerics: Numerics,
    sequences: Sequences | None = None,
) -> None:
    """All kernels on a checked problem. Where sequences are packed, tensors have one batch, and shape as many as there
    are sequences, of the length of the longest.
    """
    q, k, v, do, out, lse, dlse, dq, dk, dv, ds, sink_terms = tensors
    if 0 in (shape.batch, shape.heads, shape.queries):
        for gradient in (dq, dk, dv):
            gradient.zero_()
        return
    tiling = tiling or of_backward(shape, q.dtype, roomy(q.device), features.has_arrays)
    packed = sequences is not None
    starts = (None, None) if sequences is None else (sequences.query_starts, sequences.key_starts)
    delta = torch.empty_like(lse)
    flags = features.flags
    has_sinks = flags.pop("HAS_SINKS")
    common = {
        **flags,
        **numerics.flags,
        "PACKED": packed,
        "GUARDS_VALUES": nan_safe and features.hides,
        "D_QK": shape.d_qk,
        "D_V": shape.d_v,
        "BLOCK_D": padded(shape.d_qk),
        "BLOCK_DV": padded(shape.d_v),
        "num_warps": tiling.warps,
        "num_stages": tiling.stages,
    }
    tiles = triton.cdiv(shape.queries, tiling.queries)
    of_rows = strides(lse, packed)
    of_dlse = (0, 0, 0) if dlse is None else strides(dlse, packed)
    inputs = tuple(stride for x in (q, k, v, do) for stride in strides(x, packed))
    extras = (*strides(features.bias), *strides(features.mask))
    sizes = (shape.heads, shape.group, shape.queries, shape.keys, together(shape, q.element_size()))
    attention_backward_delta[(tiles, shape.batch * shape.heads)](
        out, do, dlse, delta, starts[0], *strides(out, packed), *strides(do, packed), *of_dlse, *of_rows[:2],
        shape.heads, shape.queries, shape.d_v, PACKED=packed, HAS_DLSE=dlse is not None,
        BLOCK_M=tiling.queries, BLOCK_DV=padded(shape.d_v), num_warps=tiling.warps, enable_fp_fusion=True,
    )  # fmt: skip
    attention_backward_queries[(tiles * shape.batch * shape.heads,)](
        q, k, v, do, dlse, lse, delta, dq, ds, sink_terms,
        features.bias, features.mask, features.slopes, features.sinks, *starts,
        *inputs, *of_dlse, *extras, *of_rows[:2], *strides(dq, packed)[:3],
        shape.batch * shape.heads, *sizes, *features.numbers,
        HAS_SINKS=has_sinks, HAS_DLSE=dlse is not None, BLOCK_M=tiling.queries, BLOCK_N=tiling.keys, **common,
    )  # fmt: skip
    if shape.keys:
        # The kernel keeps keys and goes over queries: their numbers are exchanged.
        block_m, block_n = tiling.keys, tiling.queries
        attention_backward_keys[(triton.cdiv(shape.keys, block_n) * shape.batch * shape.kv_heads,)](
            q, k, v, do, lse, delta, dk, dv, features.bias, features.mask, features.slopes, *starts,
            *inputs, *extras, *of_rows[:2], *strides(dk, packed)[:3], *strides(dv, packed)[:3],
            shape.batch * shape.kv_heads, *sizes, *features.numbers, BLOCK_M=block_m, BLOCK_N=block_n, **common,
        )  # fmt: skip


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
