"""What Triton's own interpreter returns, to show that the tests of ours can fail: wrong in 3.6 and 3.9."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.extras import needed, skip_without
from tests.support.gpu.number_cases import BF16, E4M3, FP32, bits, padded, pairs, rounded, wide

skip_without("torch")
triton = needed("triton")

from triton.runtime.errors import InterpreterError

import refattn_interpreter as interpreter
from refattn_interpreter import arithmetic
from refattn_interpreter.compare import kernels
from refattn_interpreter.compare.launching import run
from refattn_interpreter.conversions import convert
from refattn_interpreter.dot import dot

pytestmark = [
    pytest.mark.skipif(
        tuple(map(int, triton.__version__.split(".")[:2])) > (3, 9), reason="what later versions return is not known"
    ),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),  # of NumPy, in Triton's interpreter
]

ONE, TWO = np.ones(4, BF16), np.full(4, 2, BF16)


def test_it_adds_the_bits_of_bf16() -> None:
    found = run(kernels.binary, ONE, TWO, OP="add")
    assert (bits(found) == bits(ONE) + bits(TWO)).all()
    assert wide(found)[0] != 3.0


def test_it_multiplies_the_bits_of_bf16() -> None:
    assert wide(run(kernels.binary, ONE, TWO, OP="multiply"))[0] != 2.0


def test_it_compares_the_bits_of_bf16() -> None:
    found = run(kernels.binary, -ONE, -TWO, OP="where")
    assert wide(found)[0] == -2.0  # the larger is -1


def test_it_sums_the_bits_of_bf16() -> None:
    assert wide(run(kernels.reduce, np.ones((1, 4), BF16), M=4, OP="sum", shape=1))[0] != 4.0


def test_it_truncates_fp32_to_bf16() -> None:
    x = padded(np.random.default_rng(0).standard_normal(256).astype(np.float32))
    found = run(kernels.cast, x, output=BF16, ROUNDING=None)
    assert np.array_equal(bits(found), bits(convert(x, BF16, "truncate")))
    assert not np.array_equal(bits(found), bits(rounded(wide(x), BF16)))


def test_it_rounds_ties_to_fp8_away_from_even() -> None:
    tie = np.array([1.0625, 1.1875, 1.3125, 1.4375], np.float32)
    found = run(kernels.cast, tie, output=E4M3, ROUNDING=None)
    assert wide(found).tolist() != wide(rounded(wide(tie), E4M3)).tolist() == [1.0, 1.25, 1.25, 1.5]


def test_its_products_of_bf16_are_products_of_bits() -> None:
    a = np.ones((16, 16), BF16)
    c = np.zeros((16, 16), np.float32)
    found = run(kernels.product, a, a, c, output=FP32, shape=(16, 16), K=16, PRECISION="ieee")
    assert found[0, 0] == 16.0 * bits(ONE)[0].astype(float) ** 2


def test_it_ignores_the_input_precision() -> None:
    generator = np.random.default_rng(1)
    a, b, c = (generator.standard_normal((16, 16)).astype(np.float32) for _ in range(3))
    found = [
        run(kernels.product, a, b, c, output=FP32, shape=(16, 16), K=16, PRECISION=each).tolist()
        for each in ("ieee", "tf32")
    ]
    assert found[0] == found[1] != dot(a, b, c, "tf32", interpreter.Options()).tolist()


def test_its_maximum_does_not_order_zeros_or_keeps_nan() -> None:
    a, b = (padded(each) for each in pairs(FP32, 100, seed=3))
    assert not np.array_equal(bits(run(kernels.binary, a, b, OP="maximum")), bits(arithmetic.larger(a, b)))


def test_its_and_of_blocks_is_the_last_operand() -> None:
    x, y = np.array([1, 1, -1, -1], np.float32), np.array([1, -1, 1, -1], np.float32)
    assert run(kernels.logic, x, y).tolist() != [1.0, 0.0, 0.0, 1.0]


def test_it_knows_neither_assembly_nor_libdevice() -> None:
    x = np.ones(4, np.float32)
    with pytest.raises(InterpreterError, match="inline_asm not supported in interpreter mode"):
        run(kernels.assembly, x)
    with pytest.raises(InterpreterError):
        run(kernels.unary, x, OP="tanh")
