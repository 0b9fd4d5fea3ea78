"""Contract: the kernels compile for GPUs that this machine does not have."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.extras import skip_without

skip_without("triton")

GPU = Path(__file__).parents[2] / "gpu"
SCRIPT = """
import json
from refattn_gpu.ahead_of_time import TARGETS, by_pair, compiled
pairs = [("{name} bf16 d=64 {features}", target) for target in TARGETS]
print(json.dumps([compiled(by_pair()[pair], pair[1]).matrix_instruction for pair in pairs]))
"""


KERNELS = [
    *((name, "plain") for name in ("attention_forward", "attention_backward_keys", "attention_backward_queries")),
    *((name, "plain") for name in ("sparse_forward", "sparse_backward_keys", "sparse_backward_queries")),
    # Where the most can go wrong.
    ("attention_backward_keys", "every feature"),
]
TOO_WIDE = """
from dataclasses import replace
from refattn_gpu.ahead_of_time import by_pair, compiled
wide = by_pair()["sparse_forward bf16 d=256 guarded", "sm_100"]
compiled(replace(wide, constants=wide.constants | {"TILE.M": 128}), "sm_100")
"""
TOO_LARGE = """
from refattn_gpu.ahead_of_time import by_pair, compiled
compiled(by_pair()["attention_forward bf16 d=128 plain", "sm_90"], "gfx942")
"""


def compiling(script: str) -> subprocess.CompletedProcess[str]:
    """A script of a Python that compiles kernels."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join([str(GPU), str(GPU.parent), environment.get("PYTHONPATH", "")])
    return subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("name", "features"), KERNELS)
def test_each_target_uses_its_matrix_unit(name: str, features: str) -> None:
    run = compiling(SCRIPT.format(name=name, features=features))
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == ["mma.sync", "wgmma", "tcgen05.mma", "v_mfma"]


def test_a_kernel_that_is_compiled_to_a_trap_is_refused() -> None:
    assert "columns is wanted: expected at most 512" in compiling(TOO_WIDE).stderr


def test_a_tiling_for_more_shared_memory_than_there_is_is_refused() -> None:
    assert "shared memory of 81920 bytes is wanted: expected at most 65536" in compiling(TOO_LARGE).stderr


def test_interpreted_kernels_are_not_compiled() -> None:
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join([str(GPU), str(GPU.parent)])}
    run = subprocess.run(
        [sys.executable, "-m", "refattn_gpu.ahead_of_time"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2
    assert "TRITON_INTERPRET is 1: expected it unset" in run.stderr
