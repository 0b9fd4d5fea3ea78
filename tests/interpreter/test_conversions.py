"""Conversions of the interpreter: all 8- and 16-bit numbers, and wide ones around every tie."""

from __future__ import annotations

import re

import numpy as np
import pytest

from refattn.errors import InvalidValue
from refattn_interpreter.conversions import convert
from refattn_interpreter.dtypes import dtype_of
from tests.support.gpu.number_cases import (
    BF16,
    E4M3,
    E5M2,
    FP16,
    FP32,
    FP64,
    NARROW,
    TABLES,
    drawn,
    every,
    rounded,
    same,
    special,
    wide,
)


@pytest.mark.parametrize("target", NARROW, ids=str)
@pytest.mark.parametrize("source", NARROW, ids=str)
@pytest.mark.parametrize("truncate", [False, True])
def test_every_narrow_number_is_rounded_as_the_table_says(source: np.dtype, target: np.dtype, truncate: bool) -> None:
    values = every(source)
    if source != target:
        same(convert(values, target, "truncate" if truncate else "nearest"), rounded(wide(values), target, truncate))


@pytest.mark.parametrize("target", NARROW, ids=str)
@pytest.mark.parametrize("source", [FP32, FP64], ids=str)
@pytest.mark.parametrize("truncate", [False, True])
def test_wide_numbers_around_every_tie(source: np.dtype, target: np.dtype, truncate: bool) -> None:
    table = TABLES[target].values
    ties = (table[1:] + table[:-1]) / 2
    with np.errstate(over="ignore"):
        points = np.concatenate([table, ties, [1.5 * table[-1], -2 * table[-1], 2.0**-149]]).astype(source)
        values = np.concatenate([points, np.nextafter(points, np.inf), np.nextafter(points, -np.inf), special(source)])
    same(convert(values, target, "truncate" if truncate else "nearest"), rounded(wide(values), target, truncate))


def test_fp32_to_bf16_with_every_upper_half() -> None:
    lower = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    patterns = ((np.arange(1 << 16, dtype=np.uint32) << 16)[:, None] | lower).ravel()
    values = patterns.view(np.float32)
    # Added to the bits, half a unit carries into the exponent, and to infinity, as rounding does.
    nearest = ((patterns + 0x7FFF + ((patterns >> 16) & 1)) >> 16).astype(np.uint16).view(BF16)
    same(convert(values, BF16), np.where(np.isnan(values), np.array(np.nan).astype(BF16), nearest))


@pytest.mark.parametrize("source", NARROW, ids=str)
@pytest.mark.parametrize("target", [FP32, FP64], ids=str)
def test_widening_is_exact(source: np.dtype, target: np.dtype) -> None:
    values = every(source)
    with np.errstate(invalid="ignore"):  # signalling NaNs
        same(convert(values, target), values.astype(np.float64).astype(target))


def test_fp64_to_bf16_is_rounded_once() -> None:
    # Just above a tie by less than fp32 can tell: by way of fp32 it would become the tie, and go down.
    value = np.array([1 + 2.0**-8 + 2.0**-40, -(1 + 2.0**-8 + 2.0**-40)])
    assert wide(convert(value, BF16)).tolist() == [1 + 2.0**-7, -(1 + 2.0**-7)]
    assert wide(convert(value.astype(np.float32), BF16)).tolist() == [1.0, -1.0]


@pytest.mark.parametrize("name", ["int32", "uint32", "int64", "uint64"])
@pytest.mark.parametrize("target", [BF16, FP16], ids=str)
def test_integers_are_rounded_once(name: str, target: np.dtype) -> None:
    limits = np.iinfo(name)
    around = [
        sign * (2**p + 2 ** (p - shift) + d)
        for p in range(8, 64)
        for shift in (8, 11)
        if p >= shift
        for d in (-1, 0, 1)
        for sign in (1, -1)
    ]
    numbers = [
        each for each in [*around, limits.min, limits.max, limits.max - 1, 0] if limits.min <= each <= limits.max
    ]
    found = convert(np.array(numbers, name), target)
    assert [float(each) for each in found] == [nearest_integer(each, target) for each in numbers]


def nearest_integer(value: int, target: np.dtype) -> float:
    """By integers: the multiple of the spacing that is nearest, ties to an even multiple."""
    precision = 8 if target == BF16 else 11
    spacing = 2 ** max(abs(value).bit_length() - precision, 0)
    quotient, rest = divmod(abs(value), spacing)
    quotient += 2 * rest > spacing or (2 * rest == spacing and quotient % 2 == 1)
    rounded = quotient * spacing
    magnitude = float("inf") if target == FP16 and rounded > 65504 else float(rounded)
    return -magnitude if value < 0 else magnitude


@pytest.mark.parametrize("name", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
@pytest.mark.parametrize("source", [BF16, FP16, FP32, FP64], ids=str)
def test_numbers_become_integers_as_cvt_rzi_makes_them(name: str, source: np.dtype) -> None:
    limits = np.iinfo(name)
    bounds = (
        (np.iinfo(f"{name[:-1]}16").min, np.iinfo(f"{name[:-1]}16").max)
        if name[-2:] in ("t8",)
        else (limits.min, limits.max)
    )
    values = drawn(source, 3000, seed=5)
    expected = []
    for value in wide(values).tolist():
        if value != value:
            wide_result = name.endswith("64") or source == FP64
            number = (1 << (8 * np.dtype(name).itemsize - 1)) if wide_result and not name.endswith("t8") else 0
        elif abs(value) == float("inf"):
            number = bounds[0] if value < 0 else bounds[1]
        else:
            number = min(max(int(value), bounds[0]), bounds[1])
        expected.append(number & ((1 << (8 * np.dtype(name).itemsize)) - 1))
    unsigned = np.dtype(f"u{np.dtype(name).itemsize}")
    assert convert(values, np.dtype(name)).view(unsigned).tolist() == expected


@pytest.mark.parametrize(("target", "top"), [(E4M3, 448.0), (E5M2, 57344.0)], ids=["e4m3", "e5m2"])
def test_fp8_saturates(target: np.dtype, top: float) -> None:
    found = convert(np.array([np.inf, -np.inf, 1e30, -1e30, np.nan], np.float32), target)
    assert wide(found)[:4].tolist() == [top, -top, top, -top]
    assert np.isnan(wide(found)[4])


@pytest.mark.parametrize("name", ["fp8e4b8", "fp8e5b16"])
def test_amd_formats_round_to_nearest_and_saturate(name: str) -> None:
    target = dtype_of(name)
    table = np.sort(wide(every(target))[np.isfinite(wide(every(target)))])
    ties = (table[1:] + table[:-1]) / 2
    values = np.concatenate([table, ties, [2 * table[-1], -np.inf, -0.0]])
    found = wide(convert(values, target))
    kept = np.clip(values, table[0], table[-1])
    gap = np.abs(found - kept)
    # No number of the format is nearer than the one that was chosen.
    assert np.array_equal(gap, np.min(np.abs(table[None] - kept[:, None]), axis=1))
    assert not np.signbit(found[-1])


def test_an_unknown_type_is_named() -> None:
    with pytest.raises(InvalidValue, match=re.escape("type 'fp8e4b15' is not interpreted: expected one of fp8e4nv")):
        dtype_of("fp8e4b15")
