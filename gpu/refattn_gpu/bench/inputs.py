"""The inputs of problems: the same numbers whenever they are drawn."""

from __future__ import annotations

import zlib

import torch

DTYPE = torch.bfloat16
FORMAT = "bf16"


def generator(name: str, device: str) -> torch.Generator:
    """One of its own for each name."""
    return torch.Generator(device).manual_seed(zlib.crc32(name.encode()))


def normal(name: str, shape: tuple[int, ...], device: str) -> torch.Tensor:
    """Standard normal numbers, in bf16."""
    drawn = torch.randn(shape, generator=generator(name, device), device=device, dtype=torch.float32)
    return drawn.to(DTYPE)
