"""Sequences of different lengths, packed one after another along the axis of tokens."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch

from refattn.errors import InvalidType, InvalidValue


@dataclass(frozen=True)
class Sequences:
    """Where the queries and the keys of each sequence start, (count + 1,) int32 tensors that end with the totals."""

    query_starts: torch.Tensor
    key_starts: torch.Tensor

    @property
    def count(self) -> int:
        """How many sequences there are."""
        return self.query_starts.shape[0] - 1


def checked_sequences(
    q: torch.Tensor, k: torch.Tensor, query_starts: Any, key_starts: Any, longest_query: Any, longest_key: Any
) -> Sequences:
    """The sequences of packed queries and keys. Raises InvalidType or InvalidValue, naming the argument.

    Reading the starts waits for the device.
    """
    named = (("cu_seqlens_q", query_starts, q), ("cu_seqlens_k", key_starts, k))
    for name, starts, tokens in named:
        if not isinstance(starts, torch.Tensor):
            raise InvalidType(f"{name} is {type(starts).__name__}: expected a torch tensor of torch.int32")
        if starts.dtype != torch.int32:
            raise InvalidType(f"{name} is of {starts.dtype}: expected torch.int32")
        if starts.device != tokens.device:
            raise InvalidValue(f"{name} is on {starts.device}: expected {tokens.device}, as the tokens are")
        if starts.ndim != 1 or starts.shape[0] < 1:
            raise InvalidValue(f"{name} has shape {tuple(starts.shape)}: expected one axis, one longer than sequences")
    if len(query_starts) != len(key_starts):
        raise InvalidValue(f"cu_seqlens_k has {len(key_starts)} entries: expected {len(query_starts)}, as cu_seqlens_q")
    for (name, starts, tokens), limit, longest in zip(
        named, ("max_seqlen_q", "max_seqlen_k"), (longest_query, longest_key), strict=True
    ):
        if isinstance(longest, bool) or not isinstance(longest, int) or longest < 0:
            raise InvalidValue(f"{limit} is {longest!r}: expected the length of the longest sequence")
        offsets = starts.tolist()
        lengths = [end - start for start, end in pairwise(offsets)]
        if offsets[0] != 0:
            raise InvalidValue(f"{name} starts with {offsets[0]}: expected 0")
        if min(lengths, default=0) < 0:
            raise InvalidValue(f"{name} decreases: expected each entry to be at least the one before it")
        if offsets[-1] != tokens.shape[0]:
            raise InvalidValue(f"{name} ends with {offsets[-1]}: expected {tokens.shape[0]}, the number of tokens")
        if max(lengths, default=0) > longest:
            raise InvalidValue(f"{limit} is {longest}: expected at least {max(lengths)}, the longest sequence's length")
    return Sequences(query_starts.contiguous(), key_starts.contiguous())
