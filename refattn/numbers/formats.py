"""Binary floating-point formats: unit roundoff, exact rounding, ulp.

Values are held in float64 arrays, in which every number of every format here is exact; rounding is exact too,
because it divides by a power of two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from refattn.errors import InvalidValue

Array = NDArray[np.float64]
Rounding = Literal["nearest", "truncate", "up", "down"]


@dataclass(frozen=True)
class Format:
    """A binary floating-point format with gradual underflow.

    `precision` counts the significand's bits with the implicit one; `emin` and `emax` are the exponents of the
    smallest and the largest binade; `max_finite` is given because e4m3 gives up one code point for NaN.
    """

    name: str
    precision: int
    emin: int
    emax: int
    max_finite: float
    has_infinity: bool
    storage: np.dtype[Any]

    @property
    def unit_roundoff(self) -> float:
        """u = 2**-precision: round to nearest errs by at most u relative to the exact value."""
        return 2.0**-self.precision

    @property
    def smallest_normal(self) -> float:
        """2**emin."""
        return 2.0**self.emin

    @property
    def smallest_subnormal(self) -> float:
        """The spacing of the numbers around zero, 2**(emin - precision + 1)."""
        return 2.0 ** (self.emin - self.precision + 1)

    def _spacing(self, x: Array) -> Array:
        _, exponent = np.frexp(x)
        binade = np.where(x == 0.0, self.emin, np.clip(exponent - 1, self.emin, None))
        spacing: Array = np.ldexp(1.0, binade - self.precision + 1)
        return spacing

    def ulp(self, x: Any) -> Array:
        """Distance between the neighbouring numbers of the format in the binade of x; NaN where x is not finite."""
        values = np.asarray(x, dtype=np.float64)
        finite = np.isfinite(values)
        spacing = self._spacing(np.where(finite, values, 1.0))
        return np.where(finite, spacing, np.nan)

    def round(self, x: Any, rounding: Rounding = "nearest") -> Array:
        """Round float64 values exactly; overflow gives infinity, or NaN where the format has no infinity.

        Directed rounding keeps IEEE's rule: a value beyond the largest finite number stays at it when the rounding
        points back towards zero.
        """
        values = np.asarray(x, dtype=np.float64)
        if self.precision == 53:
            return values.copy()
        finite = np.isfinite(values)
        safe = np.where(finite, values, 0.0)
        spacing = self._spacing(safe)
        # Exact: the spacing is a power of two, and the quotient of a normal or subnormal number is below 2**53.
        scaled = safe / spacing
        step = {"nearest": np.rint, "truncate": np.trunc, "up": np.ceil, "down": np.floor}[rounding](scaled)
        with np.errstate(over="ignore"):  # next to float64's largest number the product may be 2**1024
            rounded = step * spacing
        return np.where(finite, self._overflow(rounded, safe, rounding), self._special(values))

    def _overflow(self, rounded: Array, exact: Array, rounding: Rounding) -> Array:
        beyond = np.abs(rounded) > self.max_finite
        if not beyond.any():
            return rounded
        inward = {
            "nearest": np.zeros_like(beyond),
            "truncate": beyond,
            "up": exact < 0,
            "down": exact > 0,
        }[rounding]
        top = np.copysign(self.max_finite, exact)
        outside = np.copysign(np.inf, exact) if self.has_infinity else np.full_like(exact, np.nan)
        return np.where(beyond, np.where(inward, top, outside), rounded)

    def _special(self, values: Array) -> Array:
        return values if self.has_infinity else np.full_like(values, np.nan)

    def round_sum(self, high: Any, low: Any) -> Array:
        """Round the unevaluated sum high + low (|low| at most half an ulp of high) to nearest, without double rounding.

        high + low is first rounded to odd in float64 (Boldo and Melquiond, "Emulation of FMA and correctly rounded
        sums", theorem 1), which is harmless as every narrower format here has at most 51 bits.
        """
        head, tail = (
            np.array(part) for part in np.broadcast_arrays(np.asarray(high, np.float64), np.asarray(low, np.float64))
        )
        if self.precision == 53:
            return head
        even = (head.view(np.int64) & 1) == 0
        nudge = np.isfinite(head) & (tail != 0) & even
        odd = np.where(nudge, _next_float64(head, np.where(tail > 0, np.inf, -np.inf)), head)
        return self.round(odd)

    def contains(self, x: Any) -> NDArray[np.bool_]:
        """True where x is a number of the format (NaN counts as one)."""
        values = np.asarray(x, dtype=np.float64)
        inside: NDArray[np.bool_] = (self.round(values) == values) | np.isnan(values)
        return inside

    def next_up(self, x: Any) -> Array:
        """The smallest number of the format greater than x, a number of the format."""
        values = np.asarray(x, dtype=np.float64)
        if self.precision == 53:
            return _next_float64(values, np.inf)
        return self.round(_next_float64(values, np.inf), "up")

    def next_down(self, x: Any) -> Array:
        """The greatest number of the format smaller than x, a number of the format."""
        return np.negative(self.next_up(np.negative(np.asarray(x, dtype=np.float64))))


def _next_float64(x: Any, towards: Any) -> Array:
    with np.errstate(over="ignore", under="ignore"):  # the neighbour of the largest number is infinity, as wanted
        neighbour: Array = np.nextafter(x, towards)
    return neighbour


def _ieee(name: str, precision: int, emax: int, storage: Any) -> Format:
    top = (2.0 - 2.0 ** (1 - precision)) * 2.0**emax
    return Format(name, precision, 1 - emax, emax, top, True, np.dtype(storage))


e4m3 = Format("e4m3", 4, -6, 8, 448.0, False, np.dtype(ml_dtypes.float8_e4m3fn))
e5m2 = _ieee("e5m2", 3, 15, ml_dtypes.float8_e5m2)
bf16 = _ieee("bf16", 8, 127, ml_dtypes.bfloat16)
fp16 = _ieee("fp16", 11, 15, np.float16)
tf32 = _ieee("tf32", 11, 127, np.float32)
fp32 = _ieee("fp32", 24, 127, np.float32)
fp64 = _ieee("fp64", 53, 1023, np.float64)

ALL: tuple[Format, ...] = (e4m3, e5m2, bf16, fp16, tf32, fp32, fp64)

_ALIASES = {
    "float8_e4m3fn": e4m3,
    "float8_e4m3": e4m3,
    "float8_e5m2": e5m2,
    "bfloat16": bf16,
    "float16": fp16,
    "half": fp16,
    "float32": fp32,
    "float": fp32,
    "float64": fp64,
    "double": fp64,
} | {f.name: f for f in ALL}


def get(name: Any) -> Format:
    """The format of a name ("bf16", "bfloat16"), of a NumPy, ml_dtypes or torch dtype, or a Format itself.

    Raises InvalidValue when there is none.
    """
    if isinstance(name, Format):
        return name
    text = name if isinstance(name, str) else str(getattr(name, "name", name))
    format = _ALIASES.get(text.removeprefix("torch."))
    if format is None and name is not None and not isinstance(name, str):
        try:
            format = _ALIASES.get(np.dtype(name).name)
        except TypeError:
            format = None
    if format is None:
        raise InvalidValue(f"format {name!r} is not known: expected one of {', '.join(f.name for f in ALL)}")
    return format
