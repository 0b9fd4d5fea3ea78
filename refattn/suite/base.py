"""What a property is, what it is examined on, and what is observed."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, TypeVar

import numpy as np

from refattn import bounds, oracle
from refattn.adapters.session import Outcome
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
from refattn.suite.findings import Verdict, Worst

Case = AttentionCase | SoftmaxCase
T = TypeVar("T")


@dataclass(frozen=True)
class Profile:
    """How much to try.

    seeds of each seeded regime; Hypothesis examples of each search and of each shrinking; the longest sequence, and
    twice as many keys where there are few queries. With `largest` nothing is longer than that.
    """

    name: str
    seeds: int
    examples: int
    shrinks: int
    longest: int
    largest: int | None = None

    @property
    def most_keys(self) -> int:
        """The most keys of a case with few queries, and columns of a softmax."""
        return 2 * self.longest if self.largest is None else self.largest

    def within(self, largest: int | None) -> Profile:
        """The same for kernels so slow that no sequence may be longer than `largest`."""
        return self if largest is None else replace(self, longest=min(self.longest, largest), largest=largest)


PROFILES = {
    profile.name: profile
    for profile in (
        Profile("quick", seeds=1, examples=30, shrinks=150, longest=2048),
        Profile("ci", seeds=3, examples=150, shrinks=400, longest=4096),
        Profile("deep", seeds=12, examples=1500, shrinks=1500, longest=16384),
    )
}


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
        """What the target declares that it approximates, or None."""
        return self.target.approximation

    def generator(self, name: str, draw: int = 0) -> np.random.Generator:
        """A generator of its own for each property and draw."""
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
        """Compute once for the case seen last, which several properties of one case share."""
        last = self._last.get(kind)
        if last is None or last[0] is not case:
            last = (case, compute())
            self._last[kind] = last
        found: T = last[1]
        return found


@dataclass(frozen=True)
class Observation:
    """What one look at the kernel showed; `case` is the one behind it, `hung` is that the kernel did not return."""

    verdict: Verdict = Verdict.CONFORMS
    message: str = ""
    share: float | None = None
    rms_z: float | None = None
    max_z: float | None = None
    worst: Worst | None = None
    case: Case | None = None
    kind: str | None = None
    cases: int = 1
    hung: bool = False

    @property
    def bad(self) -> bool:
        """True if the kernel did not satisfy the property."""
        return self.verdict not in (Verdict.CONFORMS, Verdict.NOT_RUN)

    def merged(self, other: Observation) -> Observation:
        """Two good observations as one: the largest of each number, the worst element and its case."""
        mine, theirs = self.share or 0.0, other.share or 0.0
        chief = other if self.worst is None or (other.worst is not None and theirs > mine) else self
        return Observation(
            share=_largest(self.share, other.share),
            rms_z=_largest(self.rms_z, other.rms_z),
            max_z=_largest(self.max_z, other.max_z),
            worst=chief.worst,
            case=chief.case,
            cases=self.cases + other.cases,
        )

    def on(self, case: Case) -> Observation:
        """The same, with the case it was made on."""
        return self if self.case is not None else replace(self, case=case)


# What a case shows to which a property does not apply.
NOTHING = Observation(cases=0)


def too_long(keys: int, largest: int) -> Observation:
    """What a property shows some of whose inputs are longer than the run allows."""
    return Observation(Verdict.NOT_RUN, f"its inputs are up to {keys} keys long, and the largest is {largest}", cases=0)


def _largest(a: float | None, b: float | None) -> float | None:
    return b if a is None else a if b is None else max(a, b)


@dataclass(frozen=True)
class Property:
    """Something that a conforming kernel satisfies.

    needs    claims without which the property is not examined
    stage    0 for the cheap and sharp ones, run first; 1 for searches; 2 for statistics
    gate     a claim without which a failure is reported but does not fail the run; None gates always
    quantity what the target must compute: "attention" or "softmax"
    observe  looks at the kernel on one case (used to replay and to shrink)
    examine  looks at as many cases as the profile asks for
    of       "exact" if it holds of kernels that compute what the spec says, "approximate" if of those that declare an
             approximation, "any" of both
    """

    name: str
    summary: str
    stage: int
    examine: Callable[[Context], Observation]
    observe: Callable[[Context, Any], Observation]
    needs: frozenset[str] = frozenset()
    gate: str | None = None
    quantity: str = "attention"
    kind: str = "value"
    of: Literal["exact", "approximate", "any"] = "exact"
