"""Softmax per block of keys times given scales, on torch tensors by refattn_gpu's Triton kernels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import triton

from refattn.contract.arithmetic import Arithmetic
from refattn.contract.block_scales import BlockScales
from refattn.contract.spec import AttentionSpec, Shape
from refattn.errors import InvalidType, InvalidValue
from refattn_gpu.dense.forward import Attention
from refattn_gpu.kernels.block_scaled_forward import block_scaled_forward
from refattn_gpu.launching.arguments import DTYPES, Features, Tiling, checked, matrix, sizes, tile
from refattn_gpu.launching.placement import OnThisMachine

PLAIN = AttentionSpec()


@dataclass(frozen=True)
class BlockScaledAttention(OnThisMachine):
    """(q, k, v, scales, *, spec) -> (out, lse): out = sum_i scales_i softmax(scores of block i) V_i.

    q, k, v are torch tensors (B, H, N, D) as refattn_gpu.attention takes them, scales one of bf16, fp16 or fp32 that
    broadcasts to (B, H, Nq, blocks), and its last axis says how many blocks there are. Keys are divided as
    refattn.BlockScales(blocks, window) says: as torch.chunk divides them, ceil(Nk / blocks) a block, or ceil(window /
    blocks) where there is a window. out is in the inputs' dtype; lse (B, H, Nq, blocks), in fp32, is the natural
    log-sum-exp of each block's visible scores.

    An invisible key has weight exactly 0, and a block of which a query sees nothing adds nothing to its row and has
    log-sum-exp -inf, whatever its scale; no other scale is looked at, and none is made positive. Scales
    exp(lse_i - LSE), LSE being the log-sum-exp of the lse_i, give attention; for others the weights p' of a row differ
    from attention's by exactly sum |p' - p| = sum_i |scales_i - exp(lse_i - LSE)| (proofs/block_scales.md), where the
    second term is 0 of a block that is not seen. Learned scales: lnairGT, Learned-Flash-Attention (2024).

    nan_safe    NaN and infinities in invisible values reach no row
    """

    tiling: Tiling = field(default_factory=Tiling)
    nan_safe: bool = True

    def __call__(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        scales: torch.Tensor,
        *,
        spec: AttentionSpec = PLAIN,
        window: int | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Raises InvalidValue or InvalidType before anything is launched, naming the argument.

        The spec has no sinks: they change only attention's normaliser, which is in the scales.
        """
        shape = checked(q, k, v, spec)
        if spec.sinks is not None:
            raise InvalidValue("spec has sinks: expected none of it, as the scales hold the normaliser")
        scales, divided = checked_scales(scales, q, shape, window)
        blocks = divided.blocks
        out = torch.empty((shape.batch, shape.heads, shape.queries, shape.d_v), dtype=q.dtype, device=q.device)
        lse = torch.empty((*out.shape[:3], blocks), dtype=torch.float32, device=q.device)
        if out.shape[:3].numel() == 0:
            return out, lse
        features, tiling = Features.of(spec, shape, q.device), self.tiling
        grid = (triton.cdiv(shape.queries, tiling.queries), shape.batch * shape.heads)
        block_scaled_forward[grid](
            *map(matrix, (q, k, v, scales, out)), lse, matrix(features.bias), matrix(features.mask), features.slopes,
            sizes(shape), features.scoring, blocks, divided.size(shape.keys), features.has,
            tile(shape, tiling.queries, tiling.keys),
            NAN_SAFE=self.nan_safe and features.hides_keys, PRECISION="ieee",
            num_warps=tiling.warps, num_stages=tiling.stages, enable_fp_fusion=True,
        )  # fmt: skip
        return out, lse


@dataclass(frozen=True)
class ExactlyScaled(OnThisMachine):
    """(q, k, v, *, spec) -> (out, lse): attention as a sum over blocks of keys times their exact scales.

    One launch of `kernel` finds the log-sum-exp of each of `blocks` blocks, and another takes the scales
    exp(lse_i - LSE) of these. It is what block_scaled_attention is judged by:
    `refattn check refattn_gpu.block_scales.attention:exactly_scaled`.
    """

    blocks: int = 4
    kernel: BlockScaledAttention = field(default_factory=BlockScaledAttention)

    refattn_library = "torch"
    refattn_formats = ("bf16", "fp16", "fp32")
    refattn_claims = (
        *("causal", "strict_causal", "window", "softcap", "alibi", "bias", "mask", "gqa", "cross", "dv", "scale"),
        *("lse", "empty_rows", "ragged", "deterministic", "batch_invariant", "nan_safe", "zero_length"),
    )

    def arithmetic_for(self, format: Any) -> Arithmetic:
        """That of refattn_gpu.attention, in so many parts: their scales are weights, and the sum is not divided again.

        The scales are computed in float64 and rounded to fp32.
        """
        whole = Attention(self.kernel.tiling).arithmetic_for(format)
        return whole.replace(name=f"block scales of {whole.name}", splits=self.blocks)

    def __call__(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, spec: AttentionSpec = PLAIN
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Raises InvalidValue or InvalidType before anything is launched, naming the argument."""
        blocks = max(1, min(self.blocks, checked(q, k, v, spec).keys))
        _, parts = self.kernel(q, k, v, torch.zeros(blocks, device=q.device), spec=spec)
        scales, lse = exact_scales(parts)
        return self.kernel(q, k, v, scales, spec=spec)[0], lse


block_scaled_attention = BlockScaledAttention()
exactly_scaled = ExactlyScaled()


def exact_scales(lse: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """exp(lse_i - LSE) of the log-sum-exps (..., blocks) of blocks, and LSE (...), both in fp32, from float64.

    Rows that see nothing have scales 0 and LSE -inf.
    """
    parts = lse.double()
    whole = torch.logsumexp(parts, dim=-1)
    reference = torch.where(whole == -torch.inf, 0.0, whole)
    return torch.exp(parts - reference[..., None]).float(), whole.float()


def checked_scales(scales: Any, q: torch.Tensor, shape: Shape, window: int | None) -> tuple[torch.Tensor, BlockScales]:
    """A view (B, H, Nq, blocks), and how keys are divided. Raises InvalidValue or InvalidType where the scales do not
    fit a checked problem or are of more blocks than there are keys to divide.
    """
    if not isinstance(scales, torch.Tensor):
        raise InvalidType(f"scales is {type(scales).__name__}: expected a torch tensor")
    if scales.dtype not in DTYPES:
        raise InvalidType(f"scales is of {scales.dtype}: expected one of {', '.join(map(str, DTYPES))}")
    if scales.device != q.device:
        raise InvalidValue(f"scales is on {scales.device} and q on {q.device}: expected one device")
    rows = (shape.batch, shape.heads, shape.queries)
    fits = 1 <= scales.ndim <= 4 and all(
        have in (1, want) for have, want in zip(reversed(scales.shape[:-1]), reversed(rows), strict=False)
    )
    if not fits:
        sizes = ", ".join(map(str, rows))
        raise InvalidValue(f"scales has shape {tuple(scales.shape)}: expected one that broadcasts to ({sizes}, blocks)")
    blocks = scales.shape[-1]
    if blocks < 1 or (window is None and blocks > max(1, shape.keys)):
        raise InvalidValue(f"scales has {blocks} blocks: expected at least 1, and no more than the {shape.keys} keys")
    return scales.expand(*rows, blocks), BlockScales(blocks, window)
