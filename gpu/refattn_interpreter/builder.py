"""Triton's interpreter's builder with real numbers in it: what each operation of a kernel does to NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from triton._C.libtriton import interpreter as memory
from triton._C.libtriton import ir
from triton.runtime import interpreter as stock

from refattn_interpreter import arithmetic, dot, dtypes, functions, inline_asm, libdevice
from refattn_interpreter.conversions import convert
from refattn_interpreter.dtypes import DType
from refattn_interpreter.options import Options

Handle = Any  # Triton's TensorHandle: data (a NumPy array), dtype (a Triton type), attr (a dict)
_COMPARISONS = frozenset({np.less, np.less_equal, np.greater, np.greater_equal, np.equal, np.not_equal})
# Products that an addition can be fused with, of numbers and of matrices.
_PRODUCT = "refattn.product"
_DOT = "refattn.dot"


def numpy_dtype(type: Any) -> DType:
    """The NumPy dtype of a Triton type: that of its elements, or of the addresses that a pointer is."""
    scalar = type.scalar
    return np.dtype(np.uint64) if scalar.is_ptr() else dtypes.dtype_of(scalar.name)


class Builder(stock.InterpreterBuilder):  # type: ignore[misc]
    """Operations that Triton's builder gets wrong, or not at all, done as the compiled kernel does them."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.faithful = options

    def _float(self, data: Any, like: Handle) -> Handle:
        return stock.TensorHandle(self._flush(np.asarray(data)), like.dtype.scalar)

    def _flush(self, data: Any) -> Any:
        return arithmetic.flushed(data) if self.faithful.flush_subnormals else data

    # Constants. Triton's C++ builder takes them as fp32, whatever the format that they are rounded to.

    def get_fp16(self, value: float) -> Handle:
        return self.create_fp_trunc(self.get_fp32(value), stock.tl.float16)

    def get_bf16(self, value: float) -> Handle:
        return self.create_fp_trunc(self.get_fp32(value), stock.tl.bfloat16)

    # Memory: loads and stores move bits.

    def create_masked_load(
        self, ptrs: Handle, mask: Handle, other: Handle | None, *policies: Any, **more: Any
    ) -> Handle:
        element = ptrs.get_element_ty()
        number = numpy_dtype(element)
        bits = dtypes.bits_of(number)
        if bits == number:
            return super().create_masked_load(ptrs, mask, other, *policies, **more)
        fallback = np.zeros(ptrs.data.shape, number) if other is None else other.data
        return stock.TensorHandle(memory.load(ptrs.data, mask.data, fallback.view(bits), bits).view(number), element)

    def create_masked_store(self, ptrs: Handle, value: Handle, mask: Handle, *policies: Any, **more: Any) -> Any:
        del policies, more
        return memory.store(ptrs.data, value.data.view(dtypes.bits_of(value.data.dtype)), mask.data)

    def create_atomic_rmw(
        self, operation: Any, ptr: Handle, value: Handle, mask: Handle, sem: Any, scope: Any
    ) -> Handle:
        if value.data.dtype not in dtypes.NARROW:
            return super().create_atomic_rmw(operation, ptr, value, mask, sem, scope)
        # One after another: several elements may hold the same address.
        old = np.zeros_like(value.data)
        for index in np.ndindex(value.data.shape):
            if not mask.data[index]:
                continue
            place = stock.TensorHandle(ptr.data[index].reshape(1), ptr.dtype)
            old[index] = self.create_load(place, *self._no_policies()).data[0]
            new = self._atomic(operation, old[index].reshape(1), value.data[index].reshape(1))
            self.create_masked_store(place, stock.TensorHandle(new, value.dtype), self.get_int1(True))
        return stock.TensorHandle(old, value.dtype.scalar)

    def _no_policies(self) -> tuple[Any, ...]:
        # Triton 3.6 has a cache modifier and an eviction policy where 3.9 has one cache policy; is_volatile is last.
        return (None, False) if hasattr(stock.InterpreterBuilder, "get_cache_policy") else (None, None, False)

    def _atomic(self, operation: Any, old: Any, new: Any) -> Any:
        if operation == ir.ATOMIC_OP.FADD:
            return arithmetic.rounded_once(np.add, old, new)
        if operation == ir.ATOMIC_OP.XCHG:
            return new
        raise NotImplementedError(f"atomic {operation} of {old.dtype} is not interpreted: expected an addition")

    # Conversions

    def cast_impl(self, src: Handle, dst_type: Any) -> Handle:
        return stock.TensorHandle(self._flush(convert(self._flush(src.data), numpy_dtype(dst_type))), dst_type.scalar)

    def create_fp_to_fp(self, src: Handle, dst_type: Any, rounding_mode: Any) -> Handle:
        rounding: Any = "truncate" if rounding_mode == ir.ROUNDING_MODE.RTZ else "nearest"
        data = convert(self._flush(src.data), numpy_dtype(dst_type), rounding)
        return stock.TensorHandle(self._flush(data), dst_type.scalar)

    # Elementwise arithmetic

    def binary_op(self, lhs: Handle, rhs: Handle, op: Callable[..., Any]) -> Handle:
        if op in _COMPARISONS:
            return stock.TensorHandle(
                arithmetic.compared(op, self._flush(lhs.data), self._flush(rhs.data)), stock.tl.int1
            )
        if not dtypes.is_float(lhs.data.dtype):
            return super().binary_op(lhs, rhs, op)
        return self._float(arithmetic.rounded_once(op, self._flush(lhs.data), self._flush(rhs.data)), lhs)

    def create_fmul(self, lhs: Handle, rhs: Handle) -> Handle:
        product = self.binary_op(lhs, rhs, np.multiply)
        if self.faithful.fuse:
            product.set_attr(_PRODUCT, (lhs, rhs))
        return product

    def create_fadd(self, lhs: Handle, rhs: Handle) -> Handle:
        for product, addend in ((lhs, rhs), (rhs, lhs)):
            if _DOT in product.attr:
                a, b, input_precision = product.attr[_DOT]
                return self.create_dot(a, b, addend, input_precision, 1)
        # LLVM's combiner tries the first operand first.
        if _PRODUCT in lhs.attr:
            return self._fused(lhs, rhs)
        if _PRODUCT in rhs.attr:
            return self._fused(rhs, lhs)
        return self.binary_op(lhs, rhs, np.add)

    def _fused(self, product: Handle, addend: Handle) -> Handle:
        a, b = product.attr[_PRODUCT]
        return self.create_fma(a, b, addend)

    def create_fsub(self, lhs: Handle, rhs: Handle) -> Handle:
        if _PRODUCT in lhs.attr:
            return self._fused(lhs, self.create_fneg(rhs))
        if _PRODUCT in rhs.attr:
            a, b = rhs.attr[_PRODUCT]
            return self.create_fma(self.create_fneg(a), b, lhs)
        return self.binary_op(lhs, rhs, np.subtract)

    def create_fma(self, x: Handle, y: Handle, z: Handle) -> Handle:
        return self._float(arithmetic.fused(*(self._flush(each.data) for each in (x, y, z))), z)

    def create_fneg(self, arg: Handle) -> Handle:
        return stock.TensorHandle(arithmetic.negated(arg.data), arg.dtype.scalar)

    def create_fabs(self, arg: Handle) -> Handle:
        return stock.TensorHandle(np.abs(arg.data), arg.dtype.scalar)

    def create_frem(self, lhs: Handle, rhs: Handle) -> Handle:
        return self._float(arithmetic.remainder(lhs.data, rhs.data), lhs)

    # tl.maximum and tl.minimum drop NaN unless they are told propagate_nan: max.f32, and max.NaN.f32 then.

    def create_maxnumf(self, lhs: Handle, rhs: Handle) -> Handle:
        return self._float(arithmetic.larger(self._flush(lhs.data), self._flush(rhs.data)), lhs)

    def create_minnumf(self, lhs: Handle, rhs: Handle) -> Handle:
        return self._float(arithmetic.smaller(self._flush(lhs.data), self._flush(rhs.data)), lhs)

    def create_maximumf(self, lhs: Handle, rhs: Handle) -> Handle:
        return self._float(arithmetic.larger(self._flush(lhs.data), self._flush(rhs.data), propagate_nan=True), lhs)

    def create_minimumf(self, lhs: Handle, rhs: Handle) -> Handle:
        return self._float(arithmetic.smaller(self._flush(lhs.data), self._flush(rhs.data), propagate_nan=True), lhs)

    def create_clampf(self, arg: Handle, lo: Handle, hi: Handle, propagate_nans: Any) -> Handle:
        keep = propagate_nans != ir.PROPAGATE_NAN.NONE
        return self._float(arithmetic.smaller(arithmetic.larger(arg.data, lo.data, keep), hi.data, keep), arg)

    # LLVM's comparisons: an ordered one is false where an operand is NaN, an unordered one true.

    def create_fcmpONE(self, lhs: Handle, rhs: Handle) -> Handle:
        return self.binary_op(self.create_fcmpOLT(lhs, rhs), self.create_fcmpOGT(lhs, rhs), np.bitwise_or)

    def _unordered(self, lhs: Handle, rhs: Handle, op: Callable[..., Any]) -> Handle:
        holds = arithmetic.compared(op, self._flush(lhs.data), self._flush(rhs.data))
        return stock.TensorHandle(holds | np.isnan(lhs.data) | np.isnan(rhs.data), stock.tl.int1)

    def create_fcmpULT(self, lhs: Handle, rhs: Handle) -> Handle:
        return self._unordered(lhs, rhs, np.less)

    def create_fcmpUGT(self, lhs: Handle, rhs: Handle) -> Handle:
        return self._unordered(lhs, rhs, np.greater)

    def create_fcmpULE(self, lhs: Handle, rhs: Handle) -> Handle:
        return self._unordered(lhs, rhs, np.less_equal)

    def create_fcmpUGE(self, lhs: Handle, rhs: Handle) -> Handle:
        return self._unordered(lhs, rhs, np.greater_equal)

    def create_fcmpUEQ(self, lhs: Handle, rhs: Handle) -> Handle:
        return self._unordered(lhs, rhs, np.equal)

    # Functions

    def _function(self, function: functions.Function, arg: Handle) -> Handle:
        return self._float(function(self._flush(arg.data)), arg)

    def create_exp(self, arg: Handle) -> Handle:
        return self._function(functions.exp, arg)

    def create_exp2(self, arg: Handle) -> Handle:
        return self._function(functions.flushing(functions.exp2), arg)

    def create_log(self, arg: Handle) -> Handle:
        return self._function(functions.log, arg)

    def create_log2(self, arg: Handle) -> Handle:
        return self._function(functions.log2, arg)

    def create_sin(self, arg: Handle) -> Handle:
        return self._function(functions.sin, arg)

    def create_cos(self, arg: Handle) -> Handle:
        return self._function(functions.cos, arg)

    def create_sqrt(self, arg: Handle) -> Handle:
        return self._function(functions.flushing(functions.sqrt), arg)

    def create_precise_sqrt(self, arg: Handle) -> Handle:
        return self._function(functions.sqrt, arg)

    def create_rsqrt(self, arg: Handle) -> Handle:
        return self._function(functions.flushing(functions.rsqrt), arg)

    def create_erf(self, arg: Handle) -> Handle:
        return self._function(functions.erf, arg)

    def create_floor(self, arg: Handle) -> Handle:
        return self._function(functions.flushing(functions.floor), arg)

    def create_ceil(self, arg: Handle) -> Handle:
        return self._function(functions.flushing(functions.ceil), arg)

    def create_extern_elementwise(
        self, library: str, path: str, symbol: str, arguments: list[Handle], result: Any, pure: bool
    ) -> Handle:
        del library, path, pure
        values = libdevice.call(symbol, [self._flush(each.data) for each in arguments])
        return stock.TensorHandle(self._flush(convert(values, numpy_dtype(result))), result.scalar)

    def create_inline_asm(
        self, text: str, constraints: str, values: list[Handle], types: Any, pure: bool, pack: int
    ) -> Handle:
        del pure, pack
        kinds = list(types) if isinstance(types, (list, tuple)) else [types]
        outputs = inline_asm.run(
            text, constraints, [each.data for each in values], [numpy_dtype(kind) for kind in kinds]
        )
        return _Results([stock.TensorHandle(data, kind.scalar) for data, kind in zip(outputs, kinds, strict=True)])

    # Matrix products

    def create_dot(self, a: Handle, b: Handle, d: Handle, input_precision: Any, max_num_imprecise_acc: int) -> Handle:
        # The bound on imprecise accumulation limits what Hopper may lose; nothing of it is lost here.
        data = dot.dot(a.data, b.data, d.data, input_precision.name.lower(), self.faithful)
        product = stock.TensorHandle(data, d.dtype.scalar)
        # What is added to a product that starts from zero becomes its accumulator, by Triton's pass that combines them.
        if max_num_imprecise_acc == 0 and dtypes.is_float(data.dtype) and not d.data.any():
            product.set_attr(_DOT, (a, b, input_precision))
        return product

    def create_dot_scaled(self, *operands: Any, **more: Any) -> Handle:
        raise NotImplementedError(
            "tl.dot_scaled is not interpreted: expected tl.dot of operands that are scaled before"
        )


class _Results:
    """What an inline assembly returns: as an operation of MLIR, with one result a type."""

    def __init__(self, handles: list[Handle]) -> None:
        self.handles = handles

    def get_result(self, index: int) -> Handle:
        return self.handles[index]
