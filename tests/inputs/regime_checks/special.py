"""Checks of NaN, infinities and large numbers, visible and invisible."""

from __future__ import annotations

import numpy as np

from tests.inputs.regime_checks.figures import seen


def special(tensor, is_special):
    def check(case):
        for name in "qkv":
            count = is_special(case.arrays()[name]).sum()
            assert 1 <= count <= 2 if name == tensor else count == 0

    return check


def hidden(filled):
    def check(case):
        shape = case.shape
        by_group = seen(case).reshape(shape.batch, shape.kv_heads, -1, shape.keys)
        nobody = ~by_group.any(axis=2)
        assert nobody.any(axis=-1).all() or shape.keys == 1
        for array in (case.k, case.v):
            assert filled(np.abs(array[nobody]), case.format).all()
            assert (np.abs(array[~nobody]) < 60).all()

    return check


def nan_future(case):
    assert case.spec.causal
    assert np.isnan(case.k[:, :, -1]).all() or np.isnan(case.v[:, :, -1]).all()
    assert np.isfinite(case.k[:, :, :-1]).all()
    assert np.isfinite(case.v[:, :, :-1]).all()


CHECKS = {
    **{f"special/nan-in-{tensor}": special(tensor, np.isnan) for tensor in "qkv"},
    **{f"special/inf-in-{tensor}": special(tensor, np.isinf) for tensor in "qkv"},
    **{
        f"{prefix}{place}": hidden(filled)
        for place in ("masked", "dropped", "unused-slots", "window", "orphaned")
        for prefix, filled in (
            ("garbage/", lambda x, format: x == min(1024, format.max_finite / 2)),
            ("poison/nan-", lambda x, _: np.isnan(x)),
            ("poison/inf-", lambda x, _: np.isinf(x)),
        )
    },
    "poison/nan-future": nan_future,
}
