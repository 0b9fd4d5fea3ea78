"""How a kernel computes: the format and the error of every stage, knowing nothing of inputs and shapes."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

from refattn.errors import InvalidValue
from refattn.numbers import formats
from refattn.numbers.formats import Format


@dataclass(frozen=True)
class Stage:
    """A format and the way results are rounded into it ("nearest", or "truncate": towards zero)."""

    format: Format
    rounding: Literal["nearest", "truncate"] = "nearest"

    @property
    def unit(self) -> float:
        """The largest relative error of one rounding: u, or 2u when truncating."""
        u = self.format.unit_roundoff
        return u if self.rounding == "nearest" else 2 * u

    @property
    def mean_square(self) -> float:
        """Mean squared relative error of one rounding when significands are log-uniform: u^2 / (8 ln 2), or 4 times
        as much when truncating.
        """
        return self.unit**2 / (8 * math.log(2.0))

    @property
    def mean(self) -> float:
        """Mean relative error of one rounding when significands are log-uniform: -2u / (4 ln 2) when truncating."""
        return 0.0 if self.rounding == "nearest" else -self.unit / (4 * math.log(2.0))


@dataclass(frozen=True)
class Arithmetic:
    """The contract that a kernel declares.

    inputs         format of Q, K, V
    dot            accumulation of Q K^T
    scale_query    True if Q is multiplied by the scale and rounded to `inputs` before the product
    scores         format in which scores are held while scale, softcap and bias are applied, and the maximum subtracted
    exponent       "subtract": exp(fl(s - m)); "subtract_exp2": exp2(fl(fl(s - m) log2(e))); "fma":
                   exp2(fma(s, c, -fl(m c))) with c = scale * log2(e), whose argument errs in proportion to |m|, not to
                   |s - m|
    exp_ulps       error of the exponential in ulps of `scores.format`
    exp_relative   relative error of a polynomial exponential, on top of exp_ulps
    tanh_ulps      error of the softcap's tanh in ulps of `scores.format`
    normaliser     accumulation of the row sum
    row_sum        format in which the finished row sum is kept
    probabilities  format of P as the operand of P V
    cast           whether P is cast "before" or "after" it is divided by the row sum
    sum_of_cast    True if the row sum adds the cast P and not the P before the cast
    accumulator    accumulation of P V, and of the products with rescaling factors
    chained        True if the products of P V are added one by one to what the accumulator holds of the tiles before,
                   False if those of a tile are first added up among themselves
    output         format of the result
    lse            format in which the log-sum-exp is computed and returned; log_ulps is the logarithm's error there
    lag            how far below a row's largest score, in nats, the reference that exponents are taken from may lie
    tile           keys taken at a time, after each of which the accumulator may be rescaled; None is all at once
    gradient_sum   format to which dQ, dK and dV are rounded after every `gradient_tile` queries or keys
    group_sum      format in which dK and dV of the query heads that share a key-value head are added up
    splits         parts into which the keys may be divided, each with its own log-sum-exp, to be combined at the end
    split_keys     keys of a part, or the number of which they are a multiple; None divides the tiles evenly
    flush_to_zero  subnormal results of every stage may be replaced by zero
    """

    name: str
    inputs: Format
    dot: Stage
    scores: Stage
    normaliser: Stage
    row_sum: Stage
    probabilities: Stage
    accumulator: Stage
    output: Stage
    lse: Stage
    group_sum: Stage
    gradient_sum: Stage
    scale_query: bool = False
    exponent: Literal["subtract", "subtract_exp2", "fma"] = "subtract"
    exp_ulps: float = 1.0
    exp_relative: float = 0.0
    tanh_ulps: float = 4.0
    log_ulps: float = 2.0
    cast: Literal["before", "after"] = "before"
    sum_of_cast: bool = False
    chained: bool = False
    lag: float = 0.0
    tile: int | None = 64
    splits: int = 1
    split_keys: int | None = None
    gradient_tile: int = 64
    flush_to_zero: bool = False

    def __post_init__(self) -> None:
        for name in ("tile", "split_keys"):
            keys = getattr(self, name)
            if keys is not None and keys < 1:
                raise InvalidValue(f"{name} is {keys!r}: expected a positive number of keys or None")
        for name in ("splits", "gradient_tile"):
            if getattr(self, name) < 1:
                raise InvalidValue(f"{name} is {getattr(self, name)!r}: expected a positive number")
        for name in ("exp_ulps", "exp_relative", "tanh_ulps", "log_ulps", "lag"):
            value = getattr(self, name)
            if not 0.0 <= value < float("inf"):
                raise InvalidValue(f"{name} is {value!r}: expected a finite number of at least 0")

    @classmethod
    def flash(cls, dtype: Any, **changes: Any) -> Arithmetic:
        """A tiled kernel on 8- or 16-bit inputs: scores, row sum and accumulator in fp32, P cast to the inputs' format
        before normalising; fp32 and fp64 inputs keep their own format throughout.
        """
        inputs = formats.get(dtype)
        wide = Stage(inputs if inputs.precision >= formats.fp32.precision else formats.fp32)
        narrow = Stage(inputs)
        base = cls(
            name=f"flash({inputs.name})",
            inputs=inputs,
            dot=wide,
            scores=wide,
            normaliser=wide,
            row_sum=wide,
            probabilities=narrow,
            accumulator=wide,
            output=narrow,
            lse=wide,
            group_sum=wide,
            gradient_sum=wide,
        )
        return base.replace(**changes)

    @classmethod
    def naive(cls, dtype: Any, **changes: Any) -> Arithmetic:
        """Softmax of a stored score matrix: every stored intermediate in the inputs' format, sums in fp32 or wider, P
        cast after normalising.
        """
        inputs = formats.get(dtype)
        return cls.flash(dtype, name=f"naive({inputs.name})", scores=Stage(inputs), cast="after", tile=None).replace(
            **changes
        )

    @classmethod
    def float64(cls, **changes: Any) -> Arithmetic:
        """Everything in float64."""
        return cls.flash("fp64", name="float64").replace(**changes)

    def replace(self, **changes: Any) -> Arithmetic:
        """A copy with some stages changed; a Format or a format's name stands for a Stage that rounds to nearest.

        Raises InvalidValue when a stage's name is not known.
        """
        known = {field.name: field for field in dataclasses.fields(self)}
        for name, value in changes.items():
            if name not in known:
                raise InvalidValue(f"Arithmetic has no stage {name!r}: expected one of {', '.join(known)}")
            if known[name].type == "Stage" and not isinstance(value, Stage):
                changes[name] = Stage(formats.get(value))
        if "inputs" in changes:
            changes["inputs"] = formats.get(changes["inputs"])
        return dataclasses.replace(self, **changes)

    @property
    def exp_error(self) -> float:
        """Relative error of the exponential: an ulp is at most 2u of the value."""
        return self.exp_ulps * 2 * self.scores.format.unit_roundoff + self.exp_relative

    @property
    def row_sum_error(self) -> float:
        """Relative error of keeping the finished row sum: none in the format that it was added up in."""
        return 0.0 if self.row_sum.format.precision >= self.normaliser.format.precision else self.row_sum.unit

    @property
    def log_error(self) -> float:
        """Relative error of the logarithm in the log-sum-exp."""
        return self.log_ulps * 2 * self.lse.format.unit_roundoff
