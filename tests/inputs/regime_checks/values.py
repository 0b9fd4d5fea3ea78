"""Checks of Q, K and V: ordinary numbers, equal ones, and extremes of the format."""

from __future__ import annotations

import numpy as np
import pytest

from tests.inputs.regime_checks.figures import ordinary, scores


def all_equal(case):
    assert (case.k == case.k[:, :, :1]).all()


def ones(case):
    all_equal(case)
    assert (case.v == 1).all()
    assert case.spec.sinks is None
    assert case.spec.keep is None


def duplicated_maximum(case):
    s = scores(case)
    top = s.max(axis=-1, keepdims=True)
    assert ((s == top).sum(axis=-1) >= min(2, case.shape.keys)).all()
    assert (s[s < top] <= (np.broadcast_to(top, s.shape)[s < top] - 12)).all()
    assert (case.v < 0).all()


def pairs(case):
    n = case.shape.keys // 2 * 2
    assert np.array_equal(case.k[:, :, 0:n:2], case.k[:, :, 1:n:2])


def cancelling_values(case):
    pairs(case)
    n = case.shape.keys // 2 * 2
    assert np.array_equal(case.v[:, :, 0:n:2], -case.v[:, :, 1:n:2])


def largest(case):
    assert (np.abs(case.v) == min(case.format.max_finite, 2.0**100)).all()


def subnormal(case):
    for array in (case.q, case.k, case.v):
        assert (np.abs(array) < case.format.smallest_normal).all()
    if case.v.size > 50:
        assert (case.v != 0).any()


def signed_zeros(case):
    for array in (case.q, case.k, case.v):
        assert (array == 0).all()
    if case.q.size > 50:
        assert 0 < np.signbit(case.q).sum() < case.q.size


CHECKS = {
    **dict.fromkeys([f"generic/x{x:g}" for x in (1, 0.1, 0.3, 3, 10, 16, 30)] + ["generic/heavy-tailed"], ordinary),
    "ties/all-equal": all_equal,
    "ties/ones": ones,
    "ties/duplicated-maximum": duplicated_maximum,
    "ties/pairs": pairs,
    "values/same-sign": lambda case: case.v.min() > 0 or pytest.fail("V has a sign"),
    "values/cancelling": cancelling_values,
    "values/largest": largest,
    "values/subnormal": subnormal,
    "values/signed-zeros": signed_zeros,
}
