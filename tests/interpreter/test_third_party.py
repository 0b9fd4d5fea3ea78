"""Kernels of packages, where they are installed: what refattn finds in them without a GPU."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

import refattn
from refattn.suite.findings import Verdict
from tests.support.extras import needed, skip_without

skip_without("torch")
triton = needed("triton")

import refattn_interpreter as interpreter

THIRD_PARTY = Path(__file__).parent / "third_party"
CASES = [
    ("liger_kernel", "liger_softmax:softmax", "softmax", "bf16", "softmax/values", Verdict.CONFORMS),
    ("liger_kernel", "liger_softmax:softmax", "softmax", "fp32", "softmax/values", Verdict.CONFORMS),
    ("fla", "fla_attention:attention", "native", "bf16", "values/features", Verdict.CONFORMS),
    ("fskernels", "fasterkernels_fa2:attention", "native", "bf16", "values/needles", Verdict.CONFORMS),
    ("kernels", "multiarch_attention:attention", "native", "fp16", "values/features", Verdict.VIOLATES),
    ("jvp_flash_attention", "jvp_attention:attention", "native", "bf16", "values/features", Verdict.VIOLATES),
]


@pytest.mark.parametrize(("package", "target", "call", "format", "only", "verdict"), CASES)
@pytest.mark.filterwarnings("ignore")  # of the packages
def test_what_is_found_in_a_package(
    package: str, target: str, call: str, format: str, only: str, verdict: Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    if package == "jvp_flash_attention" and not hasattr(triton.runtime.interpreter, "BlockPointerHandle"):
        pytest.skip("the package needs Triton's block pointers, which 3.9 has no more")
    # Another test's module of the same name is no package.
    found = importlib.util.find_spec(package)
    if found is None or found.submodule_search_locations is None:
        pytest.skip(f"{package} is not installed")
    monkeypatch.syspath_prepend(str(THIRD_PARTY))
    module, name = target.split(":")
    with interpreter.active():
        kernel = getattr(importlib.import_module(module), name)
        report = refattn.check(interpreter.in_any_thread(kernel), call, (format,), only=only, time_limit=300.0)
    monkeypatch.delitem(sys.modules, module)
    (finding,) = [each for each in report.findings if each.verdict is not Verdict.NOT_CLAIMED]
    assert finding.verdict is verdict, finding.message
