"""The backward pass's theorems from end to end: worst roundings nearly reach the gradients' bounds and never exceed
them, they exceed bounds with less in them, and faulty kernels exceed the bounds.

REFATTN_THEOREM_CASES sets how many cases the searches take: 3000 unless told.
"""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from refattn import bounds, oracle
from refattn.bounds import backward
from refattn.contract.arithmetic import Arithmetic, Stage
from refattn.contract.spec import AttentionSpec
from refattn.inputs.cases import AttentionCase
from refattn.models import TiledBackward
from refattn.models.rounding import Rounder
from refattn.numbers import formats
from refattn.suite.comparison import compare
from tests.bounds.test_backward import normal
from tests.support.kernels_by_arithmetic import kernel_of
from tests.support.worst_gradient_roundings import Nudge, Target, Worst, by_format, by_model

CASES = int(os.environ.get("REFATTN_THEOREM_CASES", "3000"))

# Of each gradient's bound, the share that worst roundings of some small problem in bf16 reach; see ARITHMETICS.
TIGHTNESS: dict[str, float] = {"dq": 0.99, "dk": 0.99, "dv": 0.99, "dbias": 0.99, "dsinks": 0.99}

NARROW = ("dot", "scores", "normaliser", "row_sum", "accumulator", "lse", "group_sum", "gradient_sum")
TRUNCATING = Stage(formats.bf16, "truncate")
# And the share that is reached at least of every gradient there.
ARITHMETICS: dict[str, tuple[Arithmetic, Nudge, float]] = {
    "flash": (Arithmetic.flash("bf16", tile=2), by_model(), 0.99),
    "everything narrow": (Arithmetic.flash("bf16", tile=2, **dict.fromkeys(NARROW, "bf16")), by_model(), 0.95),
    "rounded again": (
        Arithmetic.flash("bf16", tile=2, gradient_sum="bf16", group_sum="e5m2", gradient_tile=2),
        by_model(),
        0.99,
    ),
    "fp32": (Arithmetic.flash("fp32", tile=2), by_model(), 0.9),
    "flushing": (
        Arithmetic.flash("fp16", tile=2, flush_to_zero=True, accumulator="fp16", group_sum="fp16"),
        by_model(flush_to_zero=True),
        0.9,
    ),
    "truncating": (
        Arithmetic.flash("bf16", tile=2, **dict.fromkeys((*NARROW, "probabilities", "output"), TRUNCATING)),
        by_format,
        0.7,
    ),
    "fp8": (Arithmetic.flash("bf16", tile=2, probabilities="e4m3"), by_model(), 0.99),
}


def drawn(seed: int, arithmetic: Arithmetic, nudge: Nudge) -> Worst:
    """A small problem with some of the spec's features."""
    rng, format = np.random.default_rng(seed), formats.bf16
    heads, queries, keys, d, d_v = (int(rng.integers(1, limit)) for limit in (3, 4, 5, 4, 4))
    size = rng.choice([0.1, 1.0, 3.0])

    def array(*shape: int) -> Any:
        return format.round(
            rng.standard_normal(shape) * rng.choice([0.3, 1.0, 2.0]) + rng.choice([0.0, 0.0, 2.0, -2.0])
        )

    problem = Worst(
        q=format.round(rng.standard_normal((heads, queries, d)) * size),
        k=format.round(rng.standard_normal((keys, d)) * size),
        v=array(keys, d_v),
        do=array(heads, queries, d_v),
        scale=float(rng.choice([1.0 / math.sqrt(d), -1.0, 0.125])),
        arithmetic=arithmetic,
        nudge=nudge,
    )
    if rng.random() < 0.4:
        problem.dlse = array(heads, queries)
    if rng.random() < 0.4:
        problem.cap = float(rng.choice([0.5, 2.0, 30.0]))
    if rng.random() < 0.4:
        problem.bias = array(keys)
    if rng.random() < 0.4:
        problem.sinks = array(heads)
    if rng.random() < 0.3:
        problem.keep, problem.dropout = rng.random((heads, queries, keys)) < 0.7, 0.3
    return problem


def budgets_of(problem: Worst) -> dict[str, Any]:
    """The certified bounds of its gradients, in the shapes that targets index; sets what the forward pass is off by."""
    spec = AttentionSpec(
        scale=problem.scale,
        softcap=problem.cap,
        bias=None if problem.bias is None else problem.bias[None],
        sinks=problem.sinks,
        keep=None if problem.keep is None else problem.keep[None],
        dropout=problem.dropout,
    )
    given = (problem.q[None], problem.k[None, None], problem.v[None, None])
    forward = bounds.attention(*given, spec, problem.arithmetic)
    problem.out_error, problem.lse_error = forward.out.certified[0], forward.lse.certified[0]
    dlse = None if problem.dlse is None else problem.dlse[None]
    budget = bounds.attention_backward(*given, problem.do[None], spec, problem.arithmetic, dlse=dlse)
    shapes = {"dq": problem.q.shape, "dk": problem.k.shape, "dv": problem.v.shape}
    shapes |= {"dbias": (len(problem.k),), "dsinks": (len(problem.q),)}
    budgets = {name: getattr(budget, name) for name in shapes}
    return {name: each.certified.reshape(shapes[name]) for name, each in budgets.items() if each is not None}


def shares(name: str, seeds: range) -> Iterator[tuple[str, float]]:
    """One element of each gradient of each problem: the share of its bound that worst roundings reach."""
    arithmetic, nudge, _ = ARITHMETICS[name]
    for seed in seeds:
        problem = drawn(seed, arithmetic, nudge)
        rng = np.random.default_rng(seed)
        for gradient, certified in budgets_of(problem).items():
            index = tuple(int(rng.integers(n)) for n in certified.shape)
            if np.isfinite(certified[index]):
                target = Target(gradient, index)
                exact = problem.value(target)
                error = max(abs(problem.pushed(target, way) - exact) for way in (1.0, -1.0))
                yield gradient, error / certified[index]


def largest(name: str, seeds: range) -> dict[str, float]:
    largest_shares: dict[str, float] = defaultdict(float)
    for gradient, share in shares(name, seeds):
        largest_shares[gradient] = max(largest_shares[gradient], share)
    return largest_shares


@pytest.mark.parametrize("name", ARITHMETICS)
def test_worst_roundings_nearly_reach_the_bounds_and_never_exceed_them(name: str) -> None:
    shares = largest(name, range(max(60, CASES // 60)))
    least = ARITHMETICS[name][2]
    # The exact values, and the bounds themselves, are computed in float64.
    assert all(least <= share <= 1.0 + 1e-9 for share in shares.values()), shares
    if name == "flash":
        assert all(TIGHTNESS[gradient] <= share for gradient, share in shares.items()), shares


# A weaker bound is exceeded: a function of the theorems, and an arithmetic for which it matters.
WEAKER = {
    "p_recompute": "everything narrow",
    "weight_error": "everything narrow",
    "probability_gradient_error": "everything narrow",
    "delta_error": "flash",
    "slope_error": "flash",
    "score_gradient_error": "flash",
    "softcap_gradient": "everything narrow",
    "through_softcap": "everything narrow",
    "value_weight_error": "fp8",
    "gradient_sum": "everything narrow",
    "gradient_additions": "everything narrow",
    "gradient_underflow": "flushing",
}


@pytest.mark.parametrize("name", WEAKER)
def test_a_bound_with_half_of_one_step_is_exceeded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = getattr(backward, name)
    monkeypatch.setattr(backward, name, lambda *arguments: original(*arguments) / 2)
    assert max(share for _, share in shares(WEAKER[name], range(60))) > 1.0


# Kernels with a fault in one step


def narrow(x: Any, format: str = "bf16") -> Any:
    return Rounder(Stage(formats.get(format)))(x)


class NarrowLogSumExp(TiledBackward):
    """The log-sum-exp kept in the inputs' format."""

    def probabilities(self, problem: Any, s: Any, lse: Any) -> Any:
        return super().probabilities(problem, s, narrow(lse))


class SmallWeightsDropped(TiledBackward):
    """Weights below 2^-6 taken for 0."""

    def probabilities(self, problem: Any, s: Any, lse: Any) -> Any:
        p = super().probabilities(problem, s, lse)
        return np.where(p < 2.0**-6, 0.0, p)


class NarrowDelta(TiledBackward):
    """Delta added up in fp8."""

    def delta(self, problem: Any, upstream: Any, rows: slice, sees: Any) -> Any:
        return narrow(super().delta(problem, upstream, rows, sees), "e5m2")


class NarrowProduct(TiledBackward):
    """dP kept in fp8."""

    def probability_gradient(self, problem: Any, tile: Any, do: Any) -> Any:
        return narrow(super().probability_gradient(problem, tile, do), "e5m2")


class NoGain(TiledBackward):
    """Dropped weights left out of dP, the others not divided by 1 - p."""

    def dropout(self, problem: Any, tile: Any, x: Any) -> Any:
        return x * self.kept(problem, tile)


class NoDirectGradient(TiledBackward):
    """dLSE ignored."""

    def delta(self, problem: Any, upstream: Any, rows: slice, sees: Any) -> Any:
        return super().delta(problem, upstream, rows, sees) + upstream.dlse[:, :, rows]


class NarrowScoreGradient(TiledBackward):
    """dS cast to fp8 instead of the inputs' format."""

    def score_gradient(self, problem: Any, p: Any, dp: Any, delta: Any) -> Any:
        return narrow(super().score_gradient(problem, p, dp, delta), "e5m2")


class SlopeOfOtherScore(TiledBackward):
    """The softcap's slope from the capped score divided by the cap twice."""

    def softcap_slope(self, problem: Any, tile: Any, capped: Any) -> Any:
        del tile
        return 1 - np.tanh(capped / problem.spec.softcap**2) ** 2


class NoSlope(TiledBackward):
    """No softcap in the backward pass."""

    def softcap_slope(self, problem: Any, tile: Any, capped: Any) -> Any:
        del problem, tile
        return np.ones_like(capped)


class NarrowWeights(TiledBackward):
    """P cast to fp8 for dV."""

    def value_gradient(self, problem: Any, tile: Any, weights: Any, do: Any) -> Any:
        return super().value_gradient(problem, tile, narrow(weights, "e5m2"), do)


class NarrowSums(TiledBackward):
    """dQ rounded to the inputs' format after each tile."""

    def query_gradient(self, problem: Any, tile: Any, ds: Any) -> Any:
        return narrow(super().query_gradient(problem, tile, ds), "e5m2")


class NarrowGroup(TiledBackward):
    """Heads of a group added up in fp8."""

    def sum_over_group(self, problem: Any, array: Any) -> Any:
        return narrow(super().sum_over_group(problem, narrow(array, "e5m2")), "e5m2")


class Flushing(TiledBackward):
    """Operands below 2^-14 flushed, and not declared."""

    def cast_operand(self, problem: Any, x: Any) -> Any:
        return np.where(np.abs(x) < 2.0**-14, 0.0, super().cast_operand(problem, x))


# The theorem that the fault breaks, the kernel, the scaling of the inputs, and the spec.
FEATURES = AttentionSpec(softcap=2.0, bias=np.linspace(-1, 1, 9)[None])
DROPOUT = AttentionSpec(keep=np.arange(90).reshape(1, 2, 5, 9) % 4 > 0, dropout=0.25)
FAULTS: list[tuple[str, type[TiledBackward], dict[str, float], AttentionSpec]] = [
    ("p_recompute", NarrowLogSumExp, {"q": 3.0}, AttentionSpec()),
    ("weight_error", SmallWeightsDropped, {"v": 16.0}, AttentionSpec()),
    ("delta_error", NarrowDelta, {}, AttentionSpec()),
    ("probability_gradient_error", NarrowProduct, {}, AttentionSpec()),
    ("probability_gradient_error", NoGain, {}, DROPOUT),
    ("slope_error", NoDirectGradient, {}, AttentionSpec()),
    ("score_gradient_error", NarrowScoreGradient, {}, AttentionSpec()),
    ("softcap_gradient", SlopeOfOtherScore, {}, FEATURES),
    ("through_softcap", NoSlope, {}, FEATURES),
    ("value_weight_error", NarrowWeights, {}, AttentionSpec()),
    ("gradient_sum", NarrowSums, {}, AttentionSpec()),
    ("gradient_additions", NarrowGroup, {}, AttentionSpec()),
    ("gradient_underflow", Flushing, {"v": 2.0**-10, "do": 2.0**-6}, AttentionSpec()),
]


def judged(case: AttentionCase, kernel: TiledBackward) -> float:
    """The largest share of a gradient's bound that a backward pass reaches after an honest forward pass."""
    arithmetic = Arithmetic.flash(case.format, output="fp32")
    forward = kernel_of(arithmetic)
    assert case.do is not None
    stored = [array.astype(case.format.storage) for array in (case.q, case.k, case.v)]
    out, lse = forward(*stored, spec=case.spec)
    gradients = kernel(*stored, out, lse, case.do.astype(case.format.storage), spec=case.spec, dlse=case.dlse)
    given = (case.q, case.k, case.v, case.do, case.spec)
    truth, budget = (
        oracle.attention_backward(*given, dlse=case.dlse),
        bounds.attention_backward(*given, forward.arithmetic_for(case.format), dlse=case.dlse),
    )
    return max(
        compare(
            name, np.asarray(getattr(gradients, name), np.float64), getattr(truth, name), getattr(budget, name)
        ).share
        for name in ("dq", "dk", "dv")
    )


@pytest.mark.parametrize(("theorem", "fault", "factors", "spec"), FAULTS, ids=lambda x: getattr(x, "__name__", None))
def test_a_kernel_with_a_fault_in_one_step_is_outside_the_bounds(
    theorem: str, fault: type[TiledBackward], factors: dict[str, float], spec: AttentionSpec
) -> None:
    dtype = "fp16" if theorem == "gradient_underflow" else "bf16"
    case = normal(dtype, **factors).replace(spec=spec, dlse=(np.arange(10.0) / 4 - 1).reshape(1, 2, 5))
    arithmetic = kernel_of(Arithmetic.flash(dtype, output="fp32")).arithmetic
    assert judged(case, TiledBackward(arithmetic, query_tile=4)) <= 1.0
    assert judged(case, fault(arithmetic, query_tile=4)) > 1.0
