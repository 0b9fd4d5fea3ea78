"""Arithmetic: what the presets say of each stage, how they are changed, and the units of error."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from refattn.contract.arithmetic import Arithmetic, Stage
from refattn.errors import InvalidValue
from refattn.numbers.formats import bf16, e4m3, fp16, fp32, fp64

STAGES = ("dot", "scores", "normaliser", "probabilities", "accumulator", "output", "lse")


def formats_of(arithmetic: Arithmetic) -> dict[str, str]:
    return {name: getattr(arithmetic, name).format.name for name in STAGES}


@pytest.mark.parametrize(("dtype", "fmt"), [("bfloat16", bf16), ("fp16", fp16), (np.float16, fp16), ("e4m3", e4m3)])
def test_flash_keeps_everything_but_probabilities_and_output_in_fp32(dtype: Any, fmt: Any) -> None:
    arithmetic = Arithmetic.flash(dtype)
    assert arithmetic.inputs is fmt
    wide = dict.fromkeys(STAGES, "fp32")
    assert formats_of(arithmetic) == wide | {"probabilities": fmt.name, "output": fmt.name}
    assert arithmetic.cast == "before"
    assert arithmetic.tile == 64


@pytest.mark.parametrize("fmt", [fp32, fp64], ids=lambda f: f.name)
def test_flash_on_wide_inputs_stays_in_their_format(fmt: Any) -> None:
    assert set(formats_of(Arithmetic.flash(fmt)).values()) == {fmt.name}


def test_naive_stores_scores_in_the_inputs_format_and_casts_after_the_division() -> None:
    arithmetic = Arithmetic.naive("bf16")
    assert formats_of(arithmetic) == formats_of(Arithmetic.flash("bf16")) | {"scores": "bf16"}
    assert arithmetic.cast == "after"
    assert arithmetic.tile is None
    assert arithmetic.name == "naive(bf16)"


def test_float64_is_float64_throughout() -> None:
    arithmetic = Arithmetic.float64()
    assert set(formats_of(arithmetic).values()) == {"fp64"}
    assert arithmetic.inputs is fp64
    assert arithmetic.name == "float64"


@pytest.mark.parametrize("preset", [Arithmetic.flash, Arithmetic.naive], ids=["flash", "naive"])
def test_presets_take_changes_by_name_of_format(preset: Any) -> None:
    arithmetic = preset("bf16", accumulator="fp16", tile=128, dot=Stage(fp32, "truncate"))
    assert arithmetic.accumulator == Stage(fp16)
    assert arithmetic.tile == 128
    assert arithmetic.dot.rounding == "truncate"
    assert Arithmetic.float64(output="fp32").output == Stage(fp32)
    assert arithmetic.replace(inputs="fp16").inputs is fp16


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accumulater": "bf16"}, r"^Arithmetic has no stage 'accumulater': expected one of "),
        ({"output": "bf17"}, r"^format 'bf17' is not known"),
        ({"tile": 0}, r"^tile is 0: expected"),
        ({"exp_ulps": -1.0}, r"^exp_ulps is -1\.0: expected"),
        ({"exp_relative": float("inf")}, r"^exp_relative is inf: expected"),
        ({"log_ulps": float("nan")}, r"^log_ulps is nan: expected"),
        ({"splits": 0}, r"^splits is 0: expected"),
        ({"split_keys": 0}, r"^split_keys is 0: expected"),
    ],
)
def test_a_bad_change_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        Arithmetic.flash("bf16", **changes)


def test_a_truncating_stage_errs_by_a_whole_ulp() -> None:
    nearest, truncating = Stage(bf16), Stage(bf16, "truncate")
    assert nearest.unit == 2.0**-8
    assert truncating.unit == 2.0**-7
    below = np.nextafter(1.0 + 2.0**-7, 0.0)  # the worst case of truncation, one ulp above 1
    error = Fraction(below) - Fraction(float(bf16.round(below, "truncate")))
    assert Fraction(nearest.unit) * Fraction(below) < error < Fraction(truncating.unit) * Fraction(below)


@pytest.mark.parametrize("rounding", ["nearest", "truncate"])
def test_mean_square_is_that_of_log_uniform_numbers(rounding: Any) -> None:
    """A sum over points equidistant in the logarithm, against the formula.

    The formula takes 1/x^3 to be constant between neighbours, where it varies by less than 3 * 2**-7; with at least
    2**12 points between neighbours, the sum is within 3 * 2**-12 of the integral.
    """
    points = 2.0 ** ((np.arange(2**20) + 0.5) / 2**20)
    error = (bf16.round(points, rounding) - points) / points
    measured = math.fsum(error**2) / error.size
    assert abs(measured / Stage(bf16, rounding).mean_square - 1.0) < 3 * 2.0**-7 + 3 * 2.0**-12


def test_errors_of_functions_are_counted_in_ulps_of_their_format() -> None:
    arithmetic = Arithmetic.flash("bf16", exp_ulps=2.0, exp_relative=1e-3, log_ulps=3.0)
    assert arithmetic.exp_error == 4 * 2.0**-24 + 1e-3
    assert arithmetic.log_error == 6 * 2.0**-24
