"""One program of a kernel on whole arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from refattn_interpreter.compare.numbers import BF16, E4M3, E5M2, Numbers

_TORCH = {BF16: torch.bfloat16, E4M3: torch.float8_e4m3fn, E5M2: torch.float8_e5m2}


def tensor(values: Numbers) -> torch.Tensor:
    """A tensor of the same bits."""
    signed = np.array(values, order="C")
    if values.dtype not in _TORCH:
        return torch.from_numpy(signed)
    return torch.from_numpy(signed.view(f"i{values.dtype.itemsize}")).view(_TORCH[values.dtype])


def array(values: torch.Tensor) -> Numbers:
    """An array of the same bits."""
    for dtype, kind in _TORCH.items():
        if values.dtype == kind:
            return values.view(torch.int16 if dtype.itemsize == 2 else torch.int8).numpy().view(dtype)
    numbers: Numbers = values.numpy()
    return numbers


def run(
    kernel: Any,
    *inputs: Numbers,
    output: np.dtype[Any] | None = None,
    shape: Any = None,
    device: str = "cpu",
    **constants: Any,
) -> Numbers:
    """What a kernel(*inputs, out, N=elements of the first, **constants) writes; out is like the first unless told."""
    out = np.zeros(inputs[0].shape if shape is None else shape, inputs[0].dtype if output is None else output)
    result = tensor(out).to(device)
    kernel[(1,)](*(tensor(each).to(device) for each in inputs), result, N=len(inputs[0]), **constants)
    return array(result.cpu())
