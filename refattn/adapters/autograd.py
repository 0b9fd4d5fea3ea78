"""Gradients of a torch kernel by automatic differentiation."""

from __future__ import annotations

from typing import Any

from refattn.adapters.session import CallFailure, Session


def leaves(arrays: dict[str, Any]) -> dict[str, Any]:
    """The same tensors, in the same memory, as leaves that record gradients."""
    return {name: array.detach().requires_grad_() for name, array in arrays.items()}


def pull_back(
    session: Session, results: dict[str, Any], upstream: dict[str, Any], inputs: dict[str, Any]
) -> dict[str, Any]:
    """The gradients of the inputs, by name, given upstream gradients of some results.

    An input that the results do not depend on gets zeros. Raises CallFailure when a result carries no gradient.
    """
    import torch

    for name in upstream:
        if not getattr(results.get(name), "requires_grad", False):
            raise CallFailure("signature", f"the kernel's {name} carries no gradient: expected one for backward")
    gradients = session.invoke(
        torch.autograd.grad,
        [results[name] for name in upstream],
        list(inputs.values()),
        list(upstream.values()),
        allow_unused=True,
    )
    return {
        name: torch.zeros_like(array) if gradient is None else gradient
        for (name, array), gradient in zip(inputs.items(), gradients, strict=True)
    }
