"""Attention on torch tensors by refattn_gpu's Triton kernels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import triton

from refattn.contract.arithmetic import Arithmetic
from refattn.contract.spec import AttentionSpec, Shape
from refattn.errors import InvalidType, InvalidValue
from refattn.numbers.formats import get
from refattn_gpu.dense.backward import gradients
from refattn_gpu.dense.sequences import Sequences
from refattn_gpu.kernels.attention_forward import attention_forward
from refattn_gpu.kernels.parameters import Schedule, Starts
from refattn_gpu.launching.arguments import Features, Tiling, checked, checked_upstream, matrix, sizes, tile, vector
from refattn_gpu.launching.numerics import Numerics
from refattn_gpu.launching.placement import OnThisMachine
from refattn_gpu.launching.tilings import forward_tile_keys, forward_tiling, has_large_smem, heads_per_wave

PLAIN = AttentionSpec()
DTYPE_NAMES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}


@dataclass(frozen=True)
class Attention(OnThisMachine):
    """(q, k, v, spec, arithmetic) -> (out, lse) on torch tensors (B, H, N, D): out in the inputs' dtype, lse (B, H, Nq)
    in fp32.

    `arithmetic` is the contract to be honoured; None is that of `numerics`. Gradients are its method `backward`.

    tiling              None chooses one for the inputs and the GPU
    backward_tiling     that of `backward`
    numerics            the options that change the arithmetic
    nan_safe            NaN and infinities in invisible values reach no row
    """

    tiling: Tiling | None = None
    backward_tiling: Tiling | None = None
    numerics: Numerics = field(default_factory=Numerics)
    nan_safe: bool = True

    refattn_library = "torch"
    refattn_formats = ("bf16", "fp16", "fp32")
    refattn_claims = (
        *("causal", "strict_causal", "window", "softcap", "alibi", "bias", "mask", "sinks", "gqa", "cross", "dv"),
        *("scale", "lse", "backward", "empty_rows", "ragged", "deterministic", "batch_invariant", "nan_safe"),
        "zero_length",
    )

    def arithmetic_for(self, format: Any) -> Arithmetic:
        """The contract that the kernels honour on inputs of a format."""
        return self.numerics.arithmetic(format, tile_keys_of(format, self.tiling))

    def __call__(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        spec: AttentionSpec = PLAIN,
        arithmetic: Arithmetic | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Raises InvalidValue or InvalidType before anything is launched, naming the argument."""
        shape = checked(q, k, v, spec)
        numerics = numerics_for(arithmetic, q, self.tiling, self.numerics)
        out = torch.empty((shape.batch, shape.heads, shape.queries, shape.d_v), dtype=q.dtype, device=q.device)
        lse = torch.empty(out.shape[:3], dtype=torch.float32, device=q.device)
        features = Features.of(spec, shape, q.device)
        forward(q, k, v, out, lse, shape, features, tiling=self.tiling, nan_safe=self.nan_safe, numerics=numerics)
        return out, lse

    def backward(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        do: torch.Tensor,
        spec: AttentionSpec = PLAIN,
        arithmetic: Arithmetic | None = None,
        *,
        dlse: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor | None, ...]:
        """(dq, dk, dv, dbias, dsinks) of sum(do * out) + sum(dlse * lse): the first three like q, k, v, the others in
        fp32 and of the spec's shapes, None where it has none. The forward pass is computed again.

        Raises InvalidValue or InvalidType before anything is launched, naming the argument.
        """
        checked_upstream(q, do, dlse, checked(q, k, v, spec))
        numerics = numerics_for(arithmetic, q, self.tiling, self.numerics)
        out, lse = self(q, k, v, spec, arithmetic)
        return gradients(
            q, k, v, do, out, lse, dlse, spec, tiling=self.backward_tiling, nan_safe=self.nan_safe, numerics=numerics
        )


attention = Attention()


def numerics_for(arithmetic: Any, q: torch.Tensor, tiling: Tiling | None, usual: Numerics) -> Numerics:
    """The options with which the kernels honour a contract; `usual` where there is none.

    Raises InvalidValue or InvalidType, naming the stage that they do not honour.
    """
    if arithmetic is None:
        return usual
    if not isinstance(arithmetic, Arithmetic):
        raise InvalidType(f"arithmetic is {type(arithmetic).__name__}: expected a refattn Arithmetic or None")
    given = get(str(q.dtype).removeprefix("torch."))
    if arithmetic.inputs is not given:
        raise InvalidValue(
            f"arithmetic.inputs is {arithmetic.inputs.name}: expected {given.name}, the format of q, k and v"
        )
    return Numerics.for_contract(arithmetic, tile_keys_of(given, tiling))


def tile_keys_of(format: Any, tiling: Tiling | None) -> int:
    """Keys of a tile of the forward pass on inputs of a format."""
    return forward_tile_keys(getattr(torch, DTYPE_NAMES[get(format).name])) if tiling is None else tiling.keys


def forward(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    out: torch.Tensor,
    lse: torch.Tensor,
    shape: Shape,
    features: Features,
    *,
    tiling: Tiling | None,
    nan_safe: bool,
    numerics: Numerics,
    sequences: Sequences | None = None,
) -> None:
    """The kernel on a checked problem. Packed tensors have a batch of 1; then `shape` has the number of sequences as
    batch and the lengths of the longest.
    """
    if 0 in (shape.batch, shape.heads, shape.queries):
        return
    tiling = tiling or forward_tiling(shape, q.dtype, has_large_smem(q.device), features.has_arrays)
    packed = sequences is not None
    starts = Starts(None, None) if sequences is None else Starts(sequences.query_starts, sequences.key_starts)
    schedule = Schedule(shape.batch * shape.heads, heads_per_wave(shape, q.element_size()))
    attention_forward[(triton.cdiv(shape.queries, tiling.queries) * schedule.heads,)](
        *(matrix(x, packed) for x in (q, k, v, out)), vector(lse, packed),
        matrix(features.bias), matrix(features.mask), features.slopes, features.sinks,
        starts, sizes(shape), schedule, features.scoring, features.has, tile(shape, tiling.queries, tiling.keys),
        PACKED=packed, NAN_SAFE=nan_safe and features.hides_keys, THRESHOLD=numerics.rescale_threshold,
        **numerics.flags, num_warps=tiling.warps, num_stages=tiling.stages,
    )  # fmt: skip
