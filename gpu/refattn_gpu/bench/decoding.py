"""Decoding against the bandwidth of this machine's memory, which a copy shows in the same run.

Work is bytes: keys and values read once, queries read and the output written once; for a copy, what it reads and what
it writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch

from refattn.contract.spec import AttentionSpec
from refattn_gpu.bench import inputs, judging
from refattn_gpu.bench.row import FIRST, OURS, SECOND, Contender, Problem, Rival, Row

COPY = "copy"
COPIED_BYTES = 4 << 30
# Batch and length: from half a gigabyte of keys and values on, far more than any cache holds.
SIZES = ((64, 2048), (32, 16384), (8, 65536), (1, 131072))
PAGE = 16


@dataclass(frozen=True, kw_only=True)
class Decoding(Row):
    """One query a sequence and head; `paged` keys lie in pages of 16, in random order.

    What the block table holds is checked where outputs are judged, not on the clock: that waits for the device, and who
    decodes token by token records a graph, which does not.
    """

    batch: int
    keys: int
    paged: bool
    heads: int = 32
    kv_heads: int = 8
    d: int = 128
    copied: int = COPIED_BYTES

    group: ClassVar[str] = "decode"
    target: ClassVar[str] = "refattn_gpu:decode"
    unit: ClassVar[str] = "GB/s"
    scale: ClassVar[float] = 1e9

    @property
    def name(self) -> str:
        return f"decode{' paged' if self.paged else ''} B={self.batch} N={self.keys}"

    @property
    def sizes(self) -> dict[str, Any]:
        sizes = {"batch": self.batch, "heads": self.heads, "kv_heads": self.kv_heads, "tokens": self.keys, "d": self.d}
        return sizes | {"page": PAGE if self.paged else None}

    def shrunk(self) -> Decoding:
        return replace(self, batch=2, keys=40, heads=4, kv_heads=2, d=16, copied=1 << 10)

    def problem(self, device: str) -> Problem:
        from refattn_gpu import decode

        cached = (self.batch, self.kv_heads, self.keys, self.d)
        q = inputs.normal("q", (self.batch, self.heads, 1, self.d), device)
        k, v = (inputs.normal(name, cached, device) for name in ("k", "v"))
        heads = [judging.Head.of(q, k, v, place, AttentionSpec()) for place in judging.ends(q)]
        if self.paged:
            k_cache, v_cache, table = in_pages(k, v, device)
            lengths = torch.full((self.batch,), self.keys, dtype=torch.int32, device=device)
            del k, v

        def result(kernel: Any) -> Any:
            return kernel.paged(q, k_cache, v_cache, table, lengths) if self.paged else kernel(q, k, v)

        unchecked = replace(decode, check_indices=False)

        def call() -> Any:
            return result(unchecked)

        def judge() -> float:
            return judging.judged_outputs(decode.arithmetic_for(inputs.FORMAT), heads, *result(decode))

        moved = q.element_size() * self.d * self.batch * (2 * self.heads + 2 * self.kv_heads * self.keys)
        return Problem(Contender(OURS, call, moved), (self.ceiling(device),), judge)

    def ceiling(self, device: str) -> Rival:
        """A large copy from the device's memory to the same memory."""

        def start() -> Contender:
            source = torch.ones(self.copied // 4, dtype=torch.float32, device=device)
            target = torch.empty_like(source)
            return Contender(COPY, lambda: target.copy_(source), 2 * self.copied)

        return Rival(COPY, start, shared=f"{COPY} {self.copied}")


def in_pages(k: torch.Tensor, v: torch.Tensor, device: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Keys and values (B, Hkv, N, D) as caches (pages, size, Hkv, D), and the table (B, pages) of where each page went.

    The last page of a sequence may be part full.
    """
    batch, heads, keys, d = k.shape
    count = -(-keys // PAGE)
    places = torch.randperm(batch * count, generator=inputs.generator("pages", device), device=device)
    caches = []
    for x in (k, v):
        cache = torch.zeros((batch * count, PAGE, heads, d), dtype=x.dtype, device=device)
        padded = torch.nn.functional.pad(x, (0, 0, 0, count * PAGE - keys))
        cache[places] = padded.transpose(1, 2).reshape(batch * count, PAGE, heads, d)
        caches.append(cache)
    return caches[0], caches[1], places.reshape(batch, count).to(torch.int32)


def rows() -> Iterator[Decoding]:
    """Contiguous first."""
    for paged in (False, True):
        for batch, keys in SIZES:
            yield Decoding(batch=batch, keys=keys, paged=paged, tier=SECOND if paged else FIRST)
