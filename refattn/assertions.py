"""Assertions for your own tests: is this array right, given the inputs and the declared arithmetic?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from refattn import bounds, oracle
from refattn.bounds.budget import ErrorBudget
from refattn.contract.arithmetic import Arithmetic
from refattn.contract.rows import checked_rows, select_rows
from refattn.contract.spec import AttentionSpec, SoftmaxSpec, problem_shape
from refattn.errors import InvalidType, InvalidValue
from refattn.numbers.arrays import as_float64, float64_on_device, format_of, to_numpy
from refattn.numbers.formats import Array
from refattn.oracle.enclosure import Enclosure
from refattn.oracle.specials.forward import split, split_softmax
from refattn.suite.comparison import compare, describe


def assert_attention(
    actual: Any,
    q: Any,
    k: Any,
    v: Any,
    *,
    spec: AttentionSpec | None = None,
    arithmetic: Arithmetic | None = None,
    lse: Any = None,
    rows: Any = None,
) -> None:
    """Assert that `actual` (B, H, Nq, Dv), and `lse` (B, H, Nq) if given, is what the arithmetic allows for q, k, v.

    q is (B, H, Nq, D), k (B, Hkv, Nk, D), v (B, Hkv, Nk, Dv): NumPy, ml_dtypes, torch or JAX arrays of one dtype. The
    arithmetic is Arithmetic.flash of that dtype if not given, with its output in the dtype of `actual`. There is no
    tolerance to choose: see refattn.bounds. `rows`, a sequence of integers, judges only these queries, of the same
    arrays and against all keys: at N = 16384 the whole of a head takes minutes, 64 rows of it seconds.

    Raises AssertionError naming the worst element, its exact value, its error in units of the bound, and the part of
    the bound that is largest there; InvalidValue or InvalidType where the arguments do not fit together.
    """
    spec = AttentionSpec() if spec is None else spec
    given = format_of("q", q)
    for name, value in (("k", k), ("v", v)):
        if format_of(name, value) is not given:
            raise InvalidType(f"{name} is in {format_of(name, value).name}: expected q's format, {given.name}")
    arrays = float64_on_device("qkv", (q, k, v))
    shape = problem_shape(arrays[0], arrays[1], arrays[2], spec)
    index = None if rows is None else checked_rows(rows, shape.queries)
    out = _shaped("actual", actual, (shape.batch, shape.heads, shape.queries, shape.d_v), index)
    log_sum_exp = None if lse is None else _shaped("lse", lse, (*shape[:2], shape.queries), index)
    allowed = arithmetic or Arithmetic.flash(given, output=format_of("actual", actual))
    if index is not None:
        arrays[0], spec = select_rows(arrays[0], arrays[1], arrays[2], spec, index)
        shape = shape._replace(queries=len(index))
    truth = oracle.attention(arrays[0], arrays[1], arrays[2], spec)
    plain = split(to_numpy(arrays[0]), to_numpy(arrays[1]), to_numpy(arrays[2]), spec, shape)
    budget = bounds.attention(plain.q, plain.k, plain.v, plain.spec, allowed)
    _assert_within("out", out, truth.out, budget.out, allowed, index)
    if log_sum_exp is not None:
        _assert_within("lse", log_sum_exp, truth.lse, budget.lse, allowed, index)


def assert_softmax(
    actual: Any, x: Any, *, axis: int = -1, spec: SoftmaxSpec | None = None, arithmetic: Arithmetic | None = None
) -> None:
    """Assert that `actual` is what the arithmetic allows as the softmax, log_softmax or logsumexp of x, as spec says.

    The arithmetic is Arithmetic.flash of x's dtype if not given, all keys at a time. Raises as assert_attention does.
    """
    spec = SoftmaxSpec(axis=axis) if spec is None else spec
    array = as_float64("x", x)
    if not -array.ndim <= spec.axis < array.ndim:
        raise InvalidValue(f"axis is {spec.axis}: expected one of x's {array.ndim} axes")
    expected = array.shape if spec.kind != "logsumexp" else tuple(np.delete(array.shape, spec.axis))
    out = _shaped("actual", actual, expected)
    allowed = arithmetic or Arithmetic.flash(format_of("x", x), output=format_of("actual", actual), tile=None)
    truth = oracle.softmax(array, spec=spec)
    plain, _ = split_softmax(array, spec)
    _assert_within("actual", out, truth, bounds.softmax(plain, spec, allowed), allowed)


def _shaped(name: str, value: Any, expected: tuple[int, ...], rows: Any = None) -> Array:
    """`value` in float64, its shape checked; only `rows` of its third axis, unless they are None."""
    array = float64_on_device([name], [value])[0]
    if tuple(array.shape) != expected:
        raise InvalidValue(f"{name} has shape {tuple(array.shape)}: expected {expected}")
    return to_numpy(array if rows is None else array[:, :, rows])


def _assert_within(
    name: str, actual: Array, truth: Enclosure, budget: ErrorBudget, arithmetic: Arithmetic, rows: Any = None
) -> None:
    __tracebackhide__ = True
    comparison = compare(name, actual, truth, budget)
    if comparison.violated and comparison.worst is not None:
        worst = comparison.worst
        if rows is not None:
            batch, head, row, *rest = worst.index
            worst = replace(worst, index=(batch, head, int(rows[row]), *rest))
        raise AssertionError(f"{describe(worst)} The arithmetic declared is {arithmetic.name}.")
