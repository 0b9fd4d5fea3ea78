"""2^x by the hardware's instruction, or by a polynomial that runs on the FMA units.

LOG2_E converts nats to powers of two, and LN_2 converts them back.

The polynomials are those of refattn.models.exp2. Zadouri et al., FlashAttention-4 (2026).
"""

from __future__ import annotations

import triton
import triton.language as tl

from refattn.models.exp2 import COEFFICIENTS

LOG2_E = tl.constexpr(1.4426950408889634)
LN_2 = tl.constexpr(0.6931471805599453)
# Degree 5 at most. The lowest coefficient of each is 1.
C3 = tl.constexpr(COEFFICIENTS[3])
C4 = tl.constexpr(COEFFICIENTS[4])
C5 = tl.constexpr(COEFFICIENTS[5])
# x + SHIFTER, for |x| < 2^22, holds the integer nearest to x in the low bits of its significand.
SHIFTER = tl.constexpr(12582912.0)
# x - HALF + SHIFTER holds the integer below x instead. A half exactly would give odd integers a fraction of 1, not 0;
# with 2^-13 less, fractions begin at -2^-13, where the polynomials, exact at 0, err less than their largest error.
HALF = tl.constexpr(0.5 - 2.0**-13)


@triton.jit
def exp2(x, DEGREE: tl.constexpr):
    """2^x of fp32 numbers below 127, by the hardware where DEGREE is 0. The polynomials give 0 below -127, too.

    x = n + f with -2^-13 <= f <= 1 - 2^-13. 2^f is a polynomial of degree 3, 4 or 5, 1 where f is 0, and 2^n is exact:
    n is added to the exponent.
    """
    if DEGREE == 0:
        power = tl.exp2(x)
    else:
        # NaN stays; n = -127 takes 1 to 0.
        x = tl.maximum(x, -127.0, propagate_nan=tl.PropagateNan.ALL)
        shifted = (x - HALF) + SHIFTER
        fraction = x - (shifted - SHIFTER)
        if DEGREE == 3:
            tail = C3[2] + fraction * C3[3]
            tail = C3[1] + fraction * tail
        elif DEGREE == 4:
            tail = C4[3] + fraction * C4[4]
            tail = C4[2] + fraction * tail
            tail = C4[1] + fraction * tail
        else:
            tail = C5[4] + fraction * C5[5]
            tail = C5[3] + fraction * tail
            tail = C5[2] + fraction * tail
            tail = C5[1] + fraction * tail
        mantissa = (1.0 + fraction * tail).to(tl.int32, bitcast=True)
        power = (mantissa + (shifted.to(tl.int32, bitcast=True) << 23)).to(tl.float32, bitcast=True)
    return power
