"""`refattn check --triton-cpu` from the shell: a right kernel, a wrong one, and where the replay of it leads."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.extras import skip_without

skip_without("torch", "triton")

KERNELS = """
import torch
import triton
import triton.language as tl
from refattn.contract.arithmetic import Arithmetic


@triton.jit
def rows(x, out, count, WIDTH: tl.constexpr, MASKED: tl.constexpr):
    i = tl.arange(0, WIDTH)
    row = tl.program_id(0) * count + i
    a = tl.load(x + row, mask=i < count, other=-float("inf") if MASKED else 0.0).to(tl.float32)
    p = tl.exp(a - tl.maximum(tl.max(a, 0), -3e38))
    tl.store(out + row, (p / tl.sum(p, 0)).to(out.dtype.element_ty), mask=i < count)


def launch(x, dim, masked):
    x = x.movedim(dim, -1).contiguous()
    out = torch.empty(x.shape, dtype=x.dtype, device="cuda")
    rows[(x.numel() // x.shape[-1],)](x, out, x.shape[-1], triton.next_power_of_2(x.shape[-1]), masked)
    return out.movedim(-1, dim)


def softmax(x, dim):
    return launch(x, dim, True)


def padded_softmax(x, dim):
    return launch(x, dim, False)


def arithmetic(format):
    wide = Arithmetic.flash("fp32").scores
    return Arithmetic.naive(format, scores=wide, lse=wide, exponent="subtract_exp2", exp_ulps=2.0)


for kernel in (softmax, padded_softmax):
    kernel.refattn_library, kernel.refattn_arithmetic = "torch", arithmetic
    kernel.refattn_kind = "softmax"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rows.py").write_text(KERNELS)
    return tmp_path


def refattn(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    path = os.pathsep.join(each for each in sys.path if each)
    return subprocess.run(
        [sys.executable, "-m", "refattn", *arguments, "--triton-cpu"],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment | {"PYTHONPATH": path, "COLUMNS": "160"},
    )


def test_a_right_kernel_conforms_in_bf16(folder: Path) -> None:
    done = refattn(folder, "check", "rows:softmax", "--call", "softmax", "--dtype", "bf16", "--only", "softmax/values")
    assert (done.returncode, done.stderr) == (0, "")
    assert "rows:softmax conforms" in done.stdout


def test_a_wrong_kernel_does_not_and_the_replay_shows_it_again(folder: Path) -> None:
    only = ("--dtype", "bf16", "--only", "softmax/values", "--fail-fast", "--quiet")
    done = refattn(folder, "check", "rows:padded_softmax", "--call", "softmax", *only)
    assert (done.returncode, done.stderr) == (1, "")
    found = re.search(r"refattn (replay .*) --triton-cpu", done.stdout)
    assert found is not None
    again = refattn(folder, *(part.strip("'") for part in found[1].split()))
    assert again.returncode == 1
    assert "violates" in again.stdout
