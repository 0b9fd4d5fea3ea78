"""Inline PTX of the interpreter: the instructions, registers, immediates, and refusals."""

from __future__ import annotations

import re

import numpy as np
import pytest

from refattn.errors import InvalidValue
from refattn_interpreter import arithmetic, functions
from refattn_interpreter.conversions import convert
from refattn_interpreter.inline_asm import run
from tests.support.gpu.number_cases import BF16, FP16, FP32, drawn, every, same

X = drawn(FP32, 500, seed=1)
Y = drawn(FP32, 500, seed=2)


def one(text: str, *inputs: np.ndarray, output: np.dtype = FP32) -> np.ndarray:
    return run(text, ",".join(["=f", *["f" for _ in inputs]]), list(inputs), [output])[0]


@pytest.mark.parametrize(
    ("instruction", "function"),
    [
        ("ex2.approx.f32", functions.exp2),
        ("lg2.approx.f32", functions.log2),
        ("rcp.approx.f32", functions.reciprocal),
        ("rcp.rn.f32", functions.reciprocal),
        ("rsqrt.approx.f32", functions.rsqrt),
        ("sqrt.approx.f32", functions.sqrt),
        ("tanh.approx.f32", functions.tanh),
        ("ex2.approx.ftz.f32", functions.flushing(functions.exp2)),
        ("rcp.approx.ftz.f32", functions.flushing(functions.reciprocal)),
    ],
)
def test_functions_of_one_register(instruction: str, function: functions.Function) -> None:
    same(one(f"{instruction} $0, $1;", X), function(X))


@pytest.mark.parametrize("dtype", [BF16, FP16], ids=str)
def test_narrow_instructions_round_once_from_fp32(dtype: np.dtype) -> None:
    x = every(dtype)
    kind = "bf16" if dtype == BF16 else "f16"
    expected = convert(functions.exp2(convert(x, FP32)), dtype)
    same(run(f"ex2.approx.ftz.{kind} $0, $1;", "=h,h", [x], [dtype])[0], expected)


def test_instructions_of_several_registers() -> None:
    same(one("fma.rn.f32 $0, $1, $2, $3;", X, Y, X), arithmetic.fused(X, Y, X))
    same(one("max.f32 $0, $1, $2;", X, Y), arithmetic.larger(X, Y))
    same(one("min.NaN.f32 $0, $1, $2;", X, Y), arithmetic.smaller(X, Y, True))
    with np.errstate(all="ignore"):
        same(one("add.rn.f32 $0, $1, $2;", X, Y), X + Y)


def test_named_registers_immediates_and_comments() -> None:
    text = """{
        .reg .f32 t;
        mul.f32 t, $1, 0f3FB8AA3B;  // times log2(e)
        ex2.approx.f32 $0, t;
    }"""
    same(one(text, X), functions.exp(X))
    with np.errstate(all="ignore"):
        same(one("mul.f32 $0, $1, 0.5;", X), X * np.float32(0.5))


def test_conversions() -> None:
    same(one("cvt.rn.bf16.f32 $0, $1;", X, output=BF16), convert(X, BF16))
    same(one("cvt.rz.f16.f32 $0, $1;", X, output=FP16), convert(X, FP16, "truncate"))
    assert np.array_equal(one("cvt.rzi.s32.f32 $0, $1;", X, output=np.dtype(np.int32)), convert(X, np.dtype(np.int32)))


def test_tf32_is_rounded_away_from_ties() -> None:
    ties = np.array([1 + 2.0**-11, -(1 + 2.0**-11), 1 + 3 * 2.0**-11, np.inf], np.float32)
    found = run("cvt.rna.tf32.f32 $0, $1;", "=r,r", [ties], [np.dtype(np.uint32)])[0].view(np.float32)
    assert found.tolist() == [1 + 2.0**-10, -(1 + 2.0**-10), 1 + 2.0**-9, np.inf]


def test_two_outputs() -> None:
    first, second = run("neg.f32 $0, $2; abs.f32 $1, $2;", "=f,=f,f", [X], [FP32, FP32])
    same(first, -X)
    same(second, np.abs(X))


def test_clocks_stand_still() -> None:
    assert run("mov.u64 $0, %globaltimer;", "=l", [], [np.dtype(np.int64)])[0].tolist() == [0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "prmt.b32 $0, $1, $1, 0x5410;",
            "PTX instruction 'prmt.b32 $0, $1, $1, 0x5410' is not interpreted: expected ex2",
        ),
        ("ex2.approx.f16x2 $0, $1;", "PTX instruction 'ex2.approx.f16x2 $0, $1' is not interpreted"),
        ("fma.rz.f32 $0, $1, $1, $1;", "PTX instruction 'fma.rz.f32 $0, $1, $1, $1' is not interpreted"),
        ("add.f32 $0, $1, t;", "PTX instruction 'add.f32 $0, $1, t' is not interpreted"),
        ("cvt.rn.satfinite.e4m3x2.f32 $0, $1, $1;", "PTX instruction 'cvt.rn.satfinite.e4m3x2.f32 $0, $1, $1' is not"),
        ("ret", "PTX instruction 'ret' is not interpreted"),
        ("mov.f32 t, $1;", "inline assembly 'mov.f32 t, $1;' never writes $0: expected it to write every output"),
    ],
)
def test_what_is_not_interpreted_is_named(text: str, message: str) -> None:
    with pytest.raises(InvalidValue, match=re.escape(message)):
        one(text, X)


def test_packed_operands_are_refused() -> None:
    with pytest.raises(InvalidValue, match="expected one register for each operand"):
        run("mov.b32 $0, $2; mov.b32 $1, $2;", "=r,=r,r", [X], [FP32])
