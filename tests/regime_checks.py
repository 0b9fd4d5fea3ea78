"""What each regime promises, as seen from the numbers of a case: CHECKS holds one check per regime."""

from __future__ import annotations

import numpy as np
import pytest

from refattn import formats
from refattn.regimes import Limits
from refattn.regimes.building import TILES
from refattn.visibility import visible

LARGE = Limits(length=96, long=2600, batch=2, heads=8, head_dims=(16, 8, 40, 64), pairs=1 << 14)
SMALL = Limits(length=6, long=6, batch=2, heads=4, head_dims=(1, 2, 3, 4))
FORMATS = (formats.bf16, formats.fp16, formats.e4m3, formats.fp32)
NO_FEATURES = frozenset()


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


def ordinary(case):
    for array in (case.q, case.k, case.v):
        assert np.isfinite(array).all()
        assert np.abs(array).max(initial=0) < 1000
        if array.size > 50:
            assert len(np.unique(array)) > 10


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


def left_padding(case):
    hidden = ~case.spec.mask[:, 0, 0]
    lacking = hidden.sum(axis=-1)
    assert (hidden == (np.arange(case.shape.keys) < lacking[:, None])).all()
    assert (lacking < case.shape.keys).all()
    if case.shape.keys > 18:
        assert (lacking > 16).all()


def right_padding(case):
    shown = case.spec.mask[:, 0, 0]
    assert (shown == (np.arange(case.shape.keys) < shown.sum(axis=-1)[:, None])).all()
    assert (shown.sum(axis=-1) > 0).all()
    assert shown.all() == (case.shape.keys == 1)


def band(case):
    for row in case.spec.mask:
        places = np.flatnonzero(row)
        assert (np.diff(places) == 1).all()
        assert 1 <= places.size <= case.shape.keys // 4 + 1


def checkerboard(case):
    assert not (case.spec.mask[:, 1:] & case.spec.mask[:, :-1]).any()
    assert not (case.spec.mask[1:] & case.spec.mask[:-1]).any() or case.shape.keys == 1


def empty_rows(where, sinks):
    def check(case):
        empty = ~case.spec.mask.any(axis=-1)
        n, places = empty.size, np.flatnonzero(empty)
        assert places.size == n if where == "all" else 1 <= places.size < max(2, n)
        assert (np.diff(places) == 1).all()
        assert where not in ("first", "all") or places[0] == 0
        assert where not in ("last", "all") or places[-1] == n - 1
        assert where != "middle" or n < 4 or places.size > n - 3 or (places[0] > 0 and places[-1] < n - 1)
        assert (case.spec.sinks is not None) or not sinks

    return check


def infinite_prefix(case):
    hidden = np.isneginf(case.spec.bias)
    assert (hidden == hidden[:1]).all()
    assert (np.diff(hidden[0].astype(int)) <= 0).all()
    assert not hidden[:, -1].any()
    assert case.shape.keys < 19 or hidden[0].sum() > 16


def infinite_rows(case):
    rows = np.isneginf(case.spec.bias).all(axis=-1)
    assert rows[0]
    assert np.isneginf(case.spec.bias).any(axis=-1).sum() == rows.sum()


def more_queries(case):
    assert case.spec.causal
    assert case.shape.queries > case.shape.keys
    assert case.shape.queries >= 4 * case.shape.keys or case.shape.queries < 16


def narrow_window(case):
    assert 0 <= sum(case.spec.window) <= 2


def decode_window(case):
    assert case.shape.queries == 1
    assert case.spec.window[0] <= case.shape.keys // 8
    assert case.spec.window[1] == 0


def several_documents(case):
    queries, keys = case.spec.documents
    assert set(queries) == set(keys)
    assert (np.diff(queries) >= 0).all()
    assert (np.diff(keys) >= 0).all()
    assert len(set(keys)) >= min(2, case.shape.queries, case.shape.keys)


def document_without_keys(case):
    queries, keys = case.spec.documents
    assert set(queries) - set(keys)
    assert (np.diff(queries) >= 0).all()
    assert (np.diff(keys) >= 0).all()


def bucket_alone(case):
    assert (~seen(case).any(axis=-1)).any(axis=-1).all()


def buckets_of_any_number(case):
    queries, keys = case.spec.buckets
    assert set(queries.ravel()) | set(keys.ravel()) <= {-(2**31), -1, 10**9, 2**31 - 1}
    # Of every head a query meets a key in the largest.
    assert ((queries == 2**31 - 1).any(axis=-1) & (keys == 2**31 - 1).any(axis=-1)).all()


def dropped_keys(case):
    assert case.spec.kept_keys.any(axis=-1).all()
    assert case.shape.keys < 20 or not case.spec.kept_keys.all()


def dropped_queries(case):
    assert (~case.spec.kept_queries).any(axis=-1).all()


def shuffled_pages(case):
    assert np.array_equal(np.sort(case.spec.key_positions), np.arange(case.shape.keys))


def dropout(case):
    assert case.spec.dropout == 0.5
    assert case.spec.keep.size < 50 or 0.2 < case.spec.keep.mean() < 0.8


def special(tensor, is_special):
    def check(case):
        for name in "qkv":
            found = is_special(case.arrays()[name]).sum()
            assert 1 <= found <= 2 if name == tensor else found == 0

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


def sizes(wanted):
    def check(case):
        assert wanted(case.shape), case.shape

    return check


def about_tiles(more, multiples=1):
    return sizes(lambda s: (s.keys - more) // multiples in (*TILES, 256, 512))


def flat(n):
    def check(case):
        assert case.shape.keys > n
        assert (scores(case) == 0).all()
        assert (case.v >= 1).all()

    return check


CHECKS = {
    **dict.fromkeys([f"generic/x{x:g}" for x in (1, 0.1, 0.3, 3, 10, 16, 30)] + ["generic/heavy-tailed"], ordinary),
    "lengths/one-key": sizes(lambda s: s.keys == 1),
    "lengths/one-query": sizes(lambda s: s.queries == 1),
    "lengths/no-keys": sizes(lambda s: s.keys == 0 and s.queries > 0),
    "lengths/no-queries": sizes(lambda s: s.queries == 0 and s.keys > 0),
    "lengths/tile": about_tiles(0),
    "lengths/two-tiles": about_tiles(0, 2),
    "lengths/tile-1": about_tiles(-1),
    "lengths/tile+1": about_tiles(1),
    "lengths/two-tiles+1": about_tiles(1, 2),
    "lengths/fewer-queries": sizes(lambda s: s.queries <= max(1, s.keys // 2)),
    "lengths/more-queries": sizes(lambda s: s.keys <= max(1, s.queries // 2)),
    "heads/grouped": sizes(lambda s: 2 <= s.group <= 8),
    "heads/seven": sizes(lambda s: s.group == 7),
    "heads/multi-query": sizes(lambda s: s.kv_heads == 1 and s.heads > 1 and s.queries == 1),
    "dims/not-a-power-of-two": sizes(lambda s: s.d_qk & (s.d_qk - 1)),
    "dims/largest": sizes(lambda s: s.d_qk in (64, 4)),
    "dims/wider-v": sizes(lambda s: s.d_v > s.d_qk),
    "dims/narrower-v": sizes(lambda s: s.d_v < s.d_qk),
    "flat/over-256": flat(256),
    "flat/over-2048": flat(2048),
    "needle/first": dominated_by(lambda _, top: top == 0),
    "needle/last": dominated_by(lambda case, top: top == case.shape.keys - 1),
    "needle/tile-edge": dominated_by(at_a_tile_edge),
    "needle/rising": each_visible_winner(last_of),
    "needle/falling": each_visible_winner(lambda among: among.argmax(axis=-1)),
    "needle/shuffled": each_visible_winner(None),
    "needle/own-key": own_key,
    "needle/just-inside": just_inside,
    "needle/just-outside": just_outside,
    "ties/all-equal": all_equal,
    "ties/ones": ones,
    "ties/duplicated-maximum": duplicated_maximum,
    "ties/pairs": pairs,
    "values/same-sign": lambda case: case.v.min() > 0 or pytest.fail("V has a sign"),
    "values/cancelling": cancelling_values,
    "values/largest": largest,
    "values/subnormal": subnormal,
    "values/signed-zeros": signed_zeros,
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
    "masks/left-padding": left_padding,
    "masks/right-padding": right_padding,
    "masks/band": band,
    "masks/checkerboard": checkerboard,
    **{
        f"masks/empty-{where}" + ("-with-sinks" if sinks else ""): empty_rows(where, sinks)
        for where in ("first", "middle", "last", "all")
        for sinks in (False, True)
    },
    "bias/infinite-prefix": infinite_prefix,
    "bias/infinite-rows": infinite_rows,
    "causal/more-queries": more_queries,
    "window/narrow": narrow_window,
    "window/decode": decode_window,
    "documents/several": several_documents,
    "documents/without-keys": document_without_keys,
    "buckets/alone": bucket_alone,
    "buckets/any-number": buckets_of_any_number,
    "dropped/keys": dropped_keys,
    "dropped/queries": dropped_queries,
    "pages/shuffled": shuffled_pages,
    "dropout/half": dropout,
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
