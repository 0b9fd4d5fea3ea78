"""Contract: every kernel of refattn_gpu satisfies every property of what it claims, in every format.

Sequences are short, and tiles so tiny that they take several. Statistics, which need long sequences, are taken of the
kernels as they come. The runs take minutes, so that one format stands for all but in CI, which holds the others to the
properties of numbers, and under REFATTN_TEST_PROFILE=deep, where every format is held to all (half an hour).
"""

from __future__ import annotations

import importlib
import os
from typing import Any

import pytest

import refattn
from refattn import adapters
from refattn.suite import choosing
from refattn.suite.findings import Verdict
from tests.support.extras import skip_without

skip_without("torch", "triton")

import refattn_interpreter as interpreter
from tests.support.gpu.small_tiles import KERNELS, LARGEST

PROFILE = os.environ.get("REFATTN_TEST_PROFILE")
FORMATS = ("bf16", "fp16", "fp32") if PROFILE in ("ci", "deep") else ("bf16",)
# What an invisible key, a batch mate or a layout does to a result is the same in every format.
OF_NUMBERS = ("values", "lse", "gradients", "softmax")
# The forward pass is that of attention: its gradients come by way of torch.
ONLY_GRADIENTS = ("differentiable_attention",)
STATISTICS = "statistics"


def families(kernel: str) -> list[str]:
    """The first words of the properties of what a kernel computes, but statistics."""
    if kernel in ONLY_GRADIENTS:
        return ["gradients"]
    judged, call = KERNELS[kernel]
    names = (prop.name.split("/")[0] for prop in choosing.applicable(adapters.get(call), judged))
    return [family for family in dict.fromkeys(names) if family != STATISTICS]


# Two kernels a call, and a long search: only under the deep profile.
LONG = ("exactly_scaled", "visibility")
# These call attention's own kernels and give its bits (test_differentiation): one format shows that they are called.
SAME_KERNELS = ("differentiable_attention",)


def combinations() -> list[tuple[str, str, str]]:
    """Kernels, families and formats that are run together."""
    return [
        (kernel, family, format)
        for kernel in KERNELS
        for family in families(kernel)
        for format in FORMATS
        if PROFILE == "deep"
        or (
            (format == FORMATS[0] or (family in OF_NUMBERS and kernel not in SAME_KERNELS)) and (kernel, family) != LONG
        )
    ]


def unexpected(kernel: Any, call: str, format: str, only: str, largest: int | None) -> list[str]:
    """What fails, and what is not run."""
    with interpreter.active():
        report = refattn.check(interpreter.in_any_thread(kernel), call, (format,), only=only, largest=largest)
    assert report.findings
    return [
        f"{finding.property}: {finding.message}"
        for finding in report.findings
        if finding.fails or finding.verdict is Verdict.NOT_RUN
    ]


@pytest.mark.parametrize(("kernel", "family", "format"), combinations())
def test_every_property_holds_on_short_sequences(kernel: str, family: str, format: str) -> None:
    assert unexpected(*KERNELS[kernel], format, f"{family}/*", LARGEST) == []


@pytest.mark.parametrize("kernel", ["attention", "decode", "softmax"])
@pytest.mark.parametrize("format", FORMATS)
def test_errors_are_as_large_as_roundings_make_them(kernel: str, format: str) -> None:
    as_it_comes = getattr(importlib.import_module("refattn_gpu"), kernel)
    assert unexpected(as_it_comes, KERNELS[kernel][1], format, f"{STATISTICS}/*", None) == []


def test_every_kernel_is_here() -> None:
    package = importlib.import_module("refattn_gpu")
    # Block scales are judged as attention by exact ones; the differentiable softmaxes call the same kernels.
    elsewhere = {"block_scaled_attention", "differentiable_softmax", "differentiable_log_softmax"}
    assert set(package.__all__) - elsewhere == set(KERNELS) - {"exactly_scaled"}
