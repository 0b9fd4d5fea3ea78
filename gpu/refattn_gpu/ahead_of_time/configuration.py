"""What is compiled: one kernel with its compile-time constants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Configuration:
    """One kernel with its compile-time constants; `pointers` are the element types of its pointer arguments.

    targets    those whose GPUs would be given this tiling; None is all
    """

    name: str
    kernel: Any
    pointers: dict[str, str]
    constants: dict[str, Any]
    warps: int = 4
    stages: int = 2
    targets: tuple[str, ...] | None = None
