"""Split-KV: the keys are shared out, each part attends on its own, and their LSEs combine the partial results."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from refattn.models.rounding import Stages
from refattn.numbers.formats import Array

Partial = tuple[Array, Array]


def combine(partials: Sequence[Partial], stages: Stages) -> Partial:
    """The output (..., Dv) and natural log-sum-exp (...,) of the union of key sets that have no key in common.

    out = sum_i w_i out_i / sum_i w_i with w_i = exp(lse_i - max lse), lse = max lse + log(sum_i w_i). An empty part has
    lse = -inf: its weight is 0 and its output is not read, so that it may hold anything. If all parts are empty, so is
    the union. An error of lse_i is one of the exponent and grows with |lse_i|, so partial LSEs need a wide format.
    """
    maximum = np.max([lse for _, lse in partials], axis=0)
    reference = np.where(np.isinf(maximum), 0.0, maximum)
    total = np.zeros_like(maximum)
    weighted = np.zeros_like(partials[0][0])
    for out, lse in partials:
        weight = stages.scores(np.exp(stages.scores(lse - reference)))
        term = stages.accumulator(weight[..., None] * np.where(np.isneginf(lse)[..., None], 0.0, out))
        total = stages.normaliser(total + weight)
        weighted = stages.accumulator(weighted + term)
    empty = total == 0.0
    combined = stages.accumulator(weighted / np.where(empty, 1.0, total)[..., None])
    return combined, stages.lse(reference + stages.lse(np.log(np.where(empty, 0.0, total))))
