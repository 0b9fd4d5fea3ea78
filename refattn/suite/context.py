"""What a property is examined on: one target, in one input format, with its truths and its budgets."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

import numpy as np

from refattn import bounds, oracle
from refattn.adapters.session import Outcome
from refattn.adapters.softmax import Softmax
from refattn.adapters.target import Target
from refattn.bounds.budget import AttentionBudget, ErrorBudget, GradientBudget
from refattn.contract.arithmetic import Arithmetic
from refattn.contract.block_scales import BlockScales
from refattn.contract.spec import Alignment
from refattn.inputs.cases import AttentionCase, SoftmaxCase
from refattn.numbers.formats import Format
from refattn.oracle.enclosure import Enclosure
from refattn.oracle.specials.forward import Specials, split, split_softmax
from refattn.oracle.truth import AttentionTruth, GradientTruth
from refattn.suite.certificates import block_outputs
from refattn.suite.profile import Profile

T = TypeVar("T")


class Subject(Protocol):
    """The kernel under test, as properties see it (refattn.adapters.target.Target)."""

    claims: frozenset[str]
    approximation: BlockScales | None

    def run(self, case: Any, **options: Any) -> Outcome:
        """Call the kernel on a case; raises CallFailure."""

    def arithmetic_of(self, case: Any) -> Arithmetic:
        """The contract that holds for a case."""


@dataclass(frozen=True, eq=False)
class Context:
    """One target, in one input format, under one profile."""

    target: Subject
    format: Format
    profile: Profile
    seed: int
    alignment: Alignment = "bottom_right"
    queries: int | None = None
    lse_gradient: bool = True
    softmax_kind: Literal["softmax", "log_softmax", "logsumexp"] = "softmax"
    _last: dict[str, tuple[Any, Any]] = field(default_factory=dict)

    @property
    def claims(self) -> frozenset[str]:
        """What the target claims."""
        return self.target.claims

    @property
    def takes_dlse(self) -> bool:
        """True if gradients are asked for an upstream gradient of the log-sum-exp, too."""
        return self.lse_gradient and "lse" in self.claims

    @property
    def approximation(self) -> BlockScales | None:
        """The approximation that the target declares, or None."""
        return self.target.approximation

    def generator(self, name: str, draw: int = 0) -> np.random.Generator:
        """A separate generator for each property and draw."""
        return np.random.default_rng([self.seed, zlib.crc32(name.encode()), draw])

    def specials(self, case: AttentionCase) -> Specials:
        """The case without its NaN and infinities."""
        return self._once("specials", case, lambda: split(case.q, case.k, case.v, case.spec, case.shape))

    def truth(self, case: AttentionCase) -> AttentionTruth:
        """The exact output and log-sum-exp."""
        return self._once("truth", case, lambda: oracle.attention(case.q, case.k, case.v, case.spec))

    def budget(self, case: AttentionCase) -> AttentionBudget:
        """What the declared arithmetic allows."""

        def compute() -> AttentionBudget:
            plain = self.specials(case)
            return bounds.attention(plain.q, plain.k, plain.v, plain.spec, self.target.arithmetic_of(case))

        return self._once("budget", case, compute)

    def block_outputs(self, case: AttentionCase, blocks: BlockScales) -> list[Enclosure]:
        """The exact output of attention within each block."""
        return self._once("blocks", case, lambda: block_outputs(case.q, case.k, case.v, case.spec, blocks))

    def gradient_truth(self, case: AttentionCase) -> GradientTruth:
        """The exact gradients."""
        return oracle.attention_backward(case.q, case.k, case.v, case.do, case.spec, dlse=case.dlse)

    def gradient_budget(self, case: AttentionCase, *, with_rms: bool = False) -> GradientBudget:
        """What the declared arithmetic allows the gradients."""
        plain = self.specials(case)
        arithmetic = self.target.arithmetic_of(case)
        return bounds.attention_backward(
            plain.q, plain.k, plain.v, case.do, plain.spec, arithmetic, dlse=case.dlse, with_rms=with_rms
        )

    def softmax_truth(self, case: SoftmaxCase) -> Enclosure:
        """The exact softmax."""
        return oracle.softmax(case.x, spec=case.spec)

    def softmax_budget(self, case: SoftmaxCase) -> ErrorBudget:
        """What the declared arithmetic allows."""
        plain, _ = split_softmax(case.x, case.spec)
        return bounds.softmax(plain, case.spec, self.target.arithmetic_of(case))

    def _once(self, kind: str, case: Any, compute: Callable[[], T]) -> T:
        """The value of the last case, computed once: several properties share a case."""
        last = self._last.get(kind)
        if last is None or last[0] is not case:
            last = (case, compute())
            self._last[kind] = last
        value: T = last[1]
        return value


def context_of(target: Target, format: Format, profile: Profile, seed: int) -> Context:
    """The target in one input format."""
    adapter = target.adapter
    kind = adapter.kind(target.kernel) if isinstance(adapter, Softmax) else "softmax"
    return Context(
        target,
        format,
        profile,
        seed,
        alignment=adapter.alignment,
        queries=adapter.queries,
        lse_gradient=adapter.lse_gradient,
        softmax_kind=kind,
    )
