"""The options of the attention kernels that change their arithmetic, what they then declare, and the reverse."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from refattn.contract.arithmetic import Arithmetic, Stage
from refattn.errors import InvalidValue
from refattn.models.exp2 import EVALUATION_ULPS, MAX_RELATIVE_ERROR
from refattn.numbers import formats

# Degrees of refattn.models.exp2 that the kernels have.
DEGREES = (3, 4, 5)
HARDWARE_ULPS = 2.0
TF32 = Stage(formats.tf32, "truncate")
STAGES = (
    *("dot", "scores", "normaliser", "row_sum", "probabilities", "accumulator", "output", "lse", "group_sum"),
    "gradient_sum",
)
AT_LEAST = ("exp_ulps", "exp_relative", "tanh_ulps", "log_ulps", "lag", "flush_to_zero")
EXACTLY = ("inputs", "exponent", "scale_query", "cast", "sum_of_cast", "chained")


@dataclass(frozen=True)
class Numerics:
    """What of the kernels' arithmetic can be chosen.

    rescale_threshold   the running maximum stays where it would grow by at most this many powers of two
    exp_degree          degree of the polynomial of the weights' exponential, 3, 4 or 5; 0 is the hardware's instruction
    tf32                products of fp32 operands are taken of their leading 11 bits
    """

    rescale_threshold: float = 0.0
    exp_degree: int = 0
    tf32: bool = False

    def __post_init__(self) -> None:
        if not 0.0 <= self.rescale_threshold < 64.0:
            raise InvalidValue(f"rescale_threshold is {self.rescale_threshold!r}: expected a number from 0 to below 64")
        if self.exp_degree not in (0, *DEGREES):
            raise InvalidValue(f"exp_degree is {self.exp_degree!r}: expected 0, 3, 4 or 5")

    @property
    def flags(self) -> dict[str, Any]:
        """What both passes are compiled for; products are contracted with sums, as exponent="fma" says."""
        return {
            "DEGREE": self.exp_degree,
            "PRECISION": "tf32" if self.tf32 else "ieee",
            "enable_fp_fusion": True,
        }

    def arithmetic(self, format: Any, tile: int, name: str = "refattn_gpu") -> Arithmetic:
        """The contract that the kernels honour on inputs of a format, taking `tile` keys at a time.

        Matrix units truncate the sums of products; without them, on fp32 operands, a product is a chain of fused
        multiply-adds into the accumulator. exp2 and log2 are the hardware's, of 2 ulp, and flush subnormals. With tf32
        both operands of a product are truncated, which a sum in tf32 of at least as many terms allows for.
        """
        inputs = formats.get(format)
        narrow = self.tf32 and inputs is formats.fp32
        chained = inputs is formats.fp32 and not narrow
        rounding: Literal["nearest", "truncate"] = "nearest" if chained else "truncate"
        wide = Stage(formats.tf32 if narrow else Arithmetic.flash(inputs).accumulator.format, rounding)
        contract = Arithmetic.flash(
            inputs,
            name=f"{name}({inputs.name})",
            dot=wide,
            accumulator=wide,
            chained=chained,
            exponent="fma",
            exp_ulps=HARDWARE_ULPS,
            lag=self.rescale_threshold * math.log(2.0),
            tanh_ulps=8.0,
            log_ulps=4.0,
            tile=tile,
            flush_to_zero=True,
        )
        if narrow:
            contract = contract.replace(probabilities=wide)
        if self.exp_degree:
            ulps, relative = EVALUATION_ULPS, MAX_RELATIVE_ERROR[self.exp_degree]
            contract = contract.replace(exp_ulps=max(HARDWARE_ULPS, ulps), exp_relative=relative)
        return contract

    @classmethod
    def for_contract(cls, arithmetic: Arithmetic, tile: int) -> Numerics:
        """The fastest options with which kernels that take `tile` keys at a time honour a contract.

        Raises InvalidValue, naming the stage, where there are none.
        """
        degree = 0
        if arithmetic.exp_relative and arithmetic.exp_ulps >= EVALUATION_ULPS:
            degree = next((n for n in DEGREES if MAX_RELATIVE_ERROR[n] <= arithmetic.exp_relative), 0)
        # A little below, as the way back to nats rounds.
        threshold = min(arithmetic.lag / math.log(2.0) * (1 - 2**-40), 63.0)
        stages = (arithmetic.dot, arithmetic.accumulator, arithmetic.probabilities)
        tf32 = arithmetic.inputs is formats.fp32 and all(as_accurate(TF32, stage) for stage in stages)
        numerics = cls(threshold, degree, tf32)
        numerics.check(arithmetic, tile)
        return numerics

    def check(self, arithmetic: Arithmetic, tile: int) -> None:
        """Raises InvalidValue where the kernels with these options do not honour a contract, naming the stage."""
        mine = self.arithmetic(arithmetic.inputs, tile)
        for name in EXACTLY:
            if getattr(arithmetic, name) != getattr(mine, name):
                refuse(arithmetic, name, mine)
        for name in AT_LEAST:
            if getattr(arithmetic, name) < getattr(mine, name):
                refuse(arithmetic, name, mine)
        for name in STAGES:
            if not as_accurate(getattr(mine, name), getattr(arithmetic, name)):
                refuse(arithmetic, name, mine)
        if arithmetic.output.format != mine.output.format:
            refuse(arithmetic, "output", mine)
        if arithmetic.tile is None or arithmetic.tile > tile:
            refuse(arithmetic, "tile", mine)


def as_accurate(mine: Stage, wanted: Stage) -> bool:
    """True if the stage `mine` rounds at least as accurately as `wanted` asks."""
    precise = mine.unit <= wanted.unit and mine.format.precision >= wanted.format.precision
    return precise and (mine.rounding == wanted.rounding or mine.unit <= wanted.unit / 2)


def refuse(arithmetic: Arithmetic, name: str, mine: Arithmetic) -> None:
    """Raises InvalidValue, saying what the kernels do at a stage."""
    wanted, done = (describe(getattr(x, name)) for x in (arithmetic, mine))
    raise InvalidValue(f"arithmetic.{name} is {wanted}: expected {done}, which is what the kernels do")


def describe(value: Any) -> str:
    """A stage, a format or a number, in a few words."""
    if isinstance(value, Stage):
        return (
            f"{value.format.name}, rounded to {value.rounding}"
            if value.rounding == "nearest"
            else (f"{value.format.name}, truncated")
        )
    return str(getattr(value, "name", None) or repr(value))
