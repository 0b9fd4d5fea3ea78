"""Arrays of any library as float64, exactly, in NumPy or on their own device.

Code for both NumPy arrays and torch tensors uses the Python array API standard, through array-api-compat, which imports
torch only for torch's tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import array_api_compat
import numpy as np
from numpy.typing import NDArray

from refattn.errors import InvalidType
from refattn.numbers import formats
from refattn.numbers.formats import Array, Format


def as_float64(name: str, value: Any) -> Array:
    """The numbers of a NumPy, ml_dtypes, torch or JAX array, or of nested lists, in float64.

    Raises InvalidType when they are not floating-point numbers of at most 64 bits.
    """
    if is_tensor(value):
        _tensor_format(name, value)
        return np.array(value.detach().cpu().double().numpy())
    return _numbers(name, value).astype(np.float64)


def format_of(name: str, value: Any) -> Format:
    """The format that an array's dtype stands for. Raises InvalidType when there is none."""
    if is_tensor(value):
        return _tensor_format(name, value)
    return formats.get(_numbers(name, value).dtype)


def is_tensor(value: Any) -> bool:
    """True for a torch tensor; torch is not imported to find out."""
    return type(value).__module__.partition(".")[0] == "torch"


def float64_on_device(names: Sequence[str], values: Sequence[Any]) -> list[Any]:
    """Arrays in float64: torch tensors if all are tensors on one device that has float64, NumPy's otherwise. Raises as
    as_float64 does.
    """
    if all(map(is_tensor, values)) and len({value.device for value in values}) == 1:
        for name, value in zip(names, values, strict=True):
            _tensor_format(name, value)
        # Apple's GPUs have no float64.
        if values[0].device.type != "mps":
            return [value.detach().double() for value in values]
    return [as_float64(name, value) for name, value in zip(names, values, strict=True)]


def float64_like(name: str, value: Any, model: Any) -> Any:
    """An array in float64, in the library and on the device of `model`. Raises as as_float64 does."""
    if is_tensor(value) and is_tensor(model) and value.device == model.device:
        return float64_on_device([name], [value])[0]
    return like(as_float64(name, value), model)


def all_finite(array: Any) -> bool:
    """True if no number of an array is NaN or infinite."""
    xp = namespace(array)
    return bool(xp.all(xp.isfinite(array)))


def namespace(array: Any) -> Any:
    """The functions of the array API standard for an array's library."""
    return array_api_compat.array_namespace(array)


def device(array: Any) -> Any:
    """Where an array is, as the array API's functions take it."""
    return array_api_compat.device(array)


def like(array: Any, model: Any) -> Any:
    """A NumPy array in the library and on the device of `model`; its dtype stays."""
    if isinstance(model, np.ndarray):
        return array
    # torch takes no negative strides, and warns of arrays that cannot be written to.
    return namespace(model).asarray(np.array(array), device=model.device)


def to_numpy(array: Any) -> NDArray[Any]:
    """An array of float64 or booleans in NumPy."""
    return array if isinstance(array, np.ndarray) else np.asarray(array.detach().cpu().numpy())


def _tensor_format(name: str, tensor: Any) -> Format:
    if not tensor.is_floating_point():
        raise InvalidType(f"{name} has dtype {tensor.dtype}: expected floating-point numbers of at most 64 bits")
    return formats.get(str(tensor.dtype))


def _numbers(name: str, value: Any) -> NDArray[Any]:
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise InvalidType(f"{name} is {type(value).__name__}: expected an array of floating-point numbers") from error
    known = {format.storage for format in formats.ALL}
    if array.dtype not in known:
        raise InvalidType(f"{name} has dtype {array.dtype}: expected floating-point numbers of at most 64 bits")
    return array
