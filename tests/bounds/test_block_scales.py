"""The budget of given block scales: no kernel of the declared arithmetic is outside it, and the worst are near it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from refattn.bounds.block_scales import block_scaled as budget_of
from refattn.bounds.budget import ErrorBudget
from refattn.contract.arithmetic import Arithmetic
from refattn.contract.block_scales import BlockScales
from refattn.contract.spec import AttentionSpec, problem_shape
from refattn.models import BlockScaledAttention, StaticScales
from refattn.models.kernel import Tile
from refattn.oracle.enclosure import Enclosure
from refattn.suite.certificates import block_outputs, block_scaled
from refattn.suite.comparison import compare
from refattn.suite.findings import Evidence
from tests.support.kernels_by_arithmetic import arithmetics, kernel_of
from tests.support.worst_roundings import Row, by_unit

DTYPES = ("bf16", "fp16", "fp32")
# Sparse, so that some rows see no key of a block; one row sees no key at all.
MASK = np.random.default_rng(1).random((1, 2, 9, 14)) < 0.2
MASK[:, :, 4] = False
SPECS = {
    "everything": AttentionSpec(),
    "causal": AttentionSpec(causal=True),
    "mask": AttentionSpec(mask=MASK, empty_rows="nan"),
    "dropout": AttentionSpec(keep=np.random.default_rng(2).random((1, 2, 9, 14)) < 0.6, dropout=0.5),
    "scores": AttentionSpec(softcap=3.0, alibi_slopes=np.array([0.5, 0.125])),
}
TABLE = np.random.default_rng(3).standard_normal((2, 9, 3))


class ScaledBeforeTheCast(BlockScaledAttention):
    """The published order: weights are divided, scaled, cast, and all blocks are added up in one accumulator."""

    def rows(self, problem: Any, rows: slice, scales: Any) -> Any:
        """The output of a tile of queries."""
        stages, kernel = problem.stages, self.kernel
        seen = kernel.visible(problem, rows)
        total = np.zeros((*scales.shape[:3], problem.shape.d_v))
        for block, keys in enumerate(self.key_blocks(problem)):
            tile = Tile(rows, keys, seen[..., keys])
            if keys.stop == keys.start or not tile.seen.any():
                continue
            s = kernel.scores(problem, tile)
            p = kernel.probabilities(problem, s, s.max(axis=-1))
            row_sum = stages.normaliser.sum(p)
            p = stages.scores(p / np.where(row_sum == 0, 1.0, row_sum)[..., None])
            p = kernel.dropout(problem, tile, stages.probabilities(stages.scores(p * scales[..., block, None])))
            total = stages.accumulator(total + kernel.values_product(problem, tile, p))
        if problem.spec.dropout:
            total = stages.accumulator(total * kernel.dropout_factor(problem))
        empty = ~seen.any(axis=-1, keepdims=True) & (problem.spec.empty_rows == "nan")
        return np.where(empty, np.nan, total)


def inputs(dtype: str, spread: float = 1.0) -> tuple[Any, Any, Any]:
    storage = Arithmetic.flash(dtype).inputs.storage
    rng = np.random.default_rng(4)
    draw = (rng.standard_normal(size) for size in ((1, 2, 9, 5), (1, 1, 14, 5), (1, 1, 14, 4)))
    q, k, v = ((x * factor).astype(storage) for x, factor in zip(draw, (spread, 1.0, 1.0), strict=True))
    return q, k, v


def allowed(
    q: Any, k: Any, v: Any, spec: AttentionSpec, scales: Any, blocks: BlockScales, arithmetic: Arithmetic
) -> tuple[Enclosure, ErrorBudget]:
    """The exact output of the scales, and its budget."""
    q, k, v, scales = (np.asarray(array, np.float64) for array in (q, k, v, scales))
    shape = problem_shape(q, k, v, spec)
    outputs = block_outputs(q, k, v, spec, blocks)
    truth = block_scaled(outputs, scales, blocks.seen(spec, shape), spec)
    exact = [output.mid for output in outputs]
    assert np.isfinite(truth.rad).all()
    return truth, budget_of(q, k, v, spec, shape, arithmetic, blocks, scales, exact)


def judged(kernel: BlockScaledAttention, arithmetic: Arithmetic, spec: AttentionSpec, *given: Any) -> Evidence:
    out, scales = kernel(*given, spec=spec)
    return compare("out", np.asarray(out, np.float64), *allowed(*given, spec, scales, kernel.blocks, arithmetic))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", arithmetics("bf16"))
def test_the_model_is_within_the_budget_of_its_arithmetic(name: str, dtype: str) -> None:
    arithmetic = arithmetics(dtype)[name]
    kernel = BlockScaledAttention(StaticScales(TABLE), BlockScales(3), kernel_of(arithmetic))
    for spec in SPECS.values():
        for spread in (1.0, 8.0):
            assert not judged(kernel, arithmetic, spec, *inputs(dtype, spread)).violated


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["naive", "naive, sums narrow", "naive, softmax wide"])
def test_scales_that_multiply_weights_before_their_cast_are_within_the_budget(name: str, dtype: str) -> None:
    arithmetic = arithmetics(dtype)[name]
    kernel = ScaledBeforeTheCast(StaticScales(TABLE), BlockScales(3), kernel_of(arithmetic))
    for spec in SPECS.values():
        assert not judged(kernel, arithmetic, spec, *inputs(dtype)).violated


def test_small_scales_that_lose_weights_in_a_cast_are_within_the_budget() -> None:
    # Weights of 1 / 4 in fp32, times a scale that takes them below fp16's smallest number.
    arithmetic = Arithmetic.naive("fp16", scores="fp32")
    q, k, v = (np.zeros((1, 1, size, 1), np.float16) for size in (1, 4, 4))
    v[:] = 1.0
    table = np.array([[[math.log(2.0**-24), 0.0]]])
    kernel = ScaledBeforeTheCast(StaticScales(table), BlockScales(2, 8), kernel_of(arithmetic))
    kernel_scales = np.array([2.0**-24])
    out = kernel.rows(kernel.kernel.problem(q, k, v, AttentionSpec()), slice(0, 1), kernel_scales[None, None, None])
    assert out.item() == 0.0
    truth, budget = allowed(q, k, v, AttentionSpec(), kernel_scales, BlockScales(1), arithmetic)
    assert truth.mid.item() == 2.0**-24
    assert 2.0**-24 <= budget.certified.item() <= 2.0**-20


def worst(count: int, seed: int, arithmetic: Arithmetic) -> tuple[float, ErrorBudget]:
    """The largest error of a row of 12 keys in `blocks` blocks when every rounding errs as much as it may."""
    rng, blocks, spec = np.random.default_rng(seed), BlockScales(count), AttentionSpec(scale=0.5)
    q, k, v = rng.standard_normal((1, 1, 1, 4)), rng.standard_normal((1, 1, 12, 4)), rng.random((1, 1, 12, 1))
    scales, accumulator = rng.random(count), arithmetic.accumulator
    truth, budget = allowed(q, k, v, spec, scales, blocks, arithmetic)
    within = arithmetic.replace(output=accumulator)
    errors = []
    for way in (1.0, -1.0):
        total = 0.0
        for scale, keys in zip(scales, blocks.slices(12), strict=True):
            part = Row(q[0, 0, 0], k[0, 0, keys], v[0, 0, keys, 0], within, by_unit, 0.5).output(way)
            term = by_unit(scale * part, accumulator, way)
            total = by_unit(total + term, accumulator, way) if total else term
        errors.append(abs(by_unit(total, arithmetic.output, way) - truth.mid.item()))
    return max(errors), budget


@pytest.mark.parametrize(
    ("arithmetic", "count", "reached"),
    [
        (Arithmetic.flash("bf16", tile=4), 3, 0.9),
        (Arithmetic.flash("fp32", tile=4), 3, 0.35),
        (Arithmetic.flash("bf16", tile=4, accumulator="bf16"), 3, 0.55),
        (Arithmetic.flash("fp32", tile=None, accumulator="bf16", normaliser="bf16"), 2, 0.5),
    ],
    ids=["bf16", "fp32", "accumulator narrow", "sums narrow"],
)
def test_the_worst_roundings_are_within_the_budget_and_near_it(
    arithmetic: Arithmetic, count: int, reached: float
) -> None:
    shares = []
    for seed in range(8):
        error, budget = worst(count, seed, arithmetic)
        shares.append(error / budget.certified.item())
    assert max(shares) <= 1.0
    assert max(shares) >= reached


def test_the_products_with_scales_and_their_sum_are_charged_for_what_they_cost() -> None:
    arithmetic = Arithmetic.flash("fp32", accumulator="bf16", tile=1)
    error, budget = worst(12, 0, arithmetic)
    assert budget.certified.item() - budget.parts["scales"].item() < error <= budget.certified.item()


def test_two_roundings_to_coarse_scores_are_charged_for_a_quotient_and_its_product_with_a_scale() -> None:
    # One key a block, of score 0: no other stage errs.
    wide = dict.fromkeys(("probabilities", "output"), "fp32")
    arithmetic = Arithmetic.naive("bf16", exp_ulps=0.0, **wide)
    q, k, v = np.zeros((1, 1, 1, 1)), np.zeros((1, 1, 2, 1)), np.ones((1, 1, 2, 1))
    _, budget = allowed(q, k, v, AttentionSpec(), np.array([0.7, 0.4]), BlockScales(2), arithmetic)
    assert budget.certified.item() >= 1.1 * 2 * arithmetic.scores.unit


def test_a_product_with_a_scale_may_underflow_in_the_accumulator() -> None:
    arithmetic = Arithmetic.flash("fp32", accumulator="fp16")
    q, k, v = np.zeros((1, 1, 1, 1)), np.zeros((1, 1, 2, 1)), np.ones((1, 1, 2, 1))
    _, budget = allowed(q, k, v, AttentionSpec(), np.full(2, 2.0**-26), BlockScales(2), arithmetic)
    assert 2 * 2.0**-26 <= budget.certified.item() <= 2.0**-20


def test_every_coarser_stage_of_the_sum_costs_something() -> None:
    given = (*inputs("bf16"), AttentionSpec(), np.full(3, 0.5), BlockScales(3))
    fine = allowed(*given, Arithmetic.flash("bf16"))[1].certified
    for changes in ({"accumulator": "bf16"}, {"output": "e4m3"}, {"scores": "fp16"}, {"probabilities": "e5m2"}):
        assert (allowed(*given, Arithmetic.flash("bf16", **changes))[1].certified > fine).all()


def test_more_than_the_format_holds_is_not_claimed_and_a_scale_of_0_silences_what_is() -> None:
    q, k, v = inputs("fp16")
    large = np.full_like(v, 6e4)
    spec, arithmetic = AttentionSpec(), Arithmetic.flash("fp16")
    _, budget = allowed(q, k, large, spec, np.array([1.0, 1.0, 0.0]), BlockScales(3), arithmetic)
    assert np.isposinf(budget.certified).all()
    narrow = arithmetic.replace(accumulator="fp16", output="fp32")
    assert np.isposinf(allowed(q, k, v, spec, np.full(3, 1e6), BlockScales(3), narrow)[1].certified).any()
    wide = arithmetic.replace(output="fp32")
    assert np.isfinite(allowed(q, k, v, spec, np.full(3, 1e6), BlockScales(3), wide)[1].certified).all()
    _, budget = allowed(q, k, v, spec, np.zeros(3), BlockScales(3), arithmetic)
    assert (budget.certified <= 2.0**-20).all()


def test_parts_add_up_to_the_budget_and_name_the_scales() -> None:
    given = (*inputs("fp32"), AttentionSpec(causal=True), np.full(3, 0.5), BlockScales(3))
    _, budget = allowed(*given, Arithmetic.flash("fp32"))
    assert "scales" in budget.parts
    whole = sum(budget.parts.values())
    # A hull of the values caps some of the parts' sum.
    assert (whole >= budget.certified * (1 - 2.0**-40)).all()
    assert all((part >= 0).all() for part in budget.parts.values())
