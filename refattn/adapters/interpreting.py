"""Find what runs Triton kernels on a processor: an interpreter that an installed package offers as an entry point."""

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
    """Run Triton kernels on the processor, as a GPU would compute; gives what makes of a kernel one for any thread.

    To be entered before the kernel is imported. Raises MissingExtra when no interpreter, or not what it needs, is
    installed.
    """
    offered = metadata.entry_points(group=GROUP, name=NAME)
    if not offered:
        raise MissingExtra("no interpreter of Triton kernels is installed: expected `pip install refattn[triton]`")
    interpreter = next(iter(offered)).load()
    with interpreter.active():
        yield interpreter.in_any_thread
