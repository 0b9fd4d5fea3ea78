"""Matrix products of the interpreter against exact rationals, chunk by chunk."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from refattn.numbers import formats
from refattn_interpreter.dot import dot
from refattn_interpreter.options import Options
from tests.support.gpu.number_cases import BF16, E4M3, E5M2, FP16, FP32, FP64, bits, wide

SHAPE = (3, 64, 4)


def operands(dtype: np.dtype, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    m, k, n = SHAPE
    a, b, c = (generator.standard_normal(shape) for shape in ((m, k), (k, n), (m, n)))
    return a.astype(dtype), b.astype(dtype), c.astype(np.float32)


def nearest(value: Fraction, format: formats.Format, truncate: bool = False) -> Fraction:
    """Rounded by integers; the value is in the format's normal range, or 0."""
    if value == 0:
        return value
    exponent = abs(value).numerator.bit_length() - abs(value).denominator.bit_length()
    exponent -= abs(value) < Fraction(2) ** exponent
    spacing = Fraction(2) ** (exponent - format.precision + 1)
    scaled = value / spacing
    return (Fraction(int(scaled)) if truncate else Fraction(round(scaled))) * spacing


def by_hand(a: np.ndarray, b: np.ndarray, c: np.ndarray, chunk: int, truncate: bool = False) -> list[list[float]]:
    """Each chunk's sum is exact and rounded into the accumulator."""
    format = formats.get(c.dtype)
    rows = []
    for row in wide(a):
        rows.append([])
        for column, start in zip(wide(b).T, wide(c)[len(rows) - 1], strict=True):
            total = Fraction(float(start))
            products = [Fraction(x) * Fraction(y) for x, y in zip(row.tolist(), column.tolist(), strict=True)]
            for first in range(0, len(products), chunk):
                total = nearest(total + sum(products[first : first + chunk]), format, truncate)
            rows[-1].append(float(total))
    return rows


@pytest.mark.parametrize(("dtype", "chunk"), [(BF16, 16), (FP16, 16), (E4M3, 32), (E5M2, 32)], ids=str)
@pytest.mark.parametrize("truncate", [False, True])
def test_narrow_operands_enter_the_accumulator_chunk_by_chunk(dtype: np.dtype, chunk: int, truncate: bool) -> None:
    a, b, c = operands(dtype)
    options = Options(dot_rounding="truncate" if truncate else "nearest")
    assert dot(a, b, c, "tf32", options).tolist() == by_hand(a, b, c, chunk, truncate)


def test_an_fp16_accumulator_is_rounded_to_fp16() -> None:
    a, b, c = operands(FP16)
    assert wide(dot(a, b, c.astype(FP16), "tf32", Options())).tolist() == by_hand(a, b, c.astype(FP16), 16)


def test_all_at_once_is_one_rounding() -> None:
    a, b, c = operands(BF16)
    assert dot(a, b, c, "tf32", Options(dot="exact")).tolist() == by_hand(a, b, c, SHAPE[1])


def test_ieee_is_a_chain_of_fused_multiply_adds() -> None:
    for dtype in (FP32, FP64):
        a, b, c = operands(dtype)
        c = c.astype(dtype)
        assert dot(a, b, c, "ieee", Options()).tolist() == by_hand(a, b, c, 1)


@pytest.mark.parametrize("how", ["truncate", "nearest"])
def test_tf32_rounds_the_operands(how: str) -> None:
    a, b, c = operands(FP32)
    kept = [formats.tf32.round(each, how).astype(np.float32) for each in (a, b)]
    found = dot(a, b, c, "tf32", Options(tf32_operands=how))
    assert found.tolist() == by_hand(*kept, c, 8)
    assert found.tolist() != dot(a, b, c, "ieee", Options()).tolist()


def test_three_products_of_tf32_leave_the_error_of_fp32() -> None:
    a, b, c = operands(FP32)
    found = dot(a, b, c, "tf32x3", Options())
    for i, row in enumerate(wide(a).tolist()):
        for j, column in enumerate(wide(b).T.tolist()):
            products = [Fraction(x) * Fraction(y) for x, y in zip(row, column, strict=True)]
            size = sum(map(abs, products)) + abs(Fraction(float(c[i, j])))
            # Each remainder loses less than 2^-21 of its operand, the product of two remainders is left out, and there
            # is a rounding a chunk of three times K / 8 and one for the accumulator.
            roundings = 3 * SHAPE[1] // 8 + 1
            bound = size * (2 * Fraction(1, 2**21) + Fraction(1, 2**22)) + size * roundings * Fraction(1, 2**24) * 2
            assert abs(Fraction(float(found[i, j])) - sum(products) - Fraction(float(c[i, j]))) <= bound


def test_three_products_keep_infinity_and_nan_apart() -> None:
    a = np.zeros((1, 8), np.float32)
    a[0, 0] = np.inf
    b = np.ones((8, 2), np.float32)
    b[0, 1] = 0.0
    found = dot(a, b, np.zeros((1, 2), np.float32), "tf32x3", Options())
    assert found[0, 0] == np.inf
    assert np.isnan(found[0, 1])


def test_integers_are_exact() -> None:
    generator = np.random.default_rng(1)
    a, b = generator.integers(-128, 128, (3, 32), np.int8), generator.integers(-128, 128, (32, 4), np.int8)
    found = dot(a, b, np.full((3, 4), 7, np.int32), "ieee", Options())
    assert found.dtype == np.int32
    assert found.tolist() == (a.astype(object) @ b.astype(object) + 7).tolist()


def test_special_values_reach_the_sums_that_hold_them() -> None:
    a, b, c = operands(BF16)
    a[0, 3] = np.nan
    b[5, 1] = np.inf
    a[:, 5] = 1.0
    found = dot(a, b, c, "tf32", Options())
    assert np.isnan(found[0]).all()
    assert found[1:, 1].tolist() == [np.inf, np.inf]
    assert np.isfinite(found[1:, [0, 2, 3]]).all()


def test_batches_are_independent() -> None:
    a, b, c = operands(BF16)
    stacked = dot(np.stack([a, a]), np.stack([b, b]), np.stack([c, c]), "tf32", Options())
    assert np.array_equal(bits(stacked[1]), bits(dot(a, b, c, "tf32", Options())))
