"""The configurations of softmax per block of keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from refattn_gpu.ahead_of_time.configuration import Configuration, tile_constants


def block_scale_configurations() -> Iterator[Configuration]:
    """Head dimensions, formats, causal ones, and with every feature at once."""
    from refattn.contract.spec import Shape
    from refattn_gpu.kernels.block_scaled_forward import block_scaled_forward
    from refattn_gpu.kernels.parameters import Has

    flags = tuple(flag for flag in Has._fields if flag != "SINKS")
    optional = {"ALIBI": ("slopes_base", "fp32"), "BIAS": ("BIAS", "fp32"), "MASK": ("MASK", "i1")}
    for element in ("bf16", "fp16", "fp32"):
        for d in (64, 128):
            for features in ((), ("RIGHT",), flags):
                constants: dict[str, Any] = {f"HAS.{flag}": flag in features for flag in Has._fields}
                constants |= {"NAN_SAFE": features == flags, "PRECISION": "ieee"}
                constants |= tile_constants(Shape(1, 1, 1, 1, 1, d, d), 64, 64 if element != "fp32" else 32)
                pointers = dict.fromkeys(("Q", "K", "V", "OUT"), element)
                pointers |= dict.fromkeys(("SCALES", "lse_base"), "fp32")
                for flag, (name, kind) in optional.items():
                    if flag in features:
                        pointers[name] = kind
                    else:
                        constants[name] = None
                label = "every feature" if features == flags else "causal" if features else "plain"
                yield Configuration(
                    f"block_scaled_forward {element} d={d} {label}",
                    block_scaled_forward,
                    pointers,
                    constants,
                    warps=8 if d == 128 else 4,
                )
