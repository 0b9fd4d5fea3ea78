"""The configurations of softmax of rows, and of its gradient."""

from __future__ import annotations

from collections.abc import Iterator

from refattn_gpu.ahead_of_time.configuration import Configuration


def softmax_configurations() -> Iterator[Configuration]:
    """Softmax and its gradient: rows of one tile, and longer ones."""
    from refattn_gpu.kernels.softmax_backward import softmax_backward
    from refattn_gpu.kernels.softmax_forward import softmax_forward

    for element in ("bf16", "fp32"):
        for kind in ("softmax", "log_softmax", "logsumexp"):
            for whole in (True, False):
                constants = {"KIND": kind, "IN_ONE_TILE": whole, "BLOCK_R": 8, "BLOCK_N": 512}
                label = f"{kind} {element} {'one tile' if whole else 'long rows'}"
                pointers = dict.fromkeys(("X", "OUT"), element)
                yield Configuration(label, softmax_forward, pointers, constants)
                if kind != "logsumexp":
                    pointers = dict.fromkeys(("Y", "DY", "DX"), element)
                    yield Configuration(f"{label} backward", softmax_backward, pointers, constants)
