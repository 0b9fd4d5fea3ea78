"""What a call may read and remember. (That it writes to no input is checked on every call.)"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from refattn.adapters.memory import LAYOUTS
from refattn.adapters.session import CallFailure
from refattn.inputs.cases import AttentionCase
from refattn.suite.batches import enlarged
from refattn.suite.comparison import compare
from refattn.suite.context import Context
from refattn.suite.drawing import drawn_cases, seeded_cases
from refattn.suite.findings import NOTHING, Evidence
from refattn.suite.judging import array_of, failure, judge_values, judged
from refattn.suite.property import Property
from refattn.suite.search import by_cases


def observe_layouts(context: Context, case: AttentionCase) -> Evidence:
    """Strided, offset and stride-0 inputs give results within the same bounds."""
    total = NOTHING
    for layout in LAYOUTS:
        if layout == "contiguous":
            continue
        try:
            outcome = context.target.run(case, layout=layout)
        except CallFailure as error:
            evidence = failure(error)
        else:
            evidence = judged(
                [compare("out", array_of(outcome.out), context.truth(case).out, context.budget(case).out)]
            )
        if evidence.bad:
            return replace(evidence, message=f"With {layout} inputs: {evidence.message}")
        total = total.merged(evidence)
    return replace(total, cases=1)


def observe_repeated_heads(context: Context, case: AttentionCase) -> Evidence:
    """The same with one head repeated along stride-0 axes."""
    if not case.spec.features().keys() - {"alignment"}:
        case = enlarged(case)
    first = {name: np.broadcast_to(getattr(case, name)[:1, :1], getattr(case, name).shape) for name in ("q", "k", "v")}
    return observe_layouts(context, case.replace(**first))


def observe_state(context: Context, case: AttentionCase) -> Evidence:
    """Earlier calls of the same shape with other settings leave no trace: each variant runs twice, in turn."""
    variants = [case]
    if "causal" in context.claims and not case.spec.causal and case.shape.queries == case.shape.keys:
        variants.append(case.replace(spec=case.spec.replace(causal=True)))
    if "scale" in context.claims:
        variants.append(case.replace(spec=case.spec.replace(scale=0.5)))
        variants.append(case.replace(spec=case.spec.replace(scale=0.125)))
    variants.append(case.replace(q=case.q[:, :, ::-1], k=-case.k))
    total = NOTHING
    for variant in [*variants, *variants]:
        evidence = judge_values(context, variant)
        if evidence.bad:
            message = f"After calls of the same shape with other settings: {evidence.message}"
            return replace(evidence, message=message)
        total = total.merged(evidence)
    return total


_TWO_GENERIC = by_cases(seeded_cases("generic", count=2), drawn_cases())

PROPERTIES = (
    Property("memory/layouts", "strided, offset and broadcast inputs are read rightly", observe_layouts, _TWO_GENERIC),
    Property("memory/shared_heads", "heads that share memory are read rightly", observe_repeated_heads, _TWO_GENERIC),
    Property("memory/state", "a call does not depend on the calls before it", observe_state, _TWO_GENERIC),
)
