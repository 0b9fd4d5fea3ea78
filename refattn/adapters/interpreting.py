"""Find an interpreter that runs Triton kernels on the CPU: an installed package offers it as an entry point."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Any

from refattn.errors import MissingExtra

GROUP = "refattn.interpreters"
NAME = "triton"


@contextmanager
def interpreted() -> Iterator[Callable[[Callable[..., Any]], Callable[..., Any]]]:
    """Run Triton kernels on the CPU, as a GPU would compute; yields a wrapper that lets any thread call the kernel.

    Enter it before the kernel is imported. Raises MissingExtra when an interpreter or what it needs is not installed.
    """
    offered = metadata.entry_points(group=GROUP, name=NAME)
    if not offered:
        raise MissingExtra("no interpreter of Triton kernels is installed: expected `pip install refattn[triton]`")
    interpreter = next(iter(offered)).load()
    with interpreter.active():
        yield interpreter.in_any_thread
