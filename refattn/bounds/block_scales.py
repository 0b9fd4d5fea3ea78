"""Budget of sum_i a_i softmax(s of block i) V_i for given scales a_i, under the declared arithmetic."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from refattn.bounds import forward
from refattn.bounds.budget import ErrorBudget
from refattn.bounds.stages import underflow_unit
from refattn.bounds.theorems.overflow import claimed_in_range
from refattn.contract.arithmetic import Arithmetic, Stage
from refattn.contract.block_scales import BlockScales
from refattn.contract.spec import AttentionSpec, Shape
from refattn.contract.visibility import visible
from refattn.numbers.formats import Array
from refattn.numbers.roundoff import growth, rounded


def block_scaled(
    q: Array,
    k: Array,
    v: Array,
    spec: AttentionSpec,
    shape: Shape,
    arithmetic: Arithmetic,
    blocks: BlockScales,
    scales: Array,
    outputs: Sequence[Array],
) -> ErrorBudget:
    """Certified budget of the output (B, H, Nq, Dv), for finite float64 arrays and the scales that the kernel used.

    outputs are the exact O_i = softmax(s of block i) V_i. Each errs by the budget c_i of attention within its block,
    kept in the accumulator's format (theorem attention_output). The product with a_i and the additions in any order are
    log-errors of at most t = (blocks + 1) u_acc + u, u being that of the coarser of scores and accumulator: the sum is
    off by sum_i |a_i| (c_i e^t + |O_i| (e^t - 1)) and by underflow (theorem perturbed_error), and the output is rounded
    once more (theorem rounded_error). Scales may multiply quotients, or weights as they are divided by the row sum;
    where these are cast afterwards they may underflow then. inf where the declared formats can overflow.
    """
    size = (shape.batch, shape.heads, shape.queries, shape.d_v)
    t = (blocks.blocks + 1) * arithmetic.accumulator.unit + max(arithmetic.accumulator.unit, arithmetic.scores.unit)
    within = arithmetic.replace(output=arithmetic.accumulator)
    longest = max(keys.stop - keys.start for keys in blocks.slices(shape.keys))
    # Tiles need not begin where blocks do: a block of n keys may lie in one tile more than n keys do.
    added = min(shape.keys, longest + (arithmetic.tile or 1) - 1)
    parts = {name: np.zeros(size) for name in (*forward.PARTS, "scales")}
    certified, exact, largest = np.zeros(size), np.zeros(size), np.zeros(size)
    # A scale of 0 times an infinite bound is NaN: claimed_in_range makes it inf.
    with np.errstate(over="ignore", invalid="ignore"):
        for block, part in enumerate(blocks.specs(spec, shape)):
            if part is None:
                continue
            scale, output = np.abs(scales[..., block, None]), scales[..., block, None] * outputs[block]
            budget = forward.attention(q, k, v, part, shape, within, with_rms=False, added=added).out
            for name, piece in budget.parts.items():
                parts[name] += scale * piece
            grown = growth(t) * (np.abs(output) + scale * budget.certified)
            parts["scales"] += grown
            certified += scale * budget.certified + grown
            exact += output
            largest += np.abs(output) + scale * budget.certified + grown
        lost = _lost(v, spec, shape, blocks, arithmetic) * (1 + growth(t))
        parts["underflow"] += lost
        before = certified + lost
        bound = rounded(before, np.abs(exact), arithmetic.output.unit, _unit(arithmetic.output, arithmetic))
        parts["output"] += bound - before
        bound = claimed_in_range(bound, largest + lost, arithmetic.accumulator.format.max_finite)
        bound = claimed_in_range(bound, np.abs(exact) + bound, arithmetic.output.format.max_finite)
    empty = ~np.asarray(blocks.seen(spec, shape).any(axis=-1, keepdims=True))
    return ErrorBudget(np.where(empty, 0.0, bound), None, parts)


def _lost(v: Array, spec: AttentionSpec, shape: Shape, blocks: BlockScales, arithmetic: Arithmetic) -> Array | float:
    """Loss to underflow in products with scales, and in their sums."""
    added = 2 * blocks.blocks * _unit(arithmetic.accumulator, arithmetic)
    if arithmetic.cast == "before":
        return added
    once = _unit(arithmetic.scores, arithmetic) + _unit(arithmetic.probabilities, arithmetic)
    size = np.repeat(np.abs(v), shape.group, axis=1)
    return np.asarray(added + once / (1 - spec.dropout) * (visible(spec, shape).astype(np.float64) @ size))


def _unit(stage: Stage, arithmetic: Arithmetic) -> float:
    return underflow_unit(stage, arithmetic.flush_to_zero)
