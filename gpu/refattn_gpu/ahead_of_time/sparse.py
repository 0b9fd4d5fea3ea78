"""The configurations of sparse attention, forward and backward."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from refattn_gpu.ahead_of_time.configuration import Configuration


def sparse_configurations() -> Iterator[Configuration]:
    """The kernels of sparse attention: head dimensions and formats, guarded, and as without hidden keys."""
    import torch

    from refattn.contract.spec import Shape
    from refattn_gpu.kernels.sparse_backward_keys import sparse_backward_keys
    from refattn_gpu.kernels.sparse_backward_queries import sparse_backward_queries
    from refattn_gpu.kernels.sparse_forward import sparse_forward
    from refattn_gpu.launching.arguments import Tiling, padded
    from refattn_gpu.sparse.launch import PREFETCHING, backward_fitting, fitting

    order = dict.fromkeys((f"{name}_base" for name in ("rows", "columns", "starts", "ends", "lows", "highs")), "i32")
    for element, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16), ("fp32", torch.float32)):
        pointers = {f"{name}_base": element for name in ("q", "k", "v", "do", "out", "dq", "dk", "dv")}
        pointers |= dict.fromkeys(("lse_base", "delta_base"), "fp32") | order
        for d in (16, 64, 128, 256):
            shape = Shape(1, 1, 1, 1, 1, d, d)
            backward = backward_fitting(shape, dtype)
            for kernel, tiling in (
                (sparse_forward, fitting(Tiling(stages=PREFETCHING), shape, dtype)),
                (sparse_backward_queries, backward),
                (sparse_backward_keys, backward),
            ):
                for guards in (False, True) if d == 64 else (True,):
                    constants: dict[str, Any] = {"GUARDS_VALUES": guards, "PRECISION": "ieee", "D_QK": d, "D_V": d}
                    constants |= {"BLOCK_M": tiling.queries, "BLOCK_N": tiling.keys}
                    constants |= {"BLOCK_D": padded(d), "BLOCK_DV": padded(d)}
                    label = f"{kernel.__name__} {element} d={d} {'guarded' if guards else 'plain'}"
                    yield Configuration(label, kernel, pointers, constants, tiling.warps, tiling.stages)
