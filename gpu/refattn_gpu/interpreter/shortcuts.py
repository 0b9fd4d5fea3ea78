"""Shorter ways through the Python code of Triton that every operation takes, and that takes most of the time.

What depends on a shape is worked out once, and what would change nothing is not done: no bit of a result depends on it.
May import: triton, refattn_gpu.interpreter.patches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from triton.runtime import interpreter as stock

from refattn_gpu.interpreter.patches import Patches

tl = stock.tl
# What a tensor of a block type has, kept in the type.
_OF_TENSORS = "_refattn_of_tensors"


def shorten(patches: Patches) -> None:
    """Put them in the place of Triton's own, through `patches`."""
    patches.set(tl.tensor, "__init__", _tensor(tl.tensor.__init__))
    patches.set(tl.block_type, "__init__", _block_type(tl.block_type.__init__))
    semantic = stock.interpreter_semantic
    patches.set(semantic, "cast", _cast(semantic.cast))
    patches.set(semantic, "broadcast_impl_value", _broadcast(semantic.broadcast_impl_value))
    patches.set(semantic, "computation_type_impl", _computation_type(semantic.computation_type_impl))
    patches.set(semantic, "binary_op_sanitize_overflow_impl", _sanitized(semantic))


def _block_type(original: Callable[..., None]) -> Callable[..., None]:
    known: dict[tuple[Any, ...], dict[str, Any]] = {}

    def initialise(self: Any, element_ty: Any, shape: Any) -> None:
        key = (element_ty.name, *shape)
        found = known.get(key)
        if found is None:
            original(self, element_ty, shape)
            like = tl.tensor(None, self)
            of_tensors = {"shape": like.shape, "numel": like.numel}
            setattr(self, _OF_TENSORS, of_tensors)
            if all(type(size) is int for size in key[1:]):
                known[key] = {name: value for name, value in vars(self).items() if name != "element_ty"}
        else:
            vars(self).update(found, element_ty=element_ty)

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
        left, right = lhs.type, rhs.type
        if left.is_block() != right.is_block():
            return original(lhs, rhs)
        alike = not left.is_block() or left.shape.values == right.shape.values
        return (lhs, rhs) if alike else original(lhs, rhs)

    return broadcast


def _computation_type(original: Callable[..., Any]) -> Callable[..., Any]:
    known: dict[tuple[Any, ...], Any] = {}

    def computation_type(a_ty: Any, a_is_scalar: bool, b_ty: Any, b_is_scalar: bool, div_or_mod: bool) -> Any:
        key = (a_ty.name, a_is_scalar, b_ty.name, b_is_scalar, div_or_mod)
        found = known.get(key)
        if found is None:
            found = known[key] = original(a_ty, a_is_scalar, b_ty, b_is_scalar, div_or_mod)
        return found

    return computation_type


def _sanitized(semantic: Any) -> Callable[..., None]:
    """Triton computes integers a second time in 64 bits for an assertion that it makes only when debugging."""
    original = semantic.binary_op_sanitize_overflow_impl

    def sanitize(lhs: Any, rhs: Any, binary_op: Any) -> None:
        if semantic.builder.options.debug:
            original(lhs, rhs, binary_op)

    return sanitize
