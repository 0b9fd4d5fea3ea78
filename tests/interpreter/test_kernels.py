"""Kernels under the interpreter: each operation of the language, from the load to the store."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest

from tests.support.extras import needed, skip_without
from tests.support.gpu.number_cases import (
    BF16,
    E4M3,
    E5M2,
    FP16,
    FP32,
    FP64,
    bits,
    drawn,
    every,
    padded,
    pairs,
    rounded,
    same,
    special,
    wide,
)

skip_without("torch")
triton = needed("triton")

import torch
from triton.runtime.errors import InterpreterError

import refattn_interpreter as interpreter
from refattn_interpreter import arithmetic, functions
from refattn_interpreter.builder import Builder
from refattn_interpreter.compare import kernels
from refattn_interpreter.compare.launching import run, tensor
from refattn_interpreter.conversions import convert
from refattn_interpreter.dot import dot

FLOATS = (BF16, FP16, FP32)


@pytest.fixture(autouse=True)
def _interpreted() -> Iterator[None]:
    with interpreter.active():
        yield


@pytest.mark.parametrize("dtype", [BF16, FP16, FP32, E4M3, E5M2], ids=str)
@pytest.mark.parametrize("operation", ["add", "subtract", "multiply"])
def test_arithmetic_is_that_of_the_numbers(dtype: np.dtype, operation: str) -> None:
    a, b = (padded(each) for each in pairs(dtype, 300, seed=1))
    same(run(kernels.binary, a, b, OP=operation), arithmetic.rounded_once(getattr(np, operation), a, b))


@pytest.mark.parametrize("dtype", [BF16, FP16], ids=str)
def test_division_of_narrow_numbers_is_rounded_twice(dtype: np.dtype) -> None:
    # Triton divides them in fp32, which is innocuous; the result in the narrow format is the correctly rounded one.
    a, b = (padded(each) for each in pairs(dtype, 300, seed=2))
    with np.errstate(all="ignore"):
        same(run(kernels.binary, a, b, OP="divide"), rounded(wide(a) / wide(b), dtype))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_maximum_drops_nan_unless_told_to_keep_it(dtype: np.dtype) -> None:
    a, b = (padded(each) for each in pairs(dtype, 300, seed=3))
    same(run(kernels.binary, a, b, OP="maximum"), arithmetic.larger(a, b))
    same(run(kernels.binary, a, b, OP="maximum_nan"), arithmetic.larger(a, b, True))
    same(run(kernels.binary, a, b, OP="minimum"), arithmetic.smaller(a, b))
    top = arithmetic.larger(b, np.ones_like(b))
    same(run(kernels.binary, a, b, OP="clamp"), arithmetic.smaller(arithmetic.larger(a, b), top))
    same(run(kernels.binary, a, b, OP="where"), np.where(wide(a) > wide(b), a, b))


@pytest.mark.parametrize(
    ("operation", "function"),
    [
        ("exp", functions.exp),
        ("exp2", functions.flushing(functions.exp2)),
        ("renamed", functions.flushing(functions.exp2)),
        ("log", functions.log),
        ("log2", functions.log2),
        ("sqrt", functions.flushing(functions.sqrt)),
        ("sqrt_rn", functions.sqrt),
        ("rsqrt", functions.flushing(functions.rsqrt)),
        ("erf", functions.erf),
        ("floor", functions.flushing(functions.floor)),
        ("ceil", functions.flushing(functions.ceil)),
        ("tanh", functions.tanh),
        ("abs", np.abs),
    ],
)
def test_functions(operation: str, function: functions.Function) -> None:
    # With arguments whose exponentials are subnormal, and subnormal ones.
    edges = [np.linspace(-150, -80, 71, dtype=np.float32), np.ldexp(np.float32(3), np.arange(-149, -120))]
    x = padded(np.concatenate([drawn(FP32, 400, seed=4), *edges]).astype(np.float32))
    same(run(kernels.unary, x, OP=operation), function(x))


def test_sigmoid_is_composed_of_its_instructions() -> None:
    x = padded(drawn(FP32, 100, seed=5))
    with np.errstate(all="ignore"):
        zero = np.float32(0) if triton.__version__ < "3.9" else np.float32(-0.0)
        same(run(kernels.unary, x, OP="sigmoid"), 1 / (1 + functions.exp(zero - x)))


def test_a_sign_change_keeps_every_bit_of_bf16() -> None:
    x = every(BF16)
    assert np.array_equal(bits(run(kernels.unary, x, OP="abs")), bits(np.abs(x)))


@pytest.mark.parametrize("target", [BF16, FP16, FP32, E4M3, E5M2], ids=str)
@pytest.mark.parametrize("source", [BF16, FP16, FP32, E4M3, E5M2], ids=str)
def test_casts(source: np.dtype, target: np.dtype) -> None:
    x = padded(drawn(source, 2000, seed=6) if source == FP32 else every(source))
    same(run(kernels.cast, x, output=target, ROUNDING=None), convert(x, target))


@pytest.mark.parametrize("target", [BF16, FP16, E5M2], ids=str)
def test_casts_that_truncate(target: np.dtype) -> None:
    x = padded(drawn(FP32, 2000, seed=7))
    same(run(kernels.cast, x, output=target, ROUNDING="rtz"), convert(x, target, "truncate"))


@pytest.mark.parametrize("name", ["int8", "int32", "int64", "uint8"])
@pytest.mark.parametrize("dtype", [BF16, FP32, FP64], ids=str)
def test_casts_to_integers_and_back(name: str, dtype: np.dtype) -> None:
    x = padded(drawn(dtype, 500, seed=8))
    whole = run(kernels.cast, x, output=np.dtype(name), ROUNDING=None)
    assert np.array_equal(whole, convert(x, np.dtype(name)))
    same(run(kernels.cast, whole, output=dtype, ROUNDING=None), convert(whole, dtype))


def halves(x: np.ndarray) -> np.ndarray:
    """Sums in the order of a warp, each rounded in the format of x."""
    while x.shape[1] > 1:
        half = x.shape[1] // 2
        x = arithmetic.rounded_once(np.add, x[:, :half], x[:, half:])
    return x[:, 0]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_sums_are_rounded_in_the_format_at_each_step(dtype: np.dtype) -> None:
    x = np.random.default_rng(9).standard_normal((4, 64)).astype(dtype)
    same(run(kernels.reduce, x, M=64, OP="sum", shape=4), halves(x))
    same(run(kernels.total, x[0], shape=1), halves(x[:1]))


def test_sums_in_sequence_when_told() -> None:
    x = np.random.default_rng(10).standard_normal((2, 64)).astype(np.float32)
    expected = [np.add.accumulate(row)[-1] for row in x]
    with interpreter.active(interpreter.Options(reduction="sequential")):
        assert run(kernels.reduce, x, M=64, OP="sum", shape=2).tolist() == expected
    assert run(kernels.reduce, x, M=64, OP="sum", shape=2).tolist() != expected


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_reductions_to_a_maximum_drop_nan(dtype: np.dtype) -> None:
    x = np.array(
        [[1, np.nan, 3, 2], [np.nan] * 4, [-0.0, 0.0, -0.0, -0.0], [-np.inf, np.nan, -np.inf, -np.inf]]
    ).astype(dtype)
    same(run(kernels.reduce, x, M=4, OP="max", shape=4), np.array([3, np.nan, 0.0, -np.inf]).astype(dtype))
    same(run(kernels.reduce, x, M=4, OP="min", shape=4), np.array([1, np.nan, -0.0, -np.inf]).astype(dtype))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_positions_of_the_largest_and_smallest(dtype: np.dtype) -> None:
    x = np.array([[1, 3, 3, 2], [-1, -3, -3, -2], [-np.inf, 5, 7, 7], [0.0, -0.0, 0.0, -0.0]]).astype(dtype)
    assert run(kernels.reduce, x, M=4, OP="argmax", shape=4, output=np.dtype(np.int32)).tolist() == [1, 0, 2, 0]
    assert run(kernels.reduce, x, M=4, OP="argmin", shape=4, output=np.dtype(np.int32)).tolist() == [0, 1, 0, 0]


def test_a_reduction_of_pairs_runs_the_kernels_own_function() -> None:
    x = np.random.default_rng(12).standard_normal(64).astype(np.float32)
    m, s = x, np.ones_like(x)
    exp2 = functions.flushing(functions.exp2)
    while len(m) > 1:
        half = len(m) // 2
        top = np.maximum(m[:half], m[half:])
        s = s[:half] * exp2(m[:half] - top) + s[half:] * exp2(m[half:] - top)
        m = top
    assert run(kernels.online, x, shape=2).tolist() == [m[0], s[0]]


def test_a_function_that_branches_is_run_on_scalars() -> None:
    x = np.array([1, -5, 3, 4, 2, 0, -1, 4.5], np.float32)
    assert run(kernels.branching, x, shape=1).tolist() == [-5.0]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("reverse", [False, True])
def test_scans(dtype: np.dtype, reverse: bool) -> None:
    x = (np.random.default_rng(13).integers(-3, 4, 16)).astype(dtype)
    ordered = wide(x)[::-1] if reverse else wide(x)
    expected = np.cumsum(ordered)
    same(run(kernels.scan, x, REVERSE=reverse, OP="sum"), (expected[::-1] if reverse else expected).astype(dtype))


def test_scans_add_by_doubling_distances_or_in_sequence() -> None:
    x = np.random.default_rng(14).standard_normal(64).astype(np.float32)
    doubled, distance = x, 1
    while distance < len(x):
        doubled = np.concatenate([doubled[:distance], doubled[:-distance] + doubled[distance:]])
        distance *= 2
    assert run(kernels.scan, x, REVERSE=False, OP="sum").tolist() == doubled.tolist()
    with interpreter.active(interpreter.Options(reduction="sequential")):
        assert run(kernels.scan, x, REVERSE=False, OP="sum").tolist() == np.cumsum(x).tolist()


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_sorting(dtype: np.dtype) -> None:
    x = np.random.default_rng(15).standard_normal(32).astype(dtype)
    same(run(kernels.sort, x), np.sort(wide(x)).astype(dtype))


@pytest.mark.parametrize("dtype", [BF16, FP16, E4M3, E5M2], ids=str)
def test_products_of_narrow_operands(dtype: np.dtype) -> None:
    generator = np.random.default_rng(16)
    a, b, c = (generator.standard_normal(shape) for shape in ((16, 64), (64, 16), (16, 16)))
    a, b, c = a.astype(dtype), b.astype(dtype), c.astype(np.float32)
    found = run(kernels.product, a, b, c, output=FP32, shape=(16, 16), K=64, PRECISION="ieee")
    assert found.tolist() == dot(a, b, c, "ieee", interpreter.Options()).tolist()


@pytest.mark.parametrize("precision", ["ieee", "tf32", "tf32x3"])
def test_products_of_fp32_by_precision(precision: str) -> None:
    generator = np.random.default_rng(17)
    a, b, c = (generator.standard_normal(shape).astype(np.float32) for shape in ((16, 32), (32, 16), (16, 16)))
    found = run(kernels.product, a, b, c, output=FP32, shape=(16, 16), K=32, PRECISION=precision)
    assert found.tolist() == dot(a, b, c, precision, interpreter.Options()).tolist()
    others = [dot(a, b, c, each, interpreter.Options()).tolist() for each in ("ieee", "tf32", "tf32x3")]
    assert len({str(each) for each in others}) == 3


@pytest.mark.parametrize("first", [False, True])
def test_what_is_added_to_a_product_is_its_accumulator(first: bool) -> None:
    generator = np.random.default_rng(18)
    a, b, c = (generator.standard_normal(shape) for shape in ((16, 64), (64, 16), (16, 16)))
    a, b, c = a.astype(BF16), b.astype(BF16), 100 * c.astype(np.float32)
    found = run(kernels.added_product, a, b, c, output=FP32, shape=(16, 16), K=64, FIRST=first)
    options = interpreter.Options()
    assert found.tolist() == dot(a, b, c, "tf32", options).tolist()
    assert found.tolist() != (dot(a, b, np.zeros_like(c), "tf32", options) + c).tolist()


def test_inline_assembly() -> None:
    x = padded(drawn(FP32, 100, seed=18))
    same(run(kernels.assembly, x), functions.flushing(functions.exp2)(x))
    with pytest.raises(InterpreterError, match=re.escape("PTX instruction 'brev.b32 $0, $1' is not interpreted")):
        run(kernels.unknown_assembly, x)


def test_contraction_is_a_choice() -> None:
    x, y, z = (padded(each) for each in (*pairs(FP32, 100, seed=19), pairs(FP32, 100, seed=20)[0]))
    with np.errstate(all="ignore"):
        same(run(kernels.multiply_add, x, y, z, SUBTRACT=False), x * y + z)
        same(run(kernels.multiply_add, x, y, z, SUBTRACT=True), z - x * y)
    with interpreter.active(interpreter.Options(fuse=True)):
        same(run(kernels.multiply_add, x, y, z, SUBTRACT=False), arithmetic.fused(x, y, z))
        same(run(kernels.multiply_add, x, y, z, SUBTRACT=True), arithmetic.fused(-x, y, z))


def test_flushing_subnormals_is_a_choice() -> None:
    x, y = (
        padded(each)
        for each in (np.array([2.0**-127, 2.0**-100, 1e-30], np.float32), np.array([1.0, 2.0**-30, 2.0], np.float32))
    )
    assert run(kernels.binary, x, y, OP="multiply")[:3].tolist() == [2.0**-127, 2.0**-130, float(np.float32(1e-30)) * 2]
    with interpreter.active(interpreter.Options(flush_subnormals=True)):
        assert run(kernels.binary, x, y, OP="multiply")[:3].tolist() == [0.0, 0.0, float(np.float32(1e-30)) * 2]


def test_and_or_not_of_blocks_are_elementwise() -> None:
    x, y = np.array([1, 1, -1, -1], np.float32), np.array([1, -1, 1, -1], np.float32)
    assert run(kernels.logic, x, y).tolist() == [1.0, 0.0, 0.0, 1.0]


def test_numbers_that_a_kernel_is_given_are_fp32() -> None:
    x = np.ones(4, np.float32)
    out = torch.zeros(4)
    kernels.scaled[(1,)](tensor(x), out, 0.9, N=4)
    expected = np.float32(0.9) * np.float32(1.44269504)
    assert out.tolist() == [expected] * 4
    # Rounded once, as Python's own product would be, it is another number.
    assert expected != np.float32(0.9 * 1.44269504)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_masked_loads_and_stores(dtype: np.dtype) -> None:
    out = tensor(np.full(4, 9.0).astype(dtype))
    kernels.masked[(1,)](tensor(np.array([1.5, 2, 3, 4]).astype(dtype)), out, 2, N=4)
    assert out.double().tolist() == [1.5, 2.0, -np.inf, 9.0]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_descriptors_load_numbers_and_zeros_beyond_the_end(dtype: np.dtype) -> None:
    x = np.arange(1.0, 65.0).reshape(4, 16).astype(dtype)
    out = tensor(np.ones((4, 16)).astype(dtype))
    kernels.described[(1,)](tensor(x), out, 3, N=4, M=16)
    expected = 2 * wide(x)
    expected[3] = 0
    assert out.double().tolist() == expected.tolist()


def test_scaled_products_are_refused() -> None:
    with pytest.raises(NotImplementedError, match=re.escape("tl.dot_scaled is not interpreted: expected tl.dot of")):
        Builder(interpreter.Options()).create_dot_scaled()


def test_atomic_additions_of_bf16_are_rounded_one_by_one() -> None:
    x = np.array([1.0, 2.0, 2.0**-8, 1.0, 2.0**-8, 0.5, 3.0, -1.0]).astype(BF16)
    out = tensor(np.zeros(2).astype(BF16))
    kernels.accumulate[(1,)](tensor(x), out, N=8)
    # 1 + 2^-8 is a tie between 1 and 1 + 2^-7, and goes to 1, twice.
    assert out.double().tolist() == [4.0, 2.5]


def test_an_autotuner_takes_the_first_configuration() -> None:
    out = torch.zeros(1, dtype=torch.int32)
    kernels.tuned[(1,)](out, N=4)
    assert out.item() == 4


def test_every_fp8_number_survives_a_round_trip() -> None:
    for dtype in (E4M3, E5M2):
        x = every(dtype)
        widened = run(kernels.cast, x, output=FP32, ROUNDING=None)
        finite = np.isfinite(widened)
        same(run(kernels.cast, padded(widened[finite]), output=dtype, ROUNDING=None)[: finite.sum()], x[finite])


def test_the_sum_of_squares_is_exact_where_the_format_holds_it() -> None:
    x = np.arange(16).astype(BF16)
    found = run(kernels.reduce, arithmetic.rounded_once(np.multiply, x, x)[None], M=16, OP="sum", shape=1)
    assert wide(found).tolist() == [float(sum(Fraction(i) ** 2 for i in range(16)))]


def test_special_values_pass_through_memory() -> None:
    for dtype in (BF16, FP16, FP32, E4M3, E5M2):
        x = padded(special(dtype))
        same(run(kernels.unary, x, OP="abs"), np.abs(x))
