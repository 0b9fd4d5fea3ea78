"""Inline PTX: the few floating-point instructions that attention kernels write by hand.

One instruction after another on whole blocks, with named registers. The approximate instructions give the correctly
rounded value, nearer than the hardware is (refattn_interpreter.functions says how near);
everything else that rounds has one exact result. Packed operands (pack > 1, .f16x2) are not interpreted.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refattn.errors import InvalidValue
from refattn_interpreter import arithmetic, dot, functions
from refattn_interpreter.arithmetic import rounded_once
from refattn_interpreter.conversions import convert
from refattn_interpreter.dtypes import DType, dtype_of

Values = NDArray[Any]
_TYPES = {
    "f64": "fp64",
    "f32": "fp32",
    "f16": "fp16",
    "bf16": "bf16",
    **{f"{sign[0]}{bits}": f"{sign[1]}{bits}" for sign in (("s", "int"), ("u", "uint")) for bits in (8, 16, 32, 64)},
}
_APPROXIMATE: dict[str, functions.Function] = {
    "ex2": functions.exp2,
    "lg2": functions.log2,
    "rcp": functions.reciprocal,
    "rsqrt": functions.rsqrt,
    "sqrt": functions.sqrt,
    "sin": functions.sin,
    "cos": functions.cos,
    "tanh": functions.tanh,
}
_EXACT: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "fma": arithmetic.fused,
    "rcp": functions.reciprocal,
    "sqrt": np.sqrt,
    "neg": np.negative,
    "abs": np.abs,
}
_INSTRUCTION = re.compile(r"(?P<opcode>[a-z][\w.]*)\s+(?P<operands>.+)", re.DOTALL)
_IMMEDIATE = re.compile(r"0[fF]([0-9A-Fa-f]{8})|-?\d+(\.\d+)?([eE][-+]?\d+)?")
# Clocks and the like, of which a processor has none: any value would do.
_SPECIAL = re.compile(r"%(globaltimer|smid|clock|clock64)$")


@np.errstate(all="ignore")
def run(text: str, constraints: str, inputs: list[Values], outputs: list[DType]) -> list[Values]:
    """The results of an inline assembly. Raises InvalidValue, naming the instruction that is not interpreted."""
    kinds = [part.strip() for part in constraints.split(",") if part.strip()]
    if sum(kind.startswith("=") for kind in kinds) != len(outputs) or len(kinds) != len(outputs) + len(inputs):
        raise InvalidValue(
            f"inline assembly {_brief(text)!r} is not interpreted: expected one register for each operand"
        )
    registers = {f"${len(outputs) + i}": value for i, value in enumerate(inputs)}
    for statement in _statements(text):
        match = _INSTRUCTION.fullmatch(statement)
        if match is None:
            raise _unknown(statement)
        target, *sources = (part.strip() for part in match["operands"].split(","))
        registers[target] = _evaluate(
            match["opcode"], [_value(name, registers, statement) for name in sources], statement
        )
    shape = np.broadcast_shapes(*(each.shape for each in inputs)) if inputs else (1,)
    return [_result(registers, f"${i}", dtype, shape, text) for i, dtype in enumerate(outputs)]


def _statements(text: str) -> list[str]:
    plain = re.sub(r"//[^\n]*|/\*.*?\*/", " ", text, flags=re.DOTALL)
    parts = (part.strip(" \t\n{}") for part in plain.split(";"))
    return [part for part in parts if part and not part.startswith(".reg")]


def _value(name: str, registers: dict[str, Values], statement: str) -> Values:
    if name in registers:
        return registers[name]
    match = _IMMEDIATE.fullmatch(name)
    if match is not None:
        bits = match[1]
        return np.array([int(bits, 16)], np.uint32).view(np.float32) if bits else np.array([float(name)])
    if _SPECIAL.match(name):
        return np.zeros(1, np.uint64)
    raise _unknown(statement)


def _evaluate(opcode: str, sources: list[Values], statement: str) -> Values:
    name, *modifiers = opcode.split(".")
    if name == "mov":
        return sources[0]
    if name == "cvt" and len(modifiers) >= 2:
        return _converted(modifiers, sources[0], statement)
    kind = modifiers.pop() if modifiers else ""
    if kind not in _TYPES or not _TYPES[kind].endswith(("fp64", "fp32", "fp16", "bf16")):
        raise _unknown(statement)
    operands = [_typed(each, dtype_of(_TYPES[kind]), statement) for each in sources]
    flush = "ftz" in modifiers
    if flush:
        modifiers.remove("ftz")
        operands = [arithmetic.flushed(each) for each in operands]
    values = _floating(name, tuple(modifiers), operands, statement)
    return arithmetic.flushed(values) if flush else values


def _floating(name: str, modifiers: tuple[str, ...], operands: list[Values], statement: str) -> Values:
    if name in ("max", "min") and modifiers in ((), ("NaN",)):
        return (arithmetic.larger if name == "max" else arithmetic.smaller)(operands[0], operands[1], bool(modifiers))
    if name in _APPROXIMATE and modifiers == ("approx",):
        return rounded_once(_APPROXIMATE[name], *operands)
    if name == "div" and modifiers in (("full",), ("approx",)):
        return rounded_once(np.divide, *operands)
    if name == "fma" and modifiers == ("rn",):
        return arithmetic.fused(*operands)
    if name in _EXACT and name != "fma" and modifiers in ((), ("rn",)):
        return rounded_once(_EXACT[name], *operands)
    raise _unknown(statement)


def _converted(modifiers: list[str], value: Values, statement: str) -> Values:
    *how, target, source = modifiers
    if (how, target, source) == (["rna"], "tf32", "f32"):
        return dot.rounded_away(value)
    rounding = {"rn": "nearest", "rz": "truncate", "rzi": "truncate"}.get(how[0] if how else "rn")
    if len(how) > 1 or rounding is None or target not in _TYPES or source not in _TYPES:
        raise _unknown(statement)
    given = _typed(value, dtype_of(_TYPES[source]), statement)
    return convert(given, dtype_of(_TYPES[target]), "nearest" if rounding == "nearest" else "truncate")


def _typed(value: Values, dtype: DType, statement: str) -> Values:
    """The value as the instruction reads its register: an immediate converted, other bits reinterpreted."""
    if value.dtype == dtype:
        return value
    if value.shape == (1,) and value.dtype == np.float64:
        return convert(value, dtype)
    if value.dtype.itemsize != dtype.itemsize:
        raise _unknown(statement)
    return np.ascontiguousarray(value).view(dtype)


def _result(registers: dict[str, Values], name: str, dtype: DType, shape: tuple[int, ...], text: str) -> Values:
    if name not in registers:
        raise InvalidValue(f"inline assembly {_brief(text)!r} never writes {name}: expected it to write every output")
    value = np.broadcast_to(registers[name], shape)
    if value.dtype != dtype and value.dtype.itemsize == dtype.itemsize:
        return np.ascontiguousarray(value).view(dtype)
    return convert(value, dtype)


def _unknown(statement: str) -> InvalidValue:
    known = ", ".join(f"{name}.approx" for name in _APPROXIMATE)
    return InvalidValue(
        f"PTX instruction {_brief(statement)!r} is not interpreted: expected {known}, fma.rn, cvt.rn, mov, or "
        "add, sub, mul, div, min, max, neg and abs of f16, bf16, f32 or f64"
    )


def _brief(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 60 else f"{words[:57]}..."
