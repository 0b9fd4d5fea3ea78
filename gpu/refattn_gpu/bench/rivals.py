"""torch's scaled_dot_product_attention, one backend at a time."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from refattn_gpu.bench.row import Contender, Rival, Unavailable

Attention = Callable[[Any, Any, Any], torch.Tensor]


def backends(device: str) -> dict[str, SDPBackend]:
    """Those compared with, by name; on the processor a stand-in for the first, so that all that is not timed runs."""
    first = SDPBackend.FLASH_ATTENTION if device != "cpu" else SDPBackend.MATH
    return {"SDPA flash": first, "SDPA cuDNN": SDPBackend.CUDNN_ATTENTION}


def forward(name: str, backend: SDPBackend, q: Any, k: Any, v: Any, work: float, **keywords: Any) -> Rival:
    """out of q, k, v under one backend; keywords are is_causal and enable_gqa."""

    def call() -> torch.Tensor:
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, **keywords)

    def start() -> Contender:
        attempted(backend, call)
        return Contender(name, call, work, under(backend))

    return Rival(name, start)


def backward(name: str, backend: SDPBackend, q: Any, k: Any, v: Any, do: Any, work: float, **keywords: Any) -> Rival:
    """Gradients of q, k, v alone, from a forward pass that is kept."""

    def start() -> Contender:
        leaves = [x.detach().requires_grad_() for x in (q, k, v)]
        out = attempted(
            backend,
            lambda: torch.nn.functional.scaled_dot_product_attention(leaves[0], leaves[1], leaves[2], **keywords),
        )
        return Contender(name, lambda: torch.autograd.grad(out, leaves, do, retain_graph=True), work, under(backend))

    return Rival(name, start)


def both(name: str, backend: SDPBackend, q: Any, k: Any, v: Any, do: Any, work: float, **keywords: Any) -> Rival:
    """Forward and backward."""

    def start() -> Contender:
        leaves = [x.detach().requires_grad_() for x in (q, k, v)]

        def call() -> Any:
            out = torch.nn.functional.scaled_dot_product_attention(leaves[0], leaves[1], leaves[2], **keywords)
            return torch.autograd.grad(out, leaves, do)

        attempted(backend, call)
        return Contender(name, call, work, under(backend))

    return Rival(name, start)


def under(backend: SDPBackend) -> Callable[[], AbstractContextManager[Any]]:
    """A context in which torch uses one backend or none."""
    return lambda: sdpa_kernel(backend)


def attempted(backend: SDPBackend, call: Callable[[], Any]) -> Any:
    """What the call gives under a backend. Raises Unavailable with torch's own reasons where it refuses."""
    with warnings.catch_warnings(record=True) as told, sdpa_kernel(backend):
        warnings.simplefilter("always")
        try:
            return call()
        except RuntimeError as error:
            reasons = [str(error), *(str(each.message) for each in told)]
            lines = [reason.strip().splitlines()[0] for reason in reasons if reason.strip()]
            raise Unavailable("; ".join(dict.fromkeys(lines))) from None
