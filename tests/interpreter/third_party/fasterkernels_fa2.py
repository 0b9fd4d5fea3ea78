"""fasterkernels: `refattn check fasterkernels_fa2:attention --triton-cpu` here, with fasterkernels installed."""

from __future__ import annotations

from typing import Any

import torch
import triton
from fskernels.triton.triton_fa2 import flash_attention_2_fwd

from refattn.contract.arithmetic import Arithmetic
from refattn.contract.spec import AttentionSpec
from refattn.numbers.formats import Format


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, spec: AttentionSpec) -> Any:
    """The package's function has no mask, as many heads of K as of Q, and one head dimension, a power of two of at
    least 16: others are padded with zeros.
    """
    d = q.shape[3]
    scale = d**-0.5 if spec.scale is None else spec.scale
    missing = max(16, triton.next_power_of_2(d)) - d
    return flash_attention_2_fwd(*(torch.nn.functional.pad(each, (0, missing)) for each in (q, k, v)), scale)[..., :d]


def arithmetic(format: Format) -> Arithmetic:
    """tl.exp is exp2(fl(fl(s - m) log2(e))) by ex2.approx."""
    return Arithmetic.flash(format, name=f"fasterkernels({format.name})", exponent="subtract_exp2", exp_ulps=2.0)


attention.refattn_library = "torch"  # type: ignore[attr-defined]
attention.refattn_formats = ("bf16", "fp16")  # type: ignore[attr-defined]
attention.refattn_claims = ("scale", "cross", "ragged")  # type: ignore[attr-defined]
attention.refattn_arithmetic = arithmetic  # type: ignore[attr-defined]
