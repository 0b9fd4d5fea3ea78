"""What is compared: kernels of one operation each, and their inputs.

Importing this module defines the kernels: under TRITON_INTERPRET they are interpreted, and compiled otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from refattn_interpreter.compare import kernels
from refattn_interpreter.compare.launching import run
from refattn_interpreter.compare.numbers import BF16, E4M3, E5M2, FP16, FP32, Numbers, drawn, padded, pairs

FORMATS = {"bf16": BF16, "fp16": FP16, "fp32": FP32}
NARROW = {"bf16": BF16, "fp16": FP16, "e4m3": E4M3, "e5m2": E5M2}
COUNT = 400


@dataclass(frozen=True)
class Operation:
    """One program of a kernel: its inputs, what it writes, its constants."""

    name: str
    kernel: Any
    inputs: tuple[Numbers, ...]
    output: np.dtype[Any] | None = None
    shape: Any = None
    constants: dict[str, Any] = field(default_factory=dict)

    def result(self, device: str) -> Numbers:
        """What it writes."""
        return run(self.kernel, *self.inputs, output=self.output, shape=self.shape, device=device, **self.constants)


def operations() -> Iterator[Operation]:
    """All of them; names are unique."""
    yield from elementwise()
    yield from conversions()
    yield from reductions()
    yield from products()
    yield from composed()


def elementwise() -> Iterator[Operation]:
    """Of one number and of two."""
    for name, dtype in FORMATS.items():
        a, b = (padded(each) for each in pairs(dtype, COUNT, seed=1))
        for operation in ("add", "subtract", "multiply", "maximum", "maximum_nan", "minimum", "clamp", "where"):
            yield Operation(f"{operation} {name}", kernels.binary, (a, b), constants={"OP": operation})
        for operation in ("abs", "negate"):
            yield Operation(f"{operation} {name}", kernels.unary, (a,), constants={"OP": operation})
    a, b = (padded(each) for each in pairs(FP32, COUNT, seed=2))
    for operation in ("divide", "remainder"):
        yield Operation(f"{operation} fp32", kernels.binary, (a, b), constants={"OP": operation})
    # All binades, and numbers of an ordinary size.
    usual = np.random.default_rng(3).standard_normal(COUNT).astype(np.float32) * np.float32(8)
    x = padded(np.concatenate([drawn(FP32, COUNT, seed=3), usual]))
    for operation in (
        "exp",
        "exp2",
        "log",
        "log2",
        "sqrt",
        "sqrt_rn",
        "rsqrt",
        "erf",
        "floor",
        "ceil",
        "sigmoid",
        "tanh",
    ):
        yield Operation(f"{operation} fp32", kernels.unary, (x,), constants={"OP": operation})
    yield Operation("ex2.approx.ftz.f32", kernels.assembly, (x,))


def conversions() -> Iterator[Operation]:
    """From fp32 down, in both roundings, and from the narrow formats up."""
    x = padded(drawn(FP32, 2 * COUNT, seed=4))
    for name, dtype in NARROW.items():
        for rounding in (None, "rtz") if dtype.itemsize == 2 else (None,):
            label = f"fp32 to {name}{' towards zero' if rounding else ''}"
            yield Operation(label, kernels.cast, (x,), dtype, constants={"ROUNDING": rounding})
        up = padded(drawn(dtype, COUNT, seed=5))
        yield Operation(f"{name} to fp32", kernels.cast, (up,), FP32, constants={"ROUNDING": None})
    for source, target in (("bf16", "fp16"), ("fp16", "bf16")):
        y = padded(drawn(NARROW[source], COUNT, seed=6))
        label = f"{source} to {target}"
        yield Operation(label, kernels.cast, (y,), NARROW[target], constants={"ROUNDING": None})


def reductions() -> Iterator[Operation]:
    """Along rows, and scans."""
    generator = np.random.default_rng(7)
    for name, dtype in FORMATS.items():
        x = generator.standard_normal((8, 64)).astype(dtype)
        holes = x.copy()
        holes[generator.random(x.shape) < 0.1] = np.nan
        for operation in ("max", "min", "sum"):
            constants = {"M": 64, "OP": operation}
            yield Operation(f"{operation} of rows {name}", kernels.reduce, (x,), shape=8, constants=constants)
        for operation in ("max", "min"):
            constants = {"M": 64, "OP": operation}
            label = f"{operation} of rows with NaN {name}"
            yield Operation(label, kernels.reduce, (holes,), shape=8, constants=constants)
        for operation in ("argmax", "argmin"):
            constants = {"M": 64, "OP": operation}
            integers = np.dtype(np.int32)
            yield Operation(f"{operation} of rows {name}", kernels.reduce, (x,), integers, 8, constants)
        row = x.ravel()[:64].copy()
        yield Operation(f"sum {name}", kernels.total, (row,), shape=1)
        for reverse in (False, True):
            constants = {"OP": "sum", "REVERSE": reverse}
            label = f"cumulative sum{' from the end' if reverse else ''} {name}"
            yield Operation(label, kernels.scan, (row,), constants=constants)
        yield Operation(f"sort {name}", kernels.sort, (row,))
    yield Operation("reduction of pairs fp32", kernels.online, (row,), shape=2)


def products() -> Iterator[Operation]:
    """tl.dot, with an accumulator of the products' size and with a large one."""
    generator = np.random.default_rng(8)
    for name, dtype in {**NARROW, "fp32": FP32}.items():
        for precision in ("ieee", "tf32", "tf32x3") if name == "fp32" else ("ieee",):
            for inner in (32, 128):
                for large in (False, True):
                    a = generator.standard_normal((16, inner)).astype(dtype)
                    b = generator.standard_normal((inner, 16)).astype(dtype)
                    c = (generator.standard_normal((16, 16)) * (1000 if large else 1)).astype(np.float32)
                    label = f"dot {name}{f' {precision}' if name == 'fp32' else ''} K={inner}"
                    constants = {"K": inner, "PRECISION": precision}
                    yield Operation(
                        f"{label}{' large accumulator' if large else ''}",
                        kernels.product,
                        (a, b, c),
                        FP32,
                        (16, 16),
                        constants,
                    )
    a, b = generator.standard_normal((16, 64)).astype(BF16), generator.standard_normal((64, 16)).astype(BF16)
    c = (100 * generator.standard_normal((16, 16))).astype(np.float32)
    for first in (False, True):
        label = f"{'dot plus matrix' if first else 'matrix plus dot'} bf16"
        yield Operation(label, kernels.added_product, (a, b, c), FP32, (16, 16), {"K": 64, "FIRST": first})


def composed() -> Iterator[Operation]:
    """What compilers may contract, and memory."""
    x, y, z = (padded(each) for each in (*pairs(FP32, COUNT, seed=9), pairs(FP32, COUNT, seed=11)[0]))
    for subtract in (False, True):
        label = f"{'c - a b' if subtract else 'a b + c'} fp32"
        yield Operation(label, kernels.multiply_add, (x, y, z), constants={"SUBTRACT": subtract})
    yield Operation("and, or, not of blocks", kernels.logic, (x, y))
    yield Operation("subnormal products fp32", kernels.binary, subnormal(), constants={"OP": "multiply"})


def subnormal() -> tuple[Numbers, Numbers]:
    """Pairs whose product is subnormal, and subnormal numbers times 1."""
    generator = np.random.default_rng(12)
    a = np.exp2(generator.uniform(-80, -60, 64)).astype(np.float32)
    b = np.exp2(generator.uniform(-80, -60, 64)).astype(np.float32)
    tiny = (generator.integers(1, 1 << 23, 64).astype(np.uint32)).view(np.float32)
    return np.concatenate([a, tiny]), np.concatenate([b, np.ones(64, np.float32)])
