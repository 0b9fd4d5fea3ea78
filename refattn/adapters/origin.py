"""The library whose arrays a kernel takes, inferred from the modules that its code names."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

_OTHERS = ("torch", "jax")


def library_named(kernel: Callable[..., Any]) -> str | None:
    """The library that the kernel's code names: "torch", "jax" or "numpy"; None if it names several or none.

    The function's own body decides; if it names none, the imports of its module do.
    """
    function = _function(kernel)
    if function is None:
        return None
    by_name = {name: root for name, value in function.__globals__.items() if (root := _root(value)) is not None}
    used = {by_name[name] for name in _names(function.__code__) if name in by_name}
    candidates = used or set(by_name.values())
    return candidates.pop() if len(candidates) == 1 else None


def other_libraries(kernel: Callable[..., Any]) -> list[str]:
    """The libraries beside NumPy that the kernel's module imports."""
    function = _function(kernel)
    roots = set() if function is None else {_root(value) for value in function.__globals__.values()}
    return [name for name in _OTHERS if name in roots]


def _function(kernel: Callable[..., Any]) -> FunctionType | None:
    while isinstance(kernel, functools.partial):
        kernel = kernel.func
    inner = inspect.unwrap(kernel)
    if not isinstance(inner, FunctionType):
        inner = getattr(inner, "__func__", type(inner).__call__)
    return inner if isinstance(inner, FunctionType) else None


def _root(value: Any) -> str | None:
    """The library of a global that is a module of NumPy, torch or JAX."""
    if not isinstance(value, ModuleType):
        return None
    root = value.__name__.partition(".")[0]
    return root if root in ("numpy", *_OTHERS) else None


def _names(code: CodeType) -> Iterator[str]:
    """The global names that a function's code and the functions inside it use."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
