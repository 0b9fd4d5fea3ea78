"""Compile every kernel for GPUs that this machine need not have, and say what each takes of them.

    python -m refattn_gpu.ahead_of_time [--json FILE]

A line for each configuration and target: registers of a thread, bytes of shared memory, bytes spilled to local memory
(NVIDIA, from Triton's own cuobjdump), and the matrix instruction that was used. Exits with 1 if one does not compile.
Not under TRITON_INTERPRET. May import: triton, refattn_gpu.kernels.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# Triton 3.10 stops contracting a * b + c of its own accord; the arithmetic that the kernels declare allows it.
os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")

TARGETS = {
    "sm_80": ("cuda", 80, 32),
    "sm_90": ("cuda", 90, 32),
    "sm_100": ("cuda", 100, 32),
    "gfx942": ("hip", "gfx942", 64),
}
MATRIX_INSTRUCTIONS = ("wgmma", "tcgen05.mma", "mma.sync", "v_mfma")


@dataclass(frozen=True)
class Configuration:
    """One kernel with its compile-time constants; `pointers` are the element types of its pointer arguments."""

    name: str
    kernel: Any
    pointers: dict[str, str]
    constants: dict[str, Any]
    warps: int = 4
    stages: int = 2


@dataclass(frozen=True)
class Row:
    """What the compiler made of one configuration for one target; None where the target's tools do not say."""

    configuration: str
    target: str
    matrix_instruction: str
    shared_bytes: int
    registers: int | None
    spilled_bytes: int | None


def forward_configurations() -> Iterator[Configuration]:
    """The forward pass: head dimensions, formats, and with every feature at once."""
    from refattn_gpu.arguments import padded
    from refattn_gpu.kernels.attention_forward import attention_forward

    flags = ("SOFTCAP", "ALIBI", "BIAS", "MASK", "SINKS", "LEFT", "RIGHT")
    for element in ("bf16", "fp16", "fp32"):
        for d in (64, 128):
            for features in ((), ("RIGHT",), flags):
                rows = 128 if element != "fp32" and features != flags else 64
                constants: dict[str, Any] = {f"HAS_{flag}": flag in features for flag in flags}
                constants |= {"GUARDS_VALUES": features == flags, "THRESHOLD": 0.0, "PRECISION": "ieee"}
                constants |= {"BLOCK_M": rows, "BLOCK_N": 64 if element != "fp32" else 32}
                constants |= {"BLOCK_D": padded(d), "BLOCK_DV": padded(d)}
                pointers = dict.fromkeys(("q_base", "k_base", "v_base", "out_base"), element)
                pointers["lse_base"] = "fp32"
                for name, flag, kind in (
                    ("bias_base", "BIAS", "fp32"),
                    ("mask_base", "MASK", "i1"),
                    ("slopes_base", "ALIBI", "fp32"),
                    ("sinks_base", "SINKS", "fp32"),
                ):
                    if flag in features:
                        pointers[name] = kind
                    else:
                        constants[name] = None
                label = "+".join(features).lower() if features != flags else "every feature"
                yield Configuration(
                    f"attention_forward {element} d={d} {label or 'plain'}",
                    attention_forward,
                    pointers,
                    constants,
                    warps=8 if d == 128 else 4,
                )


def backward_configurations() -> Iterator[Configuration]:
    """The kernels of the backward pass: head dimensions, formats, and with every feature at once."""
    import torch

    from refattn.spec import Shape
    from refattn_gpu.arguments import padded
    from refattn_gpu.backward import SUMS, TERMS, suitable
    from refattn_gpu.kernels.attention_backward_delta import attention_backward_delta
    from refattn_gpu.kernels.attention_backward_keys import attention_backward_keys
    from refattn_gpu.kernels.attention_backward_queries import attention_backward_queries
    from refattn_gpu.kernels.sum_axis import sum_axis

    sums = {"x_base": "fp32", "sum_base": "fp32"}
    yield Configuration("sum_axis", sum_axis, sums, {"BLOCK": SUMS, "CHUNK": TERMS})
    flags = ("SOFTCAP", "ALIBI", "BIAS", "MASK", "SINKS", "LEFT", "RIGHT", "DLSE")
    results = {"BIAS": ("bias_base", "ds_base"), "ALIBI": ("slopes_base",), "SINKS": ("sinks_base", "dsink_base")}
    results |= {"DLSE": ("dlse_base",), "MASK": ("mask_base",)}
    for element, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16), ("fp32", torch.float32)):
        for d in (64, 128, 256):
            tiling = suitable(Shape(1, 1, 1, 1, 1, d, d), dtype)
            for features in ((), flags):
                constants: dict[str, Any] = {f"HAS_{flag}": flag in features for flag in flags}
                constants |= {"GUARDS_VALUES": features == flags, "PRECISION": "ieee"}
                constants |= {"BLOCK_M": tiling.queries, "BLOCK_N": tiling.keys}
                constants |= {"BLOCK_D": padded(d), "BLOCK_DV": padded(d)}
                pointers = {f"{name}_base": element for name in ("q", "k", "v", "do", "out", "dq", "dk", "dv")}
                pointers |= dict.fromkeys(("lse_base", "delta_base"), "fp32")
                for flag, names in results.items():
                    for name in names:
                        if flag in features:
                            pointers[name] = "i1" if flag == "MASK" else "fp32"
                        else:
                            constants[name] = None
                for kernel in (attention_backward_delta, attention_backward_keys, attention_backward_queries):
                    label = f"{kernel.__name__} {element} d={d} {'every feature' if features else 'plain'}"
                    mine = {name: value for name, value in constants.items() if name in kernel.arg_names}
                    yield Configuration(label, kernel, pointers, mine, tiling.warps, tiling.stages)


def softmax_configurations() -> Iterator[Configuration]:
    """Softmax and its gradient: rows of one tile, and longer ones."""
    from refattn_gpu.kernels.softmax_backward import softmax_backward
    from refattn_gpu.kernels.softmax_forward import softmax_forward

    for element in ("bf16", "fp32"):
        for kind in ("softmax", "log_softmax", "logsumexp"):
            for whole in (True, False):
                constants = {"KIND": kind, "IN_ONE_TILE": whole, "BLOCK_R": 8, "BLOCK_N": 512}
                label = f"{kind} {element} {'one tile' if whole else 'long rows'}"
                pointers = dict.fromkeys(("x_base", "out_base"), element)
                yield Configuration(label, softmax_forward, pointers, constants)
                if kind != "logsumexp":
                    pointers = dict.fromkeys(("y_base", "dy_base", "dx_base"), element)
                    yield Configuration(f"{label} backward", softmax_backward, pointers, constants)


def decode_configurations() -> Iterator[Configuration]:
    """Both kernels of decoding: contiguous and in pages, plain and with every feature."""
    from refattn_gpu.arguments import padded
    from refattn_gpu.kernels.decode_combine import decode_combine
    from refattn_gpu.kernels.decode_split import decode_split

    flags = ("SOFTCAP", "ALIBI", "SINKS", "LEFT", "RIGHT", "TABLE")
    optional = {"ALIBI": ("slopes_base", "fp32"), "SINKS": ("sinks_base", "fp32"), "TABLE": ("table_base", "i32")}
    for element in ("bf16", "fp16", "fp32"):
        for d in (64, 128, 256):
            stages = 2 if d * (4 if element == "fp32" else 2) <= 256 else 1
            pointers = dict.fromkeys(("parts_base", "part_lse_base", "lse_base"), "fp32") | {"out_base": element}
            combine = {"BLOCK_M": 4, "BLOCK_DV": padded(d)}
            yield Configuration(f"decode_combine {element} d={d}", decode_combine, pointers, combine)
            for features in ((), ("TABLE",), flags):
                constants: dict[str, Any] = {f"HAS_{flag}": flag in features for flag in flags}
                constants |= {"BOTTOM_RIGHT": True, "GUARDS_VALUES": features == flags, "PRECISION": "ieee"}
                constants |= {"PAGE": 16, "BLOCK_M": 16, "BLOCK_N": 32, "BLOCK_D": padded(d), "BLOCK_DV": padded(d)}
                pointers = dict.fromkeys(("q_base", "k_base", "v_base"), element)
                pointers |= dict.fromkeys(("out_base", "lse_base"), "fp32")
                for flag, (name, kind) in optional.items():
                    if flag in features:
                        pointers[name] = kind
                    else:
                        constants[name] = None
                if "TABLE" in features:
                    pointers["lengths_base"] = "i32"
                else:
                    constants["lengths_base"] = None
                label = "every feature" if features == flags else "paged" if features else "plain"
                name = f"decode_split {element} d={d} {label}"
                yield Configuration(name, decode_split, pointers, constants, stages=stages)


def compiled(configuration: Configuration, target: str) -> Row:
    """Compile one configuration for one target."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    constants = dict(configuration.constants)
    signature = {}
    for name in configuration.kernel.arg_names:
        if name.endswith("_column") and name not in constants:
            constants[name] = 1
        if name in constants:
            signature[name] = "constexpr"
        elif name in configuration.pointers:
            signature[name] = f"*{configuration.pointers[name]}"
        else:
            signature[name] = "fp32" if name in ("scale", "softcap") else "i32"
    aligned = {
        (place,): [["tt.divisibility", 16]]
        for place, name in enumerate(configuration.kernel.arg_names)
        if signature[name].startswith("*") or (signature[name] == "i32" and name.endswith(("_row", "_head", "_batch")))
    }
    found = triton.compile(
        ASTSource(fn=configuration.kernel, signature=signature, constexprs=constants, attrs=aligned),
        target=GPUTarget(*TARGETS[target]),
        options={"num_warps": configuration.warps, "num_stages": configuration.stages},
    )
    text = found.asm.get("ptx") or found.asm.get("amdgcn")
    instruction = next((name for name in MATRIX_INSTRUCTIONS if name in text), "none")
    registers, spilled = resources(found.asm["cubin"]) if "cubin" in found.asm else (None, None)
    return Row(configuration.name, target, instruction, found.metadata.shared, registers, spilled)


def resources(cubin: bytes) -> tuple[int, int]:
    """Registers of a thread, and bytes of local memory: what was spilled."""
    import triton

    tool = next(Path(triton.__file__).parent.rglob("cuobjdump"))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.cubin"
        file.write_bytes(cubin)
        usage = subprocess.run([tool, "-res-usage", file], capture_output=True, text=True, check=True).stdout
    found = {name: int(number) for name, number in re.findall(r"(\w+):(\d+)", usage)}
    return found["REG"], found["STACK"] + found["LOCAL"]


def main() -> int:
    """The table."""
    parser = argparse.ArgumentParser(prog="python -m refattn_gpu.ahead_of_time", description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows to a file")
    parser.add_argument("--target", choices=TARGETS, action="append", help="only for this target")
    options = parser.parse_args()
    if os.environ.get("TRITON_INTERPRET") == "1":
        parser.error("TRITON_INTERPRET is 1: expected it unset, as interpreted kernels are not compiled")
    rows, failures = [], 0
    for configuration in (
        *forward_configurations(),
        *backward_configurations(),
        *softmax_configurations(),
        *decode_configurations(),
    ):
        for target in options.target or TARGETS:
            try:
                row = compiled(configuration, target)
            except Exception as error:
                failures += 1
                print(f"{configuration.name} {target}: {type(error).__name__}: {error}", file=sys.stderr)
                continue
            rows.append(row)
            numbers = (
                f"{row.registers or '-':>4} registers {row.shared_bytes:>7} shared {row.spilled_bytes or 0:>5} spilled"
            )
            print(f"{row.configuration:<58} {row.target:<7} {row.matrix_instruction:<12} {numbers}", flush=True)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
