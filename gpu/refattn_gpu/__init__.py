"""refattn_gpu: attention kernels in Triton, and an interpreter that runs Triton kernels faithfully on a processor.

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
    "differentiable_log_softmax": "refattn_gpu.dense.differentiation",
    "differentiable_softmax": "refattn_gpu.dense.differentiation",
    "interpreter": "",
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
    "interpreter",
    "log_softmax",
    "logsumexp",
    "softmax",
    "sparse_attention",
]


def __getattr__(name: str) -> Any:
    if name not in _CONTENTS:
        raise AttributeError(f"module 'refattn_gpu' has no attribute {name!r}")
    module = _CONTENTS[name]
    return getattr(importlib.import_module(module), name) if module else importlib.import_module(f"refattn_gpu.{name}")


def __dir__() -> list[str]:
    return sorted(__all__)
