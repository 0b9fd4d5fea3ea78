"""Error of a dot product (proofs/scores.md; theory Dot)."""

from __future__ import annotations

from typing import Any

from refattn.numbers.roundoff import growth


def dot_any_order(terms: Any, unit: Any, magnitude: Any, lost: Any) -> Any:
    """Error of a sum of `terms` products added up in any order, fused or not (theorem dot_any_order_error).

    magnitude is the sum of the products' magnitudes; every product and every addition errs by a factor of at most
    e^unit, and by `lost` where it underflows or is flushed to zero.
    """
    grown = growth(terms * unit)
    return grown * magnitude + 2 * terms * lost * (1 + grown)
