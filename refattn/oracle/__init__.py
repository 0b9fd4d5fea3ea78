"""The truth: exact results, each to a certified radius. Nothing outside this package may define it.

Each function climbs the rungs until the wanted radius is reached: float64 with a proved radius, Arb's balls, or the
mpmath definition where python-flint is missing. The float64 rung works on torch tensors where they are, on a GPU too,
after it has checked there what it takes for granted (refattn.oracle.float64.platform).
"""

from __future__ import annotations

from refattn.oracle.enclosure import Enclosure
from refattn.oracle.ladder import attention, attention_backward, correctly_rounded, logsumexp, softmax
from refattn.oracle.truth import AttentionTruth, GradientTruth, RoundedTruth

__all__ = [
    "AttentionTruth",
    "Enclosure",
    "GradientTruth",
    "RoundedTruth",
    "attention",
    "attention_backward",
    "correctly_rounded",
    "logsumexp",
    "softmax",
]
