"""The float64 rung checks its assumptions: planted faults are refused, or widen the radius."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from mpmath import mp, mpf

from refattn import oracle
from refattn.contract.spec import AttentionSpec, SoftmaxSpec, problem_shape
from refattn.errors import PlatformError
from refattn.numbers.arrays import namespace
from refattn.oracle.exact import definition
from refattn.oracle.float64 import forward, platform
from tests.support.extras import skip_without

FUNCTIONS = ("exp", "log", "tanh", "expm1", "log1p")


@pytest.fixture(params=["numpy", "torch"], autouse=True)
def library(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The functions of a library, checked anew."""
    if request.param == "torch":
        skip_without("torch")
    platform._examined.cache_clear()
    yield importlib.import_module(f"array_api_compat.{request.param}")
    platform._examined.cache_clear()


def sample(xp: Any) -> Any:
    return xp.zeros(3, dtype=xp.float64)


def test_this_machine_keeps_to_what_is_taken_for_granted(library: Any) -> None:
    assert platform.function_error(sample(library)) == platform.FUNCTION_ULPS * 2.0**-52
    for name in FUNCTIONS:
        assert platform._ulps(library, "cpu", name) <= 2.0


def test_a_library_is_looked_at_once(library: Any) -> None:
    for _ in range(3):
        platform.function_error(sample(library))
    assert platform._examined.cache_info().misses == 1


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_exact_values_are_exact(name: str) -> None:
    points, high, low = platform._exact(name)
    assert len(points) >= 90
    with mp.workprec(300):
        for x, *parts in zip(points.tolist(), high.tolist(), low.tolist(), strict=True):
            exact = getattr(mp, name)(mpf(x))
            assert abs(exact - mpf(parts[0]) - mpf(parts[1])) <= max(abs(exact) * mpf(2) ** -100, mpf(2) ** -1074)


# Faults


def narrow(xp: Any, dtype: str, accumulate: str | None = None) -> Callable[..., Any]:
    original = xp.matmul

    def matmul(a: Any, b: Any) -> Any:
        a, b = (xp.astype(xp.astype(x, getattr(xp, dtype)), getattr(xp, accumulate or dtype)) for x in (a, b))
        return xp.astype(original(a, b), xp.float64)

    return matmul


def emulated(bits: int) -> Callable[[Any], Callable[..., Any]]:
    """Fixed point relative to the largest number of each row of a and column of b, as slices of integers keep it."""

    def fault(xp: Any) -> Callable[..., Any]:
        original = xp.matmul

        def kept(x: Any, axis: int) -> Any:
            unit = xp.max(xp.abs(x), axis=axis, keepdims=True) * 2.0**-bits
            unit = xp.where(unit > 0, unit, 1.0)
            return xp.round(x / unit) * unit

        return lambda a, b: original(kept(a, 1), kept(b, 0))

    return fault


def strassen(xp: Any) -> Callable[..., Any]:
    """One level of Strassen's algorithm, which adds numbers of different sizes up before it multiplies."""
    original = xp.matmul

    def matmul(a: Any, b: Any) -> Any:
        m, n, r = a.shape[0] // 2, a.shape[1] // 2, b.shape[1] // 2
        a11, a12, a21, a22 = a[:m, :n], a[:m, n:], a[m:, :n], a[m:, n:]
        b11, b12, b21, b22 = b[:n, :r], b[:n, r:], b[n:, :r], b[n:, r:]
        m1, m2 = original(a11 + a22, b11 + b22), original(a21 + a22, b11)
        m3, m4 = original(a11, b12 - b22), original(a22, b21 - b11)
        m5, m6, m7 = original(a11 + a12, b22), original(a21 - a11, b11 + b12), original(a12 - a22, b21 + b22)
        return xp.concat(
            [xp.concat([m1 + m4 - m5 + m7, m3 + m5], axis=1), xp.concat([m2 + m4, m1 - m2 + m3 + m6], axis=1)], axis=0
        )

    return matmul


PRODUCTS: dict[str, Callable[[Any], Callable[..., Any]]] = {
    "float32": lambda xp: narrow(xp, "float32"),
    "float32 products, float64 sums": lambda xp: narrow(xp, "float32", "float64"),
    "53 bits of fixed point": emulated(53),
    "55 bits of fixed point": emulated(55),
    "200 bits of fixed point": emulated(200),
    "Strassen": strassen,
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_that_are_not_float64s_are_refused(name: str, library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "matmul", PRODUCTS[name](library))
    x = library.ones((1, 1, 2, 2), dtype=library.float64)
    with pytest.raises(
        PlatformError, match=r"^products of matrices of (numpy|torch) on cpu are not float64's: expected "
    ):
        oracle.attention(x, x, x)
    with pytest.raises(PlatformError):
        oracle.attention_backward(x, x, x, x)


@pytest.mark.needs("torch")
def test_a_matmul_of_torch_itself_in_float32_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    original = torch.matmul
    monkeypatch.setattr(torch, "matmul", lambda a, b: original(a.float(), b.float()).double())
    with pytest.raises(PlatformError, match=r"^products of matrices of torch on cpu"):
        platform.function_error(torch.zeros(1))


@pytest.mark.parametrize("splits", [1, 3])
def test_any_order_of_summation_is_taken(splits: int, library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    original = library.matmul

    def matmul(a: Any, b: Any) -> Any:
        order = np.random.default_rng(0).permutation(a.shape[1])
        if a.shape[1] < splits:
            return original(a, b)
        parts = [original(a[:, part], b[part]) for part in np.array_split(order, splits)]
        return sum(parts[1:], parts[0])

    monkeypatch.setattr(library, "matmul", matmul)
    assert platform.function_error(sample(library)) == platform.FUNCTION_ULPS * 2.0**-52


def test_a_sum_in_float32_is_refused(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    original = library.sum
    monkeypatch.setattr(
        library,
        "sum",
        lambda x, **options: library.astype(original(library.astype(x, library.float32), **options), x.dtype),
    )
    with pytest.raises(PlatformError, match=r"^sums of (numpy|torch) on cpu are not float64's"):
        platform.function_error(sample(library))


def off_by(function: Callable[..., Any], ulps: float) -> Callable[..., Any]:
    return lambda x, out=None: function(x) * (1.0 + ulps * 2.0**-52)


@pytest.mark.parametrize("name", ["exp", "log", "tanh"])
def test_a_function_that_errs_by_4_ulps_widens_the_radius_by_itself(
    name: str, library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its own error, and that of the multiplication.
    slack = platform._ulps(library, "cpu", name) * (1.0 + 2.0**-40) + 0.5
    monkeypatch.setattr(library, name, off_by(getattr(library, name), 4.0))
    ulps = platform.function_error(sample(library)) / platform.ULP
    assert max(platform.FUNCTION_ULPS, 2 * (4.0 - slack)) < ulps <= 2 * (4.0 + slack)


def test_the_radius_still_contains_the_definition_under_a_bad_exp(
    library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """100 000 ulps on every second number: outputs lie outside the radius of a good exp, inside that of this one."""
    original = library.exp
    q, k, v = (np.random.default_rng(0).standard_normal((1, 1, n, 2)) for n in (4, 30, 30))
    spec = AttentionSpec(softcap=3.0)
    exact, lse = definition.attention(q, k, v, spec)

    def exp(x: Any, out: Any = None) -> Any:
        result = original(x, out=out)
        result[..., ::2] *= 1.0 + 1e5 * 2.0**-52
        return result

    given = [library.asarray(x) for x in (q, k, v)]
    good = forward.attention(*given, spec, problem_shape(q, k, v, spec))
    monkeypatch.setattr(library, "exp", exp)
    platform._examined.cache_clear()
    bad = forward.attention(*given, spec, problem_shape(q, k, v, spec))
    assert bad.out.contains(exact).all()
    assert bad.lse.contains(lse).all()
    assert (bad.out.rad > 10 * good.out.rad).all()
    weights = definition.softmax(q, SoftmaxSpec())
    assert forward.softmax(given[0], SoftmaxSpec()).contains(weights).all()
    monkeypatch.setattr(forward, "function_error", lambda array: platform.FUNCTION_ULPS * platform.ULP)
    assert not forward.attention(*given, spec, problem_shape(q, k, v, spec)).out.contains(exact).all()
    assert not forward.softmax(given[0], SoftmaxSpec()).contains(weights).all()


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("exp", lambda function, xp: lambda x, out=None: xp.astype(function(xp.astype(x, xp.float32)), xp.float64)),
        ("tanh", lambda function, xp: lambda x, out=None: x / (1.0 + xp.abs(x))),
        ("log", lambda function, xp: lambda x: x * math.nan),
        ("expm1", lambda function, xp: lambda x: xp.exp(x) - 1.0),
        ("log1p", lambda function, xp: lambda x: xp.log(1.0 + x)),
    ],
)
def test_what_is_no_function_of_float64_is_refused(
    name: str, fault: Any, library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, name, fault(getattr(library, name), library))
    with pytest.raises(PlatformError, match=rf"^{name} of (numpy|torch) on cpu errs by .* ulps: expected at most "):
        platform.function_error(sample(library))


def test_cublas_emulation_is_refused_by_its_variable(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(platform.EMULATION, "1")
    with pytest.raises(PlatformError, match=f"^{platform.EMULATION} is set: expected it unset or 0"):
        platform._examined(library, "cuda:0")
    # The variable does not concern a processor's libraries.
    platform._examined(library, "cpu")
    assert namespace(sample(library)) is library
