"""What the float64 rung assumes of an array library on a device, and which of these assumptions it checks first.

It assumes of NumPy or torch, and of the BLAS and the device below them:

- A product of matrices is made of float64 products and float64 sums, each rounded to nearest or fused with the other,
  in any order and grouping. No number passes through TF32, float32 or bf16. float64 is not emulated by slices of
  integers (Ozaki's scheme, which cuBLAS 13 has and CUBLAS_EMULATE_DOUBLE_PRECISION=1 turns on): slices are relative to
  the largest number of a row or column, and lose bits that the bounds count on. Nor is it Strassen's algorithm, which
  multiplies sums.
- + - * / and square roots are rounded to nearest in float64, and so is each addition of a sum along an axis, in any
  order. Subnormal results may be flushed to zero.
- exp, log and tanh err by at most `FUNCTION_ULPS` units of 2**-52 relative to their result: NumPy documents below 1 ulp
  for its AVX512 loops and 4 ulps for the vector library behind the others, SLEEF's functions in torch 1 ulp, CUDA's 1
  ulp. expm1 and log1p, which only radii use, err by less than 2**-44 of their result.

Before a library is first used on a device, `function_error` checks products that are exact in float64 and in nothing
narrower; products of a row whose numbers lie hundreds of binades apart, which are exact but for one rounding; a sum;
cuBLAS's variable; and each function against mpmath, on points where such functions are at their worst: next to 0, at
multiples of ln 2 / 64 and of ln 2 and halfway between these, and up to the ends of the range. Where a function errs by
more than half of what is allowed, the radii count twice the error measured. That is evidence and not proof: a library
may take another path for other sizes.
"""

from __future__ import annotations

import functools
import math
import os
from typing import Any

import numpy as np
from mpmath import mp, mpf
from numpy.typing import NDArray

from refattn.errors import PlatformError
from refattn.numbers.arrays import device, namespace, to_numpy

Array = NDArray[np.float64]

FUNCTION_ULPS = 4.0
ULP = 2.0**-52
# A function that errs by more is no float64 function; float32's err by 2**28 ulps at least.
WORST_ULPS = 2.0**20
# Errors of results below this are not checked: the rung charges every operation with as much for underflow.
NEGLIGIBLE = 2.0**-1020
RADIUS_ULPS = 2.0**8
EMULATION = "CUBLAS_EMULATE_DOUBLE_PRECISION"


def function_error(array: Any) -> float:
    """Relative error of exp, log and tanh where `array` is. Raises PlatformError where float64 cannot be relied on."""
    return _examined(namespace(array), device(array)) * ULP


@functools.lru_cache
def _examined(xp: Any, place: Any) -> float:
    """The error in ulps that exp, log and tanh are assumed to have."""
    where = f"{xp.__name__.rpartition('.')[2]} on {place}"
    if str(place).startswith("cuda") and os.environ.get(EMULATION, "0") != "0":
        raise PlatformError(f"{EMULATION} is set: expected it unset or 0, as emulated float64 has other errors")
    if not _products_are_of_float64(xp, place):
        raise PlatformError(f"products of matrices of {where} are not float64's: expected no TF32 and no emulation")
    numbers = np.random.default_rng(0).integers(-(2**40), 2**40, (3, 5000)).astype(np.float64)
    if not np.array_equal(to_numpy(xp.sum(_on(xp, place, numbers), axis=1)), numbers.astype(np.int64).sum(axis=1)):
        raise PlatformError(f"sums of {where} are not float64's: expected sums of integers below 2**53 to be exact")
    worst = {name: _ulps(xp, place, name) for name in ("exp", "log", "tanh", "expm1", "log1p")}
    for name, ulps in worst.items():
        limit = RADIUS_ULPS if name in ("expm1", "log1p") else WORST_ULPS
        if not ulps <= limit:
            raise PlatformError(f"{name} of {where} errs by {ulps:.3g} ulps: expected at most {limit:g}")
    return max(FUNCTION_ULPS, *(2.0 * worst[name] for name in ("exp", "log", "tanh")))


def _on(xp: Any, place: Any, array: Array) -> Any:
    return xp.asarray(array, device=place)


def _products_are_of_float64(xp: Any, place: Any) -> bool:
    rng = np.random.default_rng(1)
    # Products below 2**44 add up to less than 2**53: every sum is exact in float64, in any order.
    left, right = (rng.integers(-(2**22), 2**22, shape) for shape in ((64, 128), (128, 96)))
    # One product is not 0: it is rounded once, and nothing else.
    graded = rng.uniform(1.0, 2.0, (64, 128)) * 2.0 ** -rng.integers(0, 400, (64, 128)).astype(np.float64)
    factors = rng.uniform(1.0, 2.0, 96)
    alone = np.zeros((128, 96))
    alone[np.arange(96), np.arange(96)] = factors
    for a, b, wanted in ((left, right, left @ right), (graded, alone, graded[:, :96] * factors)):
        given = _on(xp, place, a.astype(np.float64))
        # Two layouts: a library has a path of its own for each.
        plain, turned = _on(xp, place, b.astype(np.float64)), _on(xp, place, b.T.astype(np.float64, order="C")).T
        if any(not np.array_equal(to_numpy(xp.matmul(given, each)), wanted) for each in (plain, turned)):
            return False
    return True


def _ulps(xp: Any, place: Any, name: str) -> float:
    """The largest error of a function on its points, in units of 2**-52 relative to the result; inf for nonsense."""
    points, high, low = _exact(name)
    computed = to_numpy(getattr(xp, name)(_on(xp, place, points)))
    error = np.maximum(np.abs((computed - high) - low) - NEGLIGIBLE, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(error == 0.0, 0.0, error / (ULP * np.abs(high)))
    return math.inf if np.isnan(ratio).any() else float(ratio.max())


@functools.lru_cache
def _exact(name: str) -> tuple[Array, Array, Array]:
    """Points, and the function there as the sum of two numbers, to 2**-100 of itself."""
    points = np.unique(_points()[name])
    high, low = np.empty(points.shape), np.empty(points.shape)
    with mp.workprec(160):
        for i, x in enumerate(points.tolist()):
            value = getattr(mp, name)(mpf(x))
            high[i] = float(value)
            low[i] = float(value - mpf(float(high[i])))
    return points, high, low


def _points() -> dict[str, Array]:
    binades = 2.0 ** -np.arange(1.0, 61.0, 2.0)
    spread = np.modf(np.arange(1.0, 60.0) * (math.sqrt(5.0) - 1.0) / 2.0)[0]
    # Where the argument reduction passes to the next multiple, and where it is farthest from each.
    steps = np.arange(1.0, 66.0) * math.log(2.0) / 64.0
    halves = (np.arange(0.0, 40.0, 3.0) + 0.5) * math.log(2.0)
    reduced = np.concatenate([steps, halves, 26.0 * halves, np.nextafter(halves, 0.0), np.nextafter(halves, np.inf)])
    beside_one = np.concatenate([1.0 + np.arange(-8.0, 9.0) * 2.0**-50, 1.0 + binades, 1.0 - binades / 2])
    small = np.concatenate([binades, spread, 2.0 ** -np.arange(61.0, 1000.0, 100.0)])
    return {
        "exp": -np.concatenate([np.zeros(1), binades, reduced, spread, 745.0 * spread]),
        "log": np.concatenate([beside_one, 1.0 + spread, 2.0 ** np.arange(0.0, 64.0, 5.0), 1e6 * spread]),
        "tanh": np.concatenate([small, -binades, 22.0 * spread, np.array([40.0, -800.0])]),
        "expm1": small,
        "log1p": -small / 2,
    }
