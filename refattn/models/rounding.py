"""Arithmetic with one rounding format per stage, on values held in float64.

Every + - * / of two numbers of at most 25 bits, done in float64 and then rounded, is the correctly rounded operation:
the double rounding is innocuous (Figueroa 1995: 53 >= 2 * 25 + 2). Only long sums need care: a sum with an fp32
accumulator is done in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from refattn.contract.arithmetic import Arithmetic, Stage
from refattn.numbers import formats
from refattn.numbers.formats import Array, Format


@dataclass(frozen=True)
class Rounder:
    """Rounds float64-held values into a stage: `rounder(x)`, and sums and products accumulated in that stage."""

    stage: Stage
    flush_to_zero: bool = False

    @property
    def format(self) -> Format:
        """The stage's format."""
        return self.stage.format

    @property
    def _native(self) -> Any:
        """The NumPy type whose own additions are this stage's, or None."""
        if self.stage.rounding == "nearest" and not self.flush_to_zero:
            return {"fp32": np.float32, "fp64": np.float64}.get(self.format.name)
        return None

    def __call__(self, x: Any) -> Array:
        """Round: x (float64, any shape) to the nearest number of the format, or towards zero when truncating."""
        values = np.asarray(x, dtype=np.float64)
        if self.format.name == "fp64":
            rounded = values
        elif self.stage.rounding == "nearest" and self.format.name in ("fp32", "fp16"):
            rounded = values.astype(self.format.storage).astype(np.float64)
        else:
            rounded = self._narrow(values)
        if self.flush_to_zero:
            subnormal = np.abs(rounded) < self.format.smallest_normal
            rounded = np.where(subnormal, np.copysign(0.0, rounded), rounded)
        return rounded

    def _narrow(self, values: Array) -> Array:
        storage = self.format.storage
        if self.stage.rounding == "nearest" and storage.itemsize < 4:
            # ml_dtypes rounds float64 twice, through float32; it rounds numbers of fp32 once, and fast.
            single = values.astype(np.float32)
            if np.array_equal(single, values):
                return single.astype(storage).astype(np.float64)
        return self.format.round(values, self.stage.rounding)

    def product(self, a: Array, b: Array, start: Array | None = None) -> Array:
        """The matrix product a @ b, (..., m, n) @ (..., n, p), accumulated in the stage.

        fp32 and fp64 sum in whatever order the BLAS library likes; other stages, and a product that is added to a
        `start`, add one term after another, each exact product being rounded into the accumulator as by a fused
        multiply-add.
        """
        if start is not None:
            for n in range(a.shape[-1]):
                start = self.fma(a[..., :, n, None], b[..., n, None, :], start)
            return start
        native = self._native
        if native is not None:
            return np.asarray(np.matmul(a.astype(native), b.astype(native)), dtype=np.float64)
        total = np.zeros((*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]))
        for n in range(a.shape[-1]):
            total = self(total + a[..., :, n, None] * b[..., n, None, :])
        return total

    def sum(self, x: Array, axis: int = -1) -> Array:
        """The sum along an axis, accumulated in the stage: pairwise (fp32, fp64) or one term after another."""
        native = self._native
        if native is not None:
            return np.asarray(x.astype(native).sum(axis=axis, dtype=native), dtype=np.float64)
        terms = np.moveaxis(x, axis, 0)
        total = np.zeros(terms.shape[1:])
        for term in terms:
            total = self(total + term)
        return total

    def fma(self, a: Any, b: Any, c: Any) -> Array:
        """a * b + c with a single rounding (in fp64, with an error of one rounding and 2**-104)."""
        x, y, z = (np.asarray(operand, np.float64) for operand in (a, b, c))
        product, low = (x * y, 0.0) if self.format.precision <= 26 else _two_product(x, y)
        head, tail = _two_sum(product, z)
        finite = np.isfinite(head) & np.isfinite(tail)
        if self.stage.rounding == "truncate":
            return self(np.where(finite, head + (tail + low), head))
        rounded = self.format.round_sum(head, np.where(finite, tail + low, 0.0))
        return self(rounded if self.format.precision < 53 else np.where(finite, head + (tail + low), head))


@dataclass(frozen=True)
class Stages:
    """The rounders of an Arithmetic's stages.

    `constant` rounds scale factors and biases, which kernels store in fp32 (fp64 kernels in fp64), however narrow the
    scores.
    """

    inputs: Rounder
    dot: Rounder
    scores: Rounder
    normaliser: Rounder
    probabilities: Rounder
    accumulator: Rounder
    output: Rounder
    lse: Rounder
    group_sum: Rounder
    constant: Rounder

    @staticmethod
    @lru_cache(maxsize=64)
    def of(arithmetic: Arithmetic) -> Stages:
        """The rounders of `arithmetic`."""
        flush = arithmetic.flush_to_zero
        wide = formats.fp64 if arithmetic.scores.format.name == "fp64" else formats.fp32
        return Stages(
            inputs=Rounder(Stage(arithmetic.inputs), flush),
            dot=Rounder(arithmetic.dot, flush),
            scores=Rounder(arithmetic.scores, flush),
            normaliser=Rounder(arithmetic.normaliser, flush),
            probabilities=Rounder(arithmetic.probabilities, flush),
            accumulator=Rounder(arithmetic.accumulator, flush),
            output=Rounder(arithmetic.output, flush),
            lse=Rounder(arithmetic.lse, flush),
            group_sum=Rounder(arithmetic.group_sum, flush),
            constant=Rounder(Stage(wide)),
        )


def _two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    head = a + b
    back = head - a
    return head, (a - (head - back)) + (b - back)


def _two_product(a: Array, b: Array) -> tuple[Array, Array]:
    """Dekker's exact product: a * b = head + tail, if nothing overflows."""
    head = a * b
    a_high, a_low = _split(a)
    b_high, b_low = _split(b)
    return head, ((a_high * b_high - head) + a_high * b_low + a_low * b_high) + a_low * b_low


def _split(a: Array) -> tuple[Array, Array]:
    shifted = a * (2.0**27 + 1.0)
    high = shifted - (shifted - a)
    return high, a - high
