"""The configurations of sparse attention, forward and backward."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from refattn_gpu.ahead_of_time.configuration import Configuration, tile_constants


def sparse_configurations() -> Iterator[Configuration]:
    """The kernels of sparse attention: head dimensions and formats, guarded, and as without hidden keys."""
    import torch

    from refattn.contract.spec import Shape
    from refattn_gpu.kernels.sparse_backward_keys import sparse_backward_keys
    from refattn_gpu.kernels.sparse_backward_queries import sparse_backward_queries
    from refattn_gpu.kernels.sparse_forward import sparse_forward
    from refattn_gpu.launching.arguments import Tiling
    from refattn_gpu.sparse.launch import PREFETCHING, fit_gradient_tiling, fit_tiling

    order = dict.fromkeys(("rows_order", "columns_order"), "i32")
    order |= {f"{side}.{field}": "i32" for side in tuple(order) for field in ("tokens", "starts", "ends")}
    for element, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16), ("fp32", torch.float32)):
        pointers = dict.fromkeys(("Q", "K", "V", "DO", "out_base", "dq_base", "dk_base", "dv_base"), element)
        pointers |= dict.fromkeys(("lse_base", "delta_base"), "fp32") | order
        for d in (16, 64, 128, 256):
            shape = Shape(1, 1, 1, 1, 1, d, d)
            backward = fit_gradient_tiling(shape, dtype)
            for kernel, tiling in (
                (sparse_forward, fit_tiling(Tiling(stages=PREFETCHING), shape, dtype)),
                (sparse_backward_queries, backward),
                (sparse_backward_keys, backward),
            ):
                for guards in (False, True) if d == 64 else (True,):
                    constants: dict[str, Any] = {"NAN_SAFE": guards, "PRECISION": "ieee"}
                    constants |= tile_constants(shape, tiling.queries, tiling.keys)
                    label = f"{kernel.__name__} {element} d={d} {'guarded' if guards else 'plain'}"
                    yield Configuration(label, kernel, pointers, constants, tiling.warps, tiling.stages)
