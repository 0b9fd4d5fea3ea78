"""The native convention for kernels of one query at a time."""

from __future__ import annotations

from refattn.adapters.native import Native


class Decode(Native):
    """The native convention for kernels of one query at a time: q is (B, H, 1, D)."""

    name = "decode"
    summary = "kernel(q, k, v, *, spec) -> out or (out, lse), with one query: q is (B, H, 1, D)"
    queries = 1
