"""Shorter ways through the Python code of Triton that every operation takes, and that takes most of the time.

What depends on a shape is worked out once, and what would change nothing is not done: no bit of a result depends on it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from triton.runtime import interpreter as stock

from refattn_interpreter.patches import Patches

tl = stock.tl
# What a tensor of a block type has, kept in the type.
_OF_TENSORS = "_refattn_of_tensors"
# The place among the rules for operands of the one that they are divided.
DIV_OR_MOD = 4


def shorten(patches: Patches) -> None:
    """Put them in the place of Triton's own, through `patches`."""
    patches.set(tl.tensor, "__init__", _tensor(tl.tensor.__init__))
    patches.set(tl.block_type, "__init__", _block_type(tl.block_type.__init__))
    semantic = stock.interpreter_semantic
    patches.set(semantic, "cast", _cast(semantic.cast))
    broadcast = _broadcast(semantic.broadcast_impl_value)
    patches.set(semantic, "broadcast_impl_value", broadcast)
    checked = _checked(semantic.binary_op_type_checking_impl, broadcast)
    patches.set(semantic, "binary_op_type_checking_impl", checked)
    patches.set(semantic, "computation_type_impl", _computation_type(semantic.computation_type_impl))
    patches.set(semantic, "binary_op_sanitize_overflow_impl", _sanitized(semantic))


def _block_type(original: Callable[..., None]) -> Callable[..., None]:
    known: dict[tuple[Any, ...], dict[str, Any]] = {}

    def initialise(self: Any, element_ty: Any, shape: Any) -> None:
        key = (element_ty.name, *shape)
        attributes = known.get(key)
        if attributes is None:
            original(self, element_ty, shape)
            like = tl.tensor(None, self)
            of_tensors = {"shape": like.shape, "numel": like.numel}
            setattr(self, _OF_TENSORS, of_tensors)
            if all(type(size) is int for size in key[1:]):
                known[key] = {name: value for name, value in vars(self).items() if name != "element_ty"}
        else:
            vars(self).update(attributes, element_ty=element_ty)

    return initialise


def _tensor(original: Callable[..., None]) -> Callable[..., None]:
    scalar = tl.tensor(None, tl.int32)
    of_scalars = {"shape": scalar.shape, "numel": scalar.numel}

    def initialise(self: Any, handle: Any, type: Any) -> None:
        shared = vars(type).get(_OF_TENSORS) if type.is_block() else of_scalars
        if shared is None:
            original(self, handle, type)
        else:
            vars(self).update(shared, handle=handle, type=type, dtype=type.scalar)

    return initialise


def _cast(original: Callable[..., Any]) -> Callable[..., Any]:
    def cast(input: Any, dst_ty: Any, *rounding: Any, **more: Any) -> Any:
        return input if input.dtype is dst_ty.scalar else original(input, dst_ty, *rounding, **more)

    return cast


def _broadcast(original: Callable[..., Any]) -> Callable[..., Any]:
    def broadcast(lhs: Any, rhs: Any) -> Any:
        left, right = _shape(lhs), _shape(rhs)
        if left == right:
            return lhs, rhs
        if not left or not right:
            shape = left or right
        else:
            shape = [m if n == 1 else n for n, m in zip(left, right, strict=False)]
            # What does not fit is refused by Triton.
            if len(left) != len(right) or any(m not in (1, n) for n, m in zip(shape, right, strict=True)):
                return original(lhs, rhs)
        return _spread(lhs, left, shape), _spread(rhs, right, shape)

    return broadcast


def _shape(tensor: Any) -> list[int]:
    type = tensor.type
    shape: list[int] = type.shape.values if type.is_block() else []
    return shape


def _spread(tensor: Any, before: list[int], shape: list[int]) -> Any:
    if before == shape:
        return tensor
    handle = stock.TensorHandle(np.broadcast_to(tensor.handle.data, shape), tensor.dtype)
    return tl.tensor(handle, tl.block_type(tensor.dtype, shape))


def _checked(original: Callable[..., Any], broadcast: Callable[..., Any]) -> Callable[..., Any]:
    """The operands of a binary operation: of one type of numbers they are only broadcast, but for quotients."""

    def checked(lhs: Any, rhs: Any, *rules: Any, **more: Any) -> Any:
        alike = type(lhs) is type(rhs) is tl.tensor and lhs.dtype is rhs.dtype and not lhs.dtype.is_ptr()
        if alike and len(rules) < DIV_OR_MOD and not more.get("div_or_mod"):
            return broadcast(lhs, rhs)
        return original(lhs, rhs, *rules, **more)

    return checked


def _computation_type(original: Callable[..., Any]) -> Callable[..., Any]:
    known: dict[tuple[Any, ...], Any] = {}

    def computation_type(a_ty: Any, a_is_scalar: bool, b_ty: Any, b_is_scalar: bool, div_or_mod: bool) -> Any:
        key = (a_ty.name, a_is_scalar, b_ty.name, b_is_scalar, div_or_mod)
        rule = known.get(key)
        if rule is None:
            rule = known[key] = original(a_ty, a_is_scalar, b_ty, b_is_scalar, div_or_mod)
        return rule

    return computation_type


def _sanitized(semantic: Any) -> Callable[..., None]:
    """Triton computes integers a second time in 64 bits for an assertion that it makes only when debugging."""
    original = semantic.binary_op_sanitize_overflow_impl

    def sanitize(lhs: Any, rhs: Any, binary_op: Any) -> None:
        if semantic.builder.options.debug:
            original(lhs, rhs, binary_op)

    return sanitize
