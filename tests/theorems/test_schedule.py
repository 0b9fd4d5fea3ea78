"""The theorems on sums in any order (proofs/summation.md): no adversary gets beyond the bounds, and some get near."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from random import Random

import numpy as np
import pytest

from refattn.bounds.stages import underflow_unit
from refattn.bounds.theorems.schedule import additions, gibbs_normaliser, log_at_most, underflow
from refattn.contract.arithmetic import Arithmetic
from refattn.models.rounding import Stages
from refattn.models.softmax import tiled_row, whole_row
from refattn.numbers.roundoff import growth
from tests.support.erring_schedules import Adversary, Key, Partial, Units, any_tree, tiled
from tests.support.float64_evaluation import EVALUATION

CASES = int(os.environ.get("REFATTN_THEOREM_CASES", "3000"))

#: Theorem -> share of its bound that some adversary reaches.
TIGHTNESS = {
    "any_order": 0.99,
    "any_order_scores": 0.99,
    "cost_any_order": 0.99,
    "lost_any_order": 0.99,
    "tiled_cost": 0.99,
    "normaliser_range_free": 0.99,
    "tiled_normaliser": 0.95,
    "tiled_output": 0.98,
}
NAMES = ("argument", "exponential", "cast", "sum", "eta_weight", "eta_sum", "tau")


def counts(partial: Partial) -> tuple[int, int]:
    """(keys, changes) of a schedule, the fewest that the theorem can be used with."""
    keys = len(partial.keys) - sum(key.sink for key in partial.keys)
    return keys, max(0, partial.depth - 1, partial.products - keys - 1)


def path_cost(keys: int, changes: int, units: Units) -> float:
    """Log-error of a leaf, but for its argument."""
    return (1 + changes) * units.exponential + units.cast + float(additions(keys, changes, units.sum))


def bound_of(partial: Partial, units: Units) -> float:
    """Theorem any_order: sum w |v| growth(T), and the absolute part."""
    keys, changes = counts(partial)
    cost = path_cost(keys, changes, units)
    total = 0.0
    for key in partial.keys:
        distance = partial.reference - key.score + 2 * units.tau
        total += abs(key.value) * math.exp(key.score - partial.reference) * growth(cost + units.argument * distance)
    seen = sum(abs(key.value) for key in partial.keys) * math.exp((1 + units.argument) * units.tau)
    return total + float(underflow(keys, changes, seen, units.eta_weight, units.eta_sum, cost))


def exact_sum(partial: Partial) -> float:
    return math.fsum(key.value * math.exp(key.score - partial.reference) for key in partial.keys)


def share(partial: Partial, units: Units) -> float:
    """The error as a share of the bound."""
    size = math.fsum(abs(key.value) * math.exp(key.score - partial.reference) for key in partial.keys)
    return (abs(partial.computed - exact_sum(partial)) - EVALUATION * size) / bound_of(partial, units)


def drawn_units(random: Random) -> Units:
    def unit(*exponents: int) -> float:
        return random.choice([0.0, *(2.0**-e for e in exponents)])

    return Units(
        argument=unit(4, 8, 11),
        exponential=unit(6, 8, 11),
        cast=unit(4, 8),
        sum=unit(6, 8, 11),
        eta_weight=unit(6, 10, 14),
        eta_sum=unit(6, 10, 14),
        tau=random.choice([0.0, 0.0, 0.7, 5.0]),
    )


def drawn_keys(random: Random, sink: bool) -> list[Key]:
    count, spread = random.randint(1, 12), random.choice([0.0, 0.1, 1.0, 8.0])
    value: Callable[[], float] = random.choice(
        [lambda: 1.0, lambda: random.gauss(0.0, 1.0), lambda: random.choice([1e-6, 1.0, 3.0])]
    )
    keys = [Key(random.gauss(0.0, spread), value()) for _ in range(count)]
    if random.random() < 0.3:
        keys.sort(key=lambda key: key.score)
    return [Key(random.gauss(0.0, spread), random.choice([0.0, 1.0]), sink=True), *keys] if sink else keys


def drawn_schedule(random: Random, units: Units) -> Partial:
    adversary = Adversary(units, random.choice([1, -1]), random if random.random() < 0.2 else None)
    sink = random.random() < 0.3
    keys = drawn_keys(random, sink)
    if sink or random.random() < 0.5:
        return tiled(keys, random.choice([1, 2, 3, len(keys)]), adversary)
    return any_tree(keys, adversary, random)


def largest_share(cases: int, weakened: Units | None = None, **fixed: float) -> float:
    """The largest share of the bound, which is made of fewer errors than were committed if `weakened` says so."""
    random, most = Random(20), 0.0
    for _ in range(cases):
        units = replace(drawn_units(random), **fixed)
        partial = drawn_schedule(random, units)
        if weakened is not None:
            units = Units(**{name: getattr(units, name) * getattr(weakened, name) for name in NAMES})
        if bound_of(partial, units) > 0:
            most = max(most, share(partial, units))
    return most


def test_no_schedule_is_off_by_more_than_the_bound() -> None:
    assert largest_share(CASES) <= 1.0


WHOLE = Units(**dict.fromkeys(NAMES, 1.0))


@pytest.mark.parametrize("name", NAMES)
def test_the_search_finds_a_bound_without_one_of_its_terms(name: str) -> None:
    least = {"argument": 2.0**-4, "exponential": 2.0**-6, "cast": 2.0**-4, "sum": 2.0**-6, "tau": 5.0}
    fixed = {name: least.get(name, 2.0**-6)}
    if name == "tau":
        fixed["argument"] = 2.0**-4
    assert largest_share(2000, replace(WHOLE, **{name: 0.0}), **fixed) > 1.0


@pytest.mark.parametrize("name", ["exponential", "cast", "sum", "eta_weight"])
def test_the_search_finds_a_bound_with_half_of_a_term(name: str) -> None:
    alone = {**dict.fromkeys(NAMES, 0.0), name: 2.0**-6}
    assert largest_share(2000, replace(WHOLE, **{name: 0.5}), **alone) > 1.0


# Adversaries that come near


def rising_row(values: list[float], units: Units) -> Partial:
    """A maximum that rises by a little with every key, so that every key is followed by a rescale."""
    keys = [Key(1e-9 * i, value) for i, value in enumerate(values)]
    return tiled(keys, 1, Adversary(units, 1))


def test_a_first_key_that_outweighs_the_others_pays_for_the_whole_path() -> None:
    units = Units(0.0, 2.0**-10, 2.0**-8, 2.0**-10, 0.0, 0.0, 0.0)
    partial = rising_row([1.0] + [1e-12] * 127, units)
    assert TIGHTNESS["any_order"] <= share(partial, units) <= 1.0
    keys, changes = counts(partial)
    assert (keys, changes) == (128, 127)
    paid = math.log(partial.computed / exact_sum(partial))
    assert TIGHTNESS["cost_any_order"] <= paid / path_cost(keys, changes, units) <= 1.0


def test_scores_that_are_off_add_to_the_exponent() -> None:
    units, doubt = Units(0.0, 2.0**-10, 2.0**-8, 2.0**-10, 0.0, 0.0, 0.0), 0.125
    partial = rising_row([1.0] + [1e-12] * 127, units)
    # The scores that were meant are lower by `doubt`; seen from the same reference.
    meant = exact_sum(partial) * math.exp(-doubt)
    bound = meant * growth(path_cost(*counts(partial), units) + doubt)
    assert TIGHTNESS["any_order_scores"] <= (partial.computed - meant) / bound <= 1.0


def test_everything_that_underflows_adds_up() -> None:
    units = Units(0.0, 0.0, 0.0, 0.0, 2.0**-30, 2.0**-40, 0.0)
    partial = rising_row([1.0] * 256, units)
    # Weights lose the most where each is rescaled as often as the first.
    first = rising_row([1.0] + [1e-12] * 255, units)
    assert share(partial, units) <= 1.0
    assert TIGHTNESS["lost_any_order"] <= share(first, units) <= 1.0


def test_a_tiled_path_has_a_tiles_additions_and_one_for_each_tile() -> None:
    units, tile, tiles = Units(0.0, 0.0, 0.0, 2.0**-12, 0.0, 0.0, 0.0), 64, 32
    keys = [Key(0.0, 1.0)] + [Key(0.0, 1e-12)] * (tile * tiles - 1)
    partial = tiled(keys, tile, Adversary(units, 1))
    cost = units.sum + (tile - 1 + tiles - 1) * units.sum
    assert TIGHTNESS["tiled_cost"] <= math.log(partial.computed / exact_sum(partial)) / cost <= 1.0 + EVALUATION
    # That is far less than the worst order of the same keys costs.
    assert cost < 0.05 * path_cost(*counts(partial), units)


# The formats themselves


def normaliser_share(rows: np.ndarray, arithmetic: Arithmetic, tile: int) -> float:
    """Largest error of computed row sums as a share of theorem any_order's bound; rows (r, n) of the scores' format."""
    stages = Stages.of(arithmetic)
    with np.errstate(all="ignore"):
        maximum, total = tiled_row(rows, stages, tile)
    keys, changes = rows.shape[1], -(-rows.shape[1] // tile) - 1
    unit, scores = arithmetic.normaliser.unit, arithmetic.scores
    distance = maximum[:, None] - rows
    weights = np.exp(-distance)
    etas = [underflow_unit(stage, arithmetic.flush_to_zero) for stage in (scores, arithmetic.normaliser)]
    # A difference that is flushed to zero is off by that much.
    flushed = etas[0] if arithmetic.flush_to_zero else 0.0
    cost = (1 + changes) * (scores.unit + flushed) + additions(keys, changes, unit)
    bound = (weights * growth(cost + scores.unit * distance)).sum(axis=1)
    bound += underflow(keys, changes, keys, etas[0], etas[1], cost)
    exact = np.array([math.fsum(row) for row in weights])
    return float(((np.abs(total - exact) - EVALUATION * exact) / bound).max())


def drawn_rows(generator: np.random.Generator, arithmetic: Arithmetic, count: int, keys: int) -> np.ndarray:
    scale = generator.choice([0.01, 1.0, 5.0, 40.0], size=(count, 1))
    rows = generator.normal(size=(count, keys)) * scale
    rows[::4] = np.sort(rows[::4], axis=1)
    # One key far above equal others: every addition is rounded the same way.
    rows[1::4] = -generator.uniform(0.0, 12.0, size=(len(rows[1::4]), 1))
    rows[1::4, 0] = 0.0
    return np.asarray(arithmetic.scores.format.round(rows))


@pytest.mark.parametrize("narrow", ["bf16", "fp16", "fp32"])
@pytest.mark.parametrize("tile", [1, 7, 64, 1000])
def test_row_sums_of_every_format_are_within_the_bound(narrow: str, tile: int) -> None:
    arithmetic = Arithmetic.flash(narrow, scores=narrow, normaliser=narrow)
    generator, done = np.random.default_rng(tile), 0
    while done < CASES // 12 + 1:
        keys = int(generator.integers(1, 130))
        rows = drawn_rows(generator, arithmetic, 256, keys)
        assert normaliser_share(rows, arithmetic, min(tile, keys)) <= 1.0
        done += len(rows)


def test_row_sums_that_flush_to_zero_lose_every_small_weight_and_no_more() -> None:
    arithmetic = Arithmetic.flash("fp16", scores="fp16", normaliser="fp32", flush_to_zero=True)
    # exp(-9.71875) = 6.02e-5 is below fp16's smallest normal number, 6.1e-5.
    rows = np.full((1, 1024), -9.71875)
    rows[0, 0] = 0.0
    assert TIGHTNESS["tiled_normaliser"] <= normaliser_share(rows, arithmetic, 1024) <= 1.0
    generator = np.random.default_rng(5)
    for tile in (1, 5, 64):
        assert normaliser_share(drawn_rows(generator, arithmetic, 512, 64), arithmetic, tile) <= 1.0


def test_equal_keys_that_are_all_rounded_up_come_near_the_range_free_bound() -> None:
    # 1 + 2^-24 (1 + a little) is rounded up to 1 + 2^-23, time after time.
    arithmetic, keys = Arithmetic.flash("fp32"), 16384
    rows = np.full((1, keys), np.float64(np.float32(math.log(2.0**-24 * (1 + 2.0**-12)))))
    rows[0, 0] = 0.0
    stages = Stages.of(arithmetic)
    weights = stages.scores(np.exp(rows[0]))
    total = np.float32(0.0)
    for weight in weights.astype(np.float32):
        total += weight
    exact = math.fsum(np.exp(rows[0]))
    unit, eta = 2.0**-24, 2.0**-150
    bound = gibbs_normaliser(keys, 0, log_at_most(keys + 1), unit, unit, unit, eta, eta)
    assert TIGHTNESS["normaliser_range_free"] <= abs(float(total) - exact) / (bound * exact) <= 1.0
    # The model adds in pairs: much better, and within the bound too.
    with np.errstate(all="ignore"):
        _, pairwise = whole_row(rows, stages, keys)
    assert abs(pairwise[0] - exact) <= bound * exact


def test_weights_that_are_all_cast_upwards_come_near_the_bound_of_bf16_tiles() -> None:
    # Just above the middle between 1 and its neighbour: the cast errs by u / (1 + u), its log-error is just below u.
    arithmetic, keys, tile = Arithmetic.flash("bf16"), 256, 64
    stages = Stages.of(arithmetic)
    score = float(np.float32(math.log((1 + 2.0**-8 + 2.0**-18) / 2)))
    rows = np.full((1, keys), score)
    value = np.full(keys, 1.0)
    rows[0, 0], value[0] = 0.0, 0.0
    weights = stages.probabilities(stages.scores(np.exp(stages.scores(rows[0]))))
    total = 0.0
    for start in range(0, keys, tile):
        part = stages.accumulator.product(weights[None, start : start + tile], value[start : start + tile, None])[0, 0]
        total = float(stages.accumulator(total + part))
    exact = math.fsum(np.exp(rows[0]) * value)
    changes = keys // tile - 1
    wide, cast = arithmetic.accumulator.unit, arithmetic.probabilities.unit
    cost = (1 + changes) * wide + cast + additions(keys, changes, wide)
    bound = exact * growth(cost + wide * -score) + underflow(keys, changes, keys, 2.0**-134, 2.0**-150, cost)
    assert TIGHTNESS["tiled_output"] <= abs(total - exact) / bound <= 1.0


def test_log_at_most_is_above_the_logarithm() -> None:
    for keys in [*range(1, 70), 1000, 4096, 4097, 131072]:
        assert math.log(keys) <= log_at_most(keys) <= 0.7 * (1 + math.log2(keys)) + EVALUATION
        assert log_at_most(Fraction(keys)) == Fraction(round(log_at_most(keys) * 10), 10)
