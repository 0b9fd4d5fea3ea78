"""The configurations of attention's forward and backward pass."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from refattn_gpu.ahead_of_time.configuration import Configuration

# GPUs that are given other tilings, by whether they have much shared memory.
ROOMY, OTHERS = ("sm_90", "sm_100"), ("sm_80", "gfx942")


def forward_configurations() -> Iterator[Configuration]:
    """The forward pass: head dimensions, formats, and with every feature at once."""
    import torch

    from refattn.contract.spec import Shape
    from refattn_gpu.kernels.attention_forward import attention_forward
    from refattn_gpu.launching.arguments import padded
    from refattn_gpu.launching.tilings import of_forward

    flags = ("SOFTCAP", "ALIBI", "BIAS", "MASK", "SINKS", "LEFT", "RIGHT")
    for element, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16), ("fp32", torch.float32)):
        for d in (64, 128, 256):
            for features in ((), ("RIGHT",), ("RIGHT", "PACKED"), flags):
                constants: dict[str, Any] = {f"HAS_{flag}": flag in features for flag in flags}
                constants |= {"GUARDS_VALUES": features == flags, "THRESHOLD": 0.0, "PRECISION": "ieee"}
                # Packed sequences with the polynomial, too.
                packed = "PACKED" in features
                constants |= {"DEGREE": 3 if packed else 0, "PACKED": packed}
                constants |= {"D_QK": d, "D_V": d, "BLOCK_D": padded(d), "BLOCK_DV": padded(d)}
                pointers = dict.fromkeys(("q_base", "k_base", "v_base", "out_base"), element)
                pointers["lse_base"] = "fp32"
                for name, flag, kind in (
                    ("query_starts_base", "PACKED", "i32"),
                    ("key_starts_base", "PACKED", "i32"),
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
                name = f"attention_forward {element} d={d} {label or 'plain'}"
                for targets in (ROOMY, OTHERS):
                    tiling = of_forward(Shape(1, 1, 1, 1, 1, d, d), dtype, targets is ROOMY, features == flags)
                    mine = constants | {"BLOCK_M": tiling.queries, "BLOCK_N": tiling.keys}
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
    from refattn_gpu.kernels.sum_axis import sum_axis
    from refattn_gpu.launching.arguments import padded
    from refattn_gpu.launching.tilings import of_backward

    sums = {"x_base": "fp32", "sum_base": "fp32"}
    yield Configuration("sum_axis", sum_axis, sums, {"BLOCK": SUMS, "CHUNK": TERMS})
    flags = ("SOFTCAP", "ALIBI", "BIAS", "MASK", "SINKS", "LEFT", "RIGHT", "DLSE")
    results = {"BIAS": ("bias_base", "ds_base"), "ALIBI": ("slopes_base",), "SINKS": ("sinks_base", "dsink_base")}
    results |= {"DLSE": ("dlse_base",), "MASK": ("mask_base",)}
    for element, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16), ("fp32", torch.float32)):
        for d in (64, 128, 256):
            for features in ((), flags):
                # With every feature heads share keys, too.
                group = 2 if features else 1
                constants: dict[str, Any] = {f"HAS_{flag}": flag in features for flag in flags}
                constants |= {"GUARDS_VALUES": features == flags, "PRECISION": "ieee"}
                constants |= {"DEGREE": 0, "PACKED": False, "query_starts_base": None, "key_starts_base": None}
                constants |= {"D_QK": d, "D_V": d, "BLOCK_D": padded(d), "BLOCK_DV": padded(d)}
                pointers = {f"{name}_base": element for name in ("q", "k", "v", "do", "out", "dq", "dk", "dv")}
                pointers |= dict.fromkeys(("lse_base", "delta_base"), "fp32")
                for flag, names in results.items():
                    for name in names:
                        if flag in features:
                            pointers[name] = "i1" if flag == "MASK" else "fp32"
                        else:
                            constants[name] = None
                kernels = (attention_backward_delta, attention_backward_keys, attention_backward_queries)
                for targets, kernel in itertools.product((ROOMY, OTHERS), kernels):
                    tiling = of_backward(Shape(1, group, 1, 1, 1, d, d), dtype, targets is ROOMY, bool(features))
                    label = f"{kernel.__name__} {element} d={d} {'every feature' if features else 'plain'}"
                    blocks = {"BLOCK_M": tiling.queries, "BLOCK_N": tiling.keys}
                    if kernel is attention_backward_keys:
                        blocks = {"BLOCK_M": tiling.keys, "BLOCK_N": tiling.queries}
                        blocks |= {} if features else {"group": 1}
                    mine = {name: value for name, value in (constants | blocks).items() if name in kernel.arg_names}
                    yield Configuration(label, kernel, pointers, mine, tiling.warps, tiling.stages, targets=targets)
