"""tl.reduce and tl.associative_scan on whole blocks, in the order of a warp.

Triton's interpreter replaces the reductions that it knows by NumPy's (with bits for numbers, NumPy's ways with NaN and
NumPy's order of sums) and runs the others element by element. Here every combining function is run as the kernel wrote
it, on halves of the block: x[i] with x[i + n/2], as the shuffles of a compiled reduction pair them (shfl.sync.bfly by
16, 8, 4, 2, 1; a scan with shfl.sync.up by 1, 2, 4, 8, 16). What a thread does before them depends on the layout that
the compiler picks, which cannot be known here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from triton.runtime import interpreter as stock

from refattn_interpreter.builder import Builder

Values = NDArray[Any]
Parts = tuple[Values, ...]
tl = stock.tl


class NeedsScalars(Exception):
    """A combining function asked for the truth of a block."""


_blocks_have_no_truth = False


@contextmanager
def _on_blocks() -> Iterator[None]:
    global _blocks_have_no_truth
    before, _blocks_have_no_truth = _blocks_have_no_truth, True
    try:
        yield
    finally:
        _blocks_have_no_truth = before


def truth(tensor: Any) -> bool:
    """bool() of a Triton tensor: of a scalar its value. A block counts as true, as in Triton's interpreter, but while
    a combining function runs, where asking for it decides that the function needs scalars.
    """
    data = tensor.handle.data
    if data.size == 1:
        return bool(data.item())
    if _blocks_have_no_truth:
        raise NeedsScalars
    return True


def _asked_for_truth(error: BaseException | None) -> bool:
    # Triton wraps what is raised inside a device function, once for each function on the way out.
    while error is not None and not isinstance(error, NeedsScalars):
        error = error.__cause__
    return error is not None


class _Combining:
    """A combining function of the kernel, on NumPy arrays whose first axis is the one that is combined."""

    def __init__(self, function: Any, inputs: tuple[Any, ...]) -> None:
        self.function = function
        self.types = [each.dtype for each in inputs]
        self.operation = _operation(function, self.types)
        self.scalars = False

    def __call__(self, left: Parts, right: Parts) -> Parts:
        if self.operation is not None:
            handles = (stock.TensorHandle(part, self.types[0]) for part in (left[0], right[0]))
            return (self.operation(*handles).data,)
        left, right = tuple(np.broadcast_arrays(*left)), tuple(np.broadcast_arrays(*right))
        if not self.scalars:
            try:
                with _on_blocks():
                    return self._call(left, right)
            except Exception as error:
                if not _asked_for_truth(error):
                    raise
                self.scalars = True
        combined = tuple(np.empty_like(part) for part in left)
        for index in np.ndindex(left[0].shape):
            result = self._call(_element(left, index), _element(right, index))
            for part, value in zip(combined, result, strict=True):
                part[index] = value.reshape(())
        return combined

    def _call(self, left: Parts, right: Parts) -> Parts:
        result = self.function(*map(self._tensor, left, self.types), *map(self._tensor, right, self.types))
        results = result if isinstance(result, (tuple, tl.core.tuple)) else (result,)
        return tuple(
            self._numbers(value, kind, part) for value, kind, part in zip(results, self.types, left, strict=True)
        )

    def _tensor(self, data: Values, kind: Any) -> Any:
        shape = list(data.shape)
        type = kind if data.size == 1 else tl.block_type(kind, shape)
        return tl.core.tensor(stock.TensorHandle(data.reshape(1) if data.size == 1 else data, kind), type)

    def _numbers(self, value: Any, kind: Any, like: Values) -> Values:
        tensor = stock.interpreter_semantic.cast(stock.interpreter_semantic.to_tensor(value), kind)
        return np.broadcast_to(np.asarray(tensor.handle.data).reshape(like.shape), like.shape)


def _operation(function: Any, types: list[Any]) -> Any:
    """The one operation that a combining function of Triton's own consists of, which is quicker than calling it."""
    standard = tl.standard
    names = {
        standard._sum_combine: ("create_fadd", "create_add"),
        standard._prod_combine: ("create_fmul", "create_mul"),
        standard._elementwise_max: ("create_maxnumf", "create_maxsi"),
        standard._elementwise_min: ("create_minnumf", "create_minsi"),
    }.get(function)
    if names is None or len(types) != 1:
        return None
    return getattr(stock.interpreter_builder, names[0] if types[0].is_floating() else names[1])


def _element(parts: Parts, index: tuple[int, ...]) -> Parts:
    return tuple(part[index].reshape(1) for part in parts)


def _front(inputs: tuple[Any, ...], axis: int | None) -> Parts:
    if axis is None:
        return tuple(each.handle.data.reshape(-1) for each in inputs)
    return tuple(np.moveaxis(each.handle.data, axis, 0) for each in inputs)


def _order() -> str:
    builder = stock.interpreter_builder
    return builder.faithful.reduction if isinstance(builder, Builder) else "halves"


class Reduction(stock.ReduceOps):  # type: ignore[misc]
    """tl.reduce."""

    def apply_impl(self, input: tuple[Any, ...]) -> tuple[Any, ...]:
        parts = _front(input, self.axis)
        combine = _Combining(self.combine_fn, input)
        while len(parts[0]) > 1:
            parts = self._step(parts, combine)
        return tuple(self._finished(part[0], each) for part, each in zip(parts, input, strict=True))

    def _step(self, parts: Parts, combine: _Combining) -> Parts:
        count = len(parts[0])
        if _order() == "sequential" or count % 2:
            head = combine(tuple(part[:1] for part in parts), tuple(part[1:2] for part in parts))
            return tuple(np.concatenate([first, part[2:]]) for first, part in zip(head, parts, strict=True))
        half = count // 2
        return combine(tuple(part[:half] for part in parts), tuple(part[half:] for part in parts))

    def _finished(self, data: Values, input: Any) -> Any:
        if self.keep_dims:
            rank = input.handle.data.ndim
            data = data.reshape((1,) * rank) if self.axis is None else np.expand_dims(data, self.axis)
        return self.to_tensor(data if data.shape else data[()], input.dtype)


class Scan(stock.ScanOps):  # type: ignore[misc]
    """tl.associative_scan."""

    def apply_impl(self, input: tuple[Any, ...]) -> tuple[Any, ...]:
        parts = _front(input, self.axis)
        if self.reverse:
            parts = tuple(part[::-1] for part in parts)
        combine = _Combining(self.combine_fn, input)
        parts = self._sequential(parts, combine) if _order() == "sequential" else self._doubling(parts, combine)
        if self.reverse:
            parts = tuple(part[::-1] for part in parts)
        return tuple(
            self.to_tensor(np.ascontiguousarray(np.moveaxis(part, 0, self.axis)), each.dtype)
            for part, each in zip(parts, input, strict=True)
        )

    def _doubling(self, parts: Parts, combine: _Combining) -> Parts:
        distance = 1
        while distance < len(parts[0]):
            # Every element is combined, as every lane of a warp takes part in a shuffle; the first ones keep theirs.
            shifted = combine(tuple(np.roll(part, distance, axis=0) for part in parts), parts)
            parts = tuple(
                np.concatenate([part[:distance], new[distance:]]) for part, new in zip(parts, shifted, strict=True)
            )
            distance *= 2
        return parts

    def _sequential(self, parts: Parts, combine: _Combining) -> Parts:
        rows = [tuple(part[:1] for part in parts)]
        for i in range(1, len(parts[0])):
            rows.append(combine(rows[-1], tuple(part[i : i + 1] for part in parts)))
        return tuple(np.concatenate(column) for column in zip(*rows, strict=True))
