"""fla-core: `refattn check fla_attention:attention --triton-cpu` here, with fla-core installed."""

from __future__ import annotations

import torch
from fla.ops.attn.parallel import parallel_attn

from refattn.contract.arithmetic import Arithmetic
from refattn.contract.spec import AttentionSpec
from refattn.numbers.formats import Format


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, spec: AttentionSpec) -> torch.Tensor:
    """The package's kernel is causal, for as many queries as keys: queries that see all keys are each a last query.

    q, k and v are (B, H, N, D); sinks are the kernel's sink_bias.
    """
    sinks = None if spec.sinks is None else torch.tensor(spec.sinks, dtype=torch.float32)
    batch, heads, queries, d = q.shape
    keys = k.shape[2]
    if not spec.causal:
        # A batch element for each query, which stands last.
        q = q.transpose(1, 2).reshape(batch * queries, heads, 1, d)
        k, v = (each.repeat_interleave(queries, 0) for each in (k, v))
    given = torch.cat([q.new_zeros(*q.shape[:2], keys - q.shape[2], d), q], 2)
    out = parallel_attn(*(each.transpose(1, 2) for each in (given, k, v)), scale=spec.scale, sink_bias=sinks)
    last = out[:, keys - q.shape[2] :]
    if spec.causal:
        return last.transpose(1, 2)
    return last.reshape(batch, queries, heads, v.shape[3]).transpose(1, 2)


def arithmetic(format: Format) -> Arithmetic:
    """A tiled kernel whose scores are multiplied by the scale and by log2(e), a rounding each, before the maximum."""
    return Arithmetic.flash(format, name=f"fla({format.name})", exponent="fma", exp_ulps=2.0, flush_to_zero=True)


attention.refattn_library = "torch"  # type: ignore[attr-defined]
attention.refattn_formats = ("bf16", "fp16")  # type: ignore[attr-defined]
attention.refattn_claims = ("causal", "gqa", "scale", "ragged", "dv", "sinks")  # type: ignore[attr-defined]
attention.refattn_arithmetic = arithmetic  # type: ignore[attr-defined]
