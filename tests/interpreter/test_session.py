"""Switching the interpreter on and off: everything is put back, nothing is loaded before, and the device pretends."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from refattn.errors import InvalidType, InvalidValue
from refattn_interpreter.options import Options
from refattn_interpreter.patches import Patches
from tests.support.extras import skip_without


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(each for each in sys.path if each)
    inherited = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=inherited | {"PYTHONPATH": path} | environment
    )


def test_importing_it_loads_neither_triton_nor_torch() -> None:
    code = "import refattn_interpreter, sys; refattn_interpreter.Options(); print(*sys.modules)"
    loaded = set(python(code).stdout.split())
    assert "refattn_interpreter" in loaded
    assert not loaded & {"triton", "torch"}


def test_the_table_of_contents() -> None:
    import refattn_gpu

    assert dir(refattn_gpu) == sorted(refattn_gpu.__all__)
    with pytest.raises(AttributeError, match="no attribute 'interpeter'"):
        _ = refattn_gpu.interpeter


@pytest.mark.parametrize("missing", ["triton", "torch"])
def test_what_is_missing_is_named(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None\nimport refattn_interpreter\nrefattn_interpreter.install()"
    done = python(code)
    message = f"refattn.errors.MissingExtra: {missing} is not installed: expected `pip install refattn[triton]`"
    if missing == "torch":
        skip_without("triton")
    assert done.stderr.strip().splitlines()[-1] == message


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"dot": "fast"}, InvalidValue, "dot is 'fast': expected 'mma' or 'exact'"),
        ({"dot_rounding": None}, InvalidValue, "dot_rounding is None: expected 'nearest' or 'truncate'"),
        ({"tf32_operands": "up"}, InvalidValue, "tf32_operands is 'up': expected 'truncate' or 'nearest'"),
        ({"reduction": "tree"}, InvalidValue, "reduction is 'tree': expected 'halves' or 'sequential'"),
        ({"fuse": 1}, InvalidType, "fuse is 1: expected True or False"),
        ({"capability": 90}, InvalidValue, "capability is 90: expected a pair such as (9, 0)"),
        ({"capability": (9,)}, InvalidValue, "capability is (9,): expected a pair such as (9, 0)"),
    ],
)
def test_options_that_mean_nothing_are_refused(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        Options(**changes)
    with pytest.raises(error, match=re.escape(message)):
        Options().replace(**changes)


def test_patches_are_undone_last_first() -> None:
    class Owner:
        kept = 1

    class Heir(Owner):
        pass

    patches, mapping = Patches(), {"old": 1}
    patches.set(Owner, "kept", 2)
    patches.set(Owner, "kept", 3)
    patches.set(Heir, "kept", 4)
    patches.set(Owner, "new", 5)
    patches.set_item(mapping, "old", 2)
    patches.set_item(mapping, "new", 3)
    assert (Owner.kept, Heir.kept, Owner.new, mapping) == (3, 4, 5, {"old": 2, "new": 3})  # type: ignore[attr-defined]
    patches.restore()
    assert (Owner.kept, Heir.kept, hasattr(Owner, "new"), mapping) == (1, 1, False, {"old": 1})
    assert "kept" not in vars(Heir)


class TestWithTriton:
    @pytest.fixture(autouse=True)
    def _triton(self) -> None:
        skip_without("torch", "triton")

    def test_everything_is_put_back(self) -> None:
        import torch
        import triton
        from triton.runtime import interpreter as stock

        import refattn_interpreter as interpreter
        from refattn_interpreter.compare.kernels import binary
        from refattn_interpreter.compare.launching import run
        from tests.support.gpu.number_cases import BF16

        def state() -> list[dict[str, Any]]:
            owners = (
                stock,
                stock.interpreter_semantic,
                stock.GridExecutor,
                stock.InterpretedFunction,
                stock.FunctionRewriter,
                triton.runtime.driver,
                triton.runtime.Autotuner,
                torch.cuda,
                triton.language.extra.cuda.libdevice,
                triton.language.extra.libdevice,
                triton.language,
                triton.language.core,
                triton.language.math,
                triton.language.tensor,
                sys.modules["refattn_interpreter.compare.kernels"],
            )
            return [dict(vars(owner)) for owner in owners]

        one = np.ones(4).astype(BF16)
        with interpreter.active():  # Triton leaves names in the globals of kernels that it has run
            assert run(binary, one, one, OP="add").astype(float).tolist() == [2.0] * 4
        before = state()
        for _ in range(2):
            with interpreter.active(interpreter.Options(fuse=True)):
                assert state() != before
                assert run(binary, one, one, OP="add").astype(float).tolist() == [2.0] * 4
            assert state() == before

    def test_it_is_put_back_after_an_error(self) -> None:
        import torch

        import refattn_interpreter as interpreter

        before = torch.cuda.is_available

        def fails() -> None:
            with interpreter.active():
                assert torch.cuda.is_available is not before
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fails()
        assert torch.cuda.is_available is before

    def test_triton_that_compiles_is_refused(self) -> None:
        done = python("import triton\nimport refattn_interpreter\nrefattn_interpreter.install()")
        assert done.stderr.strip().splitlines()[-1] == (
            "refattn.errors.InvalidValue: triton was imported without TRITON_INTERPRET=1: expected it to be set before "
            "triton is imported, as `refattn check --triton-cpu` does"
        )

    def test_the_environment_is_set_for_the_import_and_put_back(self) -> None:
        code = (
            "import os\nimport refattn_interpreter as interpreter\n"
            "with interpreter.active():\n    print(os.environ['TRITON_INTERPRET'])\n"
            "print(os.environ.get('TRITON_INTERPRET'))"
        )
        assert python(code).stdout.split() == ["1", "None"]

    def test_torch_speaks_of_a_device(self) -> None:
        import torch
        import triton

        import refattn_interpreter as interpreter

        with interpreter.active(interpreter.Options(capability=(8, 9))):
            assert torch.cuda.is_available()
            assert torch.cuda.get_device_capability() == (8, 9)
            assert torch.cuda.get_device_properties(0).multi_processor_count == 4
            assert triton.runtime.driver.active.get_current_target().arch == 89
            x = torch.ones(3, device="cuda")
            assert x.device.type == "cpu"
            assert x.is_cuda
            assert x.cuda() is x
            assert x.to("cuda:0", torch.float16).device.type == "cpu"
            assert torch.empty_like(x, device=torch.device("cuda")).shape == (3,)
            with torch.cuda.device(0), torch.cuda.stream(torch.cuda.current_stream()):
                torch.cuda.synchronize()
        assert not torch.ones(1).is_cuda

    def test_a_kernel_keeps_its_attributes_and_its_backward_in_other_threads(self) -> None:
        import inspect
        import threading

        import torch

        import refattn_interpreter as interpreter

        def kernel(q: Any, *, spec: Any) -> Any:
            """It says so."""
            del q, spec
            return torch.zeros(1, device="cuda")

        kernel.refattn_claims = ("causal",)  # type: ignore[attr-defined]
        kernel.backward = lambda q: torch.ones(1, device="cuda")  # type: ignore[attr-defined]
        seen: list[torch.Tensor] = []
        with interpreter.active():
            anywhere: Any = interpreter.in_any_thread(kernel)
            thread = threading.Thread(target=lambda: seen.extend([anywhere(seen, spec=None), anywhere.backward(seen)]))
            thread.start()
            thread.join()
        assert [each.item() for each in seen] == [0.0, 1.0]
        assert list(inspect.signature(anywhere).parameters) == ["q", "spec"]
        assert (anywhere.refattn_claims, anywhere.__name__, anywhere.__doc__) == (("causal",), "kernel", "It says so.")
        assert anywhere.__module__ == kernel.__module__
        assert not hasattr(anywhere, "refattn_formats")
