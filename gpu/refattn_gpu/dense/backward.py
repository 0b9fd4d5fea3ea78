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
from refattn_gpu.kernels.parameters import Schedule, Starts, VectorStrides
from refattn_gpu.kernels.sum_axis import sum_axis
from refattn_gpu.launching.arguments import (
    Features,
    Tiling,
    matrix,
    matrix_strides,
    padded,
    sizes,
    strided_vector,
    strides,
    tile,
    vector,
)
from refattn_gpu.launching.numerics import Numerics
from refattn_gpu.launching.tilings import gradient_tiling, has_large_smem, heads_per_wave

# Sums of a program of sum_axis, and terms that it loads at a time.
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
    # Kernels skip tiles of which nothing is visible: ds and sink_terms start from 0.
    rows = (shape.batch, shape.heads, shape.queries)
    ds = None if features.bias is None else torch.zeros((*rows, shape.keys), dtype=torch.float32, device=q.device)
    sink_terms = None if features.sinks is None else torch.zeros(rows, dtype=torch.float32, device=q.device)
    dq, dk, dv = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v))
    launch(
        BackwardTensors(q, k, v, do, out, lse, dlse, dq, dk, dv, ds, sink_terms),
        shape,
        features,
        tiling=tiling,
        nan_safe=nan_safe,
        numerics=numerics,
    )
    dbias = None if ds is None or spec.bias is None else sum_to_shape(ds, spec.bias.shape)
    dsinks = None if sink_terms is None else sum_to_shape(sink_terms, (1, shape.heads, 1)).reshape(shape.heads)
    return dq, dk, dv, dbias, dsinks


class BackwardTensors(NamedTuple):
    """The tensors of a backward pass: those of the forward pass, upstream gradients, and those to be written.

    Axes are (batch, head, row, column); ds and sink_terms are contiguous.
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
    tensors: BackwardTensors,
    shape: Shape,
    features: Features,
    *,
    tiling: Tiling | None,
    nan_safe: bool,
    numerics: Numerics,
    sequences: Sequences | None = None,
) -> None:
    """All kernels on a checked problem. Packed tensors have a batch of 1; then `shape` has the number of sequences as
    batch and the lengths of the longest.
    """
    q, k, v, do, out, lse, dlse, dq, dk, dv, ds, sink_terms = tensors
    if 0 in (shape.batch, shape.heads, shape.queries):
        for gradient in (dq, dk, dv):
            gradient.zero_()
        return
    tiling = tiling or gradient_tiling(shape, q.dtype, has_large_smem(q.device), features.has_arrays)
    packed = sequences is not None
    starts = Starts(None, None) if sequences is None else Starts(sequences.query_starts, sequences.key_starts)
    delta = torch.empty_like(lse)
    common = {
        **numerics.flags,
        "PACKED": packed,
        "NAN_SAFE": nan_safe and features.hides_keys,
        "num_warps": tiling.warps,
        "num_stages": tiling.stages,
    }
    tiles = triton.cdiv(shape.queries, tiling.queries)
    heads, kv_heads = shape.batch * shape.heads, shape.batch * shape.kv_heads
    wave = heads_per_wave(shape, q.element_size())
    inputs = tuple(matrix(x, packed) for x in (q, k, v, do))
    upstream = strided_vector(dlse, packed)
    bias, mask = matrix(features.bias), matrix(features.mask)
    attention_backward_delta[(tiles, heads)](
        matrix(out, packed), inputs[3], upstream, vector(delta, packed), starts.queries,
        shape.heads, shape.queries, shape.d_v, PACKED=packed, HAS_DLSE=dlse is not None,
        BLOCK_M=tiling.queries, BLOCK_DV=padded(shape.d_v), num_warps=tiling.warps, enable_fp_fusion=True,
    )  # fmt: skip
    attention_backward_queries[(tiles * heads,)](
        *inputs, upstream, vector(lse, packed), delta, matrix(dq, packed), ds, sink_terms,
        bias, mask, features.slopes, features.sinks, starts, sizes(shape), Schedule(heads, wave), features.scoring,
        features.has, tile(shape, tiling.queries, tiling.keys), HAS_DLSE=dlse is not None, **common,
    )  # fmt: skip
    if shape.keys:
        # This kernel holds a tile of keys and loops over queries, so that the tiling's numbers change places.
        block_m, block_n = tiling.keys, tiling.queries
        attention_backward_keys[(triton.cdiv(shape.keys, block_n) * kv_heads,)](
            q, k, v, do, lse, delta, dk, dv, bias, mask, features.slopes, starts,
            *(matrix_strides(x, packed) for x in (q, k, v, do)), VectorStrides(*strides(lse, packed)[:2]),
            matrix_strides(dk, packed), matrix_strides(dv, packed),
            Schedule(kv_heads, wave), sizes(shape), features.scoring, features.has, tile(shape, block_m, block_n),
            **common,
        )  # fmt: skip


def sum_to_shape(x: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """A contiguous fp32 tensor summed along the axes in which `shape`, which broadcasts to it, has size 1 or no axis.

    One axis after another, each in a fixed order.
    """
    wanted = (1,) * (x.ndim - len(shape)) + tuple(shape)
    for axis, (have, want) in enumerate(zip(x.shape, wanted, strict=True)):
        if have == want:
            continue
        inner = math.prod(x.shape[axis + 1 :])
        outputs = math.prod(x.shape[:axis]) * inner
        sums = torch.zeros((*x.shape[:axis], 1, *x.shape[axis + 1 :]), dtype=x.dtype, device=x.device)
        if outputs and have:
            sum_axis[(triton.cdiv(outputs, SUMS),)](x, sums, outputs, have, inner, BLOCK=SUMS, CHUNK=TERMS)
        x = sums
    return x.reshape(shape)
