"""NumPy, torch and JAX arrays: placing a kernel's inputs and reading its results."""

from __future__ import annotations

import contextlib
import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refattn.adapters.memory import Block
from refattn.errors import InvalidValue, MissingExtra

ReadBack = Callable[[], NDArray[Any]]


class Library(ABC):
    """The arrays of one library."""

    name: str

    @abstractmethod
    def place(self, block: Block) -> tuple[Any, ReadBack]:
        """The library's array of a block, and a function that reads the block's whole buffer back."""

    @abstractmethod
    def plain(self, values: NDArray[Any]) -> Any:
        """An array of booleans, integers or float32 numbers, contiguous."""

    @abstractmethod
    def owns(self, value: Any) -> bool:
        """True if the value is one of the library's arrays."""

    @abstractmethod
    def read(self, array: Any) -> NDArray[Any]:
        """The numbers as a NumPy array of the same dtype."""

    def poison(self, block: Block) -> None:
        """Leave NaN in freed memory of the block's size, so that a kernel that reads unwritten memory shows it."""
        np.full(block.shape, np.nan, block.format.storage)

    def recording(self, gradients: bool) -> AbstractContextManager[Any]:
        """A context in which torch records the call for automatic differentiation, or does not."""
        del gradients
        return contextlib.nullcontext()


class NumPyLibrary(Library):
    """NumPy arrays, with the dtypes of ml_dtypes."""

    name = "numpy"

    def place(self, block: Block) -> tuple[Any, ReadBack]:
        return block.numbers(), lambda: block.flat

    def plain(self, values: NDArray[Any]) -> Any:
        return np.array(values, order="C")

    def owns(self, value: Any) -> bool:
        return isinstance(value, (np.ndarray, np.generic))

    def read(self, array: Any) -> NDArray[Any]:
        return np.asarray(array)


class TorchLibrary(Library):
    """torch tensors on a device; on the CPU they share the block's memory."""

    name = "torch"

    def __init__(self, device: str = "cpu") -> None:
        try:
            import torch
        except ImportError:
            raise MissingExtra("torch is not installed: expected `pip install refattn[torch]`") from None
        self.torch = torch
        self.device = device
        self.dtypes = {
            "e4m3": torch.float8_e4m3fn,
            "e5m2": torch.float8_e5m2,
            "bf16": torch.bfloat16,
            "fp16": torch.float16,
            "tf32": torch.float32,
            "fp32": torch.float32,
            "fp64": torch.float64,
        }

    def place(self, block: Block) -> tuple[Any, ReadBack]:
        signed = block.flat.view(f"i{block.flat.itemsize}")
        flat = self.torch.from_numpy(signed).to(self.device)
        array = flat.view(self.dtypes[block.format.name]).as_strided(block.shape, block.strides, block.offset)
        return array, lambda: flat.cpu().numpy().view(block.flat.dtype)

    def plain(self, values: NDArray[Any]) -> Any:
        return self.torch.from_numpy(np.array(values, order="C")).to(self.device)

    def poison(self, block: Block) -> None:
        if self.device == "cpu":
            super().poison(block)
        else:
            # Bytes of ones are NaN in every format.
            size = math.prod(block.shape) * block.format.storage.itemsize
            self.torch.full((size,), 255, dtype=self.torch.uint8, device=self.device)

    def owns(self, value: Any) -> bool:
        return isinstance(value, self.torch.Tensor)

    def read(self, array: Any) -> NDArray[Any]:
        import ml_dtypes

        plain = array.detach().cpu()
        narrow = {
            self.torch.bfloat16: (self.torch.int16, ml_dtypes.bfloat16),
            self.torch.float8_e4m3fn: (self.torch.uint8, ml_dtypes.float8_e4m3fn),
            self.torch.float8_e5m2: (self.torch.uint8, ml_dtypes.float8_e5m2),
        }.get(plain.dtype)
        numbers: NDArray[Any] = plain.numpy() if narrow is None else plain.view(narrow[0]).numpy().view(narrow[1])
        return numbers

    def recording(self, gradients: bool) -> AbstractContextManager[Any]:
        mode: AbstractContextManager[Any] = self.torch.enable_grad() if gradients else self.torch.no_grad()
        return mode


class JaxLibrary(Library):
    """JAX arrays, which are immutable; 64-bit numbers need jax_enable_x64."""

    name = "jax"

    def __init__(self) -> None:
        try:
            import jax
        except ImportError:
            raise MissingExtra("jax is not installed: expected `pip install refattn[jax]`") from None
        self.jax = jax

    def place(self, block: Block) -> tuple[Any, ReadBack]:
        return self.jax.numpy.array(block.numbers()), lambda: block.flat

    def plain(self, values: NDArray[Any]) -> Any:
        return self.jax.numpy.array(values)

    def owns(self, value: Any) -> bool:
        return isinstance(value, self.jax.Array)

    def read(self, array: Any) -> NDArray[Any]:
        return np.asarray(array)


LIBRARIES = ("numpy", "torch", "jax")


@functools.cache
def library(name: str, device: str = "cpu") -> Library:
    """The library of a name. Raises InvalidValue, or MissingExtra when it is not installed."""
    if name == "numpy":
        return NumPyLibrary()
    if name == "torch":
        return TorchLibrary(device)
    if name == "jax":
        return JaxLibrary()
    raise InvalidValue(f"library is {name!r}: expected one of {', '.join(LIBRARIES)}")
