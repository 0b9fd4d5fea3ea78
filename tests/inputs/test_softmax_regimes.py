"""Contract: each regime of softmax does what its summary says, in every format and along every axis."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from refattn.contract.spec import SoftmaxSpec
from refattn.inputs import regimes
from refattn.inputs.regimes import Limits, Recipe
from refattn.inputs.regimes.building import TILES
from refattn.numbers import formats

LARGE = Limits(length=200, long=2600)
SMALL = Limits(length=6, long=6)
FORMATS = (formats.bf16, formats.fp16, formats.e4m3, formats.fp32)


def ordinary(case):
    assert np.isfinite(case.x).all()
    assert np.abs(case.x).max() < 300
    assert case.x.size < 50 or len(np.unique(case.x)) > 10


def stairs(sign):
    def check(case):
        steps = sign * np.diff(case.rows(), axis=-1)
        assert (steps >= 0).all()
        assert (steps > 0).any() or case.rows().shape[-1] == 1
        if case.format.precision >= 11:
            assert (steps > 0).all()

    return check


def all_equal(case):
    assert (case.rows() == case.rows()[:, :1]).all()


def duplicated_maximum(case):
    x = case.rows()
    top = x.max(axis=-1, keepdims=True)
    assert ((x == top).sum(axis=-1) >= min(2, x.shape[-1])).all()
    assert ((x == top) | (x <= top - 12)).all()


def needle(place):
    def check(case):
        x = case.rows()
        ordered = np.sort(x, axis=-1)
        assert x.shape[-1] == 1 or (ordered[:, -1] - ordered[:, -2] > 40).all()
        assert all(place(int(top), x.shape[-1]) for top in x.argmax(axis=-1))

    return check


def at_tile_edge(top, n):
    return any(top % tile == 0 or (top + 1) % tile == 0 for tile in TILES) or n < min(TILES)


def offset(sign):
    def check(case):
        assert (sign * case.x >= 60).all()
        if case.x.size > 50:
            assert len(np.unique(case.x)) > 4

    return check


def equal_and_huge(case):
    assert (case.x == case.x.flat[0]).all()
    assert case.x.flat[0] >= min(9000, case.format.max_finite)


def edges(case):
    if case.x.size > 50:
        assert {case.format.max_finite, -case.format.max_finite} < set(case.x.ravel())


def subnormal(case):
    assert (np.abs(case.x) < case.format.smallest_normal).all()
    assert case.x.size < 50 or (case.x != 0).any()


def signed_zeros(case):
    assert (case.x == 0).all()
    assert case.x.size < 50 or 0 < np.signbit(case.x).sum() < case.x.size


def hidden(case):
    return np.isneginf(case.rows())


def masked(case):
    assert not hidden(case).all(axis=-1).any()
    assert case.x.size < 50 or hidden(case).any()


def top_k(case):
    kept = (~hidden(case)).sum(axis=-1)
    assert ((kept >= 1) & (kept <= 4)).all()


def masked_slice(case):
    lacking = hidden(case).sum(axis=-1)
    assert (hidden(case) == (np.arange(case.rows().shape[-1]) < lacking[:, None])).all()
    assert (lacking % 32 == 0).all()
    assert (lacking < case.rows().shape[-1]).all()
    assert case.rows().shape[-1] <= 32 or (lacking > 0).all()


def all_masked(case):
    assert hidden(case).all(axis=-1).any()
    assert (hidden(case).all(axis=-1) | ~hidden(case).any(axis=-1)).all()


def about_lanes(case):
    n = case.rows().shape[-1]
    assert any(m & (m - 1) == 0 and m >= 32 for m in (n - 1, n, n + 1))


def lanes_all_masked(case):
    about_lanes(case)
    assert hidden(case).all()


def flat(n):
    def check(case):
        x = case.rows()
        assert x.shape[-1] > n
        assert np.ptp(x, axis=-1).max() < 0.25

    return check


def one_or_two(test):
    def check(case):
        assert 1 <= test(case.x).sum() <= 2
        assert np.isfinite(case.x[~test(case.x)]).all()

    return check


CHECKS = {
    **dict.fromkeys([f"softmax/x{x:g}" for x in (1, 0.1, 3, 10, 30)] + ["softmax/heavy-tailed"], ordinary),
    "softmax/increasing": stairs(1),
    "softmax/decreasing": stairs(-1),
    "softmax/all-equal": all_equal,
    "softmax/duplicated-maximum": duplicated_maximum,
    "softmax/needle-first": needle(lambda top, _: top == 0),
    "softmax/needle-last": needle(lambda top, n: top == n - 1),
    "softmax/needle-tile-edge": needle(at_tile_edge),
    "softmax/offset-high": offset(1),
    "softmax/offset-low": offset(-1),
    "softmax/equal-and-huge": equal_and_huge,
    "softmax/edges-of-the-format": edges,
    "softmax/subnormal": subnormal,
    "softmax/signed-zeros": signed_zeros,
    "softmax/masked": masked,
    "softmax/top-k": top_k,
    "softmax/masked-slice": masked_slice,
    "softmax/all-masked": all_masked,
    "softmax/lanes": about_lanes,
    "softmax/lanes-all-masked": lanes_all_masked,
    "softmax/flat-over-256": flat(256),
    "softmax/flat-over-2048": flat(2048),
    "softmax/nan": one_or_two(np.isnan),
    "softmax/inf": one_or_two(np.isposinf),
}


def some_cases(regime, axes=(-1, 0, 1, -3), draws=2):
    for format, limits, axis, draw in itertools.product(FORMATS, (LARGE, SMALL), axes, range(draws)):
        if regime.available(format, limits):
            yield Recipe(regime.name, format, 7, draw, limits=limits, softmax=SoftmaxSpec(axis=axis)).case()


def test_every_softmax_regime_has_a_check():
    assert set(CHECKS) == {regime.name for regime in regimes.SOFTMAX}


@pytest.mark.parametrize("name", CHECKS)
def test_softmax_regime_does_what_it_says(name):
    cases = list(some_cases(regimes.get(name)))
    assert cases
    for case in cases:
        CHECKS[name](case)


def test_softmax_kinds_say_what_is_not_finite():
    for regime in regimes.SOFTMAX:
        for case in some_cases(regime, axes=(-1,), draws=1):
            assert np.isnan(case.x).any() == (regime.kind == "nan")
            assert np.isposinf(case.x).any() == (regime.kind == "ieee")
            assert hidden(case).all(axis=-1).any() == (regime.kind == "empty")


def test_every_rank_up_to_three_occurs():
    ranks = {Recipe("softmax/x1", formats.fp32, 0, draw).case().x.ndim for draw in range(20)}
    assert ranks == {1, 2, 3}
