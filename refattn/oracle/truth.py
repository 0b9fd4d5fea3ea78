"""The oracle's results: one enclosure for every output."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from refattn.oracle.enclosure import Enclosure


class AttentionTruth(NamedTuple):
    """The exact output (B, H, Nq, Dv) and the exact natural log-sum-exp (B, H, Nq) of one attention problem."""

    out: Enclosure
    lse: Enclosure


class GradientTruth(NamedTuple):
    """The exact gradients of sum(do * out) + sum(dlse * lse).

    dq (B, H, Nq, D); dk (B, Hkv, Nk, D) and dv (B, Hkv, Nk, Dv), summed over the query heads that share a key-value
    head; dbias in the shape of the spec's bias, summed over its broadcast axes, and dsinks (H,): None where the spec
    has none.
    """

    dq: Enclosure
    dk: Enclosure
    dv: Enclosure
    dbias: Enclosure | None = None
    dsinks: Enclosure | None = None


class RoundedTruth(NamedTuple):
    """The correctly rounded output, and where its rounding is decided.

    Where `decided` is False the exact value is within a relative 2**-1000 of a midpoint of the format, which enclosures
    cannot distinguish from a tie, and `out` holds the neighbour whose last bit is even. counts says how many
    elements each rung decided: "float64", "slices" and "more bits"; and how many are "ties".
    """

    out: NDArray[np.float64]
    decided: NDArray[np.bool_]
    counts: dict[str, int]
