"""Attention forward and backward against torch's SDPA on the same inputs.

A batch holds 16384 tokens of 2048 columns, as the papers on FlashAttention have it. Work is 4 B H Nq Nk D operations on
floating-point numbers forward, half of that if causal, and 2.5 times as many backward (five products of matrices, not
two).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch

from refattn.contract.spec import AttentionSpec
from refattn_gpu.bench import inputs, judging, rivals
from refattn_gpu.bench.row import FIRST, OURS, SECOND, Contender, Problem, Row

TOKENS, COLUMNS = 16384, 2048
LENGTHS = (16384, 4096, 8192, 2048, 1024, 512)
OPERATIONS, CAUSAL_SHARE, BACKWARD_TO_FORWARD = 4, 0.5, 2.5


@dataclass(frozen=True, kw_only=True)
class Dense(Row):
    """What both directions have in common."""

    d: int
    causal: bool
    tokens: int
    batch: int
    heads: int

    target: ClassVar[str] = "refattn_gpu:attention"
    unit: ClassVar[str] = "TFLOP/s"
    scale: ClassVar[float] = 1e12

    @property
    def name(self) -> str:
        return f"{self.group} d={self.d}{' causal' if self.causal else ''} N={self.tokens}"

    @property
    def sizes(self) -> dict[str, Any]:
        return {"batch": self.batch, "heads": self.heads, "tokens": self.tokens, "d": self.d, "causal": self.causal}

    def shrunk(self) -> Dense:
        return replace(self, tokens=70, batch=1, heads=2)

    @property
    def operations(self) -> float:
        """Of a forward pass."""
        pairs = self.batch * self.heads * self.tokens**2 * (CAUSAL_SHARE if self.causal else 1.0)
        return OPERATIONS * self.d * pairs

    @property
    def spec(self) -> AttentionSpec:
        """What is computed."""
        return AttentionSpec(causal=self.causal)

    def drawn(self, device: str, *names: str) -> list[torch.Tensor]:
        """Arrays (B, H, N, D)."""
        shape = (self.batch, self.heads, self.tokens, self.d)
        return [inputs.normal(name, shape, device) for name in names]

    def heads_of(self, q: Any, k: Any, v: Any) -> list[judging.Head]:
        """Those that are judged."""
        return [judging.Head.of(q, k, v, place, self.spec) for place in judging.ends(q)]


@dataclass(frozen=True, kw_only=True)
class Forward(Dense):
    """The output and the log-sum-exp."""

    group: ClassVar[str] = "forward"

    def problem(self, device: str) -> Problem:
        from refattn_gpu import attention

        spec = self.spec
        q, k, v = self.drawn(device, "q", "k", "v")

        def call() -> Any:
            return attention(q, k, v, spec=spec)

        def judge() -> float:
            return judging.judged_outputs(attention.arithmetic_for(inputs.FORMAT), self.heads_of(q, k, v), *call())

        others = (
            rivals.forward(name, backend, q, k, v, self.operations, is_causal=self.causal)
            for name, backend in rivals.backends(device).items()
        )
        return Problem(Contender(OURS, call, self.operations), tuple(others), judge)


@dataclass(frozen=True, kw_only=True)
class Backward(Dense):
    """The gradients of q, k and v, from what the forward pass left."""

    group: ClassVar[str] = "backward"

    def problem(self, device: str) -> Problem:
        from refattn_gpu import differentiable_attention

        q, k, v, do = self.drawn(device, "q", "k", "v", "do")
        leaves = [x.detach().requires_grad_() for x in (q, k, v)]
        out, _ = differentiable_attention(leaves[0], leaves[1], leaves[2], spec=self.spec)

        def call(upstream: torch.Tensor = do) -> Any:
            return torch.autograd.grad(out, leaves, upstream, retain_graph=True)

        def judge() -> float:
            arithmetic = differentiable_attention.arithmetic_for(inputs.FORMAT)
            only = call(judging.only_rows(do))
            return judging.judged_gradients(arithmetic, self.heads_of(q, k, v), do, call(), only)

        work = BACKWARD_TO_FORWARD * self.operations
        others = (
            rivals.backward(name, backend, q, k, v, do, work, is_causal=self.causal)
            for name, backend in rivals.backends(device).items()
        )
        return Problem(Contender(OURS, call, work), tuple(others), judge)


def rows() -> Iterator[Dense]:
    """Both directions: head dimensions, causal and not, lengths; the longest and the middle ones first."""
    for tokens in LENGTHS:
        for kind in (Forward, Backward):
            for d in (128, 64):
                for causal in (False, True):
                    tier = FIRST if tokens in LENGTHS[:2] else SECOND
                    sizes = {"tokens": tokens, "batch": TOKENS // tokens, "heads": COLUMNS // d}
                    yield kind(d=d, causal=causal, tier=tier, **sizes)
