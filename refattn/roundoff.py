"""The error factors that every bound is made of. Imports nothing of refattn."""

from __future__ import annotations


def gamma(n: float, u: float) -> float:
    """gamma_n(u) = n u / (1 - n u), inf from n u = 1 on: n relative errors of at most u each, multiplied in any order
    (Higham, Accuracy and Stability of Numerical Algorithms, 2002, lemma 3.1).
    """
    product = n * u
    return product / (1.0 - product) if product < 1.0 else float("inf")


def compound(*units: float) -> float:
    """(1 + u1) (1 + u2) ... - 1: one relative error of at most each of these, multiplied."""
    total = 0.0
    for unit in units:
        total += unit + total * unit
    return total
