"""cuda-triton-multiarch's attention without its CUDA extensions: its Triton kernel, head by head, in fp16.

`refattn check multiarch_attention:attention --triton-cpu` here, with cuda-triton-multiarch installed.

Found in version 0.1.3: keys beyond the end of the sequence count as keys with score 0 (one key of zeros with value 1
gives 1/64, as tiles have 64 keys), and is_causal is dropped on the way to the kernel (64 keys of zeros: every row is
the mean of all values).
"""

from __future__ import annotations

from typing import Any

import torch
from kernels.attention_api import flash_attention_bhsd

from refattn.contract.arithmetic import Arithmetic
from refattn.contract.spec import AttentionSpec
from refattn.numbers.formats import Format


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, spec: AttentionSpec) -> Any:
    """The package's function documents is_causal for any backend."""
    return flash_attention_bhsd(q, k, v, is_causal=spec.causal)


def arithmetic(format: Format) -> Arithmetic:
    """tl.exp is exp2(fl(fl(s - m) log2(e))) by ex2.approx."""
    return Arithmetic.flash(format, name=f"multiarch({format.name})", exponent="subtract_exp2", exp_ulps=2.0)


attention.refattn_library = "torch"  # type: ignore[attr-defined]
attention.refattn_formats = ("fp16",)  # type: ignore[attr-defined]
attention.refattn_claims = ("causal", "ragged")  # type: ignore[attr-defined]
attention.refattn_arithmetic = arithmetic  # type: ignore[attr-defined]
