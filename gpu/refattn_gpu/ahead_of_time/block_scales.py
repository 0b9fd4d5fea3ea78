"""The configurations of softmax per block of keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from refattn_gpu.ahead_of_time.configuration import Configuration


def block_scale_configurations() -> Iterator[Configuration]:
    """Head dimensions, formats, causal ones, and with every feature at once."""
    from refattn_gpu.kernels.block_scaled_forward import block_scaled_forward
    from refattn_gpu.launching.arguments import padded

    flags = ("SOFTCAP", "ALIBI", "BIAS", "MASK", "LEFT", "RIGHT")
    optional = {"ALIBI": ("slopes_base", "fp32"), "BIAS": ("bias_base", "fp32"), "MASK": ("mask_base", "i1")}
    for element in ("bf16", "fp16", "fp32"):
        for d in (64, 128):
            for features in ((), ("RIGHT",), flags):
                constants: dict[str, Any] = {f"HAS_{flag}": flag in features for flag in flags}
                constants |= {"GUARDS_VALUES": features == flags, "PRECISION": "ieee"}
                constants |= {"BLOCK_M": 64, "BLOCK_N": 64 if element != "fp32" else 32}
                constants |= {"D_QK": d, "D_V": d, "BLOCK_D": padded(d), "BLOCK_DV": padded(d)}
                pointers = dict.fromkeys(("q_base", "k_base", "v_base", "out_base"), element)
                pointers |= dict.fromkeys(("scales_base", "lse_base"), "fp32")
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
