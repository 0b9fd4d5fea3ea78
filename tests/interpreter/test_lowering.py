"""Where the interpreter's decisions come from: the PTX that Triton makes for a Hopper GPU, compiled without one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.extras import skip_without

skip_without("torch", "triton")

# What a kernel of 128 elements stores, the type of its inputs and of its output, and the instructions of its PTX.
EXPRESSIONS = {
    "bf16 sums are rounded once, in bf16": ("a + b", "bf16", "bf16", ["add.bf16"]),
    "bf16 products are": ("a * b", "bf16", "bf16", ["mul.bf16"]),
    "bf16 is divided in fp32": ("a / b", "bf16", "bf16", ["cvt.f32.bf16", "div.full.f32", "cvt.rn.bf16.f32"]),
    "fp32 products and sums are contracted": ("a * b + a", "fp32", "fp32", ["fma.rn.f32"]),
    "a maximum drops NaN": ("tl.maximum(a, b)", "fp32", "fp32", ["max.f32"]),
    "or keeps it when told": (
        "tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)",
        "fp32",
        "fp32",
        ["max.NaN.f32"],
    ),
    "a row's maximum drops NaN, in fp32": ("tl.max(a, 0)", "bf16", "bf16", ["cvt.f32.bf16", "max.f32"]),
    "a row's sum stays in bf16, by halves": ("tl.sum(a, 0)", "bf16", "bf16", ["shfl.sync.bfly.b32", "add.bf16"]),
    "exp rounds its argument": ("tl.exp(a)", "fp32", "fp32", ["mul.f32", "ex2.approx.f32"]),
    "exp2 flushes": ("tl.exp2(a)", "fp32", "fp32", ["ex2.approx.ftz.f32"]),
    "so does sqrt": ("tl.sqrt(a)", "fp32", "fp32", ["sqrt.approx.ftz.f32"]),
    "but not sqrt_rn": ("tl.sqrt_rn(a)", "fp32", "fp32", ["sqrt.rn.f32"]),
    "so does rsqrt": ("tl.rsqrt(a)", "fp32", "fp32", ["rsqrt.approx.ftz.f32"]),
    "so does floor": ("tl.floor(a)", "fp32", "fp32", ["cvt.rmi.ftz.f32.f32"]),
    "a remainder has a rounded quotient": ("a % b", "fp32", "fp32", ["div.rn.f32", "cvt.rzi.f32.f32", "fma.rn.f32"]),
    "fp32 to bf16": ("a", "fp32", "bf16", ["cvt.rn.bf16.f32"]),
    "fp64 to bf16 at once": ("a", "fp64", "bf16", ["cvt.rn.bf16.f64"]),
    "int64 to bf16 at once": ("a", "i64", "bf16", ["cvt.rn.bf16.s64"]),
    "fp32 to e4m3 saturates": ("a", "fp32", "fp8e4nv", ["cvt.rn.satfinite.e4m3x2.f32"]),
    "fp32 to e5m2 saturates": ("a", "fp32", "fp8e5", ["cvt.rn.satfinite.e5m2x2.f32"]),
    "fp32 to int32": ("a.to(tl.int32)", "fp32", "i32", ["cvt.rzi.s32.f32"]),
    "8-bit integers by way of 16": ("a.to(tl.int8)", "fp32", "i8", ["cvt.rzi.s16.f32"]),
}
PRODUCTS = {
    "tf32 operands are handed over as they are": (
        "tl.dot(a, b, input_precision='tf32')",
        "fp32",
        "fp32",
        ["wgmma.mma_async.sync.aligned.m64n64k8.f32.tf32.tf32"],
    ),
    "three products of tf32 are of rounded operands and what they leave": (
        "tl.dot(a, b, input_precision='tf32x3')",
        "fp32",
        "fp32",
        ["cvt.rna.tf32.f32", "sub.f32", "wgmma.mma_async.sync.aligned.m64n64k8.f32.tf32.tf32"],
    ),
    "ieee is fused multiply-adds": ("tl.dot(a, b, input_precision='ieee')", "fp32", "fp32", ["fma.rn.f32"]),
    "bf16 is taken 16 at a time": (
        "tl.dot(a, b)",
        "bf16",
        "fp32",
        ["wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16"],
    ),
    "a product and a sum": (
        "tl.dot(a, b) + tl.load(out + i)",
        "bf16",
        "fp32",
        ["wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16"],
    ),
    "fp32 sums": ("a + b", "fp32", "fp32", ["add.f32"]),
    "fp8 is taken 32 at a time": (
        "tl.dot(a, b)",
        "fp8e5",
        "fp32",
        ["wgmma.mma_async.sync.aligned.m64n64k32.f32.e5m2.e5m2"],
    ),
}
EVERYTHING = EXPRESSIONS | PRODUCTS
COMPILE = """
import json, sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
import stores

found = {}
for i, (source, given, kept) in enumerate(json.load(sys.stdin)):
    signature = {"x": f"*{given}", "y": f"*{given}", "out": f"*{kept}"}
    source = ASTSource(fn=getattr(stores, f"store_{i}"), signature=signature, constexprs={})
    found[i] = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"enable_fp_fusion": True}).asm["ptx"]
json.dump(found, sys.stdout)
"""
KERNEL = """
@triton.jit
def store_{i}(x, y, out):
    i = tl.arange(0, 128)
    a = tl.load(x + i)
    b = tl.load(y + i)
    tl.store(out + i, {source})
"""
BLOCKS = KERNEL.replace("i = tl.arange(0, 128)", "i = tl.arange(0, 64)[:, None] * 64 + tl.arange(0, 64)[None]")


@pytest.fixture(scope="module")
def ptx(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder: Path = tmp_path_factory.mktemp("lowering")
    kernels = (
        (BLOCKS if name in PRODUCTS else KERNEL).format(i=i, source=each[0])
        for i, (name, each) in enumerate(EVERYTHING.items())
    )
    (folder / "stores.py").write_text("import triton\nimport triton.language as tl\n" + "".join(kernels))
    path = os.pathsep.join(each for each in sys.path if each)
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE],
        input=json.dumps([each[:3] for each in EVERYTHING.values()]),
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment | {"PYTHONPATH": path, "TRITON_CACHE_DIR": str(folder / "cache")},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(zip(EVERYTHING, json.loads(done.stdout).values(), strict=True))


@pytest.mark.parametrize("name", EVERYTHING)
def test_the_instructions_of(name: str, ptx: dict[str, str]) -> None:
    found = re.findall(r"^\s*(?:@%p\d+ )?([a-z]\w*(?:\.\w+)+)\s", ptx[name], re.MULTILINE)
    places = [found.index(each) if each in found else -1 for each in EVERYTHING[name][3]]
    assert min(places) >= 0, found
    assert places == sorted(places)


def test_what_is_added_to_a_product_is_its_accumulator(ptx: dict[str, str]) -> None:
    assert "add.f32" in ptx["fp32 sums"]
    assert "add.f32" not in ptx["a product and a sum"]


def test_no_operand_of_tf32_is_rounded(ptx: dict[str, str]) -> None:
    assert "cvt.rna.tf32" not in ptx["tf32 operands are handed over as they are"]
