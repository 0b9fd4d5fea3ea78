"""Triton kernels on a processor, with the arithmetic of a GPU.

Triton's own interpreter (TRITON_INTERPRET=1) computes with the bits of bf16 and fp8 as if they were integers, rounds
conversions in ways of its own, ignores tl.dot's input_precision, and knows neither inline assembly nor libdevice. The
changes here, undone when `active` ends, make it do what the compiled kernel does:

>>> import refattn_interpreter
>>> with refattn_interpreter.active(refattn_interpreter.Options(fuse=True)):  # doctest: +SKIP
...     out = attention(q, k, v)  # tensors of the processor

What it cannot know: the order of sums inside a thread, which the compiler's layout decides; which products LLVM and
ptxas contract (Options.fuse is a model of it); which bits a tensor core drops; data races between programs, which run
one after another. Importing this module imports neither triton nor torch.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from refattn.errors import MissingExtra
from refattn_interpreter.options import Options

__all__ = ["Options", "active", "in_any_thread", "install"]

VARIABLE = "TRITON_INTERPRET"


@contextmanager
def active(options: Options | None = None) -> Iterator[None]:
    """Interpret the Triton kernels that are called inside, with CPU tensors, as a GPU would run them.

    Triton must not have been imported before, or with TRITON_INTERPRET=1 in the environment. Raises MissingExtra when
    triton or torch is missing, InvalidValue when triton was imported to compile.
    """
    undo = install(options)
    try:
        yield
    finally:
        undo()


def install(options: Options | None = None) -> Callable[[], None]:
    """The same from here on; returns a function that undoes it."""
    before = os.environ.get(VARIABLE)
    if "triton" not in sys.modules:
        os.environ[VARIABLE] = "1"
    try:
        for name in ("triton", "torch"):
            _require(name)
        from refattn_interpreter.session import Session

        session = Session(options or Options())
        session.start()
    except BaseException:
        _restore(before)
        raise

    def undo() -> None:
        session.stop()
        _restore(before)

    return undo


def in_any_thread(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """The kernel for callers in other threads than the one that made the interpreter active, which must be active."""
    from refattn_interpreter.threads import InAnyThread

    return InAnyThread(kernel)


def _require(name: str) -> None:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise MissingExtra(f"{name} is not installed: expected `pip install refattn[triton]`") from None


def _restore(before: str | None) -> None:
    if before is None:
        os.environ.pop(VARIABLE, None)
    else:
        os.environ[VARIABLE] = before
