"""jvp-flash-attention: `refattn check jvp_attention:attention --triton-cpu` here, with Triton 3.6 and the package.

Triton 3.9 has no block pointers any more, which the package needs.

Found in version 0.14.0: the causal mask adds -100 to scores in units of log2, and then the invisible ones take part in
the maximum: where a later key scores 228 more than every visible one, the row is 0 (32 rows, D = 32, scale 1,
q[0] = (230, 0, ...), k[1] = (ln 2, 0, ...), all else 0, V = 1: row 0 is 0 and should be 1).
"""

from __future__ import annotations

from typing import Any

import torch
from jvp_flash_attention.jvp_attention import attention as jvp_attention

from refattn.contract.arithmetic import Arithmetic
from refattn.contract.spec import AttentionSpec
from refattn.numbers.formats import Format


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, spec: AttentionSpec) -> Any:
    """Causal masks for as many queries as keys."""
    return jvp_attention(q, k, v, causal=spec.causal, sm_scale=spec.scale)


def arithmetic(format: Format) -> Arithmetic:
    """Scores in units of log2, whose maximum is subtracted after they are scaled; tl.exp2 flushes subnormals."""
    return Arithmetic.flash(format, name=f"jvp({format.name})", exponent="fma", exp_ulps=2.0, flush_to_zero=True)


attention.refattn_library = "torch"  # type: ignore[attr-defined]
attention.refattn_formats = ("bf16", "fp16")  # type: ignore[attr-defined]
attention.refattn_claims = ("causal", "scale")  # type: ignore[attr-defined]
attention.refattn_arithmetic = arithmetic  # type: ignore[attr-defined]
