"""Checks of scores: their size, their growth along a row, and the terms added to them."""

from __future__ import annotations

import numpy as np

from refattn.inputs.regimes.building import TILES
from tests.inputs.regime_checks.figures import ordinary, products, scores


def increasing(case):
    assert (np.diff(scores(case), axis=-1) > 0).all()
    assert (np.diff([scores(case)[0, 0, 0, s : s + 16].max() for s in range(0, case.shape.keys, 16)]) > 0).all()


def decreasing(case):
    assert (np.diff(scores(case), axis=-1) < 0).all()


def slow(case):
    steps = np.diff(scores(case), axis=-1) / np.log(2)
    assert (steps > 0).all()
    if steps.size:
        assert any(((steps * tile > 1) & (steps * tile < 4)).all() for tile in TILES)


def scores_within(low, high):
    def check(case):
        assert low <= scores(case).min(initial=high)
        assert scores(case).max(initial=low) <= high

    return check


def products_beyond(limit):
    def check(case):
        assert (np.abs(products(case)) > limit).all()

    return check


def below_50000(case):
    assert (products(case) < -5e4).all()
    assert (scores(case) < -104).all()


def cancelling_scores(case):
    sizes = np.abs(case.q) @ np.abs(np.swapaxes(np.repeat(case.k, case.shape.group, axis=1), -1, -2))
    if case.shape.d_qk >= 3 and sizes.size:
        assert sizes.min() > 700
        assert np.abs(products(case)).max() < sizes.min()


def large_k_tiny_q(case):
    assert np.abs(case.k).max() > 16 * np.abs(case.q).max() or case.k.size < 8


def mean_of_k(case):
    if case.shape.keys >= 16:
        assert (case.k.mean(axis=2) > 0).all()


def flat(n):
    def check(case):
        assert case.shape.keys > n
        assert (scores(case) == 0).all()
        assert (case.v >= 1).all()

    return check


def saturated(case):
    assert (np.abs(scores(case)) > 88 * case.spec.softcap).all()


def comparable(case):
    ordinary(case)
    if case.q.size > 500 and case.k.size > 500:
        ratio = np.abs(scores(case)) / case.spec.softcap
        assert ((ratio > 0.1) & (ratio < 10)).mean() > 0.5


def large_bias(case):
    if case.spec.bias.size > 50:
        assert np.abs(case.spec.bias).max() > 2 * np.abs(scores(case)).max()


def sinks_of(sign):
    def check(case):
        assert (sign * case.spec.sinks >= 80).all()
        assert np.abs(scores(case)).max(initial=0) < 60

    return check


def steep_alibi(case):
    assert len(np.unique(case.spec.alibi_slopes)) == case.shape.heads
    assert case.spec.alibi_slopes.min() > 0


def given_scale(case):
    assert case.spec.scale not in (None, 1 / np.sqrt(case.shape.d_qk))
    assert np.frexp(case.spec.scale)[0] != 0.5


CHECKS = {
    "flat/over-256": flat(256),
    "flat/over-2048": flat(2048),
    "maxima/increasing": increasing,
    "maxima/decreasing": decreasing,
    "maxima/slow": slow,
    "scores/offset-high": scores_within(90, 1e5),
    "scores/offset-low": scores_within(-1e5, -90),
    "scores/below-104": scores_within(-1e4, -104),
    "scores/below-50000": below_50000,
    "scores/beyond-65504": products_beyond(65504),
    "scores/cancelling": cancelling_scores,
    "scores/large-k-tiny-q": large_k_tiny_q,
    "scores/mean-of-k": mean_of_k,
    "softcap/saturated": saturated,
    "softcap/comparable": comparable,
    "bias/large": large_bias,
    "sinks/high": sinks_of(1),
    "sinks/low": sinks_of(-1),
    "alibi/steep": steep_alibi,
    "scale/given": given_scale,
}
