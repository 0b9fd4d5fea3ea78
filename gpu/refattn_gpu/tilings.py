"""Tilings that suit a problem: which fit the shared memory of the GPUs that the kernels are compiled for, and are fast.

May import: torch, refattn, refattn_gpu.arguments.
"""

from __future__ import annotations

import torch

from refattn.spec import Shape
from refattn_gpu.arguments import Tiling, padded

# Of a GPU's last-level cache what keys and values may take: that of an A100 holds 40 MB, that of an H100 50 MB.
CACHE_BYTES = 24 << 20


def together(shape: Shape, size: int) -> int:
    """Query heads whose keys and values, in elements of so many bytes, fit the cache of a GPU at one time."""
    of_head = shape.keys * (shape.d_qk + shape.d_v) * size
    return max(1, CACHE_BYTES // max(of_head, 1)) * shape.group


def suitable(shape: Shape, dtype: torch.dtype) -> Tiling:
    """Tiles of the backward pass."""
    widest = max(padded(shape.d_qk), padded(shape.d_v)) * dtype.itemsize
    if widest <= 128:
        return Tiling(64, 64)
    return Tiling(32, 64, warps=8) if widest <= 256 else Tiling(16, 32, warps=8, stages=1)
