"""Climbing the rungs: float64 first, then more bits, row by row, until every radius is small enough.

Above float64 come slices of float64 (if there is enough work and Numba is installed), then Arb (if python-flint is
installed) or else the definition. The log says why a rung is left out. torch tensors stay on their device in float64
and go to NumPy for the rungs above; results are NumPy's.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from refattn.contract.spec import AttentionSpec, Shape, SoftmaxSpec
from refattn.contract.visibility import Bools
from refattn.numbers import formats
from refattn.numbers.arrays import to_numpy
from refattn.numbers.formats import Array
from refattn.oracle import float64, rungs
from refattn.oracle.enclosure import Enclosure
from refattn.oracle.exact.definition import PLAIN_ATTENTION
from refattn.oracle.exact.dyadic import round_intervals
from refattn.oracle.inputs import attention_inputs, refuse_specials, softmax_input, tolerance, upstream_inputs
from refattn.oracle.magnitudes import gradient_sizes, largest_values, likely_largest_values
from refattn.oracle.specials.backward import Inputs, split_backward
from refattn.oracle.specials.forward import Specials, split, split_softmax
from refattn.oracle.truth import AttentionTruth, GradientTruth, RoundedTruth

PRECISIONS = (128, 256, 512, 1024, 2048, 4096, 8192)
# Ziv's strategy must reach dyadic.TIE_BITS beyond the largest score and the worst cancellation of float64 numbers.
ZIV_PRECISIONS = (*PRECISIONS, 16384)
DEFAULT_RTOL = 2.0**-30
# No radius need be smaller than float64's smallest number.
SMALLEST = 2.0**-1074
# A softmax below this counts as known when rtol is None: no format but float64 tells it from 0.
NEGLIGIBLE = 2.0**-1000


def attention(
    q: Any,
    k: Any,
    v: Any,
    spec: AttentionSpec = PLAIN_ATTENTION,
    rtol: float | None = None,
    *,
    require_finite: bool = False,
) -> AttentionTruth:
    """The exact output (B, H, Nq, Dv) and natural log-sum-exp (B, H, Nq) of attention, each to a certified radius.

    q is (B, H, Nq, D), k is (B, Hkv, Nk, D), v is (B, Hkv, Nk, Dv), in one format, of NumPy, ml_dtypes, torch or JAX.
    Tensors of one device stay there, in blocks of memory linear in the lengths, and the result is NumPy's. With rtol
    None an output's radius is at most 2**-30 of the largest |v| that its query sees in that column, times
    1 / (1 - dropout), and a log-sum-exp's at most 2**-30 max(1, |lse|); otherwise every radius is at most rtol |mid|,
    for rtol of at least 2**-100 (or 2**-1074, the smallest float64 number). A result beyond float64's range has an
    infinite radius. Visible NaN and infinities give the results of refattn.oracle.specials.forward, unless
    `require_finite`. Raises InvalidType or InvalidValue, naming the argument, and PlatformError where a library or a
    device does not compute as refattn.oracle.float64.platform assumes.
    """
    q, k, v, shape = attention_inputs(q, k, v, spec)
    limit = tolerance(rtol)
    special = split(q, k, v, spec, shape)
    refuse_specials(require_finite and (special.out is not None or special.lse is not None), "q, k, v or spec")
    return special.overlay(_climb(special, shape, limit))


def correctly_rounded(
    q: Any, k: Any, v: Any, spec: AttentionSpec = PLAIN_ATTENTION, format: Any = "fp32"
) -> RoundedTruth:
    """The exact output rounded to nearest in `format` (ties to even), climbing until every rounding is decided (Ziv).

    An exact value within a relative 2**-1000 of a midpoint of the format is taken for a tie, which no enclosure can
    decide: `decided` is False there, and `out` even. Raises InvalidType or InvalidValue as `attention` does.
    """
    target = formats.get(format)
    q, k, v, shape = attention_inputs(q, k, v, spec)
    special = split(q, k, v, spec, shape)
    values, decided = special.overlay(_climb(special, shape, None)).out.correctly_rounded(target)
    pending = ~decided
    if special.out is not None:
        pending &= ~special.out.mask
    q, k, v = (to_numpy(array) for array in (special.q, special.k, special.v))
    counts = {"float64": int(decided.sum())}
    if pending.any():
        finer = rungs.attention(q, k, v, special.spec, shape, np.asarray(pending.any(axis=-1)), None)
        if finer is not None:
            rounded, sure = finer.out.correctly_rounded(target)
            sure &= pending
            values = np.where(sure, rounded, values)
            decided, pending = decided | sure, pending & ~sure
            counts["slices"] = int(sure.sum())
    for bits in ZIV_PRECISIONS:
        if not pending.any():
            break
        low, high = rungs.exact().attention_ends(q, k, v, special.spec, shape, bits=bits, wanted=pending.any(axis=-1))
        rounded, sure, tie = round_intervals(low, high, target)
        values = np.where(pending, rounded, values)
        decided |= pending & sure
        counts["more bits"] = counts.get("more bits", 0) + int((pending & sure).sum())
        pending &= ~(sure | tie)
    counts["ties"] = int((~decided).sum())
    return RoundedTruth(values, decided, counts)


def softmax(
    x: Any, axis: int = -1, *, spec: SoftmaxSpec | None = None, rtol: float | None = None, require_finite: bool = False
) -> Enclosure:
    """The exact softmax of an array along `axis`, or the function and the axis of `spec`.

    With rtol None a softmax's radius is at most 2**-30 of itself or 2**-1000, a logarithm's 2**-30 max(1, |mid|);
    otherwise every radius is at most rtol |mid| or 2**-1074. Raises InvalidType or InvalidValue, naming the argument.
    """
    array, spec = softmax_input(x, axis, spec)
    return _softmax(array, spec, tolerance(rtol), require_finite)


def logsumexp(
    x: Any, axis: int = -1, *, spec: SoftmaxSpec | None = None, rtol: float | None = None, require_finite: bool = False
) -> Enclosure:
    """The exact natural log-sum-exp of an array along `axis` (or spec.axis), to a radius as `softmax` says."""
    array, spec = softmax_input(x, axis, spec)
    return _softmax(array, dataclasses.replace(spec, kind="logsumexp"), tolerance(rtol), require_finite)


def attention_backward(
    q: Any,
    k: Any,
    v: Any,
    do: Any,
    spec: AttentionSpec = PLAIN_ATTENTION,
    dlse: Any = None,
    rtol: float | None = None,
    *,
    require_finite: bool = False,
) -> GradientTruth:
    """The exact gradients of sum(do * out) + sum(dlse * lse) with respect to q, k, v, spec.bias and spec.sinks.

    do is (B, H, Nq, Dv) and dlse (B, H, Nq) or None. With rtol None a radius is at most 2**-30 of a bound of the sum of
    the absolute values of the products that the element adds up (refattn.oracle.magnitudes); otherwise at most
    rtol |mid| or 2**-1074. Elements that visible NaN and infinities reach are NaN or unknown
    (refattn.oracle.specials.backward). Raises InvalidType or InvalidValue, naming the argument.
    """
    q, k, v, shape = attention_inputs(q, k, v, spec)
    do, dlse = upstream_inputs(do, dlse, shape, q)
    limit = tolerance(rtol)
    special = split_backward(Inputs(q, k, v, do, dlse, spec), shape)
    refuse_specials(require_finite and special.nan is not None, "q, k, v, do, dlse or spec")
    q, k, v, do, dlse, spec = special.inputs
    truth = float64.attention_backward(q, k, v, do, spec, shape, dlse)
    q, k, v, do, dlse, spec = special.inputs.in_numpy()
    sizes = gradient_sizes(q, k, v, do, dlse, spec, shape)
    finer: GradientTruth | None = None
    for bits in (None, *PRECISIONS):
        parts: list[Enclosure | None] = []
        pending = False
        for name, part, size in zip(truth._fields, truth, sizes, strict=True):
            if part is None or size is None:
                parts.append(None)
                continue
            exact = _zero_where(part, np.broadcast_to(size == 0.0, part.shape))
            fails = ~_narrow_enough(exact, limit, size)
            settled = special.settled(name)
            pending |= bool((fails if settled is None else fails & ~settled).any())
            parts.append(exact)
        truth = _gradients(parts)
        if not pending:
            break
        if bits is None:
            finer = rungs.attention_backward(q, k, v, do, spec, shape, dlse, limit)
        else:
            finer = rungs.exact_gradients().attention_backward(q, k, v, do, spec, shape, dlse, bits=bits)
        if finer is not None:
            truth = _gradients([_narrowed_if_any(a, b) for a, b in zip(truth, finer, strict=True)])
    return special.overlay(truth)


def _climb(special: Specials, shape: Shape, rtol: float | None) -> AttentionTruth:
    """The truth of a finite problem; elements that `special` settles may stay wide."""
    truth = float64.attention(special.q, special.k, special.v, special.spec, shape)
    q, k, v = (to_numpy(array) for array in (special.q, special.k, special.v))
    for bits in (None, *PRECISIONS):
        out, rows = _unsettled(truth.out, special, shape, rtol)
        lse = ~_narrow_enough(truth.lse, rtol, np.ones(()))
        truth = AttentionTruth(out, truth.lse)
        rows |= lse if special.lse is None else lse & ~special.lse.mask
        if not rows.any():
            break
        finer: AttentionTruth | None
        if bits is None:
            finer = rungs.attention(q, k, v, special.spec, shape, rows, rtol)
        else:
            finer = rungs.exact().attention(q, k, v, special.spec, shape, bits=bits, wanted=rows)
        if finer is not None:
            truth = AttentionTruth(_narrowed(truth.out, finer.out), _narrowed(truth.lse, finer.lse))
    return truth


def _unsettled(out: Enclosure, special: Specials, shape: Shape, rtol: float | None) -> tuple[Enclosure, Bools]:
    """The output, with exact zeros put in, and the queries (B, H, Nq) that have an element with too large a radius."""
    v, spec = special.v, special.spec
    fails = ~_narrow_enough(out, rtol, np.zeros(()))
    if special.out is not None:
        fails &= ~special.out.mask
    if fails.any() and rtol is None:
        fails &= ~_narrow_enough(out, rtol, to_numpy(likely_largest_values(v, spec, shape)))
    rows = np.asarray(fails.any(axis=-1))
    if not rows.any():
        return out, rows
    size = largest_values(to_numpy(v), spec, shape, rows)
    out = _zero_where(out, fails & (size == 0.0))
    fails &= ~_narrow_enough(out, rtol, size)
    return out, np.asarray(fails.any(axis=-1))


def _softmax(x: Any, spec: SoftmaxSpec, rtol: float | None, require_finite: bool) -> Enclosure:
    plain, known = split_softmax(x, spec)
    refuse_specials(require_finite and known is not None, "x")
    enclosure = float64.softmax(plain, spec)
    plain = to_numpy(plain)
    size = np.array(NEGLIGIBLE / DEFAULT_RTOL if spec.kind == "softmax" else 1.0)
    for bits in (None, *PRECISIONS):
        fails = ~_narrow_enough(enclosure, rtol, size)
        if known is not None:
            fails &= ~known.mask
        if not fails.any():
            break
        rows = fails if spec.kind == "logsumexp" else np.asarray(fails.any(axis=spec.axis))
        finer: Enclosure | None
        if bits is None:
            finer = rungs.softmax(plain, spec, rows, rtol)
        else:
            finer = rungs.exact().softmax(plain, spec, bits=bits, wanted=rows)
        if finer is not None:
            enclosure = _narrowed(enclosure, finer)
    return enclosure if known is None else known.overlay(enclosure)


def _narrow_enough(enclosure: Enclosure, rtol: float | None, size: Array) -> Bools:
    """True where the radius is small enough: against mid, or, where rtol is None, against `size` too."""
    with np.errstate(invalid="ignore", over="ignore"):
        limit = np.maximum((DEFAULT_RTOL if rtol is None else rtol) * np.abs(enclosure.mid), SMALLEST)
        if rtol is None:
            limit = np.maximum(limit, DEFAULT_RTOL * np.where(np.isfinite(size), size, 0.0))
        return np.asarray((enclosure.rad == 0.0) | (np.isfinite(enclosure.rad) & (enclosure.rad <= limit)))


def _zero_where(enclosure: Enclosure, zero: Bools) -> Enclosure:
    """`enclosure`, with exact zeros where every term of the sum is 0."""
    if not zero.any():
        return enclosure
    mid, rad, low = (np.where(zero, 0.0, part) for part in (enclosure.mid, enclosure.rad, enclosure.tail()))
    return Enclosure(mid, rad, low)


def _narrowed(coarse: Enclosure, finer: Enclosure) -> Enclosure:
    """The narrower of two enclosures, element by element; where neither knows anything, mid is 0."""
    better = finer.rad < coarse.rad
    mid, rad, low = (
        np.where(better, new, old)
        for new, old in ((finer.mid, coarse.mid), (finer.rad, coarse.rad), (finer.tail(), coarse.tail()))
    )
    unknown = np.isinf(rad)
    return Enclosure(np.where(unknown, 0.0, mid), rad, np.where(unknown, 0.0, low))


def _narrowed_if_any(coarse: Enclosure | None, finer: Enclosure | None) -> Enclosure | None:
    return None if coarse is None or finer is None else _narrowed(coarse, finer)


def _gradients(parts: list[Enclosure | None]) -> GradientTruth:
    dq, dk, dv, dbias, dsinks = parts
    assert dq is not None
    assert dk is not None
    assert dv is not None
    return GradientTruth(dq, dk, dv, dbias, dsinks)
