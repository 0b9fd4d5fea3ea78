"""What is compiled: one kernel with its compile-time constants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from refattn.contract.spec import Shape


@dataclass(frozen=True)
class Configuration:
    """One kernel with its compile-time constants; `pointers` are the element types of its pointers.

    Both are by parameter, or by parameter and field where it is a group ("TILE.M"); a tensor's pointer goes by the
    tensor's name, and is a constant None where there is no such tensor.

    targets    those whose GPUs would be given this tiling; None is all
    """

    name: str
    kernel: Any
    pointers: dict[str, str]
    constants: dict[str, Any]
    warps: int = 4
    stages: int = 2
    targets: tuple[str, ...] | None = None


def tile_constants(shape: Shape, queries: int, keys: int) -> dict[str, int]:
    """The constants of a tile of so many queries and keys."""
    from refattn_gpu.launching.arguments import tile

    return {f"TILE.{name}": size.value for name, size in tile(shape, queries, keys)._asdict().items()}
