"""Elementary functions of the interpreter against mpmath, and the instructions that flush subnormals."""

from __future__ import annotations

from collections.abc import Callable

import mpmath
import numpy as np
import pytest

from refattn_interpreter import functions, libdevice
from tests.support.gpu.number_cases import FP32, drawn

# float64's functions here are within 4 ulp, so after one rounding to fp32 this much more than half an ulp at most.
SLACK = 0.5 + 4 * 2.0**-29

FUNCTIONS: list[tuple[str, Callable[..., np.ndarray], Callable[..., mpmath.mpf], tuple[float, float]]] = [
    ("exp2", functions.exp2, lambda x: mpmath.mpf(2) ** x, (-149.0, 127.9)),
    ("exponential", functions.exponential, mpmath.exp, (-103.0, 88.7)),
    ("expm1", functions.expm1, mpmath.expm1, (-20.0, 88.0)),
    ("log", functions.log, mpmath.log, (1e-38, 1e38)),
    ("log2", functions.log2, lambda x: mpmath.log(x, 2), (1e-38, 1e38)),
    ("log1p", functions.log1p, mpmath.log1p, (-0.99, 1e6)),
    ("sqrt", functions.sqrt, mpmath.sqrt, (1e-38, 1e38)),
    ("rsqrt", functions.rsqrt, lambda x: 1 / mpmath.sqrt(x), (1e-38, 1e38)),
    ("reciprocal", functions.reciprocal, lambda x: 1 / x, (1e-37, 1e37)),
    ("tanh", functions.tanh, mpmath.tanh, (-12.0, 12.0)),
    ("erf", functions.erf, mpmath.erf, (-5.0, 5.0)),
    ("sin", functions.sin, mpmath.sin, (-40.0, 40.0)),
    ("cos", functions.cos, mpmath.cos, (-40.0, 40.0)),
]


def arguments(low: float, high: float, count: int = 400) -> np.ndarray:
    """Evenly and geometrically spread over the range."""
    generator = np.random.default_rng(11)
    even = generator.uniform(low, high, count)
    small = np.exp(generator.uniform(np.log(max(low, 1e-37)), np.log(high), count)) * (1 if low > 0 else 1e-3)
    return np.clip(np.concatenate([even, small]), low, high).astype(np.float32)


@pytest.mark.parametrize(("name", "function", "truth", "span"), FUNCTIONS, ids=[each[0] for each in FUNCTIONS])
def test_fp32_values_are_correctly_rounded(
    name: str, function: Callable[..., np.ndarray], truth: Callable[..., mpmath.mpf], span: tuple[float, float]
) -> None:
    mpmath.mp.prec = 160
    x = arguments(*span)
    found = function(x)
    assert found.dtype == np.float32
    for argument, actual in zip(x, found, strict=True):
        exact = truth(mpmath.mpf(float(argument)))
        spacing = np.spacing(np.abs(actual)).item()
        assert abs(mpmath.mpf(float(actual)) - exact) <= SLACK * spacing, (name, argument, actual)


def test_exp_rounds_its_argument_as_the_compiled_kernel_does() -> None:
    mpmath.mp.prec = 160
    x = arguments(-80.0, 80.0)
    log2_e = np.float32(1.442695040888963)
    assert log2_e.view(np.uint32) == 0x3FB8AA3B  # the constant in the PTX of tl.exp
    for argument, actual in zip(x, functions.exp(x), strict=True):
        exact = mpmath.mpf(2) ** mpmath.mpf(float(np.float32(argument * log2_e)))
        assert abs(mpmath.mpf(float(actual)) - exact) <= SLACK * np.spacing(actual).item()
    # At 80 the rounded argument costs dozens of ulps: more than the error of any exponential.
    assert np.any(functions.exp(x) != functions.exponential(x))


def test_the_ends_of_exp2_and_its_flushing_variant() -> None:
    x = np.array([-150.5, -149.0, -126.5, -126.0, 0.0, 127.0, 128.0, -np.inf, np.inf, np.nan], np.float32)
    gradual = functions.exp2(x)
    assert gradual[:9].tolist() == [
        0.0,
        2.0**-149,
        float(np.float32(2.0**-126.5)),
        2.0**-126,
        1.0,
        2.0**127,
        np.inf,
        0.0,
        np.inf,
    ]
    assert np.isnan(gradual[9])
    flushing = functions.flushing(functions.exp2)(x)
    assert flushing[:4].tolist() == [0.0, 0.0, 0.0, 2.0**-126]
    assert flushing[4:9].tolist() == gradual[4:9].tolist()


def test_square_roots_of_what_has_none() -> None:
    x = np.array([0.0, -0.0, -1.0, np.inf, 1e-40], np.float32)
    assert functions.rsqrt(x)[:2].tolist() == [np.inf, -np.inf]
    assert np.isnan(functions.rsqrt(x)[2])
    assert functions.rsqrt(x)[3] == 0.0
    assert functions.flushing(functions.rsqrt)(x)[4] == np.inf


def test_libdevice_has_both_precisions_and_says_what_it_has_not() -> None:
    x = np.array([0.5, -2.0], np.float64)
    assert libdevice.call("__nv_tanh", [x]).tolist() == np.tanh(x).tolist()
    assert libdevice.call("__nv_tanhf", [x.astype(np.float32)]).dtype == np.float32
    with pytest.raises(ValueError, match="libdevice function '__nv_j0f' is not interpreted: expected one of"):
        libdevice.call("__nv_j0f", [x])


def test_fast_functions_go_through_their_instructions() -> None:
    x = np.abs(drawn(FP32, 500, seed=3))
    x = x[np.isfinite(x) & (x > 1e-30) & (x < 1e30)]
    logarithm = libdevice.call("__nv_fast_logf", [x])
    assert np.array_equal(logarithm, functions.log2(x) * np.float32(0.6931471805599453))
    power = libdevice.call("__nv_fast_powf", [x, np.full_like(x, 0.25)])
    assert np.array_equal(power, functions.exp2(np.float32(0.25) * functions.log2(x)))
    huge = np.array([2.0**127, -(2.0**127)], np.float32)
    assert libdevice.call("__nv_fast_fdividef", [np.ones(2, np.float32), huge]).tolist() == [0.0, 0.0]


def test_libdevice_answers_questions_with_integers() -> None:
    x = np.array([np.nan, np.inf, -1.0], np.float32)
    assert libdevice.call("__nv_isnanf", [x]).tolist() == [True, False, False]
    assert libdevice.call("__nv_isinff", [x]).tolist() == [False, True, False]
    assert libdevice.call("__nv_llrintf", [np.array([2.5, 3.5, -0.5], np.float32)]).tolist() == [2, 4, 0]
