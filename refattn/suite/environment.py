"""The kernel's name and the machine, for reports."""

from __future__ import annotations

import platform
import sys
from importlib import metadata
from typing import Any


def environment() -> dict[str, str]:
    """Versions of the libraries that are loaded, and the machine."""
    versions = {
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
    }
    for name in ("refattn", "numpy", "ml_dtypes", "mpmath", "hypothesis", "torch", "jax", "triton"):
        if name in sys.modules:
            try:
                versions[name] = metadata.version(name)
            except metadata.PackageNotFoundError:
                versions[name] = str(getattr(sys.modules[name], "__version__", "unknown"))
    return versions


def name_of(kernel: Any) -> str:
    """The name in reports of a kernel given as an object: module:qualified name."""
    module = getattr(kernel, "__module__", None) or type(kernel).__module__
    name = getattr(kernel, "__qualname__", None) or type(kernel).__qualname__
    return f"{module}:{name}"
