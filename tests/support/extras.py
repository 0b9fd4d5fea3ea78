"""The extras of refattn that some tests need, and skips of tests without them."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import pytest

EXTRAS = {
    "flint": "arb",
    "jax": "jax",
    "jsonschema": "dev",
    "matplotlib": "learned",
    "numba": "fast",
    "safetensors": "learned",
    "threadpoolctl": "fast",
    "torch": "torch",
    "transformers": "learned",
    "triton": "triton",
    "xdist": "dev",
}


def skip_without(*libraries: str) -> None:
    """Skip the test, or the module, naming the extra that it needs."""
    for library in libraries:
        if importlib.util.find_spec(library) is None:
            reason = f"needs {library}: pip install 'refattn[{EXTRAS[library]}]'"
            pytest.skip(reason, allow_module_level=True)


def needed(library: str) -> Any:
    """The library, or a skip. One that is there but cannot be imported is an error."""
    skip_without(library)
    return importlib.import_module(library)
