"""liger-kernel: `refattn check liger_softmax:softmax --triton-cpu` here, with liger-kernel installed."""

from __future__ import annotations

from typing import Any

import torch
from liger_kernel.ops.softmax import LigerSoftmaxFunction

from refattn.contract.arithmetic import Arithmetic
from refattn.numbers.formats import Format


def softmax(x: torch.Tensor, dim: int) -> Any:
    """The package's kernel takes the last dimension."""
    return LigerSoftmaxFunction.apply(x.movedim(dim, -1)).movedim(-1, dim)


def arithmetic(format: Format) -> Arithmetic:
    """fp32 inside, in one pass: exp2(fl(fl(x - max) log2(e))) by ex2.approx, one rounding at the end."""
    wide = Arithmetic.flash("fp32").scores
    return Arithmetic.naive(
        format, name=f"liger({format.name})", scores=wide, lse=wide, exponent="subtract_exp2", exp_ulps=2.0
    )


softmax.refattn_library = "torch"  # type: ignore[attr-defined]
softmax.refattn_formats = ("bf16", "fp16", "fp32")  # type: ignore[attr-defined]
softmax.refattn_arithmetic = arithmetic  # type: ignore[attr-defined]
