"""Softmax of rows, forward and backward, against torch.softmax. Work is bytes: each array read or written once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch

from refattn.contract.spec import SoftmaxSpec
from refattn_gpu.bench import inputs, judging
from refattn_gpu.bench.row import OURS, SECOND, THIRD, Contender, Problem, Rival, Row

ELEMENTS = 1 << 28
COLUMNS = (4096, 1024, 16384, 65536, 262144)


@dataclass(frozen=True, kw_only=True)
class Rows(Row):
    """softmax of (rows, columns) along the last axis; `backward` is its gradient."""

    columns: int
    backward: bool
    elements: int = ELEMENTS

    group: ClassVar[str] = "softmax"
    target: ClassVar[str] = "refattn_gpu:softmax"
    unit: ClassVar[str] = "GB/s"
    scale: ClassVar[float] = 1e9

    @property
    def name(self) -> str:
        return f"softmax{' backward' if self.backward else ''} columns={self.columns}"

    @property
    def sizes(self) -> dict[str, Any]:
        return {"rows": self.elements // self.columns, "columns": self.columns}

    def shrunk(self) -> Rows:
        return replace(self, columns=600, elements=1200)

    def problem(self, device: str) -> Problem:
        from refattn_gpu import softmax

        shape = (self.elements // self.columns, self.columns)
        x = inputs.normal("x", shape, device)
        dy = inputs.normal("dy", shape, device) if self.backward else None
        work = x.numel() * x.element_size() * (3 if self.backward else 2)

        def call() -> Any:
            return softmax.backward(y, dy) if self.backward else softmax(x)

        def judge() -> float:
            if self.backward:
                return judging.judged_softmax_gradient(y, dy, call())
            return judging.judged_softmax(softmax.arithmetic_for(inputs.FORMAT), SoftmaxSpec(), x, call())

        def start() -> Contender:
            if not self.backward:
                return Contender("torch", lambda: torch.softmax(x, -1), work)
            leaf = x.detach().requires_grad_()
            out = torch.softmax(leaf, -1)
            return Contender("torch", lambda: torch.autograd.grad(out, leaf, dy, retain_graph=True), work)

        y = softmax(x) if self.backward else x
        return Problem(Contender(OURS, call, work), (Rival("torch", start),), judge)


def rows() -> Iterator[Rows]:
    """Forward first."""
    for backward in (False, True):
        for columns in COLUMNS:
            yield Rows(columns=columns, backward=backward, tier=SECOND if columns == COLUMNS[0] else THIRD)
