"""The error factors of every bound, for floats, arrays and exact Fractions. Imports nothing of refattn.

A rounding multiplies by e^t, |t| <= u, when |error| <= u / (1 + u), which holds for rounding to nearest and for
truncating; such exponents add up exactly, whatever the order of the operations. For Fractions, functions that are not
rational return a rational upper bound (proofs/theories/Growth.v), so that the tests compare them with the proofs to the
last digit.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np


def gamma(n: float, u: float) -> float:
    """gamma_n(u) = n u / (1 - n u), inf from n u = 1 on: n relative errors of at most u each, multiplied in any order
    (Higham, Accuracy and Stability of Numerical Algorithms, 2002, lemma 3.1).
    """
    product = n * u
    return product / (1.0 - product) if product < 1.0 else float("inf")


def growth(t: Any) -> Any:
    """e^t - 1, the most that a log-error of t can add to 1 (theorem growth). Of a Fraction below 2: t / (1 - t/2)."""
    if isinstance(t, Fraction):
        return t / (1 - t / 2)
    return np.expm1(t)


def log_growth(d: Any) -> Any:
    """log(1 + d): the log-error of a relative error that is at most d in both directions. Of a Fraction: d."""
    if isinstance(d, Fraction):
        return d
    return np.log1p(d)


def log_error(relative: Any) -> Any:
    """|t| of a result x e^t whose relative error is at most `relative` < 1 (theorem log_error): r / (1 - r)."""
    return relative / (1 - relative)


def compound(*units: Any) -> Any:
    """(1 + u1) (1 + u2) ... - 1: the product of relative errors of at most u1, u2, ... (theorem compound)."""
    total = 0 * units[0]
    for unit in units:
        total = total + unit + total * unit
    return total


def rounded(error: Any, size: Any, relative: Any, lost: Any = 0) -> Any:
    """Error of a number of size `size`, off by `error`, after a rounding that errs by `relative`, and by `lost` where
    it underflows (theorem rounded): e + r (s + e) + lost.
    """
    return error + relative * (size + error) + lost
