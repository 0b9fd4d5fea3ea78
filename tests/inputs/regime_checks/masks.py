"""Checks of visibility: masks, windows, documents, buckets, dropped tokens and pages."""

from __future__ import annotations

import numpy as np

from tests.inputs.regime_checks.figures import seen


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


CHECKS = {
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
}
