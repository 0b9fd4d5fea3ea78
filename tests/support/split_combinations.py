"""Parts of one row, combined by their log-sum-exps with errors that an adversary chooses, and the bound of the result.

Every operation errs by its declared unit, up or down as the adversary says, in float64; units are those of narrow
formats, so that float64's own roundings are nothing beside them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from refattn.bounds.theorems import splits as theorems
from refattn.bounds.theorems.normaliser import normaliser_error
from refattn.bounds.theorems.output import quotient_error
from refattn.numbers.roundoff import growth, log_growth, rounded

Way = Literal["quotient", "log_sum_exp"]


class Part(NamedTuple):
    """Scores and values of a part's keys, and the log-error of its own normaliser."""

    scores: tuple[float, ...]
    values: tuple[float, ...]
    normaliser: float = 0.0


@dataclass(frozen=True)
class Units:
    """Relative errors: of a log-sum-exp's rounding, its logarithm, an argument, an exponential, the outputs' operations
    and the weights' sums; eta_weight is what an exponential loses where it underflows.
    """

    lse: float = 0.0
    log: float = 0.0
    argument: float = 0.0
    exponential: float = 0.0
    outputs: float = 0.0
    sums: float = 0.0
    eta_weight: float = 0.0


class Result(NamedTuple):
    """Output and log-sum-exp."""

    out: float
    lse: float


def exact(parts: Sequence[Part]) -> Result:
    """Softmax-weighted mean of all values, and the log-sum-exp of all scores."""
    top = max(max(part.scores) for part in parts)
    total = math.fsum(math.exp(s - top) for part in parts for s in part.scores)
    weighted = math.fsum(math.exp(s - top) * v for part in parts for s, v in zip(part.scores, part.values, strict=True))
    return Result(weighted / total, top + math.log(total))


def moved(x: float, unit: float, side: float) -> float:
    """x e^(side unit): up for side = 1, down for -1."""
    return x * math.exp(side * unit)


def raised(x: float, unit: float, way: float) -> float:
    """x moved away from 0 or towards it, so that it rises (way = 1) or falls (-1)."""
    return moved(x, unit, way if x > 0 else -way)


def added_up(terms: Sequence[float], unit: float, way: float) -> float:
    """One term after the other, every sum pushed the same way."""
    total = terms[0]
    for term in terms[1:]:
        total = raised(total + term, unit, way)
    return total


def log_sum_exp(reference: float, normaliser: float, units: Units, side: float) -> float:
    """m + ln l, the logarithm and the sum pushed the same way."""
    logarithm = math.log(normaliser)
    total = reference + logarithm + side * units.log * abs(logarithm)
    return total + side * units.lse * abs(total)


def weight(distance: float, units: Units, side: float) -> float:
    """exp(distance), with the possible underflow lost or gained."""
    exponent = distance + side * (units.argument * abs(distance) + units.exponential)
    return max(math.exp(exponent) + side * units.eta_weight, 0.0)


def combined(parts: Sequence[Part], units: Units, way: Way, up: float, sides: Sequence[float]) -> Result:
    """The combination, the output pushed up (up = 1) or down (-1), part k's weight to its side."""
    truth = exact(parts)
    outputs, lses = [], []
    for part, side in zip(parts, sides, strict=True):
        top = max(part.scores)
        normaliser = math.fsum(math.exp(s - top) for s in part.scores) * math.exp(part.normaliser)
        products = (math.exp(s - top) * v for s, v in zip(part.scores, part.values, strict=True))
        outputs.append(raised(math.fsum(products) / normaliser, units.outputs, up))
        lses.append(log_sum_exp(top, normaliser, units, side))
    largest = max(lses)
    weights = [weight(lse - largest, units, side) for lse, side in zip(lses, sides, strict=True)]
    # The larger the sum of weights, the nearer the output to 0.
    shrinking = -up if truth.out > 0 else up
    total = added_up(weights, units.sums, shrinking)
    lse = log_sum_exp(largest, total, units, shrinking)
    if way == "log_sum_exp":
        weights = [weight(part - lse, units, side) for part, side in zip(lses, sides, strict=True)]
    products = [raised(w * o, units.outputs, up) for w, o in zip(weights, outputs, strict=True)]
    out = added_up(products, units.outputs, up)
    return Result(out if way == "log_sum_exp" else raised(out / total, units.outputs, up), lse)


def bound(parts: Sequence[Part], units: Units, way: Way, largest_own: float = 1.0, exponentials: float = 1.0) -> Result:
    """The proved bounds of the combination's output and log-sum-exp.

    largest_own and exponentials shrink the rounding of a part's log-sum-exp and the exponential's error: to see that
    the search notices.
    """
    scores = [s for part in parts for s in part.scores]
    values = [v for part in parts for v in part.values]
    top, count, keys = max(scores), len(parts), len(scores)
    truth = exact(parts)
    normaliser = max(abs(part.normaliser) for part in parts)
    slack = normaliser + units.exponential + (count - 1) * units.sums + count * units.eta_weight * 2
    most = math.log(keys)

    def rounding(reference: float, logarithm: float) -> float:
        return float(theorems.split_lse_rounding(reference, logarithm, units.lse, units.log, 0.0, 0.0))

    excess, error, widest = 0.0, 0.0, 0.0
    weights = [math.exp(s - truth.lse) for s in scores]
    owns = [rounding(max(abs(s), abs(top)), most + slack) for s in scores]
    last = rounding(abs(top) + most + slack + max(owns), math.log(count) + slack)
    for s, v, w, own in zip(scores, values, weights, owns, strict=True):
        gap = theorems.split_gap(top - s, most, slack, own)
        shared = theorems.split_error(own * largest_own, gap, units.argument, units.exponential * exponentials, 0.0)
        outputs = theorems.split_output_error(last if way == "log_sum_exp" else 0.0, units.outputs)
        excess += w * growth(shared + normaliser + (count - 1) * units.sums)
        error += w * abs(v) * growth(shared + outputs + (count - 1) * units.outputs)
        widest = max(widest, own)
    sizes = math.fsum(abs(exact([part]).out) * math.exp(abs(part.normaliser) + units.outputs) for part in parts)
    # What is lost beside a largest weight of 1, relative to the exact normaliser (theorem reference_size).
    beside = (1 + excess) * math.exp(widest + 2 * last)
    lost = theorems.split_lost(count, count, units.eta_weight, 0.0, (count - 1) * units.sums) * beside
    gone = theorems.split_lost(count, sizes, units.eta_weight, 0.0, count * units.outputs) * beside * (1 + lost)
    relative = normaliser_error(excess, lost)
    if not 0 <= lost * (1 + excess) < 1:
        return Result(math.inf, math.inf)
    quotient = quotient_error(error + gone, relative, abs(truth.out))
    final = units.outputs if way == "quotient" else 0.0
    return Result(float(rounded(quotient, abs(truth.out), growth(final))), float(log_growth(relative) + last))
