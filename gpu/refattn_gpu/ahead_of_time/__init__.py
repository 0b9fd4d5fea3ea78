"""Compile every kernel for GPUs that this machine need not have, and say what each takes of them.

    python -m refattn_gpu.ahead_of_time [--json FILE] [--target NAME] [--only TEXT] [--write | --check]

A line for each configuration and target: registers of a thread, bytes of shared memory, bytes spilled to local memory
(NVIDIA, from Triton's own cuobjdump), and the matrix instruction that was used. Exits with 1 if one does not compile,
or if the forward pass's 16-bit products are not formed by the target's matrix unit. A part of the lines is committed as
gpu/compiled.txt, which --write writes and --check compares.
A family of kernels gives its configurations in a module of its own here, and `configurations` lists them all.
Not under TRITON_INTERPRET.
"""

from __future__ import annotations

from collections.abc import Iterator

from refattn_gpu.ahead_of_time.attention import backward_configurations, forward_configurations
from refattn_gpu.ahead_of_time.block_scales import block_scale_configurations
from refattn_gpu.ahead_of_time.compiling import TARGETS, Row, compiled
from refattn_gpu.ahead_of_time.configuration import Configuration
from refattn_gpu.ahead_of_time.decode import decode_configurations
from refattn_gpu.ahead_of_time.softmax import softmax_configurations
from refattn_gpu.ahead_of_time.sparse import sparse_configurations

__all__ = ["TARGETS", "Configuration", "Row", "by_pair", "compiled", "configurations"]

FAMILIES = (
    forward_configurations,
    backward_configurations,
    softmax_configurations,
    decode_configurations,
    sparse_configurations,
    block_scale_configurations,
)


def by_pair() -> dict[tuple[str, str], Configuration]:
    """Every configuration by its name and each target that it is for."""
    return {(each.name, target): each for each in configurations() for target in each.targets or TARGETS}


def configurations() -> Iterator[Configuration]:
    """Every configuration of every kernel."""
    for family in FAMILIES:
        yield from family()
