"""Budgets of softmax, log-softmax and log-sum-exp along an axis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refattn.bounds.budget import ErrorBudget
from refattn.bounds.rms import kept_mean_square, log_mean_square
from refattn.bounds.stages import (
    argument_error,
    argument_mean_square,
    exp_log_error,
    exp_mean_square,
    exponential_lost,
    rescales,
    underflow_unit,
)
from refattn.bounds.theorems.normaliser import common_excess, normaliser_error
from refattn.bounds.theorems.overflow import largest_numerator
from refattn.bounds.theorems.schedule import additions, underflow
from refattn.bounds.theorems.softmax import log_softmax_error, log_sum_exp_error, softmax_error
from refattn.contract.arithmetic import Arithmetic
from refattn.contract.spec import SoftmaxSpec
from refattn.numbers.roundoff import compound, growth, log_growth

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Row:
    """Exact weights of rows (r, n) and the errors of their normalisers (r, 1).

    log_error is that of a weight when it is divided, relative the normaliser's error, from_exp the share of the
    exponentials in its log-error, lost a weight's underflow relative to the normaliser.
    """

    weights: Array
    distance: Array
    maximum: Array
    logarithm: Array
    log_error: Array
    log_error_square: Array
    relative: Array
    from_exp: Array
    lost: Array
    total_square: Array
    overflow: NDArray[np.bool_]

    @property
    def from_adding(self) -> Array:
        """The rest of the normaliser's log-error."""
        return np.asarray(log_growth(self.relative) - self.from_exp)


def softmax(x: Array, spec: SoftmaxSpec, arithmetic: Arithmetic) -> ErrorBudget:
    """Budget of softmax, log_softmax or logsumexp of a float64 array without NaN or +inf."""
    moved = np.moveaxis(x, spec.axis, -1)
    rows = moved.reshape(-1, moved.shape[-1])
    with np.errstate(over="ignore", invalid="ignore", under="ignore", divide="ignore"):
        row = _row(rows, arithmetic)
        compute = {"softmax": _softmax, "log_softmax": _log_softmax, "logsumexp": _log_sum_exp}[spec.kind]
        exact_size, parts, square = compute(row, arithmetic)
        certified = np.asarray(sum(parts.values()))
        # No claim where the difference from the maximum can overflow.
        limit = min(arithmetic.output.format.max_finite, arithmetic.scores.format.max_finite)
        certified = np.where((exact_size + certified > limit) | row.overflow, np.inf, certified)
    blank = np.isneginf(rows.max(axis=1, initial=-np.inf))[:, None]
    exact = blank | (np.isneginf(rows) if spec.kind != "logsumexp" else False)

    def restored(array: Array) -> Array:
        cleared = np.where(exact, 0.0, array)
        if spec.kind == "logsumexp":
            return cleared.reshape(moved.shape[:-1])
        return np.moveaxis(cleared.reshape(moved.shape), -1, spec.axis)

    return ErrorBudget(
        restored(np.where(np.isnan(certified), np.inf, certified)),
        np.sqrt(restored(square)),
        {name: restored(part) for name, part in parts.items()},
    )


def _row(rows: Array, arithmetic: Arithmetic) -> Row:
    n = rows.shape[1]
    hidden = np.isneginf(rows)
    maximum = rows.max(axis=1, initial=-np.inf)
    maximum = np.where(np.isneginf(maximum), 0.0, maximum)[:, None]
    distance = np.where(hidden, np.inf, maximum - rows)
    unnormalised = np.exp(-distance)
    total = unnormalised.sum(axis=1, keepdims=True)
    total = np.where(total > 0, total, 1.0)
    weights = unnormalised / total
    finite = np.where(hidden, 0.0, distance)
    changes = rescales(n, arithmetic)
    visible = np.where(hidden, maximum, rows)
    argument = argument_error(visible, maximum, arithmetic, arithmetic.lag)
    exponential = exp_log_error(arithmetic)
    eta = exponential_lost(arithmetic)
    log_error = argument + (1 + changes) * exponential
    excess = np.where(log_error < 1e-3, weights * np.expm1(np.minimum(log_error, 1e-3)), 0.0)
    grown = np.exp(log_error - distance) / total - weights
    excess = np.where(log_error < 1e-3, excess, grown).sum(axis=1, keepdims=True)
    # Without a sink there is one addition less.
    others = max(n - 1, 0)
    adding = additions(others, changes, arithmetic.normaliser.unit) + arithmetic.row_sum_error
    terms = (~hidden).sum(axis=1, keepdims=True)
    # Any entry may have been the running maximum once, however far below the final one it lies.
    lowest = visible.min(axis=1, initial=np.inf, keepdims=True)
    top = np.maximum(
        argument_error(maximum, maximum, arithmetic, arithmetic.lag),
        argument_error(lowest, lowest, arithmetic, arithmetic.lag),
    )
    # A stale reference leaves weights above 1.
    top = top + arithmetic.lag
    cost = top + (1 + changes) * exponential + adding
    eta_sum = underflow_unit(arithmetic.normaliser, arithmetic.flush_to_zero)
    lost = underflow(others, changes, terms, eta, eta_sum, cost)
    sum_excess = common_excess(excess, 1.0, adding)
    in_range = (
        largest_numerator(1.0, 0.0, top + (1 + changes) * exponential, eta) <= arithmetic.scores.format.max_finite
    )
    in_range &= largest_numerator(terms, 0.0, cost, lost) <= arithmetic.normaliser.format.max_finite
    known = lost / total * (1 + sum_excess) < 1
    # A weight is computed at the final maximum, or at an earlier one and rescaled once.
    moved = min(changes, 1)
    own = np.where(distance > 0, exp_mean_square(arithmetic), 0.0)
    square = argument_mean_square(finite, arithmetic) + own
    return Row(
        weights=weights,
        distance=finite,
        maximum=maximum,
        logarithm=np.log(total),
        log_error=argument + (1 + moved) * exponential + moved * arithmetic.scores.unit,
        log_error_square=square,
        relative=np.where(known, normaliser_error(sum_excess, lost / total), np.inf),
        from_exp=np.asarray(log_growth(excess)),
        lost=underflow(
            0,
            moved,
            1.0,
            eta,
            underflow_unit(arithmetic.scores, arithmetic.flush_to_zero),
            top + (1 + moved) * exponential + moved * arithmetic.scores.unit,
        )
        / total,
        total_square=(weights**2 * square).sum(axis=1, keepdims=True) + _summation(weights, arithmetic),
        overflow=~in_range,
    )


def _summation(weights: Array, arithmetic: Arithmetic) -> Array:
    """Mean square relative error of the sum: entry by entry within a tile, then tile by tile."""
    n = weights.shape[1]
    step = arithmetic.tile or max(n, 1)
    square = np.zeros((len(weights), 1))
    running = np.zeros((len(weights), 1))
    for start in range(0, n, step):
        tile = weights[:, start : start + step]
        inside = tile.sum(axis=1, keepdims=True)
        running = running + inside
        square += tile.shape[1] / 3 * inside**2 + running**2
    return np.asarray(square * arithmetic.normaliser.mean_square + kept_mean_square(arithmetic))


def _softmax(row: Row, arithmetic: Arithmetic) -> tuple[Array, dict[str, Array], Array]:
    """Theorem softmax_bounded."""
    y, unit = row.weights, arithmetic.normaliser.unit
    flush = arithmetic.flush_to_zero
    losing = 2 * underflow_unit(arithmetic.normaliser, flush)
    ending = (arithmetic.output.unit, underflow_unit(arithmetic.output, flush))
    bound = softmax_error(y, row.log_error, row.relative, 2 * unit, row.lost, losing, *ending)
    divided = growth(log_growth(row.relative) + 2 * unit)
    underflowing = row.lost * (1 + divided) + losing
    weighed = y * growth(row.log_error + log_growth(row.relative) + 2 * unit)
    parts = {
        "exp": np.maximum(weighed - y * divided, 0.0),
        "normaliser": y * divided,
        "output": bound - weighed - underflowing - ending[1],
        "underflow": np.broadcast_to(underflowing + ending[1], y.shape),
    }
    # The weight's own error appears in its numerator and, with weight y, in the normaliser: a factor (1 - y).
    shared = row.log_error_square * (1 - 2 * y) + row.total_square
    square = y**2 * (np.maximum(shared, 0.0) + 2 * arithmetic.normaliser.mean_square)
    if arithmetic.output.format.precision < arithmetic.normaliser.format.precision:
        square = square + arithmetic.output.format.ulp(y) ** 2 / 12
    lost = underflow_unit(arithmetic.output, arithmetic.flush_to_zero)
    return y, parts, square + lost**2 / 3


def _log_sum_exp(row: Row, arithmetic: Arithmetic) -> tuple[Array, dict[str, Array], Array]:
    """Theorem log_sum_exp_bounded."""
    lse = row.maximum + row.logarithm
    flush = arithmetic.flush_to_zero
    bound = log_sum_exp_error(
        row.relative,
        np.abs(row.maximum) + arithmetic.lag,
        row.logarithm + arithmetic.lag,
        np.abs(lse),
        0.0,
        arithmetic.log_error,
        arithmetic.lse.unit,
        underflow_unit(arithmetic.lse, flush),
        arithmetic.output.unit,
        underflow_unit(arithmetic.output, flush),
    )
    parts = {"exp": row.from_exp, "normaliser": row.from_adding, "output": bound - log_growth(row.relative)}
    square = row.total_square + _lse_square(row, lse, arithmetic)
    return np.abs(lse), parts, square


def _lse_square(row: Row, lse: Array, arithmetic: Arithmetic) -> Array:
    log_square = log_mean_square(arithmetic) * row.logarithm**2
    return np.asarray(log_square + (arithmetic.lse.format.ulp(lse) ** 2 + arithmetic.output.format.ulp(lse) ** 2) / 12)


def _log_softmax(row: Row, arithmetic: Arithmetic) -> tuple[Array, dict[str, Array], Array]:
    """x - m - log l, whose largest intermediate is |x - m| and never |m| (theorem log_softmax_bounded)."""
    y = -row.distance - row.logarithm
    scores, unit = arithmetic.scores.unit, arithmetic.lse.unit
    flush = arithmetic.flush_to_zero
    bound = log_softmax_error(
        row.relative,
        row.distance + arithmetic.lag,
        row.logarithm + arithmetic.lag,
        max(scores, unit),
        compound(arithmetic.log_error, scores if scores > unit else 0.0),
        max(underflow_unit(arithmetic.scores, flush), underflow_unit(arithmetic.lse, flush)),
        unit,
        arithmetic.output.unit,
        underflow_unit(arithmetic.output, flush),
    )
    parts = {
        "exp": np.broadcast_to(row.from_exp, y.shape),
        "normaliser": np.broadcast_to(row.from_adding, y.shape),
        "output": bound - log_growth(row.relative),
    }
    log_square = log_mean_square(arithmetic) * row.logarithm**2
    square = row.total_square + log_square + arithmetic.lse.mean_square * (row.distance**2 + y**2)
    if arithmetic.output.format.precision < arithmetic.lse.format.precision:
        square = square + arithmetic.output.format.ulp(y) ** 2 / 12
    return np.abs(y), parts, square
