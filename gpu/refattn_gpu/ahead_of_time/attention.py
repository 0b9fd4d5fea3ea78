"""The configurations of attention's forward and backward pass."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from refattn_gpu.ahead_of_time.configuration import Configuration, tile_constants

# GPUs that are given other tilings, by whether they have much shared memory.
LARGE_SMEM, OTHERS = ("sm_90", "sm_100"), ("sm_80", "gfx942")


def forward_configurations() -> Iterator[Configuration]:
    """The forward pass: head dimensions, formats, and with every feature at once."""
    import torch

    from refattn.contract.spec import Shape
    from refattn_gpu.kernels.attention_forward import attention_forward
    from refattn_gpu.kernels.parameters import Has
    from refattn_gpu.launching.tilings import forward_tiling

    flags = Has._fields
    for element, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16), ("fp32", torch.float32)):
        for d in (64, 128, 256):
            for features in ((), ("RIGHT",), ("RIGHT", "PACKED"), flags):
                constants: dict[str, Any] = {f"HAS.{flag}": flag in features for flag in flags}
                constants |= {"NAN_SAFE": features == flags, "THRESHOLD": 0.0, "PRECISION": "ieee"}
                # Packed sequences with the polynomial, too.
                packed = "PACKED" in features
                constants |= {"DEGREE": 3 if packed else 0, "PACKED": packed}
                pointers = dict.fromkeys(("Q", "K", "V", "OUT"), element) | {"LSE": "fp32"}
                for name, flag, kind in (
                    ("starts.queries", "PACKED", "i32"),
                    ("starts.keys", "PACKED", "i32"),
                    ("BIAS", "BIAS", "fp32"),
                    ("MASK", "MASK", "i1"),
                    ("slopes_base", "ALIBI", "fp32"),
                    ("sinks_base", "SINKS", "fp32"),
                ):
                    if flag in features:
                        pointers[name] = kind
                    else:
                        constants[name] = None
                label = "+".join(features).lower() if features != flags else "every feature"
                name = f"attention_forward {element} d={d} {label or 'plain'}"
                for targets in (LARGE_SMEM, OTHERS):
                    shape = Shape(1, 1, 1, 1, 1, d, d)
                    tiling = forward_tiling(shape, dtype, targets is LARGE_SMEM, features == flags)
                    mine = constants | tile_constants(shape, tiling.queries, tiling.keys)
                    yield Configuration(
                        name, attention_forward, pointers, mine, tiling.warps, tiling.stages, targets=targets
                    )


def backward_configurations() -> Iterator[Configuration]:
    """The kernels of the backward pass: head dimensions, formats, and with every feature at once."""
    import torch

    from refattn.contract.spec import Shape
    from refattn_gpu.dense.backward import SUMS, TERMS
    from refattn_gpu.kernels.attention_backward_delta import attention_backward_delta
    from refattn_gpu.kernels.attention_backward_keys import attention_backward_keys
    from refattn_gpu.kernels.attention_backward_queries import attention_backward_queries
    from refattn_gpu.kernels.parameters import Has
    from refattn_gpu.kernels.sum_axis import sum_axis
    from refattn_gpu.launching.arguments import padded
    from refattn_gpu.launching.tilings import gradient_tiling

    sums = {"x_base": "fp32", "sum_base": "fp32"}
    yield Configuration("sum_axis", sum_axis, sums, {"BLOCK": SUMS, "CHUNK": TERMS})
    flags = (*Has._fields, "DLSE")
    results = {"BIAS": ("BIAS", "ds_base"), "ALIBI": ("slopes_base",), "SINKS": ("sinks_base", "dsink_base")}
    results |= {"DLSE": ("DLSE",), "MASK": ("MASK",)}
    for element, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16), ("fp32", torch.float32)):
        for d in (64, 128, 256):
            for features in ((), flags):
                # With every feature heads share keys, too.
                group = 2 if features else 1
                constants: dict[str, Any] = {f"HAS.{flag}": flag in features for flag in flags}
                constants |= {"HAS_DLSE": "DLSE" in features, "NAN_SAFE": features == flags, "PRECISION": "ieee"}
                constants |= {"DEGREE": 0, "PACKED": False, "BLOCK_DV": padded(d)}
                constants |= dict.fromkeys(("starts.queries", "starts.keys", "query_starts_base"))
                tensors = ("Q", "K", "V", "DO", "OUT", "DQ", "DK", "DV")
                pointers = dict.fromkeys((*tensors, *(f"{name.lower()}_base" for name in tensors)), element)
                pointers |= dict.fromkeys(("LSE", "DELTA", "lse_base", "delta_base"), "fp32")
                for flag, names in results.items():
                    for name in names:
                        if flag in features:
                            pointers[name] = "i1" if flag == "MASK" else "fp32"
                        else:
                            constants[name] = None
                kernels = (attention_backward_delta, attention_backward_keys, attention_backward_queries)
                for targets, kernel in itertools.product((LARGE_SMEM, OTHERS), kernels):
                    shape = Shape(1, group, 1, 1, 1, d, d)
                    tiling = gradient_tiling(shape, dtype, targets is LARGE_SMEM, bool(features))
                    label = f"{kernel.__name__} {element} d={d} {'every feature' if features else 'plain'}"
                    mine = constants | tile_constants(shape, tiling.queries, tiling.keys) | {"BLOCK_M": tiling.queries}
                    if kernel is attention_backward_keys:
                        mine |= tile_constants(shape, tiling.keys, tiling.queries)
                        mine |= {} if features else {"sizes.group": 1}
                    yield Configuration(label, kernel, pointers, mine, tiling.warps, tiling.stages, targets=targets)
