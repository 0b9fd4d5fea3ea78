"""Attention of packed sequences of different lengths, by the kernels of refattn_gpu.attention."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch

from refattn.contract.arithmetic import Arithmetic
from refattn.contract.spec import AttentionSpec, Shape
from refattn.errors import InvalidType, InvalidValue
from refattn_gpu.dense.backward import BackwardTensors, launch
from refattn_gpu.dense.forward import forward, numerics_for, tile_keys_of
from refattn_gpu.dense.sequences import Sequences, checked_sequences
from refattn_gpu.launching.arguments import Features, Tiling, checked
from refattn_gpu.launching.numerics import Numerics
from refattn_gpu.launching.placement import OnThisMachine


@dataclass(frozen=True)
class AttentionVarlen(OnThisMachine):
    """The convention of flash_attn_varlen_func: q (total, H, D), k and v (total of keys, Hkv, D), packed one sequence
    after another, to out (total, H, Dv), whose gradients torch can ask for.

    cu_seqlens_q and cu_seqlens_k (sequences + 1,) int32 say where each sequence starts, the totals last; max_seqlen_q
    and max_seqlen_k are at least the longest lengths. Masks are aligned at the bottom right of each sequence, and -1 in
    window_size is no limit. alibi_slopes is (H,) or (sequences, H), in fp32. With return_attn_probs the result is (out,
    lse, None), lse (H, total) in fp32, which carries no gradient.

    The fields are those of Attention.
    """

    tiling: Tiling | None = None
    backward_tiling: Tiling | None = None
    numerics: Numerics = field(default_factory=Numerics)
    nan_safe: bool = True

    refattn_library = "torch"
    refattn_call = "varlen"
    refattn_formats = ("bf16", "fp16", "fp32")
    refattn_claims = (
        *("causal", "window", "softcap", "alibi", "gqa", "cross", "dv", "scale", "lse", "backward", "varlen"),
        *("empty_rows", "ragged", "deterministic", "batch_invariant", "nan_safe", "zero_length"),
    )

    def arithmetic_for(self, format: Any) -> Arithmetic:
        """The contract that the kernels honour on inputs of a format."""
        return self.numerics.arithmetic(format, tile_keys_of(format, self.tiling))

    def __call__(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        cu_seqlens_q: torch.Tensor,
        cu_seqlens_k: torch.Tensor,
        max_seqlen_q: int,
        max_seqlen_k: int,
        softmax_scale: float | None = None,
        causal: bool = False,
        window_size: tuple[int, int] = (-1, -1),
        softcap: float = 0.0,
        alibi_slopes: torch.Tensor | None = None,
        return_attn_probs: bool = False,
        arithmetic: Arithmetic | None = None,
    ) -> Any:
        """Raises InvalidValue or InvalidType before anything is launched, naming the argument."""
        for name, tensor in (("q", q), ("k", k), ("v", v)):
            if not isinstance(tensor, torch.Tensor):
                raise InvalidType(f"{name} is {type(tensor).__name__}: expected a torch tensor")
            if tensor.ndim != 3:
                raise InvalidValue(f"{name} has shape {tuple(tensor.shape)}: expected (tokens, heads, head dimension)")
        left, right = (None if side == -1 else side for side in window_size)
        spec = AttentionSpec(
            scale=softmax_scale, causal=causal, window=(left, right), softcap=None if softcap == 0.0 else softcap
        )
        packed = checked(heads_first(q), heads_first(k), heads_first(v), spec)
        sequences = checked_sequences(q, k, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k)
        shape = packed._replace(batch=sequences.count, queries=max_seqlen_q, keys=max_seqlen_k)
        features = replace(
            Features.of(spec, shape, q.device), slopes=checked_slopes(alibi_slopes, shape, q.device), alignment=0
        )
        problem = Problem(
            shape, features, sequences, numerics_for(arithmetic, q, self.tiling, self.numerics), self.tiling,
            self.backward_tiling, self.nan_safe,
        )  # fmt: skip
        out, lse = PackedAttention.apply(q, k, v, problem)  # type: ignore[no-untyped-call]
        return (out, lse, None) if return_attn_probs else out


@dataclass(frozen=True)
class Problem:
    """What both passes share."""

    shape: Shape
    features: Features
    sequences: Sequences
    numerics: Numerics
    tiling: Tiling | None
    backward_tiling: Tiling | None
    nan_safe: bool


class PackedAttention(torch.autograd.Function):
    """(out, lse) of packed q, k and v of a checked problem, with the gradients of out."""

    @staticmethod
    def forward(ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, problem: Problem) -> Any:
        """The forward kernel."""
        tokens, heads, _ = q.shape
        out = torch.empty((tokens, heads, v.shape[2]), dtype=q.dtype, device=q.device)
        lse = torch.empty((heads, tokens), dtype=torch.float32, device=q.device)
        forward(
            heads_first(q), heads_first(k), heads_first(v), heads_first(out), lse[None],
            problem.shape, problem.features, tiling=problem.tiling, nan_safe=problem.nan_safe,
            numerics=problem.numerics, sequences=problem.sequences,
        )  # fmt: skip
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.problem = problem
        ctx.mark_non_differentiable(lse)
        return out, lse

    @staticmethod
    def backward(ctx: Any, do: torch.Tensor, _: Any) -> Any:
        """The kernels of the backward pass."""
        q, k, v, out, lse = ctx.saved_tensors
        problem = ctx.problem
        gradients = tuple(torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v))
        tensors = (*map(heads_first, (q, k, v, do, out)), lse[None], None, *map(heads_first, gradients))
        launch(
            BackwardTensors(*tensors), problem.shape, problem.features, tiling=problem.backward_tiling,
            nan_safe=problem.nan_safe, numerics=problem.numerics, sequences=problem.sequences,
        )  # fmt: skip
        return *gradients, None


attention_varlen = AttentionVarlen()


def heads_first(x: torch.Tensor) -> torch.Tensor:
    """A view (1, heads, tokens, D) of (tokens, heads, D)."""
    return x.transpose(0, 1)[None]


def checked_slopes(slopes: Any, shape: Shape, device: torch.device) -> torch.Tensor | None:
    """(sequences, H), contiguous. Raises InvalidType or InvalidValue where they do not fit."""
    if slopes is None:
        return None
    if not isinstance(slopes, torch.Tensor) or slopes.dtype != torch.float32:
        raise InvalidType("alibi_slopes is not a torch tensor of torch.float32: expected one")
    if slopes.device != device:
        raise InvalidValue(f"alibi_slopes is on {slopes.device}: expected {device}, as q is")
    if tuple(slopes.shape) not in ((shape.heads,), (shape.batch, shape.heads)):
        raise InvalidValue(
            f"alibi_slopes has shape {tuple(slopes.shape)}: expected ({shape.heads},) or ({shape.batch}, {shape.heads})"
        )
    return slopes.expand(shape.batch, shape.heads).contiguous()
