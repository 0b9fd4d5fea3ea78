"""A kernel that approximates attention by block scales, judged by the scales that it says it used.

The scales determine the exact output and its distance from attention (refattn.suite.certificates): the kernel may
add no more than the rounding budget of the declared arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from refattn.adapters.memory import LAYOUTS, Layout
from refattn.adapters.session import CallFailure, Outcome
from refattn.bounds.block_scales import block_scaled as block_scaled_budget
from refattn.bounds.budget import ErrorBudget
from refattn.bounds.stages import underflow_unit
from refattn.contract.arithmetic import Stage
from refattn.contract.block_scales import BlockScales
from refattn.inputs.cases import AttentionCase
from refattn.numbers.formats import Array
from refattn.numbers.roundoff import growth
from refattn.oracle.enclosure import Enclosure
from refattn.suite.certificates import block_scaled, certificate
from refattn.suite.comparison import compare
from refattn.suite.context import Context
from refattn.suite.drawing import drawn_cases, feature_cases, seeded_cases
from refattn.suite.findings import NOTHING, Evidence, Verdict
from refattn.suite.hiding import HIDDEN_KEYS, hidden_from, rows_of
from refattn.suite.judging import array_of, failure, judged
from refattn.suite.property import Observe, Property
from refattn.suite.search import by_both


@dataclass(frozen=True, eq=False)
class Run:
    """One call of the kernel: its output, the scales that it reports, and the blocks that its queries see."""

    case: AttentionCase
    blocks: BlockScales
    out: Array
    scales: Array
    seen: Any
    outcome: Outcome

    def exact_output(self, context: Context) -> Enclosure:
        """The exact output of these scales."""
        return block_scaled(context.block_outputs(self.case, self.blocks), self.scales, self.seen, self.case.spec)

    def budget(self, context: Context) -> ErrorBudget:
        """What the declared arithmetic allows the output, given these scales."""
        case = self.case
        outputs = [output.mid for output in context.block_outputs(case, self.blocks)]
        arithmetic = context.target.arithmetic_of(case)
        return block_scaled_budget(
            case.q, case.k, case.v, case.spec, case.shape, arithmetic, self.blocks, self.scales, outputs
        )


Judge = Callable[[Context, Run], Evidence]


def observe(judge: Judge, layout: Layout = "contiguous") -> Observe:
    """Call the kernel, and judge what it returned if its scales are numbers."""

    def observe_case(context: Context, case: AttentionCase) -> Evidence:
        blocks = context.approximation
        if blocks is None:
            return NOTHING
        try:
            outcome = context.target.run(case, layout=layout)
        except CallFailure as error:
            return failure(error)
        seen = blocks.seen(case.spec, case.shape)
        run = Run(case, blocks, array_of(outcome.out), array_of(outcome.scales), seen, outcome)
        return _not_numbers(run) or judge(context, run)

    return observe_case


def _not_numbers(run: Run) -> Evidence | None:
    wrong = ~np.isfinite(run.scales) | (run.scales < 0)
    return _bad_scale(run, wrong, "expected a finite number of at least 0") if wrong.any() else None


def _bad_scale(run: Run, wrong: Any, expected: str) -> Evidence:
    index = tuple(int(i) for i in np.argwhere(wrong)[0])
    where = ", ".join(map(str, index))
    return Evidence(Verdict.VIOLATES, f"scales[{where}] is {float(run.scales[index]):.9g}: {expected}.", share=np.inf)


def judge_scales(context: Context, run: Run) -> Evidence:
    """Exactly 0 for blocks of which a query sees nothing; summing to 1 if that is claimed."""
    unseen = ~run.seen & (run.scales != 0)
    if unseen.any():
        return _bad_scale(run, unseen, "expected exactly 0, as the query sees no key of the block")
    allowed = _sum_budget(context, run)
    if allowed is None:
        return Evidence(share=0.0)
    sees = run.seen.any(axis=-1)
    total = np.where(sees, run.scales.sum(axis=-1), 1.0)
    return judged([compare("the row sum of scales", total, _known(np.ones_like(total)), allowed)])


def _sum_budget(context: Context, run: Run) -> ErrorBudget | None:
    """How far from 1 the sum of scales may lie; None where they are not claimed to be normalised.

    Each is a quotient by the sum of them all: an addition for each block, the quotient's rounding and that into the
    format of the scales (theorems any_schedule, format_unit). This module adds each of them once more, in float64.
    With a sink they add up to less.
    """
    if not run.blocks.normalised or run.case.spec.sinks is not None:
        return None
    arithmetic, count = context.target.arithmetic_of(run.case), run.blocks.blocks
    reported = Stage(run.outcome.formats["scales"])
    coarsest = max(stage.unit for stage in (arithmetic.scores, arithmetic.normaliser, arithmetic.accumulator, reported))
    stages = (arithmetic.scores, arithmetic.normaliser, arithmetic.accumulator, reported)
    lost = 2 * count * sum(underflow_unit(stage, arithmetic.flush_to_zero) for stage in stages)
    allowed = growth((count + 2) * coarsest) * (1 + count * 2.0**-52) + count * 2.0**-52 + lost
    return ErrorBudget(np.full(run.scales.shape[:-1], allowed))


def judge_values(context: Context, run: Run) -> Evidence:
    """The output is sum_i a_i softmax(s of block i) V_i of the scales reported, within its rounding budget."""
    evidence = judged(
        [compare("out", run.out, run.exact_output(context), run.budget(context))], generic=run.case.generic
    )
    return _prefixed(evidence, "Given the scales that the kernel reports,")


def judge_certificate(context: Context, run: Run) -> Evidence:
    """The output is as near to attention as its scales are to the exact ones, but for rounding."""
    case = run.case
    certified = certificate(case.q, case.k, case.v, case.spec, scales=run.scales, blocks=run.blocks)
    budget = run.budget(context)
    within = ErrorBudget(
        certified.output_bound + budget.certified, None, {"certificate": certified.output_bound, **budget.parts}
    )
    evidence = judged([compare("out", run.out, context.truth(case).out, within)])
    return _prefixed(evidence, "Against attention, the certificate of the scales reported and rounding being allowed,")


def judge_row_sums(context: Context, run: Run) -> Evidence:
    """Values of 1 give the row sum of the scales, and 1 where scales are claimed to be normalised."""
    budget = run.budget(context)
    evidence = judged([compare("out", run.out, run.exact_output(context), budget)])
    allowed = _sum_budget(context, run)
    if evidence.bad or allowed is None or run.case.spec.keep is not None:
        return _prefixed(evidence, "With values of 1,")
    sees = run.seen.any(axis=-1)[..., None]
    both = ErrorBudget(budget.certified + np.where(sees, allowed.certified[..., None], 0.0), None, budget.parts)
    exact = np.where(sees, 1.0, run.exact_output(context).mid)
    return _prefixed(
        judged([compare("out", run.out, _known(np.broadcast_to(exact, run.out.shape)), both)]),
        "With values of 1, and scales that are claimed to sum to 1,",
    )


observe_scales = observe(judge_scales)
observe_values = observe(judge_values)
observe_certificate = observe(judge_certificate)
_observe_sums = observe(judge_row_sums)


def observe_row_sums(context: Context, case: AttentionCase) -> Evidence:
    """The same inputs with values of 1."""
    return _observe_sums(context, case.replace(v=np.ones_like(case.v), generic=False)).on(case)


def observe_layouts(context: Context, case: AttentionCase) -> Evidence:
    """Strided, offset and stride-0 inputs give results within the same bounds."""
    total = NOTHING
    for layout in LAYOUTS:
        if layout != "contiguous":
            evidence = observe(judge_values, layout)(context, case)
            if evidence.bad:
                return replace(evidence, message=f"With {layout} inputs: {evidence.message}")
            total = total.merged(evidence)
    return replace(total, cases=1)


def observe_leak(context: Context, case: AttentionCase) -> Evidence:
    """With values of 1 in keys that a query does not see, and 0 elsewhere, its output is 0: no weight leaks."""
    shape = case.shape
    if context.approximation is None or not shape.queries or not shape.keys:
        return NOTHING
    total = NOTHING
    for row in rows_of(case):
        slots, rows = hidden_from(case, row)
        if not slots.any():
            continue
        marked = case.replace(v=np.where(slots[..., None], 1.0, np.zeros_like(case.v)), generic=False)
        try:
            out = array_of(context.target.run(marked).out)
        except CallFailure as error:
            return failure(error)
        # Rows that see nothing and give NaN by the spec are another property's subject.
        blank = case.spec.empty_rows == "nan" and ~context.approximation.seen(case.spec, shape).any(axis=-1)
        leaked = np.where((rows & ~np.asarray(blank))[..., None], out, 0.0)
        evidence = judged([compare("out", leaked, _known(np.zeros_like(leaked)), ErrorBudget(np.zeros_like(leaked)))])
        if evidence.bad:
            worst = evidence.worst
            weight = "some" if worst is None else f"{worst.actual:.9g}"
            return replace(
                evidence,
                message=f"A query gives {weight} of its weight to keys that it does not see. {evidence.message}",
            )
        total = total.merged(evidence)
    return total


def _known(exact: Array) -> Enclosure:
    return Enclosure(np.asarray(exact, np.float64), np.zeros(exact.shape))


def _prefixed(evidence: Evidence, words: str) -> Evidence:
    return replace(evidence, message=f"{words} {evidence.message}") if evidence.bad else evidence


def _features_and_regimes(context: Context, name: str) -> Iterator[AttentionCase]:
    """Each claimed feature and pairs of them, then every regime."""
    yield from feature_cases()(context, name)
    yield from seeded_cases()(context, name)


_FEATURES = by_both(feature_cases(), drawn_cases())

PROPERTIES = (
    Property(
        "approximation/scales",
        "scales are numbers of at least 0, and exactly 0 for a block of which nothing is seen",
        observe_scales,
        _FEATURES,
        of="approximate",
    ),
    Property(
        "approximation/leak",
        "no weight on keys that a query does not see",
        observe_leak,
        HIDDEN_KEYS,
        of="approximate",
    ),
    Property(
        "approximation/row_sums",
        "weights add up to the scales reported, and to 1 where these are claimed to",
        observe_row_sums,
        _FEATURES,
        of="approximate",
    ),
    Property(
        "approximation/values",
        "the output is that of the scales reported, within its rounding budget",
        observe_values,
        by_both(_features_and_regimes, drawn_cases()),
        of="approximate",
    ),
    Property(
        "approximation/certificate",
        "the output is as near to attention as the scales reported are to the exact ones, but for rounding",
        observe_certificate,
        _FEATURES,
        of="approximate",
    ),
    Property(
        "approximation/layouts",
        "strided, offset and broadcast inputs are read rightly",
        observe_layouts,
        by_both(seeded_cases("generic", count=2), drawn_cases()),
        of="approximate",
    ),
)
