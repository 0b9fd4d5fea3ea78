"""Scores, margins and other figures of a case's numbers, for the checks of every regime."""

from __future__ import annotations

import numpy as np

from refattn.contract.visibility import visible


def scores(case):
    """Scale times q.k in float64: (B, H, Nq, Nk)."""
    k = np.repeat(case.k, case.shape.group, axis=1)
    scale = 1 / np.sqrt(case.shape.d_qk) if case.spec.scale is None else case.spec.scale
    return scale * (case.q @ np.swapaxes(k, -1, -2))


def products(case):
    scale = 1 / np.sqrt(case.shape.d_qk) if case.spec.scale is None else case.spec.scale
    return scores(case) / scale


def seen(case):
    return visible(case.spec, case.shape)


def winners(case, among=None):
    """The key of the greatest score of each row and its margin over the next."""
    s = scores(case) if among is None else np.where(among, scores(case), -1e300)
    ordered = np.sort(s, axis=-1)
    margin = ordered[..., -1] - ordered[..., -2] if s.shape[-1] > 1 else np.full(s.shape[:-1], np.inf)
    return s.argmax(axis=-1), margin


def ordinary(case):
    for array in (case.q, case.k, case.v):
        assert np.isfinite(array).all()
        assert np.abs(array).max(initial=0) < 1000
        if array.size > 50:
            assert len(np.unique(array)) > 10


def sizes(wanted):
    def check(case):
        assert wanted(case.shape), case.shape

    return check
