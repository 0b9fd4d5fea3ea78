"""What the interpreter is told of the machine that it stands for."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from refattn.errors import InvalidType, InvalidValue


@dataclass(frozen=True)
class Options:
    """The arithmetic of the GPU where Triton's source leaves it open.

    capability        compute capability that kernels are told: (9, 0) is Hopper
    flush_subnormals  fp32 operations replace subnormal operands and results by zeros of the same sign, as code compiled
                      with -ftz does; Triton compiles without it (a few instructions flush by themselves, whatever is
                      said here: see refattn_interpreter.functions)
    fuse              each product that is added or subtracted at once is contracted to a fused multiply-add, as Triton
                      up to 3.9 does unless it is told enable_fp_fusion=False
    dot               "mma": sums of 16 products (8 of tf32, 32 of fp8) enter the accumulator one after another, as one
                      tensor core instruction takes them; "exact": all products at once
    dot_rounding      how such a sum is rounded into the accumulator: "nearest", or "truncate" (towards zero)
    tf32_operands     how fp32 operands become tf32: "truncate", as tensor cores ignore the low 13 bits, or "nearest"
    reduction         order of reductions: "halves" adds the upper half of a block to its lower half until one is left,
                      as the butterfly of a warp does; "sequential" goes from the first element to the last
    """

    capability: tuple[int, int] = (9, 0)
    flush_subnormals: bool = False
    fuse: bool = False
    dot: Literal["mma", "exact"] = "mma"
    dot_rounding: Literal["nearest", "truncate"] = "nearest"
    tf32_operands: Literal["truncate", "nearest"] = "truncate"
    reduction: Literal["halves", "sequential"] = "halves"

    def __post_init__(self) -> None:
        for name, choices in {
            "dot": ("mma", "exact"),
            "dot_rounding": ("nearest", "truncate"),
            "tf32_operands": ("truncate", "nearest"),
            "reduction": ("halves", "sequential"),
        }.items():
            if getattr(self, name) not in choices:
                raise InvalidValue(f"{name} is {getattr(self, name)!r}: expected {' or '.join(map(repr, choices))}")
        for name in ("flush_subnormals", "fuse"):
            if not isinstance(getattr(self, name), bool):
                raise InvalidType(f"{name} is {getattr(self, name)!r}: expected True or False")
        pair = self.capability
        if not (
            isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(part, int) and part >= 0 for part in pair)
        ):
            raise InvalidValue(f"capability is {pair!r}: expected a pair such as (9, 0)")

    def replace(self, **changes: Any) -> Options:
        """The same options with some changed. Raises InvalidValue."""
        return dataclasses.replace(self, **changes)
