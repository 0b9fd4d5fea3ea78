"""Tilings that suit a problem: fast ones that fit the shared memory of the GPUs that the kernels are compiled for."""

from __future__ import annotations

from dataclasses import replace

import torch

from refattn.contract.spec import Shape
from refattn_gpu.launching.arguments import Tiling, padded

# Of a GPU's last-level cache what keys and values may take: that of an A100 holds 40 MB, that of an H100 50 MB.
CACHE_BYTES = 24 << 20
# Compute capabilities with 227 KB of shared memory for a program: Hopper's, and Blackwell's of data centres.
ROOMY = (9, 10)


def heads_per_wave(shape: Shape, size: int) -> int:
    """Query heads whose keys and values, in elements of so many bytes, fit the cache of a GPU at one time."""
    head_bytes = shape.keys * (shape.d_qk + shape.d_v) * size
    return max(1, CACHE_BYTES // max(head_bytes, 1)) * shape.group


def keys_of(dtype: torch.dtype) -> int:
    """Keys that the forward pass takes at a time."""
    return 32 if dtype.itemsize == 4 else 64


def of_forward(shape: Shape, dtype: torch.dtype, roomy: bool, arrays: bool = False) -> Tiling:
    """Tiles of the forward pass; `roomy` GPUs have the shared memory for one stage more, and `arrays` says that tiles
    of a bias or a mask are loaded, too.
    """
    widest, keys = max(padded(shape.d_qk), padded(shape.d_v)), keys_of(dtype)
    if dtype.itemsize == 4:
        # Without matrix units, every thread holds its part of the products in registers.
        return Tiling(64, keys, 8, 1) if widest <= 64 else Tiling(32 if widest <= 128 else 16, keys, 8, 1)
    if arrays:
        return Tiling(64, keys, 8, 1)
    if widest <= 128:
        return Tiling(128, keys, 8, 3 if roomy else 2)
    return Tiling(64, keys, 8, 2 if roomy else 1)


def of_backward(shape: Shape, dtype: torch.dtype, roomy: bool, arrays: bool = False) -> Tiling:
    """Tiles of the gradients of queries; those of keys and values take as many keys, and then queries, instead."""
    widest = max(padded(shape.d_qk), padded(shape.d_v))
    tiling = suitable(shape, dtype)
    if dtype.itemsize < 4 and widest <= 128 and roomy:
        # The gradients of keys that several heads share take sums of their own.
        tiling = Tiling(64 if widest > 64 and shape.group > 1 else 128, 64, 8, 3)
    # Prefetched arrays spill more registers; and with them Triton 3.9 compiles nothing for AMD's GPUs.
    return replace(tiling, stages=1) if arrays else tiling


def roomy(device: torch.device) -> bool:
    """True of a GPU whose capability is ROOMY."""
    if device.type != "cuda" or torch.version.hip is not None:
        return False
    return torch.cuda.get_device_capability(device)[0] in ROOMY


def suitable(shape: Shape, dtype: torch.dtype) -> Tiling:
    """Tiles of both kernels of a backward pass on any GPU."""
    widest = max(padded(shape.d_qk), padded(shape.d_v)) * dtype.itemsize
    if widest <= 128:
        return Tiling(64, 64)
    return Tiling(32, 64, warps=8) if widest <= 256 else Tiling(16, 32, warps=8, stages=1)
