"""The theorems of proofs/softmax.md, output.md and log_sum_exp.md: no errors that they allow go beyond them, some reach
them, and a bound with half of one of its arguments is exceeded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from refattn import bounds
from refattn.bounds.theorems import lse, normaliser, output, softmax
from refattn.contract.arithmetic import Arithmetic, Stage
from refattn.contract.spec import AttentionSpec, SoftmaxSpec
from refattn.models import TiledAttention
from refattn.numbers import formats
from tests.support.exact_steps import CASES

Array = np.ndarray
KEYS = 6
# Errors are drawn far above float64's own; only the latter are forgiven.
FORGIVEN = 1e-9


class Trial(NamedTuple):
    """Arguments of a bound, and the errors of results that were computed as badly as it allows, or at random."""

    arguments: tuple[Array, ...]
    error: Array


def magnitudes(rng: np.random.Generator, cases: int, low: float = 1e-4, high: float = 0.5) -> Array:
    """Log-uniform, and 0 in a tenth of the cases."""
    drawn = np.exp(rng.uniform(np.log(low), np.log(high), cases))
    return np.where(rng.random(cases) < 0.1, 0.0, drawn)


def ways(rng: np.random.Generator, cases: int) -> Array:
    """Where an error goes: outwards in most cases, elsewhere at random."""
    return np.where(rng.random(cases) < 0.7, 1.0, rng.uniform(-1.0, 1.0, cases))


def weights(rng: np.random.Generator, cases: int) -> Array:
    """Unnormalised weights (cases, KEYS), of which many rows have one alone."""
    return np.exp(-rng.exponential(rng.choice([0.01, 1.0, 30.0], (cases, 1)), (cases, KEYS)))


def log_errors(rng: np.random.Generator, cases: int) -> Array:
    """(cases, KEYS): the same for all keys in half of the cases."""
    spread = np.where(rng.random((cases, 1)) < 0.5, 1.0, rng.random((cases, KEYS)))
    return magnitudes(rng, cases)[:, None] * spread


def excess_of(p: Array, t: Array) -> Array:
    """sum w (e^t - 1)."""
    return (p * np.expm1(t)).sum(axis=1) / p.sum(axis=1)


def common_excess(rng: np.random.Generator, cases: int) -> Trial:
    p, t, common = weights(rng, cases), log_errors(rng, cases), magnitudes(rng, cases)
    grown = (p * np.expm1(t + common[:, None])).sum(axis=1)
    return Trial(((p * np.expm1(t)).sum(axis=1), p.sum(axis=1), common), grown)


def normaliser_error(rng: np.random.Generator, cases: int) -> Trial:
    """The larger of |r - L| / L and |r - L| / r, with every term off by its full log-error or by less."""
    p, t, lost = weights(rng, cases), log_errors(rng, cases), magnitudes(rng, cases)
    direction = np.where(rng.random(cases) < 0.5, 1.0, -1.0)
    total, excess = p.sum(axis=1), excess_of(p, t)
    lost = np.where(lost * (1 + excess) < 0.95, lost, 0.0)
    moved = direction[:, None] * np.where(rng.random((cases, 1)) < 0.7, 1.0, rng.uniform(-1, 1, (cases, KEYS)))
    computed = (p * np.exp(t * moved)).sum(axis=1) + direction * lost * total
    off = np.abs(computed - total)
    return Trial((excess, lost), np.maximum(off / total, off / computed))


def cast_underflow(rng: np.random.Generator, cases: int) -> Trial:
    """Weights that lose eta_cast each, and then pass through factors that err by eta_weight."""
    seen, eta_cast, eta_weight, cost = (magnitudes(rng, cases) for _ in range(4))
    changes = rng.choice([0.0, 1.0, 3.0, 8.0], cases)
    lost = seen * eta_cast * (1 + eta_weight * ways(rng, cases)) ** changes * np.exp(cost * ways(rng, cases))
    return Trial((changes, seen, eta_cast, eta_weight, cost), lost)


def quotient_error(rng: np.random.Generator, cases: int) -> Trial:
    error, relative, size = magnitudes(rng, cases), magnitudes(rng, cases), magnitudes(rng, cases, 1e-3, 10.0)
    numerator = size + ways(rng, cases) * error
    return Trial((error, relative, size), np.abs(numerator * (1 + relative) ** ways(rng, cases) - size))


def output_error(rng: np.random.Generator, cases: int) -> Trial:
    quotient, dividing, lost, unit, lost_out = (magnitudes(rng, cases) for _ in range(5))
    size = magnitudes(rng, cases, 1e-3, 10.0)
    computed = size + ways(rng, cases) * quotient
    divided = computed * np.exp(dividing * ways(rng, cases)) + lost * ways(rng, cases)
    result = divided + (unit * np.abs(divided) + lost_out) * ways(rng, cases)
    return Trial((quotient, size, dividing, lost, unit, lost_out), np.abs(result - size))


def hull_error(rng: np.random.Generator, cases: int) -> Trial:
    """Excess over the largest value of the quotient of two sums of the same weights with different errors."""
    p = weights(rng, cases) * (rng.random((cases, KEYS)) < 0.5)
    p[:, 0] = 1.0
    apart, lost, lost_sum = (magnitudes(rng, cases) for _ in range(3))
    size = magnitudes(rng, cases, 1e-3, 10.0)
    ratio = rng.random(cases)
    value = size[:, None] * np.where(rng.random((cases, 1)) < 0.7, 1.0, rng.uniform(-1, 1, (cases, KEYS)))
    up, down = ratio * apart * ways(rng, cases), (1 - ratio) * apart * ways(rng, cases)
    normalised = (p * np.exp(-down[:, None])).sum(axis=1) - lost_sum
    numerator = (p * value * np.exp(up[:, None])).sum(axis=1) + lost * ways(rng, cases)
    there = normalised > 1e-3
    beyond = numerator / np.where(there, normalised, 1.0) - value.max(axis=1)
    return Trial((apart, size, lost, lost_sum, normalised), np.where(there, np.maximum(beyond, 0.0), 0.0))


def logarithms(rng: np.random.Generator, cases: int) -> tuple[Array, ...]:
    """Normaliser's error, units of the operations, the exact maximum, the exact logarithm, the computed logarithm."""
    relative, turn, log, unit, lost = (magnitudes(rng, cases) for _ in range(5))
    height = magnitudes(rng, cases, 1e-3, 10.0)
    exact = magnitudes(rng, cases, 1e-3, 10.0)
    return relative, turn, log, unit, lost, height, exact, exact + ways(rng, cases) * np.log1p(relative)


def lse_error(rng: np.random.Generator, cases: int) -> Trial:
    relative, turn, log, unit, lost, height, exact, computed = logarithms(rng, cases)
    doubt = magnitudes(rng, cases, 1e-3, 10.0)
    shift = doubt * np.where(rng.random(cases) < 0.5, 1.0, -1.0)
    reference, computed = height + shift, computed - shift
    terms = reference + (turn * np.abs(reference) + lost) * ways(rng, cases)
    terms = terms + computed + (log * np.abs(computed) + lost) * ways(rng, cases)
    result = terms + (unit * np.abs(terms) + lost) * ways(rng, cases)
    arguments = (relative, doubt, height, exact, height + exact, turn, log, unit, lost)
    return Trial(arguments, np.abs(result - height - exact))


def log_sum_exp_error(rng: np.random.Generator, cases: int) -> Trial:
    relative, turn, log, unit, lost, height, exact, computed = logarithms(rng, cases)
    unit_out, lost_out = magnitudes(rng, cases), magnitudes(rng, cases)
    terms = height + (turn * height + lost) * ways(rng, cases)
    terms = terms + computed + (log * np.abs(computed) + lost) * ways(rng, cases)
    stored = terms + (unit * np.abs(terms) + lost) * ways(rng, cases)
    result = stored + (unit_out * np.abs(stored) + lost_out) * ways(rng, cases)
    arguments = (relative, height, exact, height + exact, turn, log, unit, lost, unit_out, lost_out)
    return Trial(arguments, np.abs(result - height - exact))


def log_softmax_error(rng: np.random.Generator, cases: int) -> Trial:
    relative, shift, log, unit, lost, distance, exact, computed = logarithms(rng, cases)
    unit_out, lost_out = magnitudes(rng, cases), magnitudes(rng, cases)
    terms = distance + (shift * distance + lost) * ways(rng, cases)
    terms = terms + computed + (log * np.abs(computed) + lost) * ways(rng, cases)
    stored = terms + (unit * np.abs(terms) + lost) * ways(rng, cases)
    result = stored + (unit_out * np.abs(stored) + lost_out) * ways(rng, cases)
    arguments = (relative, distance, exact, shift, log, lost, unit, unit_out, lost_out)
    return Trial(arguments, np.abs(result - distance - exact))


def softmax_error(rng: np.random.Generator, cases: int) -> Trial:
    relative, log_error, dividing, lost, lost_quotient, unit, lost_out = (magnitudes(rng, cases) for _ in range(7))
    weight = rng.random(cases)
    grown = weight * np.exp(log_error * ways(rng, cases)) + lost * ways(rng, cases)
    quotient = grown * (1 + relative) ** ways(rng, cases) * np.exp(dividing * ways(rng, cases))
    quotient = quotient + lost_quotient * ways(rng, cases)
    result = quotient + (unit * np.abs(quotient) + lost_out) * ways(rng, cases)
    arguments = (weight, log_error, relative, dividing, lost, lost_quotient, unit, lost_out)
    return Trial(arguments, np.abs(result - weight))


SEARCHES: dict[str, tuple[Callable[[np.random.Generator, int], Trial], Callable[..., Any]]] = {
    "common_excess": (common_excess, normaliser.common_excess),
    "normaliser_error": (normaliser_error, normaliser.normaliser_error),
    "cast_underflow": (cast_underflow, output.cast_underflow),
    "quotient_error": (quotient_error, output.quotient_error),
    "hull_error": (hull_error, output.hull_error),
    "output_error": (output_error, output.output_error),
    "lse_error": (lse_error, lse.lse_error),
    "softmax_error": (softmax_error, softmax.softmax_error),
    "log_softmax_error": (log_softmax_error, softmax.log_softmax_error),
    "log_sum_exp_error": (log_sum_exp_error, softmax.log_sum_exp_error),
}

# The share of each bound that errors within its assumptions reach; of the last five, kernels in their formats.
TIGHTNESS: dict[str, float] = {
    **dict.fromkeys(SEARCHES, 0.999),
    "least_normaliser": 0.999,
    "attention_output": 0.97,
    "attention_lse": 0.8,
    "hull": 0.98,
    "softmax_bounded": 0.98,
    "normaliser_relative": 0.84,
}


def shares(name: str, cases: int, halved: int | None = None) -> Array:
    """Errors over bounds, with one argument of the bound halved (or doubled, where it divides)."""
    search, bound = SEARCHES[name]
    trial = search(np.random.default_rng(0), cases)
    arguments = list(trial.arguments)
    if halved is not None:
        arguments[halved] = arguments[halved] * (2.0 if (name, halved) == ("hull_error", 4) else 0.5)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(trial.error > 1e-12, trial.error / bound(*arguments), 0.0)


@pytest.mark.parametrize("name", SEARCHES)
def test_no_error_is_beyond_its_bound_and_some_reach_it(name: str) -> None:
    reached = shares(name, max(CASES, 5000))
    assert reached.max() <= 1 + FORGIVEN
    assert reached.max() >= TIGHTNESS[name]


@pytest.mark.parametrize(
    ("name", "argument"),
    [(name, n) for name, (search, _) in SEARCHES.items() for n in range(len(search(np.random.default_rng(0), 1)[0]))],
)
def test_a_bound_with_half_of_an_argument_is_exceeded(name: str, argument: int) -> None:
    assert shares(name, 20000, argument).max() > 1.001


def test_a_normaliser_is_at_least_what_the_key_at_the_maximum_leaves() -> None:
    rng = np.random.default_rng(0)
    cases = max(CASES, 5000)
    cost, lost = magnitudes(rng, cases), magnitudes(rng, cases)
    others = weights(rng, cases)[:, 1:] * (rng.random((cases, 1)) < 0.5)
    computed = np.exp(cost * -ways(rng, cases)) + others.sum(axis=1) * np.exp(-cost) - lost * ways(rng, cases)
    reached = normaliser.least_normaliser(cost, lost) / computed
    assert TIGHTNESS["least_normaliser"] <= reached.max() <= 1 + FORGIVEN
    for halved in ((cost / 2, lost), (cost, lost / 2)):
        assert (normaliser.least_normaliser(*halved) / computed).max() > 1.001


def test_a_weighted_mean_is_within_the_quotients_bound() -> None:
    """Numerator and normaliser at once, each with log-errors of its own (theorem weighted_mean_error)."""
    rng = np.random.default_rng(0)
    cases = max(CASES, 5000)
    p, t, s = weights(rng, cases), log_errors(rng, cases), log_errors(rng, cases)
    value = np.where(rng.random((cases, 1)) < 0.5, 1.0, rng.uniform(-1, 1, (cases, KEYS)))
    total = p.sum(axis=1)
    up, down = (ways(rng, cases)[:, None] for _ in range(2))
    exact = (p * value).sum(axis=1) / total
    computed = (p * value * np.exp(np.sign(value) * t * up)).sum(axis=1) / (p * np.exp(-s * down)).sum(axis=1)
    error = (p * np.abs(value) * np.expm1(t)).sum(axis=1) / total
    bound = output.quotient_error(error, normaliser.normaliser_error(excess_of(p, s), 0.0), np.abs(exact))
    share = np.abs(computed - exact) / np.maximum(bound, 1e-12)
    assert 0.999 <= share.max() <= 1 + FORGIVEN


# Kernels


def biased(
    kernel: TiledAttention, bias: Array, v: Array, dtype: str, **features: Any
) -> tuple[Array, Array, Any, Array, Array]:
    """What a kernel returns for the scores `bias` (rows, keys) and values v (keys, Dv), its budgets, and the truth."""
    rows, keys = bias.shape
    storage = formats.get(dtype).storage
    q, k = np.zeros((1, 1, rows, 1), storage), np.zeros((1, 1, keys, 1), storage)
    spec = AttentionSpec(bias=bias.astype(np.float32)[None, None], **features)
    out, log_sum = kernel(q, k, v.astype(storage)[None, None], spec=spec)
    budget = bounds.attention(q, k, v.astype(storage)[None, None], spec, kernel.arithmetic_for(dtype))
    scores = bias.astype(np.float32).astype(np.float64)
    sink = -np.inf if spec.sinks is None else float(spec.sinks[0])
    top = np.maximum(scores.max(axis=1, keepdims=True), sink)
    p = np.exp(scores - top)
    total = p.sum(axis=1, keepdims=True) + np.exp(sink - top)
    kept = 1.0 if spec.keep is None else np.asarray(spec.keep)[0, 0] / (1 - spec.dropout)
    truth = (p * kept) @ v.astype(storage).astype(np.float64) / total
    return out[0, 0].astype(np.float64), log_sum[0, 0], budget, truth, (top + np.log(total))[:, 0]


def stages(rng: np.random.Generator) -> Arithmetic:
    """An arithmetic with stages in narrow formats, to nearest or truncating."""

    def stage(*names: str) -> Stage:
        return Stage(formats.get(rng.choice(names)), rng.choice(["nearest", "truncate"]))

    names = ("bf16", "fp16", "fp32")
    whole = bool(rng.random() < 0.3)
    return Arithmetic.flash(
        "bf16",
        tile=None if whole else int(rng.choice([1, 2, 4])),
        cast="after" if whole else "before",
        exp_ulps=2.0,
        exponent=str(rng.choice(["subtract", "subtract_exp2", "fma"])),
        sum_of_cast=bool(rng.random() < 0.3) and not whole,
        flush_to_zero=bool(rng.random() < 0.3),
        splits=1 if whole else int(rng.choice([1, 1, 2])),
        scores=stage(*names),
        normaliser=stage(*names),
        probabilities=stage("e4m3", "e5m2", *names),
        accumulator=stage(*names),
        output=stage(*names),
        lse=stage(*names),
    )


def features(rng: np.random.Generator, rows: int, keys: int) -> dict[str, Any]:
    """A sink, dropout, both or neither."""
    fields: dict[str, Any] = {}
    if rng.random() < 0.3:
        fields["sinks"] = np.float32(rng.normal(size=1) * 5)
    if rng.random() < 0.3:
        fields |= {"dropout": 0.75, "keep": rng.random((1, 1, rows, keys)) < 0.5}
    return fields


def test_no_kernel_is_beyond_the_bound_of_its_stages() -> None:
    rng = np.random.default_rng(0)
    reached = 0.0
    for _ in range(max(20, CASES // 128)):
        arithmetic = stages(rng)
        threshold = float(rng.choice([0.0, 0.0, 8.0]))
        kernel = TiledAttention(arithmetic=arithmetic, splits=arithmetic.splits, rescale_threshold=threshold)
        bias = -rng.exponential(rng.choice([0.1, 2.0, 20.0]), (128, 7)) + rng.choice([0.0, 0.0, 40.0])
        v = rng.normal(size=(7, 2)) + rng.choice([0.0, 3.0])
        out, log_sum, budget, exact, exact_lse = biased(kernel, bias, v, "bf16", **features(rng, 128, 7))
        share = np.abs(out - exact) / budget.out.certified[0, 0]
        share_lse = np.abs(log_sum - exact_lse) / budget.lse.certified[0, 0]
        reached = max(reached, share.max(), share_lse.max())
        assert reached <= 1 + FORGIVEN, arithmetic
    assert reached > 0.6


def test_weights_and_output_that_are_all_rounded_upwards_come_near_the_bound_in_bf16() -> None:
    """P just above a midpoint of bf16 for each key but one, whose weight is 1 and value 0; outputs just above 1."""
    u = formats.bf16.unit_roundoff
    values = formats.bf16.round(np.linspace(1.0, 1.99, 128))
    reached = 0.0
    for keys in range(40, 64):
        bias = np.array([[0.0, *[np.log(0.125 * (1 + u * 1.001))] * keys]])
        v = np.concatenate([np.zeros((1, len(values))), np.repeat(values[None], keys, axis=0)])
        out, _, budget, exact, _ = biased(TiledAttention(), bias, v, "bf16")
        share = np.abs(out - exact) / budget.out.certified[0, 0]
        assert share.max() <= 1
        reached = max(reached, share.max())
    assert reached >= TIGHTNESS["attention_output"]


def test_a_row_sum_whose_additions_all_round_upwards_comes_near_the_bound_of_a_log_sum_exp() -> None:
    """1, and then again and again a little more than half a spacing of bf16 is added."""
    u = formats.bf16.unit_roundoff
    arithmetic = Arithmetic.flash("bf16", normaliser="bf16", tile=None)
    reached, relative = 0.0, 0.0
    for keys in range(4, 40, 4):
        bias = np.array([[0.0, *[np.log(u * 1.01)] * keys]])
        _, log_sum, budget, _, exact = biased(
            TiledAttention(arithmetic=arithmetic), bias, np.ones((keys + 1, 1)), "bf16"
        )
        share = abs(log_sum[0] - exact[0]) / budget.lse.certified[0, 0, 0]
        assert share <= 1
        reached = max(reached, share)
        relative = max(relative, abs(log_sum[0] - exact[0]) / budget.lse.parts["normaliser"][0, 0, 0])
    assert reached >= TIGHTNESS["attention_lse"]
    assert relative >= TIGHTNESS["normaliser_relative"]


def test_scores_that_round_apart_take_the_output_to_the_edge_of_the_hull() -> None:
    """Two scores beside a midpoint of bf16, one rounded down and one up: the weights are 1/2 and 1/2, then 0 and 1."""
    arithmetic = Arithmetic.flash("fp32", scores="bf16")
    bias = np.array([[4112.0 - 0.01, 4112.0 + 0.01]])
    out, _, budget, exact, _ = biased(TiledAttention(arithmetic=arithmetic), bias, np.array([[-1.0], [1.0]]), "fp32")
    share = np.abs(out - exact)[0, 0] / budget.out.certified[0, 0, 0, 0]
    assert TIGHTNESS["hull"] <= share <= 1


def test_softmax_comes_near_its_bound_in_bf16() -> None:
    x = formats.bf16.round(np.random.default_rng(0).normal(size=(2000, 8)))
    exact = np.exp(x - x.max(axis=1, keepdims=True))
    exact /= exact.sum(axis=1, keepdims=True)
    budget = bounds.softmax(x, SoftmaxSpec(), Arithmetic.flash("bf16"))
    share = np.abs(formats.bf16.round(exact) - exact) / budget.certified
    assert TIGHTNESS["softmax_bounded"] <= share.max() <= 1


def test_nothing_is_claimed_where_a_weight_can_overflow_the_format_that_it_is_cast_to() -> None:
    """A fused exponent of scores in bf16 errs by units at 6000, and a weight that should be 1 is e^24 in fp16."""
    for height, claimed in ((6000.0, False), (600.0, True)):
        arithmetic = Arithmetic.flash("bf16", scores="bf16", exponent="fma", probabilities="fp16", output="fp32")
        spec = AttentionSpec(bias=np.full((1, 1, 1, 2), height))
        zeros = np.zeros((1, 1, 2, 1))
        budget = bounds.attention(zeros[:, :, :1], zeros, zeros + 1, spec, arithmetic)
        assert np.isfinite(budget.out.certified).all() == claimed


def test_rows_without_a_key_have_bounds_of_zero() -> None:
    mask = np.array([[True, False], [False, False]])[None, None]
    zeros = np.zeros((1, 1, 2, 1))
    budget = bounds.attention(zeros, zeros, zeros + 1, AttentionSpec(mask=mask), Arithmetic.flash("bf16"))
    assert (budget.out.certified[0, 0, 0] > 0).all()
    assert not budget.out.certified[0, 0, 1].any()
    assert not budget.lse.certified[0, 0, 1].any()
