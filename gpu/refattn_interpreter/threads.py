"""Kernels that are called in other threads: what torch says of devices is changed for one thread alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from refattn_interpreter.device import OnProcessor


class InAnyThread:
    """A kernel and its `backward`, called where tensors may be asked for on "cuda"; in all else the kernel itself."""

    def __init__(self, kernel: Callable[..., Any]) -> None:
        self.__wrapped__ = kernel
        self.__module__ = getattr(kernel, "__module__", type(kernel).__module__)
        self.__doc__ = kernel.__doc__

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        mode: Any = OnProcessor()
        with mode:
            return self.__wrapped__(*arguments, **keywords)

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.__wrapped__, name)
        return InAnyThread(attribute) if name == "backward" and callable(attribute) else attribute
