"""Compile one configuration for a GPU that this machine need not have, and say what it takes of it.

Not under TRITON_INTERPRET.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from refattn.errors import InvalidValue
from refattn_gpu.ahead_of_time.configuration import Configuration

TARGETS = {
    "sm_80": ("cuda", 80, 32),
    "sm_90": ("cuda", 90, 32),
    "sm_100": ("cuda", 100, 32),
    "gfx942": ("hip", "gfx942", 64),
}
# Bytes that a program may have; Triton refuses to launch what wants more.
SHARED_MEMORY = {"sm_80": 163 << 10, "sm_90": 227 << 10, "sm_100": 227 << 10, "gfx942": 64 << 10}
# Columns of a Blackwell multiprocessor. What wants more is compiled to a trap, and refused when it is launched.
TENSOR_MEMORY = 512
# Of a parameter, and in its group.
Place = tuple[int, ...]
ALIGNED = [["tt.divisibility", 16]]
STRIDES = (".batch", ".head", ".page", ".row", "table_batch")
MATRIX_INSTRUCTIONS = ("wgmma", "tcgen05.mma", "mma.sync", "v_mfma")


@dataclass(frozen=True)
class Row:
    """What the compiler made of one configuration for one target; None where the target's tools do not say."""

    configuration: str
    target: str
    matrix_instruction: str
    shared_bytes: int
    registers: int | None
    spilled_bytes: int | None


def compiled(configuration: Configuration, target: str) -> Row:
    """Compile one configuration for one target. Raises InvalidValue where Triton would refuse to launch the kernel."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel = triton.compile(
        ASTSource(configuration.kernel, *specialised(configuration)),
        target=GPUTarget(*TARGETS[target]),
        # Triton 3.10 stops contracting a * b + c of its own accord; the arithmetic that the kernels declare allows it.
        options={"num_warps": configuration.warps, "num_stages": configuration.stages, "enable_fp_fusion": True},
    )
    columns = getattr(kernel.metadata, "tmem_size", None) or 0
    if columns > TENSOR_MEMORY:
        raise InvalidValue(f"tensor memory of {columns} columns is wanted: expected at most {TENSOR_MEMORY}")
    if kernel.metadata.shared > SHARED_MEMORY[target]:
        raise InvalidValue(
            f"shared memory of {kernel.metadata.shared} bytes is wanted: expected at most {SHARED_MEMORY[target]}"
        )
    text = kernel.asm.get("ptx") or kernel.asm.get("amdgcn")
    instruction = next((name for name in MATRIX_INSTRUCTIONS if name in text), "none")
    registers, spilled = resources(kernel.asm["cubin"]) if "cubin" in kernel.asm else (None, None)
    return Row(configuration.name, target, instruction, kernel.metadata.shared, registers, spilled)


def specialised(configuration: Configuration) -> tuple[dict[str, Any], dict[Place, Any], dict[Place, Any]]:
    """(signature, constants, attributes) as a launch specialises the arguments: columns are adjacent, and pointers and
    the other strides divisible by 16. Constants and attributes are by place, of a parameter and in its group.
    """
    signature: dict[str, Any] = {}
    constants: dict[Place, Any] = {}
    attributes: dict[Place, Any] = {}

    def kind(place: Place, name: str) -> str:
        if name in configuration.constants or name.endswith(".column"):
            constants[place] = configuration.constants.get(name, 1)
            return "constexpr"
        if name in configuration.pointers:
            attributes[place] = ALIGNED
            return f"*{configuration.pointers[name]}"
        if name.endswith(STRIDES):
            attributes[place] = ALIGNED
        return "fp32" if name.endswith(("scale", "softcap")) else "i32"

    annotations = get_type_hints(configuration.kernel.fn)
    for index, name in enumerate(configuration.kernel.arg_names):
        fields = getattr(annotations.get(name), "_fields", None)
        if fields is None:
            signature[name] = kind((index,), name)
        else:
            # The base of a tensor goes by the tensor's name.
            leaves = (name if field == "base" else f"{name}.{field}" for field in fields)
            signature[name] = annotations[name](*(kind((index, at), leaf) for at, leaf in enumerate(leaves)))
    return signature, constants, attributes


def resources(cubin: bytes) -> tuple[int, int]:
    """Registers of a thread, and bytes of local memory: what was spilled."""
    import triton

    tool = next(Path(triton.__file__).parent.rglob("cuobjdump"))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.cubin"
        file.write_bytes(cubin)
        usage = subprocess.run([tool, "-res-usage", file], capture_output=True, text=True, check=True).stdout
    usages = {name: int(number) for name, number in re.findall(r"(\w+):(\d+)", usage)}
    return usages["REG"], usages["STACK"] + usages["LOCAL"]
