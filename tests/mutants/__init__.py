"""Faults that real attention kernels had, planted one at a time in the project's own models, and honest variants.

A checker earns trust by what it refuses. Each module of this package holds one family of faults; importing the package
registers them all.
"""

from tests.mutants import (
    exponentials,
    gradients,
    hiding,
    honest,
    leaks,
    log_sum_exps,
    online,
    precision,
    scores,
    softmaxes,
    splitting,
    storage,
    wrappers,
)
from tests.mutants.registry import HONEST, MUTANTS, Kernel, Mutant, by_id, observed

__all__ = [
    "HONEST",
    "MUTANTS",
    "Kernel",
    "Mutant",
    "by_id",
    "exponentials",
    "gradients",
    "hiding",
    "honest",
    "leaks",
    "log_sum_exps",
    "observed",
    "online",
    "precision",
    "scores",
    "softmaxes",
    "splitting",
    "storage",
    "wrappers",
]
