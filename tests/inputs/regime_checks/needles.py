"""Checks of needles: one key of each row outweighs the others by far, and the values identify it."""

from __future__ import annotations

import numpy as np

from refattn.inputs.regimes.building import TILES
from tests.inputs.regime_checks.figures import seen, winners


def spells_its_keys(case):
    base = min(2**case.format.precision, 256) - 1
    rows = np.moveaxis(case.v, 2, 0).reshape(case.shape.keys, -1)
    assert (case.v >= 1).all()
    assert len(np.unique(rows, axis=0)) == min(case.shape.keys, base ** min(case.shape.d_v, 3))


def dominated_by(place):
    def check(case):
        top, margin = winners(case)
        assert (margin >= 40).all()
        assert place(case, top).all()
        spells_its_keys(case)

    return check


def at_a_tile_edge(_, top):
    return np.array([any((t + 1) % tile == 0 or t % tile == 0 for tile in TILES) for t in top.ravel()])


def each_visible_winner(index):
    def check(case):
        among = seen(case)
        top, margin = winners(case, among)
        several = among.sum(axis=-1) > 1
        assert (margin[several] >= 40).all()
        if index is not None:
            assert (top == index(among))[among.any(axis=-1)].all()
        spells_its_keys(case)

    return check


def last_of(among):
    return among.shape[-1] - 1 - among[..., ::-1].argmax(axis=-1)


def own_key(case):
    _, margin = winners(case)
    assert (margin >= 40).all() or case.shape.d_qk < 3
    spells_its_keys(case)


def just_inside(case):
    among = seen(case)
    top, margin = winners(case)
    edge = (top == last_of(among)) | (top == among.argmax(axis=-1))
    good = (edge & (margin >= 40))[among.any(axis=-1)]
    assert good.all() if case.shape.d_qk >= 8 else good.any() or not good.size


def just_outside(case):
    among = seen(case)
    top, margin = winners(case)
    first, last = among.argmax(axis=-1), last_of(among)
    possible = among.any(axis=-1) & ((first > 0) | (last < case.shape.keys - 1))
    beyond = ((top == first - 1) | (top == last + 1)) & (margin >= 40)
    good = beyond[possible]
    assert good.all() if case.shape.d_qk >= 8 else good.any() or not good.size
    assert case.spec.causal or not among.all()


CHECKS = {
    "needle/first": dominated_by(lambda _, top: top == 0),
    "needle/last": dominated_by(lambda case, top: top == case.shape.keys - 1),
    "needle/tile-edge": dominated_by(at_a_tile_edge),
    "needle/rising": each_visible_winner(last_of),
    "needle/falling": each_visible_winner(lambda among: among.argmax(axis=-1)),
    "needle/shuffled": each_visible_winner(None),
    "needle/own-key": own_key,
    "needle/just-inside": just_inside,
    "needle/just-outside": just_outside,
}
