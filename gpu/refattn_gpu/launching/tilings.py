"""The tilings of the kernels for a problem, which fit the shared memory of the GPU that they are launched on."""

from __future__ import annotations

from dataclasses import replace

import torch

from refattn.contract.spec import Shape
from refattn_gpu.launching.arguments import Tiling, padded

# What keys and values may take of a GPU's last-level cache, which holds 40 MB on an A100 and 50 MB on an H100.
CACHE_BYTES = 24 << 20
# Major compute capabilities with 227 KB of shared memory for a program: Hopper, and Blackwell for data centres.
LARGE_SMEM = (9, 10)


def heads_per_wave(shape: Shape, size: int) -> int:
    """Query heads whose keys and values, of `size` bytes an element, fit the cache of a GPU together."""
    head_bytes = shape.keys * (shape.d_qk + shape.d_v) * size
    return max(1, CACHE_BYTES // max(head_bytes, 1)) * shape.group


def forward_tile_keys(dtype: torch.dtype) -> int:
    """Keys of a tile of the forward pass."""
    return 32 if dtype.itemsize == 4 else 64


def forward_tiling(shape: Shape, dtype: torch.dtype, large_smem: bool, arrays: bool = False) -> Tiling:
    """The tiling of the forward pass. GPUs of large_smem have the shared memory for one more stage, and `arrays` says
    that tiles of a bias or a mask are loaded, too.
    """
    widest, keys = max(padded(shape.d_qk), padded(shape.d_v)), forward_tile_keys(dtype)
    if dtype.itemsize == 4:
        # Without matrix units, each thread keeps its part of the products in registers.
        return Tiling(64, keys, 8, 1) if widest <= 64 else Tiling(32 if widest <= 128 else 16, keys, 8, 1)
    if arrays:
        return Tiling(64, keys, 8, 1)
    if widest <= 128:
        return Tiling(128, keys, 8, 3 if large_smem else 2)
    return Tiling(64, keys, 8, 2 if large_smem else 1)


def gradient_tiling(shape: Shape, dtype: torch.dtype, large_smem: bool, arrays: bool = False) -> Tiling:
    """The tiling of dQ. The kernel of dK and dV takes it with queries and keys exchanged."""
    widest = max(padded(shape.d_qk), padded(shape.d_v))
    tiling = portable_gradient_tiling(shape, dtype)
    if dtype.itemsize < 4 and widest <= 128 and large_smem:
        # Where heads share keys, dK and dV need a second pair of accumulators.
        tiling = Tiling(64 if widest > 64 and shape.group > 1 else 128, 64, 8, 3)
    # With a bias or a mask prefetching spills registers, and Triton 3.9 fails to compile it for AMD's GPUs.
    return replace(tiling, stages=1) if arrays else tiling


def has_large_smem(device: torch.device) -> bool:
    """True of a GPU whose major compute capability is one of LARGE_SMEM."""
    if device.type != "cuda" or torch.version.hip is not None:
        return False
    return torch.cuda.get_device_capability(device)[0] in LARGE_SMEM


def portable_gradient_tiling(shape: Shape, dtype: torch.dtype) -> Tiling:
    """A tiling of the backward pass that fits any GPU."""
    widest = max(padded(shape.d_qk), padded(shape.d_v)) * dtype.itemsize
    if widest <= 128:
        return Tiling(64, 64)
    return Tiling(32, 64, warps=8) if widest <= 256 else Tiling(16, 32, warps=8, stages=1)
