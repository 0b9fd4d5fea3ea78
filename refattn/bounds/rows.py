"""Budgets of softmax, log-softmax and log-sum-exp along an axis.

May import: numpy, refattn.arithmetic, refattn.roundoff, refattn.spec, refattn.bounds.budget, refattn.bounds.stages.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refattn.arithmetic import Arithmetic
from refattn.bounds.budget import ErrorBudget
from refattn.bounds.rms import kept_mean_square, log_mean_square
from refattn.bounds.stages import (
    argument_error,
    argument_mean_square,
    exp_log_error,
    exp_mean_square,
    rescales,
    underflow_unit,
)
from refattn.roundoff import compound, gamma
from refattn.spec import SoftmaxSpec

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Row:
    """Exact weights of rows (r, n) and the errors of their normalisers (r, 1)."""

    weights: Array
    distance: Array
    maximum: Array
    logarithm: Array
    log_error: Array
    log_error_square: Array
    total_exp: Array
    total_adding: Array
    total_square: Array


def softmax(x: Array, spec: SoftmaxSpec, arithmetic: Arithmetic) -> ErrorBudget:
    """Budget of softmax, log_softmax or logsumexp of a float64 array without NaN or +inf (theorem softmax_error)."""
    moved = np.moveaxis(x, spec.axis, -1)
    rows = moved.reshape(-1, moved.shape[-1])
    with np.errstate(over="ignore", invalid="ignore", under="ignore", divide="ignore"):
        row = _row(rows, arithmetic)
        compute = {"softmax": _softmax, "log_softmax": _log_softmax, "logsumexp": _log_sum_exp}[spec.kind]
        exact_size, parts, square = compute(row, arithmetic)
        certified = np.asarray(sum(parts.values()))
        # A difference from the maximum that overflows leaves nothing to claim.
        limit = min(arithmetic.output.format.max_finite, arithmetic.scores.format.max_finite)
        certified = np.where(exact_size + certified > limit, np.inf, certified)
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
    maximum = np.where(np.isneginf(maximum), 0.0, maximum)
    distance = np.where(hidden, np.inf, maximum[:, None] - rows)
    unnormalised = np.exp(-distance)
    total = unnormalised.sum(axis=1, keepdims=True)
    total = np.where(total > 0, total, 1.0)
    weights = unnormalised / total
    finite = np.where(hidden, 0.0, distance)
    changes = rescales(n, arithmetic)
    visible = np.where(hidden, maximum[:, None], rows)
    log_error = argument_error(visible, maximum[:, None], arithmetic) + (1 + changes) * exp_log_error(arithmetic)
    eta = underflow_unit(arithmetic.scores, arithmetic.flush_to_zero)
    excess = np.where(log_error < 1e-3, weights * np.expm1(np.minimum(log_error, 1e-3)), 0.0)
    grown = np.exp(np.minimum(log_error - distance, 700.0)) / total - weights
    excess = np.where(log_error < 1e-3, excess, grown).sum(axis=1, keepdims=True)
    adding = gamma(n + changes, arithmetic.normaliser.unit)
    own = np.where(distance > 0, exp_mean_square(arithmetic), 0.0)
    square = argument_mean_square(finite, arithmetic) + own
    return Row(
        weights=weights,
        distance=finite,
        maximum=maximum[:, None],
        logarithm=np.log(total),
        log_error=log_error,
        log_error_square=square,
        total_exp=np.log1p(excess),
        total_adding=-np.log1p(-min(adding, 1.0))
        - np.log1p(-arithmetic.row_sum_error)
        + 2 * (n + changes) * eta / total,
        total_square=(weights**2 * square).sum(axis=1, keepdims=True) + _summation(weights, arithmetic),
    )


def _summation(weights: Array, arithmetic: Arithmetic) -> Array:
    """Mean square relative error of adding up: one after the other within a tile, then tile after tile."""
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
    y = row.weights
    unit = arithmetic.normaliser.unit
    total = row.total_exp + row.total_adding
    grown = np.expm1(row.log_error + total + 2 * unit)
    parts = {
        "exp": y * np.maximum(grown - np.expm1(row.total_adding + 2 * unit), 0.0),
        "normaliser": y * np.expm1(row.total_adding + 2 * unit),
        "output": arithmetic.output.unit * y * (1 + grown),
        "underflow": 2 * underflow_unit(arithmetic.scores, arithmetic.flush_to_zero) * np.exp(total) * np.ones_like(y)
        + underflow_unit(arithmetic.output, arithmetic.flush_to_zero),
    }
    # The weight's own error appears in its numerator and, with weight y, in the normaliser: a factor (1 - y).
    shared = row.log_error_square * (1 - 2 * y) + row.total_square
    square = y**2 * (np.maximum(shared, 0.0) + 2 * arithmetic.normaliser.mean_square)
    if arithmetic.output.format.precision < arithmetic.normaliser.format.precision:
        square = square + arithmetic.output.format.ulp(y) ** 2 / 12
    lost = underflow_unit(arithmetic.output, arithmetic.flush_to_zero)
    return y, parts, square + lost**2 / 3


def _log_sum_exp(row: Row, arithmetic: Arithmetic) -> tuple[Array, dict[str, Array], Array]:
    lse = row.maximum + row.logarithm
    size = np.abs(lse)
    before = row.total_exp + row.total_adding
    rounding = arithmetic.log_error * (np.abs(row.logarithm) + before)
    rounding = rounding + arithmetic.lse.unit * (size + before + rounding)
    rounding = rounding + underflow_unit(arithmetic.lse, arithmetic.flush_to_zero)
    rounding = rounding + arithmetic.output.unit * (size + before + rounding)
    parts = {
        "exp": row.total_exp,
        "normaliser": row.total_adding,
        "output": rounding + underflow_unit(arithmetic.output, arithmetic.flush_to_zero),
    }
    square = row.total_square + _lse_square(row, lse, arithmetic)
    return np.abs(lse), parts, square


def _lse_square(row: Row, lse: Array, arithmetic: Arithmetic) -> Array:
    log_square = log_mean_square(arithmetic) * row.logarithm**2
    return np.asarray(log_square + (arithmetic.lse.format.ulp(lse) ** 2 + arithmetic.output.format.ulp(lse) ** 2) / 12)


def _log_softmax(row: Row, arithmetic: Arithmetic) -> tuple[Array, dict[str, Array], Array]:
    """x - m - log l: the largest intermediate is |x - m|, never |m|."""
    y = -row.distance - row.logarithm
    size = row.distance + np.abs(row.logarithm)
    scores, unit = arithmetic.scores.unit, arithmetic.lse.unit
    total = row.total_exp + row.total_adding
    stored = scores if scores > unit else 0.0
    shifted = max(scores, unit) * row.distance + underflow_unit(arithmetic.scores, arithmetic.flush_to_zero)
    shifted = shifted + compound(arithmetic.log_error, stored) * (np.abs(row.logarithm) + total)
    rounding = shifted + unit * (size + total + shifted)
    parts = {
        "exp": np.broadcast_to(row.total_exp, y.shape),
        "normaliser": np.broadcast_to(row.total_adding, y.shape),
        "output": rounding
        + arithmetic.output.unit * (np.abs(y) + total + rounding)
        + underflow_unit(arithmetic.output, arithmetic.flush_to_zero),
    }
    log_square = log_mean_square(arithmetic) * row.logarithm**2
    square = row.total_square + log_square + arithmetic.lse.mean_square * (row.distance**2 + y**2)
    if arithmetic.output.format.precision < arithmetic.lse.format.precision:
        square = square + arithmetic.output.format.ulp(y) ** 2 / 12
    return np.abs(y), parts, square
