"""How to call a kernel: one class for each convention."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from refattn.adapters.backward import Backward
from refattn.adapters.base import Adapter, checked_claims
from refattn.adapters.decode import Decode
from refattn.adapters.flash_attn import FlashAttn
from refattn.adapters.jax import JaxAttention
from refattn.adapters.memory import LAYOUTS
from refattn.adapters.native import Native
from refattn.adapters.plain import Plain, is_plain
from refattn.adapters.sdpa import SDPA
from refattn.adapters.session import CallFailure, Outcome
from refattn.adapters.softmax import Softmax
from refattn.adapters.varlen import VarLen
from refattn.contract.features import CLAIMS
from refattn.errors import InvalidType, InvalidValue

__all__ = [
    "CLAIMS",
    "LAYOUTS",
    "Adapter",
    "CallFailure",
    "Outcome",
    "checked_claims",
    "get",
    "guess",
    "names",
    "register",
]

_OWN = (Native, Plain, Decode, Backward, SDPA, FlashAttn, VarLen, JaxAttention, Softmax)
_ADAPTERS: dict[str, type[Adapter]] = {adapter.name: adapter for adapter in _OWN}


def names() -> tuple[str, ...]:
    """The names of the conventions, registered ones included."""
    return tuple(_ADAPTERS)


def get(name: str | Adapter, library: str | None = None) -> Adapter:
    """The convention of that name; library ("numpy", "torch", "jax") overrides the library of the kernel's arrays.

    Raises InvalidValue, naming the choices.
    """
    if isinstance(name, Adapter):
        return name
    if name not in _ADAPTERS:
        raise InvalidValue(f"call is {name!r}: expected one of {', '.join(_ADAPTERS)}")
    return _ADAPTERS[name](library)


def register(adapter: type[Adapter]) -> type[Adapter]:
    """Add a convention (a class decorator). Raises InvalidType unless it is a subclass of Adapter with a name."""
    if not (isinstance(adapter, type) and issubclass(adapter, Adapter)) or not getattr(adapter, "name", ""):
        raise InvalidType(f"adapter is {adapter!r}: expected a subclass of Adapter with a name")
    _ADAPTERS[adapter.name] = adapter
    return adapter


def guess(target: str, kernel: Callable[..., Any]) -> str:
    """The name of the convention that a kernel seems to follow; "native" if nothing indicates another.

    An attribute `refattn_call` of the kernel decides; then a parameter `spec`; then the kernel's name, as in the string
    `target` that the user gave; then the names of its parameters.
    """
    declared = getattr(kernel, "refattn_call", None)
    if declared is not None:
        return get(declared).name
    parameters = _parameters(kernel)
    if "spec" in parameters:
        return "backward" if "do" in parameters else "native"
    path = target.lower()
    function = path.replace(":", ".").rpartition(".")[2] or str(getattr(kernel, "__name__", "")).lower()
    if function.endswith(("softmax", "logsumexp")):
        return "softmax"
    if "scaled_dot_product_attention" in function:
        return "sdpa"
    if "flash_attn_varlen" in function:
        return "varlen"
    if "flash_attn" in function:
        return "flash_attn"
    if path.startswith("jax.") and "attention" in function:
        return "jax"
    for name, marks in (
        ("varlen", {"cu_seqlens_q"}),
        ("sdpa", {"attn_mask", "is_causal"}),
        ("jax", {"local_window_size", "is_causal"}),
        ("flash_attn", {"softmax_scale", "causal"}),
    ):
        if marks <= set(parameters):
            return name
    if set(parameters[1:2]) & {"dim", "axis"}:
        return "softmax"
    return "plain" if is_plain(kernel) else "native"


def _parameters(kernel: Callable[..., Any]) -> list[str]:
    """The names of the kernel's parameters; none if it has no signature."""
    try:
        return list(inspect.signature(kernel).parameters)
    except (TypeError, ValueError):
        return []
