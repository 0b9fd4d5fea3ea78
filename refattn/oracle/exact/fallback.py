"""The definition as a rung, for want of python-flint: the same functions as `ball` and `ball_gradients`, but slow.

The radii are the errors that the definition promises.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from mpmath import mp, mpf
from numpy.typing import NDArray

from refattn.contract.spec import AttentionSpec, Shape, SoftmaxSpec
from refattn.contract.visibility import Bools
from refattn.oracle.enclosure import Enclosure
from refattn.oracle.exact import definition
from refattn.oracle.exact.definition import Numbers
from refattn.oracle.exact.dyadic import Dyadic
from refattn.oracle.magnitudes import gradient_sizes, largest_values
from refattn.oracle.truth import AttentionTruth, GradientTruth

Array = NDArray[np.float64]


def attention(
    q: Array, k: Array, v: Array, spec: AttentionSpec, shape: Shape, *, bits: int, wanted: Bools
) -> AttentionTruth:
    """Output and log-sum-exp of the queries `wanted` (B, H, Nq); rad is inf in the others."""
    out, lse = definition.attention(q, k, v, spec, bits=bits, wanted=wanted)
    size = largest_values(v, spec, shape, wanted)
    return AttentionTruth(enclose(out, size, wanted[..., None], bits), enclose(lse, np.ones(lse.shape), wanted, bits))


def attention_ends(
    q: Array, k: Array, v: Array, spec: AttentionSpec, shape: Shape, *, bits: int, wanted: Bools
) -> tuple[Numbers, Numbers]:
    """Lower and upper ends of the output, as Dyadic numbers; None outside `wanted` and in empty rows."""
    out, _ = definition.attention(q, k, v, spec, bits=bits, wanted=wanted)
    size = largest_values(v, spec, shape, wanted)
    low, high = (np.full(out.shape, None, dtype=object) for _ in range(2))
    for index in zip(*np.nonzero(np.broadcast_to(wanted[..., None], out.shape)), strict=True):
        value: Any = out[index]
        if not mp.isfinite(value):
            continue
        with mp.workprec(bits):
            error = mp.ldexp(mpf(float(size[index])), -bits)
        low[index] = _dyadic(mp.fsub(value, error, prec=bits, rounding="f"))
        high[index] = _dyadic(mp.fadd(value, error, prec=bits, rounding="c"))
    return low, high


def softmax(x: Array, spec: SoftmaxSpec, *, bits: int, wanted: Bools) -> Enclosure:
    """softmax, log_softmax or logsumexp of a float64 array without NaN or +inf; rad is inf in rows not `wanted`."""
    numbers = definition.softmax(x, spec, bits=bits, wanted=wanted)
    known = wanted if spec.kind == "logsumexp" else np.expand_dims(wanted, spec.axis)
    # A softmax errs relatively to itself, and is at most 1.
    return enclose(numbers, np.ones(numbers.shape), known, bits, relative=spec.kind == "softmax")


def attention_backward(
    q: Array, k: Array, v: Array, do: Array, spec: AttentionSpec, shape: Shape, dlse: Array | None = None, *, bits: int
) -> GradientTruth:
    """Gradients of sum(do * out) + sum(dlse * lse) for finite float64 arrays."""
    gradients = definition.attention_backward(q, k, v, do, spec, dlse, bits=bits)
    sizes = gradient_sizes(q, k, v, do, dlse, spec, shape)

    def enclosed(numbers: Numbers, size: Array) -> Enclosure:
        return enclose(numbers, size, np.ones(numbers.shape, np.bool_), bits)

    return GradientTruth(
        enclosed(gradients.dq, sizes.dq),
        enclosed(gradients.dk, sizes.dk),
        enclosed(gradients.dv, sizes.dv),
        None if gradients.dbias is None or sizes.dbias is None else enclosed(gradients.dbias, sizes.dbias),
        None if gradients.dsinks is None or sizes.dsinks is None else enclosed(gradients.dsinks, sizes.dsinks),
    )


def enclose(numbers: Numbers, size: Array, computed: Bools, bits: int, *, relative: bool = False) -> Enclosure:
    """Numbers that err by at most 2**-bits of `size`, or of themselves if `relative`; unknown where not `computed`."""
    mid, low = np.zeros(numbers.shape), np.zeros(numbers.shape)
    rad = np.full(numbers.shape, math.inf)
    known, sizes = np.broadcast_to(computed, numbers.shape), np.broadcast_to(size, numbers.shape)
    with mp.workprec(64):
        for index in zip(*np.nonzero(known), strict=True):
            value: Any = numbers[index]
            if not mp.isfinite(value):
                mid[index], rad[index] = float(value), 0.0
                continue
            extent = abs(value) if relative else mpf(float(sizes[index]))
            mid[index], low[index], rad[index] = _float_ball(value, mp.ldexp(extent, -bits))
    return Enclosure(mid, rad, low)


def _float_ball(value: mpf, error: mpf) -> tuple[float, float, float]:
    mid = float(value)
    if math.isinf(mid) or not mp.isfinite(error):
        return 0.0, 0.0, math.inf
    rest = mp.fsub(value, mid, exact=True)
    low = float(rest)
    # These few roundings, to 64 bits, are far less than the factor.
    reach = (abs(mp.fsub(rest, low, exact=True)) + error) * (1 + mpf(2) ** -40)
    rad = float(reach)
    return mid, low, rad if rad >= reach else math.nextafter(rad, math.inf)


def _dyadic(x: mpf) -> Dyadic:
    man, exp = (int(part) for part in x.man_exp)
    return Dyadic(-abs(man) if x < 0 else abs(man), exp)
