"""The arguments of one layer's attention: queries, keys, values, and the visibility mask."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from refattn.errors import InvalidValue


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of one attention problem.

    query    (B, H, Nq, D)
    key      (B, Hkv, Nk, D), query head h reading key-value head h // (H / Hkv)
    value    (B, Hkv, Nk, Dv)
    visible  boolean, (B or 1, H or 1, Nq, Nk); True where the query sees the key
    scale    factor of the dot products; None is 1 / sqrt(D)
    softcap  c: the scaled score s becomes c tanh(s / c); None is none
    """

    query: Tensor
    key: Tensor
    value: Tensor
    visible: Tensor
    scale: float | None = None
    softcap: float | None = None

    @property
    def group(self) -> int:
        """Query heads a key-value head."""
        return self.query.shape[1] // self.key.shape[1]

    @property
    def keys(self) -> int:
        """Number of keys."""
        return self.key.shape[2]

    @cached_property
    def scaled_query(self) -> Tensor:
        """The queries times the scale, (B, H, Nq, D)."""
        return self.query * (1.0 / math.sqrt(self.query.shape[-1]) if self.scale is None else self.scale)

    @cached_property
    def dot_products(self) -> Tensor:
        """Scaled dot products of every query and key, (B, H, Nq, Nk), visible or not, without softcap."""
        return self.scaled_query @ self.for_heads(self.key).transpose(-1, -2)

    @cached_property
    def scores(self) -> Tensor:
        """The logits of the softmax, (B, H, Nq, Nk); -inf where the key is invisible."""
        scores = self.dot_products
        if self.softcap is not None:
            scores = self.softcap * torch.tanh(scores / self.softcap)
        return scores.masked_fill(~self.visible, -math.inf)

    @cached_property
    def positions(self) -> Tensor:
        """The last key that each query sees, (B or 1, H or 1, Nq), 0 if it sees none: its own, where masks are causal.

        Read from the mask, so that it is the same for a query in a long prompt and in decoding, whatever the cache.
        """
        keys = torch.arange(self.keys, device=self.visible.device)
        if not self.keys:
            return torch.zeros(self.visible.shape[:-1], dtype=torch.long, device=self.visible.device)
        return torch.where(self.visible, keys, 0).amax(-1)

    def for_heads(self, array: Tensor) -> Tensor:
        """An array of the key-value heads, (B, Hkv, ...) or (Hkv, ...) without batch, repeated for each query head."""
        axis = 1 if array.dim() == 4 else 0
        return array if self.group == 1 else array.repeat_interleave(self.group, axis)

    def output(self, weights: Tensor) -> Tensor:
        """weights (B, H, Nq, Nk) times values: (B, H, Nq, Dv)."""
        return weights @ self.for_heads(self.value)


def rows_of_call(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    *,
    scale: float | None = None,
    softcap: float | None = None,
    causal: bool = True,
) -> Rows:
    """The rows of a call as transformers makes it: mask is boolean, or None, which is causal (bottom-right) or nothing.

    Raises InvalidValue where the mask is additive, as then it may be a bias.
    """
    queries, keys = query.shape[2], key.shape[2]
    if mask is None:
        all_visible = torch.ones(1, 1, queries, keys, dtype=torch.bool, device=query.device)
        mask = all_visible.tril(keys - queries) if causal else all_visible
    elif mask.dtype is not torch.bool:
        raise InvalidValue(f"attention_mask has dtype {mask.dtype}: expected booleans, True where a query sees a key")
    return Rows(query, key, value, mask[..., :keys], scale, softcap)
