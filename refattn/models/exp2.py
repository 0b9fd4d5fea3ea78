"""2**x by range reduction and a polynomial, as GPU kernels compute it where the exponential unit is the bottleneck.

x = n + f with n = floor(x) (round down, so that 0 <= f <= 1), 2**x = 2**n * p(f): p runs on the multiply-add units and
the power of two only shifts the exponent. FlashAttention-4 uses degree 3.

These polynomials have the least relative error on [0, 1] among those with p(0) = 1, by Remez exchange; their
coefficients were then rounded to fp32. p(0) = 1 makes 2**n exact for integers n.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from refattn.models.rounding import Rounder
from refattn.numbers.formats import Array

# Degree: coefficients of 1, f, f**2, ...
COEFFICIENTS: dict[int, tuple[float, ...]] = {
    1: (1.0, 0.9235568642616272),
    2: (1.0, 0.665960967540741, 0.32993239164352417),
    3: (1.0, 0.6951167583465576, 0.22764499485492706, 0.07706703990697861),
    4: (1.0, 0.6930448412895203, 0.241280198097229, 0.052242472767829895, 0.013426683843135834),
    5: (
        1.0,
        0.6931512951850891,
        0.24016444385051727,
        0.05579991266131401,
        0.009017030708491802,
        0.0018671300495043397,
    ),
}

# Degree: max |p(f) / 2**f - 1| over [0, 1], rounded up. Before the rounding to fp32, degree 5 had 8.3e-8.
MAX_RELATIVE_ERROR: dict[int, float] = {1: 3.8222e-2, 2: 2.0534e-3, 3: 8.5604e-5, 4: 2.9021e-6, 5: 9.378e-8}

# Roundings of the reduction and of Horner's steps: below 1.02 ulp when they round to nearest, 2.04 when they truncate.
EVALUATION_ULPS = 2.1


def polynomial_exp2(x: Any, degree: int, rounded: Rounder) -> Array:
    """2**x, element by element, with every operation rounded by `rounded`.

    The relative error is at most MAX_RELATIVE_ERROR[degree] plus EVALUATION_ULPS ulps, and below the normal range half
    a subnormal more; -inf gives 0, +inf gives +inf, NaN gives NaN.
    """
    values = np.asarray(x, np.float64)
    finite = np.isfinite(values)
    # Beyond these limits every format here overflows or underflows; 2**n must stay inside float64.
    safe = np.clip(np.where(finite, values, 0.0), -2000.0, 2000.0)
    whole = np.floor(safe)
    fraction = rounded(safe - whole)
    *lower, total = COEFFICIENTS[degree]
    power = np.full_like(safe, total)
    for coefficient in reversed(lower):
        power = rounded.fma(power, fraction, coefficient)
    return np.where(finite, rounded(np.ldexp(power, whole.astype(np.int32))), np.exp2(values))
