"""One call of a kernel: its inputs, its results, what it raises and whether it changed its inputs."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from refattn.adapters.libraries import Library, ReadBack
from refattn.adapters.memory import Block, Layout
from refattn.errors import TargetError
from refattn.numbers import formats
from refattn.numbers.formats import Array, Format

FailureKind = Literal["raised", "type", "shape", "dtype", "inputs", "timeout", "signature"]


class CallFailure(TargetError):
    """A call without a result that can be checked.

    kind: "raised" an exception; "signature" the convention or the kernel has no such argument or result; "type",
    "shape", "dtype" of a result; "inputs" were changed or overrun; "timeout".
    """

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(message)
        self.kind: FailureKind = kind

    @property
    def message(self) -> str:
        """One sentence."""
        return str(self)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a kernel returned, as float64 numbers in the layout of the case: (B, H, N, D) and (B, H, Nq).

    scales (B, H, Nq, blocks) are those of a kernel that approximates. gradients has the keys dq, dk, dv, dbias, dsinks
    that the kernel returned. raw holds the same quantities (out, lse, dq, ...) as unsigned integers, for comparisons
    bit by bit; formats holds the format of each.
    """

    out: Array | None
    lse: Array | None = None
    scales: Array | None = None
    gradients: Mapping[str, Array] = field(default_factory=dict)
    raw: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    formats: Mapping[str, Format] = field(default_factory=dict)

    def same_bits(self, other: Outcome) -> bool:
        """True when both hold the same quantities, equal bit for bit (NaN's payload and the sign of zero included)."""
        return self.raw.keys() == other.raw.keys() and all(
            self.formats[name] == other.formats[name] and np.array_equal(bits, other.raw[name])
            for name, bits in self.raw.items()
        )


class Session:
    """The inputs and results of one call, in one library and layout."""

    def __init__(self, library: Library, format: Format, layout: Layout = "contiguous") -> None:
        self.library = library
        self.format = format
        self.layout = layout
        self._given: list[tuple[str, Block, ReadBack]] = []
        self._watched: list[tuple[str, NDArray[Any], NDArray[Any]]] = []
        self._values: dict[str, Array] = {}
        self._raw: dict[str, NDArray[Any]] = {}
        self._formats: dict[str, Format] = {}

    def give(self, name: str, values: Array, format: Format | None = None, *, contiguous: bool = False) -> Any:
        """A fresh array for the kernel, in the session's layout; `name` appears in messages."""
        block = Block.of(values, format or self.format, "contiguous" if contiguous else self.layout)
        array, read_back = self.library.place(block)
        self._given.append((name, block, read_back))
        return array

    def watch(self, name: str, array: NDArray[Any] | None) -> None:
        """Copy an array that the kernel can reach; `finish` checks that it did not change."""
        if array is not None:
            self._watched.append((name, array, array.copy()))

    def invoke(self, function: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
        """Call the kernel; whatever it raises becomes a CallFailure of kind "raised" or "signature"."""
        self._poison()
        try:
            return function(*args, **keywords)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise _failure(error) from error

    def _poison(self) -> None:
        """Leave NaN in freed memory of the inputs' sizes: a kernel that returns memory it never wrote is likely to
        return it.
        """
        for _, block, _ in self._given:
            self.library.poison(block)

    def receive(
        self,
        name: str,
        value: Any,
        shape: tuple[int, ...],
        allowed: tuple[Format, ...],
        axes: tuple[int, ...] | None = None,
    ) -> Array:
        """Check and keep a result: its type, shape and dtype; `axes` then transposes it to the case's layout."""
        if not self.library.owns(value):
            kind = type(value)
            raise CallFailure(
                "type", f"the kernel returned {kind.__module__}.{kind.__name__} as {name}: expected {self._array()}"
            )
        actual = tuple(int(n) for n in value.shape)
        if actual != shape:
            raise CallFailure("shape", f"the kernel returned {name} of shape {actual}: expected {shape}")
        array = self.library.read(value)
        format = next((format for format in allowed if format.storage == array.dtype), None)
        if format is None:
            names = " or ".join(dict.fromkeys(format.storage.name for format in allowed))
            raise CallFailure("dtype", f"the kernel returned {name} in {array.dtype.name}: expected {names}")
        if axes is not None:
            array = array.transpose(axes)
        array = np.ascontiguousarray(array).reshape(array.shape)
        self._raw[name] = array.view(f"u{array.dtype.itemsize}").copy()
        self._formats[name] = format
        self._values[name] = array.astype(np.float64)
        return self._values[name]

    def finish(self) -> Outcome:
        """The outcome, after checking that the inputs are as they were. Raises CallFailure of kind "inputs"."""
        for name, block, read_back in self._given:
            damage = block.damage(read_back())
            if damage is not None:
                raise CallFailure("inputs", f"the kernel left its input {name} {damage}: expected it untouched")
        for name, array, before in self._watched:
            if not np.array_equal(array, before, equal_nan=array.dtype.kind == "f"):
                np.copyto(array, before)
                raise CallFailure("inputs", f"the kernel left spec.{name} changed: expected it untouched")
        main = {name: self._values.get(name) for name in ("out", "lse", "scales")}
        gradients = {name: values for name, values in self._values.items() if name not in main}
        return Outcome(**main, gradients=gradients, raw=self._raw, formats=self._formats)

    def wider(self) -> tuple[Format, ...]:
        """The session's format and those that hold every number of it: the formats of gradients and log-sum-exps."""
        mine = self.format
        # tf32 has no dtype of its own: an array of float32 is in fp32.
        stored = (f for f in formats.ALL if f is not formats.tf32)
        return (mine, *(f for f in stored if f.precision >= mine.precision and f.emax >= mine.emax))

    def _array(self) -> str:
        return {"numpy": "a NumPy array", "torch": "a torch.Tensor", "jax": "a jax.Array"}[self.library.name]


def _failure(error: BaseException) -> CallFailure:
    frames = traceback.extract_tb(error.__traceback__)[1:]
    text = (str(error).strip().splitlines() or [""])[0]
    what = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if isinstance(error, TypeError) and not frames:
        return CallFailure("signature", f"the kernel cannot be called this way: {what}")
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno}, in {frames[-1].name})" if frames else ""
    return CallFailure("raised", f"the kernel raised {what}{where}")
