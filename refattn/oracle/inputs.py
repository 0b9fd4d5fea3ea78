"""Checks of the oracle's arguments, and their exact conversion to float64 on their device."""

from __future__ import annotations

from typing import Any

import numpy as np

from refattn.contract.spec import AttentionSpec, Shape, SoftmaxSpec, problem_shape
from refattn.errors import InvalidType, InvalidValue
from refattn.numbers.arrays import float64_like, float64_on_device, format_of

# Two float64 numbers hold about 107 bits of a midpoint.
SMALLEST_RTOL = 2.0**-100


def attention_inputs(q: Any, k: Any, v: Any, spec: Any) -> tuple[Any, Any, Any, Shape]:
    """q, k, v in float64 and their checked shape. Raises InvalidType or InvalidValue, naming the argument.

    Tensors of one device stay there; anything else becomes NumPy's.
    """
    if not isinstance(spec, AttentionSpec):
        raise InvalidType(f"spec is {type(spec).__name__}: expected an AttentionSpec")
    named = (("q", q), ("k", k), ("v", v))
    exact_q, exact_k, exact_v = float64_on_device("qkv", (q, k, v))
    formats = [format_of(name, value) for name, value in named]
    for (name, _), format in zip(named, formats, strict=True):
        if format.name != formats[0].name:
            raise InvalidType(f"{name} is in {format.name} and q in {formats[0].name}: expected the same format")
    return exact_q, exact_k, exact_v, problem_shape(exact_q, exact_k, exact_v, spec)


def upstream_inputs(do: Any, dlse: Any, shape: Shape, q: Any) -> tuple[Any, Any]:
    """do (B, H, Nq, Dv) and dlse (B, H, Nq) in float64, beside q. Raises InvalidType or InvalidValue, naming them."""
    rows = (shape.batch, shape.heads, shape.queries)
    upstream = float64_like("do", do, q)
    _expect("do", upstream, (*rows, shape.d_v))
    if dlse is None:
        return upstream, None
    exact_dlse = float64_like("dlse", dlse, q)
    _expect("dlse", exact_dlse, rows)
    return upstream, exact_dlse


def softmax_input(x: Any, axis: Any, spec: Any) -> tuple[Any, SoftmaxSpec]:
    """x in float64 and the spec to use: the given one, or a plain one along `axis`.

    Raises InvalidType or InvalidValue, naming the argument.
    """
    if spec is None:
        spec = SoftmaxSpec(axis=axis)
    elif not isinstance(spec, SoftmaxSpec):
        raise InvalidType(f"spec is {type(spec).__name__}: expected a SoftmaxSpec")
    elif axis != -1 and axis != spec.axis:
        raise InvalidValue(f"axis is {axis!r} and spec.axis is {spec.axis}: expected just one of them to be given")
    array = float64_on_device("x", [x])[0]
    if not -array.ndim <= spec.axis < array.ndim:
        raise InvalidValue(f"axis is {spec.axis}: expected an axis of x, which has shape {tuple(array.shape)}")
    return array, spec


def tolerance(rtol: Any) -> float | None:
    """rtol, checked: None or a number in [2**-100, 1). Raises InvalidType or InvalidValue."""
    if rtol is None:
        return None
    if isinstance(rtol, bool) or not isinstance(rtol, (int, float, np.floating)):
        raise InvalidType(f"rtol is {rtol!r}: expected a number or None")
    if not SMALLEST_RTOL <= rtol < 1.0:
        raise InvalidValue(f"rtol is {rtol!r}: expected a number from 2**-100 to 1")
    return float(rtol)


def refuse_specials(present: bool, names: str) -> None:
    """Raise InvalidValue if NaN or infinities are `present` that require_finite forbids."""
    if present:
        raise InvalidValue(
            f"{names} holds a visible NaN or infinity: expected finite numbers, as require_finite is True"
        )


def _expect(name: str, array: Any, shape: tuple[int, ...]) -> None:
    if tuple(array.shape) != shape:
        raise InvalidValue(f"{name} has shape {tuple(array.shape)}: expected {shape}")
