"""Contract: kernels run on the GPU if there is one, and say what is missing if there is none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.extras import needed, skip_without

torch = needed("torch")
skip_without("triton")

import refattn_gpu
from refattn_gpu.launching import placement

GPU = Path(__file__).parents[2] / "gpu"
KERNELS = [name for name in refattn_gpu.__all__ if hasattr(getattr(refattn_gpu, name), "refattn_claims")]


def compiling(*command: str) -> subprocess.CompletedProcess[str]:
    """A command of a Python that compiles kernels and sees no GPU."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join([str(GPU), str(GPU.parent), environment.get("PYTHONPATH", "")])
    environment["CUDA_VISIBLE_DEVICES"] = environment["HIP_VISIBLE_DEVICES"] = ""
    return subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize(
    ("compiles", "has_gpu", "device"),
    [(True, True, "cuda"), (True, False, "cpu"), (False, True, "cpu"), (False, False, "cpu")],
)
def test_every_kernel_asks_for_the_gpu_that_it_can_use(
    name: str, compiles: bool, has_gpu: bool, device: str, monkeypatch: Any
) -> None:
    monkeypatch.setattr(placement, "compiled", lambda: compiles)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    assert getattr(refattn_gpu, name).refattn_device == device


def test_compiled_kernels_refuse_tensors_of_the_processor() -> None:
    check = ["-m", "refattn", "check", "refattn_gpu:attention", "--dtype", "bf16", "--only", "values/needles"]
    run = compiling(*check, "--quiet")
    assert run.returncode == 3, run.stderr
    assert "q is on cpu: expected a tensor of a GPU, or the interpreter" in " ".join(run.stdout.split())
