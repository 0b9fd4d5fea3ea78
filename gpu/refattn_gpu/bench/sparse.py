"""Dynamic sparse attention, forward and backward together, against dense causal attention of the same inputs.

As Pagliardini et al. (2023) measured it: 4 sequences, 48 heads of 64 columns, random buckets of queries and keys, or
random queries and keys dropped. All that belongs to a call is timed: putting the tokens in order, and back. Work is
that of the dense problem, so that the ratio of rates is that of times.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch

from refattn.contract.spec import AttentionSpec
from refattn_gpu.bench import inputs, judging, rivals
from refattn_gpu.bench.dense import BACKWARD_TO_FORWARD, CAUSAL_SHARE, OPERATIONS
from refattn_gpu.bench.row import FIRST, OURS, SECOND, THIRD, Contender, Problem, Rival, Row, Unavailable

LENGTHS = (32768, 4096, 1024, 2048, 512, 16384, 8192)
DROPPED = (80, 50, 20, 30, 40, 60, 70)
BUCKETS = (16, 2, 4, 8, 32, 64)
# What the paper's figures are compared with.
CHIEF = {"dropped": (80, 50), "buckets": (16,)}
SHORT = 5000


@dataclass(frozen=True, kw_only=True)
class Sparse(Row):
    """What both kinds have in common."""

    tokens: int
    batch: int = 4
    heads: int = 48
    d: int = 64

    group: ClassVar[str] = "sparse"
    target: ClassVar[str] = "refattn_gpu:sparse_attention"
    unit: ClassVar[str] = "dense TFLOP/s"
    scale: ClassVar[float] = 1e12

    @property
    def sizes(self) -> dict[str, Any]:
        return {"batch": self.batch, "heads": self.heads, "tokens": self.tokens, "d": self.d, "causal": True}

    def shrunk(self) -> Sparse:
        return replace(self, tokens=70, batch=1, heads=2, d=16)

    @abstractmethod
    def selection(self, device: str) -> Any:
        """Two tensors (B, H, N), of queries and of keys."""

    @abstractmethod
    def attend(self, kernel: Any, tensors: Any, selection: Any) -> Any:
        """(out, lse) of the kernel on q, k and v."""

    @abstractmethod
    def spec(self, selection: Any, batch: int, head: int) -> AttentionSpec:
        """What one head computes."""

    def problem(self, device: str) -> Problem:
        try:
            from refattn_gpu import sparse_attention
        except ImportError as error:
            raise Unavailable(str(error)) from None

        shape = (self.batch, self.heads, self.tokens, self.d)
        q, k, v, do = (inputs.normal(name, shape, device) for name in ("q", "k", "v", "do"))
        leaves = [x.detach().requires_grad_() for x in (q, k, v)]
        selection = self.selection(device)

        def call(upstream: torch.Tensor = do) -> Any:
            out, lse = self.attend(sparse_attention, leaves, selection)
            return out, lse, torch.autograd.grad(out, leaves, upstream)

        def judge() -> float:
            arithmetic = sparse_attention.arithmetic_for(inputs.FORMAT)
            heads = [judging.Head.of(q, k, v, place, self.spec(selection, *place)) for place in judging.ends(q)[-1:]]
            out, lse, timed = call()
            share = judging.judged_outputs(arithmetic, heads, out.detach(), lse.detach())
            only = call(judging.only_rows(do))[2]
            return max(share, judging.judged_gradients(arithmetic, heads, do, timed, only))

        pairs = self.batch * self.heads * self.tokens**2 * CAUSAL_SHARE
        work = (1.0 + BACKWARD_TO_FORWARD) * OPERATIONS * self.d * pairs
        name, backend = next(iter(rivals.backends(device).items()))
        dense = rivals.both(name, backend, q, k, v, do, work, is_causal=True)
        shared = Rival(dense.name, dense.start, shared=f"dense {shape}")
        return Problem(Contender(OURS, call, work), (shared,), judge)


@dataclass(frozen=True, kw_only=True)
class Kept(Sparse):
    """Queries and keys dropped at random, each with the same probability, in per cent."""

    dropped: int

    @property
    def name(self) -> str:
        return f"sparse dropped={self.dropped}% N={self.tokens}"

    @property
    def sizes(self) -> dict[str, Any]:
        return super().sizes | {"dropped": self.dropped}

    def selection(self, device: str) -> Any:
        generator = inputs.generator("kept", device)
        shape = (self.batch, self.heads, self.tokens)
        return [torch.rand(shape, generator=generator, device=device) >= self.dropped / 100.0 for _ in range(2)]

    def attend(self, kernel: Any, tensors: Any, selection: Any) -> Any:
        return kernel.kept(*tensors, *selection, causal=True)

    def spec(self, selection: Any, batch: int, head: int) -> AttentionSpec:
        queries, keys = (x[batch, head].cpu().numpy() for x in selection)
        return AttentionSpec(causal=True, kept_queries=queries, kept_keys=keys)


@dataclass(frozen=True, kw_only=True)
class Hashed(Sparse):
    """Queries and keys in so many buckets at random."""

    buckets: int

    @property
    def name(self) -> str:
        return f"sparse buckets={self.buckets} N={self.tokens}"

    @property
    def sizes(self) -> dict[str, Any]:
        return super().sizes | {"buckets": self.buckets}

    def selection(self, device: str) -> Any:
        generator = inputs.generator("buckets", device)
        shape = (self.batch, self.heads, self.tokens)
        return [
            torch.randint(self.buckets, shape, generator=generator, device=device, dtype=torch.int32) for _ in range(2)
        ]

    def attend(self, kernel: Any, tensors: Any, selection: Any) -> Any:
        return kernel.hashed(*tensors, *selection, causal=True)

    def spec(self, selection: Any, batch: int, head: int) -> AttentionSpec:
        queries, keys = (x[batch, head].cpu().numpy() for x in selection)
        return AttentionSpec(causal=True, buckets=(queries, keys))


def rows() -> Iterator[Sparse]:
    """The longest first, and what the paper's figures are compared with."""
    for tokens in LENGTHS:
        for dropped in DROPPED:
            yield Kept(tokens=tokens, dropped=dropped, tier=tier(tokens, dropped in CHIEF["dropped"]))
        for buckets in BUCKETS:
            yield Hashed(tokens=tokens, buckets=buckets, tier=tier(tokens, buckets in CHIEF["buckets"]))


def tier(tokens: int, chief: bool) -> int:
    """How soon."""
    if chief and tokens == max(LENGTHS):
        return FIRST
    return SECOND if chief or tokens == LENGTHS[1] else THIRD
