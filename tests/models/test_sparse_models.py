"""refattn.models.sparse: reordering tokens computes what the spec says without reordering."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refattn.contract.arithmetic import Arithmetic
from refattn.contract.spec import AttentionSpec
from refattn.errors import InvalidValue
from refattn.models import TiledAttention, hash_sparse_attention, qk_sparse_attention
from refattn.oracle.exact import definition
from tests.support.attention_problems import float64, inputs
from tests.support.hand_derived_bounds import attention_bounds, distance

QUERIES, KEYS = 6, 8


def within(results: Any, given_: Any, spec: AttentionSpec) -> bool:
    q, k, v = (float64(x) for x in given_[:3])
    exact = definition.attention(q, k, v, spec, bits=60)
    bounds = attention_bounds(q, k, v, spec, Arithmetic.flash("fp32"))
    return all(
        (distance(x, y) <= bound).all() for x, y, bound in zip(map(float64, results), exact, bounds, strict=True)
    )


@given(
    seed=st.integers(0, 2**32 - 1),
    causal=st.booleans(),
    strict=st.booleans(),
    alignment=st.sampled_from(["bottom_right", "top_left"]),
    softcap=st.sampled_from([None, 2.0]),
    sinks=st.booleans(),
    empty_rows=st.sampled_from(["zero", "nan"]),
)
def test_sorting_by_bucket_and_compacting_equal_the_dense_spec(
    seed: int, causal: bool, strict: bool, alignment: Any, softcap: Any, sinks: bool, empty_rows: Any
) -> None:
    rng = np.random.default_rng(seed)
    common = AttentionSpec(
        causal=causal,
        strict=causal and strict,
        alignment=alignment,
        softcap=softcap,
        sinks=np.array([-1.0, 0.5]) if sinks else None,
        empty_rows=empty_rows,
    )
    given_ = inputs(np.float32, seed, batch=1, heads=2, kv_heads=1, queries=QUERIES, keys=KEYS)
    buckets = rng.integers(-1, 2, (1, 2, QUERIES)), rng.integers(-1, 2, (2, KEYS))
    spec = common.replace(buckets=buckets)
    kernel = TiledAttention(query_tile=2, key_tile=2)
    assert within(hash_sparse_attention(*given_[:3], spec=spec, kernel=kernel), given_, spec)
    spec = common.replace(kept_queries=rng.random((1, 2, QUERIES)) < 0.6, kept_keys=rng.random(KEYS) < 0.6)
    assert within(qk_sparse_attention(*given_[:3], spec=spec, kernel=kernel), given_, spec)


def test_tiles_off_the_band_of_sorted_buckets_are_skipped() -> None:
    visited = []

    class Counting(TiledAttention):
        def visits(self, tile: Any) -> bool:
            visited.append(super().visits(tile))
            return visited[-1]

    n = 64
    given_ = inputs(np.float32, batch=1, heads=1, kv_heads=1, queries=n, keys=n)
    ids = np.random.default_rng(0).permutation(np.repeat(np.arange(8), 8))
    spec = AttentionSpec(buckets=(ids, ids))
    hash_sparse_attention(*given_[:3], spec=spec, kernel=Counting(query_tile=8, key_tile=8))
    assert (len(visited), sum(visited)) == (64, 8)


def test_features_that_look_at_positions_are_refused() -> None:
    given_ = inputs(np.float32, queries=4, keys=4)
    with pytest.raises(InvalidValue, match=r"^window is set"):
        qk_sparse_attention(*given_[:3], spec=AttentionSpec(window=(1, 1)))
    with pytest.raises(InvalidValue, match=r"^buckets is None"):
        hash_sparse_attention(*given_[:3], spec=AttentionSpec())
