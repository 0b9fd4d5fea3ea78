"""Arrays of any library as float64, exactly.

May import: numpy, refattn.errors, refattn.formats.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from refattn import formats
from refattn.errors import InvalidType
from refattn.formats import Array, Format


def as_float64(name: str, value: Any) -> Array:
    """The numbers of a NumPy, ml_dtypes, torch or JAX array, or of nested lists, in float64.

    Raises InvalidType when they are not floating-point numbers of at most 64 bits.
    """
    return _numbers(name, value).astype(np.float64)


def format_of(name: str, value: Any) -> Format:
    """The format that an array's dtype stands for. Raises InvalidType when there is none."""
    return formats.get(_numbers(name, value).dtype)


def _numbers(name: str, value: Any) -> NDArray[Any]:
    if type(value).__module__.partition(".")[0] == "torch":
        value = _of_torch(value)
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise InvalidType(f"{name} is {type(value).__name__}: expected an array of floating-point numbers") from error
    known = {format.storage for format in formats.ALL}
    if array.dtype not in known:
        raise InvalidType(f"{name} has dtype {array.dtype}: expected floating-point numbers of at most 64 bits")
    return array


def _of_torch(value: Any) -> Any:
    """A tensor as a NumPy array of the same dtype, which torch itself does not make for bf16 and 8-bit formats."""
    tensor = value.detach().cpu()
    if not tensor.is_floating_point():
        raise InvalidType(f"a tensor has dtype {tensor.dtype}: expected floating-point numbers")
    return tensor.double().numpy().astype(formats.get(str(value.dtype)).storage)
