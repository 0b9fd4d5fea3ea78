"""refattn_gpu: attention kernels in Triton.

A lazy table of contents (PEP 562): importing refattn_gpu loads neither torch nor triton.
"""

from __future__ import annotations

import importlib
from typing import Any

_CONTENTS = {
    "attention": "refattn_gpu.dense.forward",
    "attention_varlen": "refattn_gpu.dense.varlen",
    "block_scaled_attention": "refattn_gpu.block_scales.attention",
    "decode": "refattn_gpu.decoding.decode",
    "differentiable_attention": "refattn_gpu.dense.differentiation",
    "differentiable_log_softmax": "refattn_gpu.row_softmax.differentiation",
    "differentiable_softmax": "refattn_gpu.row_softmax.differentiation",
    "log_softmax": "refattn_gpu.row_softmax.rows",
    "logsumexp": "refattn_gpu.row_softmax.rows",
    "softmax": "refattn_gpu.row_softmax.rows",
    "sparse_attention": "refattn_gpu.sparse.attention",
}

__all__ = [
    "attention",
    "attention_varlen",
    "block_scaled_attention",
    "decode",
    "differentiable_attention",
    "differentiable_log_softmax",
    "differentiable_softmax",
    "log_softmax",
    "logsumexp",
    "softmax",
    "sparse_attention",
]


def __getattr__(name: str) -> Any:
    if name not in _CONTENTS:
        raise AttributeError(f"module 'refattn_gpu' has no attribute {name!r}")
    return getattr(importlib.import_module(_CONTENTS[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
