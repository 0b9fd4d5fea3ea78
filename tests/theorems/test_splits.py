"""The theorems on combined parts (proofs/splits.md): no adversary gets beyond the bounds, and some get near."""

from __future__ import annotations

import math
import os
from random import Random
from typing import Any, get_args

import numpy as np
import pytest

from refattn import bounds, oracle
from refattn.bounds.splits import split_apart, split_error, split_lost
from refattn.bounds.theorems import splits as theorems
from refattn.contract.arithmetic import Arithmetic
from refattn.contract.spec import AttentionSpec
from refattn.models import Stages, TiledAttention, combine
from refattn.numbers import formats
from tests.support.float64_evaluation import EVALUATION
from tests.support.split_combinations import Part, Result, Units, Way, bound, combined, exact, log_sum_exp

CASES = int(os.environ.get("REFATTN_THEOREM_CASES", "2000"))

#: Theorem -> share of its bound that some adversary reaches.
TIGHTNESS = {
    "split_lse_rounding_error": 0.999,
    "split_gap_of_largest": 0.9,
    "combine_by_quotient": 0.97,
    "combine_by_log_sum_exp": 0.98,
    "combined_log_sum_exp": 0.99,
    "weighted_lost_bound": 0.99,
}
#: Of the size of what is computed: float64's own roundings.


def drawn(random: Random) -> tuple[list[Part], Units]:
    """Parts of any number and size, and units of narrow formats, many of them 0."""

    def unit(*exponents: int) -> float:
        return random.choice([0.0, *(2.0**-e for e in exponents)])

    height = random.choice([0.0, 3.0, -20.0, 80.0])
    spread = random.choice([0.0, 1.0, 6.0])
    parts = []
    for _ in range(random.choice([1, 2, 2, 3, 5, 9])):
        keys = random.choice([1, 1, 2, 7])
        level = height + random.uniform(-spread, spread)
        scores = tuple(level + random.choice([0.0, random.uniform(-2, 2)]) for _ in range(keys))
        values = tuple(random.choice([-1.0, 1.0, 0.0, random.gauss(0, 1)]) for _ in range(keys))
        parts.append(Part(scores, values, random.choice([0.0, 0.0, random.uniform(-0.1, 0.1)])))
    units = Units(
        lse=unit(8, 11), log=unit(7, 10), argument=unit(8, 11), exponential=unit(6, 8), outputs=unit(8, 11),
        sums=unit(8, 11), eta_weight=random.choice([0.0, 0.0, 0.0, 2.0**-14]),
    )  # fmt: skip
    return parts, units


def shares(parts: list[Part], units: Units, way: Way, up: float, sides: list[float], **smaller: float) -> Result:
    """Errors of the output and of the log-sum-exp as shares of their bounds."""
    computed, truth, limit = combined(parts, units, way, up, sides), exact(parts), bound(parts, units, way, **smaller)
    size = max(abs(v) for part in parts for v in part.values)
    out = max(abs(computed.out - truth.out) - EVALUATION * size, 0.0)
    lse = max(abs(computed.lse - truth.lse) - EVALUATION * (1 + abs(truth.lse)), 0.0)
    return Result(out / limit.out if out else 0.0, lse / limit.lse if lse else 0.0)


def adverse(parts: list[Part], up: float) -> list[float]:
    """The side of every part's weight that raises the output most, or lowers it."""
    middle = exact(parts).out
    return [up if exact([part]).out > middle else -up for part in parts]


def test_no_adversary_gets_beyond_the_bounds() -> None:
    random = Random(0)
    for _ in range(CASES):
        parts, units = drawn(random)
        up = random.choice([-1.0, 1.0])
        signs = [random.choice([-1.0, 1.0]) for _ in parts]
        for sides in (adverse(parts, up), [up] * len(parts), signs):
            for way in get_args(Way):
                assert max(shares(parts, units, way, up, sides)) <= 1, (parts, units, way, up, sides)


#: A key of little weight and the only value, and large log-sum-exps: their rounding is the worst of it.
FAR = [Part((1000.0,), (1.0,)), Part((1004.0,), (0.0,))]
#: The same with exponentials that err, where log-sum-exps do not.
INEXACT = [Part((0.0,), (1.0,)), Part((4.0,), (0.0,))]


@pytest.mark.parametrize("way", get_args(Way))
def test_rounded_log_sum_exps_reach_the_bound_of_the_output(way: Way) -> None:
    units = Units(lse=2.0**-16)
    reached = shares(FAR, units, way, 1.0, adverse(FAR, 1.0)).out
    assert reached >= TIGHTNESS[f"combine_by_{way}"]


def test_rounded_log_sum_exps_reach_the_bound_of_the_combined_one() -> None:
    units = Units(lse=2.0**-16)
    assert shares(FAR, units, "quotient", -1.0, [1.0, 1.0]).lse >= TIGHTNESS["combined_log_sum_exp"]


def test_a_log_sum_exp_reaches_the_bound_of_its_rounding() -> None:
    units = Units(lse=2.0**-8, log=2.0**-7)
    stored = log_sum_exp(90.0, 1000.0, units, 1.0)
    limit = theorems.split_lse_rounding(90.0, math.log(1000.0), units.lse, units.log, 0.0, 0.0)
    assert stored - 90.0 - math.log(1000.0) >= TIGHTNESS["split_lse_rounding_error"] * limit


def test_a_gap_is_reached() -> None:
    units = Units(lse=2.0**-11)
    parts = [Part((-60.0,), (1.0,)), Part((60.0, 60.0), (0.0, 0.0))]
    low = log_sum_exp(-60.0, 1.0, units, -1.0)
    high = log_sum_exp(60.0, 2.0, units, 1.0)
    own = theorems.split_lse_rounding(60.0, math.log(3), units.lse, units.log, 0.0, 0.0)
    limit = theorems.split_gap(120.0, math.log(3), 0.0, own)
    assert TIGHTNESS["split_gap_of_largest"] * limit <= high - low <= limit
    assert exact(parts).lse > 60


def test_underflow_reaches_its_bound() -> None:
    # Nine parts whose weights are flushed to 0 beside one that is not, whose value is 0.
    eta = 2.0**-14
    score = math.log(eta) - 1e-9
    parts = [Part((0.0,), (0.0,)), *[Part((score,), (1.0,))] * 9]
    units = Units(eta_weight=eta)
    for way in get_args(Way):
        reached = shares(parts, units, way, -1.0, [0.0] + [-1.0] * 9).out
        assert reached >= TIGHTNESS["weighted_lost_bound"]


@pytest.mark.parametrize(
    ("smaller", "parts", "units"),
    [
        ({"largest_own": 0.9}, FAR, Units(lse=2.0**-16)),
        ({"exponentials": 0.9}, INEXACT, Units(exponential=2.0**-10)),
    ],
)
def test_a_smaller_bound_would_be_broken(smaller: dict[str, float], parts: list[Part], units: Units) -> None:
    for way in get_args(Way):
        assert shares(parts, units, way, 1.0, adverse(parts, 1.0)).out <= 1
        assert shares(parts, units, way, 1.0, adverse(parts, 1.0), **smaller).out > 1


def test_a_part_normalised_with_an_error_of_its_own_has_the_same_weight() -> None:
    parts = [Part((1.0, 2.0), (3.0, -1.0), 0.5), Part((0.5,), (2.0,), -0.25)]
    whole = combined(parts, Units(), "log_sum_exp", 1.0, [1.0, 1.0])
    # Each part's output is off by its normaliser's error, and its weight by the inverse: only the whole's is left.
    straight = [Part(part.scores, part.values) for part in parts]
    wanted = exact(straight).out * math.exp(exact(straight).lse)
    # Three keys: fewer than 64 float64 operations on either side, of numbers whose logarithms are below 4.
    assert abs(whole.out * math.exp(whole.lse) - wanted) <= 128 * 4 * 2.0**-53 * abs(wanted)


def test_the_models_combination_is_within_the_bound() -> None:
    # The same in the formats of an arithmetic, and with empty parts in between.
    arithmetic = Arithmetic.flash("fp16", **dict.fromkeys(("scores", "lse", "accumulator", "normaliser"), "fp16"))
    stages, u = Stages.of(arithmetic), 2.0**-11
    units = Units(lse=u, log=0.0, argument=u, exponential=u, outputs=u, sums=u, eta_weight=2.0**-25)
    random = Random(1)
    for _ in range(CASES // 10):
        parts = []
        for _ in range(random.randint(1, 6)):
            score, value = (float(stages.lse(random.uniform(-9, 9))) for _ in range(2))
            parts.append(Part((score,), (value,)))
        partials: list[tuple[Any, Any]] = [(np.array([p.values[0]]), np.array(p.scores[0])) for p in parts]
        partials.insert(random.randint(0, len(parts)), (np.array([np.nan]), np.array(-np.inf)))
        out, lse = combine(partials, stages)
        truth, limit = exact(parts), bound(parts, units, "quotient")
        assert abs(float(out[0]) - truth.out) <= limit.out + 4 * len(parts) * formats.fp16.smallest_subnormal
        assert abs(float(lse) - truth.lse) <= limit.lse


class RelativeToTheCombined(TiledAttention):
    """A kernel that weights its parts by exp(lse_part - lse) and does not divide."""

    def combine_splits(self, problem: Any, partials: Any) -> Any:
        """FlashAttention's way."""
        stages = problem.stages
        lses = np.stack([lse for _, lse in partials])
        largest = lses.max(axis=0)
        total = np.zeros_like(largest)
        for lse in lses:
            total = stages.normaliser(total + stages.scores(np.exp(stages.scores(lse - largest))))
        whole = stages.lse(largest + stages.lse(np.log(total)))
        result = np.zeros_like(partials[0][0])
        for (out, _), lse in zip(partials, lses, strict=True):
            factor = stages.scores(np.exp(stages.scores(lse - whole)))
            result = stages.accumulator(result + stages.accumulator(factor[..., None] * out))
        return result, whole


@pytest.mark.parametrize("changes", [{}, {"lse": "bf16"}, {"lse": "fp16", "scores": "fp16"}])
@pytest.mark.parametrize("kernel", [TiledAttention, RelativeToTheCombined])
def test_kernels_that_combine_either_way_are_within_the_budget(kernel: Any, changes: dict[str, Any]) -> None:
    arithmetic = Arithmetic.flash("fp32", tile=4, splits=4, **changes)
    for seed in range(6):
        rng = np.random.default_rng(seed)
        size = (1, 1, 16, 8)
        q, k, v = (np.asarray(rng.standard_normal(size) * c, np.float32) for c in (4.0, 1.0, 1.0))
        out, lse = kernel(arithmetic=arithmetic, splits=4)(q, k, v)
        wide = [x.astype(np.float64) for x in (q, k, v)]
        truth = oracle.attention(*wide, AttentionSpec())
        budget = bounds.attention(*wide, AttentionSpec(), arithmetic)
        assert (np.abs(out - truth.out.mid) <= budget.out.certified + truth.out.rad).all()
        assert (np.abs(lse - truth.lse.mid) <= budget.lse.certified + truth.lse.rad).all()


@pytest.mark.parametrize("kernel", [TiledAttention, RelativeToTheCombined])
@pytest.mark.parametrize(("low", "value", "scores"), [(-3.48, 1.0, "fp16"), (-81.5, 1e30, "fp32")])
def test_a_part_that_underflows_beside_a_heavy_one_is_within_the_budget(
    kernel: Any, low: float, value: float, scores: str
) -> None:
    # 512 equal keys against one, whose weight is flushed only where parts are combined, and which has the only value.
    arithmetic = Arithmetic.flash("fp32", tile=512, splits=2, scores=scores, flush_to_zero=True)
    q, k, v = (np.zeros((1, 1, size, 1), np.float32) for size in (1, 513, 513))
    q[:], k[0, 0, 512], v[0, 0, 512] = 1.0, low, value
    spec = AttentionSpec(scale=1.0)
    out, _ = kernel(arithmetic=arithmetic, splits=2)(q, k, v, spec=spec)
    wide = [x.astype(np.float64) for x in (q, k, v)]
    truth, budget = oracle.attention(*wide, spec), bounds.attention(*wide, spec, arithmetic)
    assert out.item() == 0.0
    assert abs(truth.out.mid.item()) > 0.3 * budget.out.certified.item()
    assert abs(truth.out.mid.item()) <= budget.out.certified.item()


def test_without_splits_nothing_is_charged() -> None:
    arithmetic = Arithmetic.flash("bf16")
    scores, maximum = np.array([[0.0, -3.0]]), np.array([0.0])
    assert not split_error(scores, maximum, np.zeros((1, 2)), 2, arithmetic).any()
    assert not split_apart(scores[:, 1], maximum, np.zeros(1), 2, arithmetic).any()
    assert not split_lost(np.ones(3), 0.1, 2, arithmetic).any()


@pytest.mark.parametrize("changes", [{"lse": "bf16"}, {"exponent": "fma"}, {"row_sum": "bf16"}, {"exp_ulps": 9.0}])
def test_every_coarser_stage_costs_something(changes: dict[str, Any]) -> None:
    fine = Arithmetic.flash("bf16", splits=4)
    scores, maximum, doubt = np.array([[8.0, -3.0]]), np.array([8.0]), np.full((1, 2), 1e-6)
    coarse = fine.replace(**changes)
    assert (split_error(scores, maximum, doubt, 64, coarse) > split_error(scores, maximum, doubt, 64, fine)).all()


def test_what_cannot_be_bounded_is_infinite() -> None:
    arithmetic = Arithmetic.flash("bf16", splits=4)
    scores, maximum = np.array([[0.0, -3.0]]), np.array([0.0])
    doubt = np.array([[np.inf, 1.0]])
    with np.errstate(invalid="ignore"):
        assert np.isposinf(split_error(scores, maximum, doubt, 64, arithmetic)[0, 0])
        assert np.isposinf(split_apart(scores[:, 0], maximum, doubt[:, 0], 64, arithmetic)[0])
    assert np.isposinf(split_lost(1.0, np.inf, 64, arithmetic))
