"""Other attention in a Hugging Face model, through its AttentionInterface: each layer calls a given function."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from refattn.errors import InvalidValue
from refattn.learned.methods.base import LayerShape
from refattn.learned.rows import Rows, rows_of_call

# The name by which a model's configuration knows this attention.
IMPLEMENTATION = "refattn_block_scales"
# A layer's attention: its rows -> the output (B, H, Nq, Dv).
Site = Callable[[Rows], Tensor]
# Arguments that change the scores and that blocks do not support.
UNKNOWN = ("s_aux", "position_bias", "head_mask", "cache")


def attend(
    sites: Mapping[nn.Module, Site],
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    softcap: float | None = None,
    is_causal: bool | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """The function that transformers calls, given the sites of all modules: the output, (B, Nq, H, Dv), of one module.

    Raises InvalidValue where the model passes an argument that sites do not support, dropout included.
    """
    for name in UNKNOWN:
        if others.get(name) is not None:
            raise InvalidValue(f"the model's attention is called with {name}: expected a model whose attention is not")
    if dropout:
        raise InvalidValue(f"dropout is {dropout}: expected a model in evaluation mode, in which there is none")
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    rows = rows_of_call(query, key, value, attention_mask, scale=scaling, softcap=softcap, causal=causal)
    return sites[module](rows).transpose(1, 2).contiguous(), None


def whole_mask(*args: Any, **options: Any) -> Tensor:
    """The mask as booleans, (B, 1, Nq, Nk), even where a flag `causal` would do.

    Raises InvalidValue for a cache that has dropped keys: then a key's place no longer says which block it is in.
    """
    if options.get("kv_offset", 0) != 0:
        raise InvalidValue("the cache drops keys that slide out of a window: expected DynamicCache(), which keeps them")
    options["allow_is_causal_skip"] = False
    mask: Tensor = sdpa_mask(*args, **options)
    return mask


def layers(model: Any) -> dict[nn.Module, LayerShape]:
    """The attending modules of a model, in the order of their calls, and their sizes.

    Raises InvalidValue for a model that does not attend through AttentionInterface.
    """
    shapes: dict[nn.Module, LayerShape] = {}

    def note(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> tuple[Tensor, None]:
        heads, queries = query.shape[1:3]
        shapes[module] = LayerShape(heads, key.shape[1], query.shape[3])
        return value.new_zeros(len(value), queries, heads, value.shape[3]), None

    with _implementation(model, note), torch.no_grad():
        model(torch.zeros(1, 2, dtype=torch.long, device=model.device), use_cache=False)
    if not shapes:
        raise InvalidValue(f"model is a {type(model).__name__}: expected one that attends through AttentionInterface")
    return shapes


@contextmanager
def attending(model: Any, sites: Sequence[Site]) -> Iterator[None]:
    """Within it, each layer of the model attends by its site. Raises InvalidValue where their numbers differ."""
    modules = layers(model)
    if len(modules) != len(sites):
        raise InvalidValue(f"sites are {len(sites)}: expected one for each of the model's {len(modules)} layers")
    with _implementation(model, partial(attend, dict(zip(modules, sites, strict=True)))):
        yield


@contextmanager
def _implementation(model: Any, function: Callable[..., Any]) -> Iterator[None]:
    AttentionInterface.register(IMPLEMENTATION, function)
    AttentionMaskInterface.register(IMPLEMENTATION, whole_mask)
    before = model.config._attn_implementation
    model.set_attn_implementation(IMPLEMENTATION)
    try:
        yield
    finally:
        model.set_attn_implementation(before)
