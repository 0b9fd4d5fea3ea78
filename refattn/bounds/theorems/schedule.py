"""Costs of adding up weights in any order (proofs/summation.md; theories Schedule*, Gibbs*).

A row has n = `keys` visible keys, and a sink perhaps, in a kernel that changes its reference after a key at most
`changes` times. Costs are log-errors.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from refattn.numbers.roundoff import growth


def additions(keys: Any, changes: Any, unit: Any) -> Any:
    """Log-error of adding up, in any order: n additions, a product with the value or the sink's first rescale, and a
    product for each change, of one `unit` each (theorem cost_any_order).
    """
    return (keys + 1 + changes) * unit


def underflow(keys: Any, changes: Any, seen: Any, eta_weight: Any, eta_sum: Any, cost: Any) -> Any:
    """Absolute part of a sum of weights e^(s - m) times values whose magnitudes add up to `seen` (theorem
    lost_any_order).

    Every exponential loses eta_weight times the values that it multiplies, every product and every addition eta_sum,
    and all of it grows by the path's `cost`.
    """
    sources = (1 + changes) * seen * eta_weight + (2 * keys + 1 + changes) * eta_sum
    return sources * (1 + growth(cost + (1 + changes) * eta_weight))


def log_at_most(keys: Any) -> Any:
    """A number above ln(keys), keys >= 1: 7/10 for every doubling (theorem log_at_most_bounds)."""
    doublings = (math.ceil(keys) - 1).bit_length()
    return Fraction(7, 10) * doublings if isinstance(keys, Fraction) else 0.7 * doublings


def gibbs_normaliser(
    keys: Any,
    changes: Any,
    nats: Any,
    argument_unit: Any,
    unit: Any,
    exponential: Any,
    eta_weight: Any,
    eta_sum: Any,
) -> Any:
    """Relative error of a normaliser over scores that are exact, before any is seen (theorem normaliser_range_free).

    nats is at least ln(keys + 1): Gibbs' inequality puts it in the place of the scores' range. Only for exponentials
    of fl(s - m), where argument_unit nats / (1 - argument_unit) < 1.
    """
    cost = (1 + changes) * exponential + additions(keys, changes, unit)
    spread = argument_unit * nats / (1 - argument_unit)
    lost = underflow(keys, changes, keys + 1, eta_weight, eta_sum, cost)
    return (1 + growth(cost)) / (1 - spread) - 1 + lost
