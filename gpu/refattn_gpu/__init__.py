"""refattn_gpu: attention kernels in Triton, and an interpreter that runs Triton kernels faithfully on a processor.

A lazy table of contents (PEP 562): importing refattn_gpu loads neither torch nor triton.
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["attention", "interpreter"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return importlib.import_module(f"refattn_gpu.{name}")
    raise AttributeError(f"module 'refattn_gpu' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
