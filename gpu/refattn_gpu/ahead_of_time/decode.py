"""The configurations of decoding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from refattn_gpu.ahead_of_time.configuration import Configuration, tile_constants


def decode_configurations() -> Iterator[Configuration]:
    """Both kernels of decoding: contiguous and in pages, plain and with every feature."""
    from refattn.contract.spec import Shape
    from refattn_gpu.kernels.decode_combine import decode_combine
    from refattn_gpu.kernels.decode_split import decode_split
    from refattn_gpu.kernels.parameters import Has
    from refattn_gpu.launching.arguments import padded

    flags = (*Has._fields, "TABLE")
    optional = {"ALIBI": ("slopes_base", "fp32"), "SINKS": ("sinks_base", "fp32"), "TABLE": ("table_base", "i32")}
    optional |= {"BIAS": ("BIAS", "fp32"), "MASK": ("MASK", "i1")}
    for element in ("bf16", "fp16", "fp32"):
        for d in (64, 128, 256):
            stages = 2 if d * (4 if element == "fp32" else 2) <= 256 else 1
            pointers = dict.fromkeys(("parts_base", "part_lse_base", "lse_base"), "fp32") | {"out_base": element}
            combine = {"BLOCK_M": 4, "BLOCK_DV": padded(d)}
            yield Configuration(f"decode_combine {element} d={d}", decode_combine, pointers, combine)
            for features in ((), ("TABLE",), flags):
                constants: dict[str, Any] = {f"HAS.{flag}": flag in features for flag in flags}
                constants |= {"HAS_TABLE": "TABLE" in features}
                constants |= {"BOTTOM_RIGHT": True, "NAN_SAFE": features == flags, "PRECISION": "ieee"}
                constants |= {"PAGE": 16, **tile_constants(Shape(1, 1, 1, 1, 1, d, d), 16, 32)}
                pointers = dict.fromkeys(("Q", "K", "V"), element)
                pointers |= dict.fromkeys(("out_base", "lse_base"), "fp32")
                for flag, (name, kind) in optional.items():
                    if flag in features:
                        pointers[name] = kind
                    else:
                        constants[name] = None
                if "TABLE" in features:
                    pointers["lengths_base"] = "i32"
                else:
                    constants["lengths_base"] = None
                label = "every feature" if features == flags else "paged" if features else "plain"
                name = f"decode_split {element} d={d} {label}"
                yield Configuration(name, decode_split, pointers, constants, stages=stages)
