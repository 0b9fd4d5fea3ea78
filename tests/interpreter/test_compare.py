"""Contract: results of operations are compared bit by bit, so that where the interpreter is not the GPU shows."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.extras import skip_without

skip_without("torch", "triton")

import refattn_interpreter as interpreter
from refattn_interpreter.compare import __main__ as command
from refattn_interpreter.compare.numbers import BF16, E4M3, FP32
from refattn_interpreter.compare.operations import operations
from refattn_interpreter.compare.results import differences, gathered, load, save, ulps_apart


@pytest.fixture(scope="module")
def elsewhere() -> dict[str, Any]:
    """What another process found, under each of the options."""
    return command.interpreted_elsewhere()


def test_names_are_unique() -> None:
    names = [each.name for each in operations()]
    assert len(names) == len(set(names))


def test_nothing_that_is_compared_is_beyond_the_interpreter(elsewhere: dict[str, Any]) -> None:
    assert {name: result for name, result in elsewhere[command.USUAL].items() if isinstance(result, str)} == {}


def test_two_processes_agree_on_everything(elsewhere: dict[str, Any]) -> None:
    with interpreter.active():
        here = gathered(operations(), "cpu")
    found = differences(here, elsewhere, command.USUAL)
    assert len(found) == len(here)
    assert [each.name for each in found if not each.agrees] == []


@pytest.mark.parametrize(
    ("variant", "shows_in"),
    [
        ("fuse", {"a b + c fp32", "c - a b fp32"}),
        ("flush_subnormals", {"subnormal products fp32", "add fp32"}),
        ("dot_rounding=truncate", {"dot bf16 K=128", "dot plus matrix bf16"}),
        ("tf32_operands=nearest", {"dot fp32 tf32 K=32"}),
        ("reduction=sequential", {"sum fp32", "sum of rows fp32"}),
    ],
)
def test_an_arithmetic_that_is_not_the_interpreters_shows_and_is_named(
    elsewhere: dict[str, Any], variant: str, shows_in: set[str]
) -> None:
    found = {each.name: each for each in differences(elsewhere[variant], elsewhere, command.USUAL)}
    assert all(not found[name].agrees and variant in found[name].variants for name in shows_in)
    assert all(found[name].differing and found[name].ulps and found[name].example for name in shows_in)
    unlike = [name for name in ("maximum fp16", "sort fp16", "e4m3 to fp32") if not found[name].agrees]
    assert unlike == []


def test_one_bit_shows(elsewhere: dict[str, Any]) -> None:
    usual = elsewhere[command.USUAL]
    gpu = dict(usual)
    gpu["multiply bf16"] = usual["multiply bf16"].copy()
    gpu["multiply bf16"].view(np.uint16)[600] ^= 1
    wrong = [each for each in differences(gpu, elsewhere, command.USUAL) if not each.agrees]
    assert [(each.name, each.differing, each.ulps, each.variants) for each in wrong] == [("multiply bf16", 1, 1.0, ())]
    assert "1 of 2048 differ, by up to 1 ulp: [600]" in command.text(wrong[0])


def test_what_a_gpu_refuses_is_not_called_a_difference(elsewhere: dict[str, Any]) -> None:
    gpu = dict(elsewhere[command.USUAL]) | {"sort bf16": "CompilationError: no"}
    refused = [each for each in differences(gpu, elsewhere, command.USUAL) if each.refused]
    assert [(each.name, each.refused) for each in refused] == [("sort bf16", "GPU: CompilationError: no")]
    assert "not compared: GPU: CompilationError: no" in command.text(refused[0])


def test_no_operation_begins_after_the_deadline() -> None:
    assert set(gathered(operations(), "cpu", deadline=-math.inf).values()) == {"not reached within the time limit"}


def test_distances_in_ulp_cross_zero_and_stop_at_what_is_not_finite() -> None:
    one = np.array([1.0], np.float32)
    assert ulps_apart(one, np.nextafter(one, np.float32(2))) == 1.0
    assert ulps_apart(np.array([2.0**-149], np.float32), np.array([-(2.0**-149)], np.float32)) == 2.0
    assert ulps_apart(np.array([0.0]).astype(BF16), np.array([-0.0]).astype(BF16)) == 0.0
    assert ulps_apart(one, np.array([np.nan], np.float32)) == math.inf
    assert ulps_apart(np.array([448.0]).astype(E4M3), np.array([np.nan]).astype(E4M3)) == math.inf


def test_results_survive_a_file(tmp_path: Path) -> None:
    arrays = {str(dtype): np.array([1.5, -0.0, np.nan]).astype(dtype) for dtype in (BF16, E4M3, FP32)}
    found = {"one": {**arrays, "integers": np.array([3], np.int32), "refused": "for a reason"}, "two": arrays}
    save(tmp_path / "found.npz", found)
    again = load(tmp_path / "found.npz")
    assert again.keys() == found.keys()
    for variant, results in found.items():
        for name, result in results.items():
            other = again[variant][name]
            if isinstance(result, str):
                assert other == result
            else:
                assert not isinstance(other, str)
                assert other.dtype == result.dtype
                assert other.tobytes() == result.tobytes()


def test_without_a_gpu_it_says_so() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "refattn_interpreter.compare"],
        env={"PYTHONPATH": ":".join(sys.path), "PATH": "", "CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2
    assert run.stderr == "this machine has no GPU that torch and Triton can use: expected one to compare with\n"
