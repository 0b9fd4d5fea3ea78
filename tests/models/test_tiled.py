"""refattn.models.tiled: within a derived bound of the spec, and exact where the mathematics is."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refattn.contract.arithmetic import Arithmetic
from refattn.contract.spec import AttentionSpec, problem_shape
from refattn.contract.visibility import visible
from refattn.errors import InvalidValue
from refattn.models import TiledAttention, tiled_attention
from refattn.models.exp2 import MAX_RELATIVE_ERROR
from refattn.numbers import formats
from refattn.oracle.exact import definition
from tests.support.attention_problems import KEYS, QUERIES, SPECS, inputs
from tests.support.tiled_distance import judged

KERNELS = {
    "default": TiledAttention(),
    "small_tiles": TiledAttention(query_tile=2, key_tile=2),
    "reverse": TiledAttention(query_tile=3, key_tile=2, tile_order="reverse"),
    "permuted": TiledAttention(key_tile=2, tile_order=lambda n: [*range(1, n, 2), *range(0, n, 2)]),
    "splits": TiledAttention(key_tile=2, splits=3),
    "more_splits_than_keys": TiledAttention(key_tile=2, splits=12),
    "stale_maximum": TiledAttention(key_tile=1, rescale_threshold=8.0),
    "exp2": TiledAttention(key_tile=2, exp="exp2"),
    "subtract_exp2": TiledAttention(Arithmetic.float64(exponent="subtract_exp2"), key_tile=2),
    "query_scaled": TiledAttention(Arithmetic.float64(scale_query=True), key_tile=4),
}
DTYPES = (ml_dtypes.bfloat16, np.float16, np.float32)


@pytest.mark.parametrize("name", SPECS)
def test_every_feature_is_within_the_bound_of_fp64(name: str) -> None:
    assert max(judged(KERNELS["small_tiles"], name, np.float64)) <= 1


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", ["plain", "sinks_empty", "everything"])
def test_every_configuration_is_within_the_bound_of_fp64(kernel: str, name: str) -> None:
    assert max(judged(KERNELS[kernel], name, np.float64, seed=1)) <= 1


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
@settings(max_examples=12)
@given(
    seed=st.integers(0, 2**32 - 1),
    key_tile=st.integers(1, 10),
    query_tile=st.integers(1, 8),
    splits=st.integers(1, 3),
    threshold=st.sampled_from([0.0, 8.0]),
    name=st.sampled_from(["plain", "causal", "softcap", "sinks", "bias_hides"]),
    order=st.randoms(use_true_random=False),
)
def test_any_tiles_in_any_order_are_within_the_bound(
    dtype: Any, seed: int, key_tile: int, query_tile: int, splits: int, threshold: float, name: str, order: Any
) -> None:
    kernel = TiledAttention(
        key_tile=key_tile,
        query_tile=query_tile,
        splits=splits,
        rescale_threshold=threshold,
        tile_order=lambda n: order.sample(range(n), n),
    )
    assert max(judged(kernel, name, dtype, seed, size=2.0)) <= 1


@pytest.mark.parametrize("degree", sorted(MAX_RELATIVE_ERROR))
def test_a_polynomial_exponential_is_within_the_bound_that_it_declares(degree: int) -> None:
    kernel = TiledAttention(exp="poly", degree=degree, key_tile=4)
    shares = judged(kernel, "plain", np.float32)
    assert max(shares) <= 1
    honest = dataclasses.replace(kernel, exp="exp2")
    declared = kernel.arithmetic_for("fp32").exp_error
    assert declared >= MAX_RELATIVE_ERROR[degree] > honest.arithmetic_for("fp32").exp_error / 4


def test_a_sink_far_above_every_score_takes_all_the_weight() -> None:
    given_ = inputs(np.float32)
    out, lse = tiled_attention(*given_[:3], spec=AttentionSpec(sinks=np.full(4, 300.0)))
    assert np.array_equal(out, np.zeros_like(out))
    assert np.array_equal(lse, np.full(lse.shape, 300.0, np.float32))


# Exact properties


@pytest.mark.parametrize("dtype", [*DTYPES, np.float64], ids=lambda d: d.__name__)
@pytest.mark.parametrize("n", [1, 2, 63, 64, 65, 130])
def test_equal_scores_and_values_of_one_give_exactly_one(dtype: Any, n: int) -> None:
    q, k = np.zeros((1, 1, 3, 4), dtype), np.ones((1, 1, n, 4), dtype)
    for kernel in (TiledAttention(), TiledAttention(tile_order="reverse", key_tile=16), TiledAttention(splits=2)):
        out, _ = kernel(q, k, np.ones((1, 1, n, 2), dtype))
        assert np.array_equal(out, np.ones_like(out))


@pytest.mark.parametrize("dtype", [*DTYPES, np.float64], ids=lambda d: d.__name__)
@pytest.mark.parametrize("at", [0, 3, 4, 11])
def test_one_dominant_key_returns_its_value_exactly(dtype: Any, at: int) -> None:
    given_ = inputs(dtype, keys=12, kv_heads=4)
    k = np.zeros_like(given_.k)
    k[:, :, at] = 32.0
    q = np.full_like(given_.q, 32.0)
    for kernel in (TiledAttention(key_tile=4), TiledAttention(key_tile=4, rescale_threshold=8.0)):
        out, _ = kernel(q, k, given_.v)
        assert np.array_equal(out, np.broadcast_to(given_.v[:, :, at : at + 1], out.shape))


@pytest.mark.parametrize("kernel", ["default", "small_tiles", "splits"])
def test_rows_that_see_nothing_are_zero_and_minus_infinity(kernel: str) -> None:
    given_ = inputs(np.float32)
    for empty_rows, expected in (("zero", 0.0), ("nan", np.nan)):
        spec = AttentionSpec(mask=np.zeros((QUERIES, KEYS), np.bool_), empty_rows=empty_rows)
        out, lse = dataclasses.replace(KERNELS[kernel], arithmetic=None)(*given_[:3], spec=spec)
        np.testing.assert_array_equal(out, np.full(out.shape, expected, np.float32))
        assert np.array_equal(lse, np.full(lse.shape, -np.inf))


@pytest.mark.parametrize("queries", [0, 4])
@pytest.mark.parametrize("keys", [0, 5])
def test_zero_lengths_give_empty_rows(queries: int, keys: int) -> None:
    given_ = inputs(np.float32, queries=queries, keys=keys)
    out, lse = TiledAttention(splits=2)(*given_[:3])
    assert out.shape == (2, 4, queries, 5)
    assert np.isneginf(lse).all() == (keys == 0 or queries == 0)
    assert (out == 0).all() == (keys == 0 or queries == 0)


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["causal", "window", "mask", "kept", "paged", "buckets", "bias_hides", "everything"])
def test_poison_in_invisible_slots_changes_no_bit(name: str, poison: float) -> None:
    q, k, v = inputs(np.float32, kv_heads=4)[:3]
    spec, kernel = SPECS[name], TiledAttention(key_tile=2, query_tile=3)
    seen = visible(spec, problem_shape(q, k, v, spec))
    dead_keys, dead_queries = ~seen.any(axis=2), ~seen.any(axis=3)
    clean = kernel(q, k, v, spec=spec)
    k, v, q = k.copy(), v.copy(), q.copy()
    k[dead_keys], v[dead_keys], q[dead_queries] = poison, poison, poison
    for before, after in zip(clean, kernel(q, k, v, spec=spec), strict=True):
        assert before.tobytes() == after.tobytes()


def test_nan_reaches_the_rows_that_see_it_and_no_other() -> None:
    q, k, v = inputs(np.float32, kv_heads=4)[:3]
    spec, kernel = AttentionSpec(causal=True), TiledAttention(key_tile=4)
    clean, clean_lse = kernel(q, k, v, spec=spec)
    v = v.copy()
    v[:, :, 6] = np.nan
    out, lse = kernel(q, k, v, spec=spec)
    sees = np.arange(QUERIES) + KEYS - QUERIES >= 6
    assert np.isnan(out[:, :, sees]).all()
    assert np.array_equal(out[:, :, ~sees], clean[:, :, ~sees])
    assert np.array_equal(lse, clean_lse)
    # Most kernels lack this care.
    careless, _ = TiledAttention(key_tile=4, nan_safe=False)(q, k, v, spec=spec)
    assert np.isnan(careless[:, :, ~sees]).any()


@pytest.mark.parametrize("where", ["q", "k", "v"])
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kernel", [TiledAttention(key_tile=2), TiledAttention(key_tile=2, splits=2)])
def test_visible_special_values_read_as_ieee_754_says(where: str, special: float, kernel: TiledAttention) -> None:
    given_ = inputs(seed=3)._asdict()
    given_[where] = given_[where].copy()
    given_[where][0, 0, 4, 1] = special
    q, k, v = (given_[name] for name in "qkv")
    out, lse = kernel(q, k, v, spec=AttentionSpec(causal=True))
    exact_out, exact_lse = definition.attention(q, k, v, AttentionSpec(causal=True), bits=80)
    for actual, exact in ((out, exact_out), (lse, exact_lse)):
        with np.errstate(invalid="ignore"):  # NumPy 1.26 warns of a NaN of mpmath's
            expected = exact.astype(np.float64)
        assert np.array_equal(np.isnan(actual), np.isnan(expected))
        assert np.array_equal(np.isposinf(actual), np.isposinf(expected))
        assert np.array_equal(np.isneginf(actual), np.isneginf(expected))


def test_a_row_whose_only_score_is_minus_infinity_is_nan_though_it_is_not_empty() -> None:
    q, k, v = np.full((1, 1, 1, 1), np.inf), np.full((1, 1, 1, 1), -1.0), np.ones((1, 1, 1, 1))
    out, lse = tiled_attention(q, k, v)
    assert np.isnan(out).all()
    assert np.isneginf(lse).all()


@given(seed=st.integers(0, 2**32 - 1), name=st.sampled_from(["plain", "causal", "softcap", "sinks", "dropout"]))
def test_grouped_heads_equal_repeated_keys_and_values_bit_for_bit(seed: int, name: str) -> None:
    q, k, v = inputs(np.float32, seed)[:3]
    repeated = (np.repeat(x, 2, axis=1) for x in (k, v))
    for one, other in zip(
        tiled_attention(q, k, v, spec=SPECS[name]), tiled_attention(q, *repeated, spec=SPECS[name]), strict=True
    ):
        assert one.tobytes() == other.tobytes()


def test_the_other_batches_change_no_bit_and_the_inputs_stay() -> None:
    given_ = inputs(np.float32)
    before = [x.tobytes() for x in given_]
    out, lse = tiled_attention(*given_[:3])
    alone, alone_lse = tiled_attention(*(x[1:] for x in given_[:3]))
    assert out[1:].tobytes() == alone.tobytes()
    assert lse[1:].tobytes() == alone_lse.tobytes()
    assert [x.tobytes() for x in given_] == before


@pytest.mark.parametrize("dtype", [*DTYPES, np.float64, ml_dtypes.float8_e5m2], ids=lambda d: d.__name__)
def test_dtypes_are_those_of_the_contract(dtype: Any) -> None:
    out, lse = tiled_attention(*inputs(dtype)[:3])
    assert out.dtype == dtype
    assert lse.dtype == (np.float64 if dtype is np.float64 else np.float32)


# Arithmetic


def test_the_contract_names_what_the_kernel_does() -> None:
    arithmetic = TiledAttention(key_tile=32, splits=4, exp="poly", degree=2, rescale_threshold=8.0).arithmetic_for(
        "bf16"
    )
    assert (arithmetic.tile, arithmetic.splits, arithmetic.exponent) == (32, 4, "fma")
    assert arithmetic.exp_relative == MAX_RELATIVE_ERROR[2]
    assert arithmetic.lag == 8 * math.log(2)
    assert TiledAttention().arithmetic_for("fp16") == Arithmetic.flash("fp16")


def test_probabilities_cast_after_normalising_need_all_keys_at_once() -> None:
    given_ = inputs(np.float16)
    naive = Arithmetic.naive("fp16")
    assert max(judged(TiledAttention(naive), "sinks", np.float16)) <= 1
    with pytest.raises(InvalidValue, match="cast is 'after'"):
        TiledAttention(naive, key_tile=4)(*given_[:3])


def test_a_bf16_accumulator_stalls() -> None:
    """600 equal weights and V = 1: an accumulator of 8 bits stops at 256 of the 600, and a bf16 row sum does too."""
    q, k, v = (
        np.zeros((1, 1, 1, 2), np.float32),
        np.zeros((1, 1, 600, 2), np.float32),
        np.ones((1, 1, 600, 1), np.float32),
    )
    stalled = TiledAttention(Arithmetic.flash("fp32", accumulator="bf16", tile=None))(q, k, v)[0]
    assert stalled[0, 0, 0, 0] == np.float32(formats.bf16.round(256 / 600))
    both = Arithmetic.flash("fp32", accumulator="bf16", normaliser="bf16", tile=None)
    assert TiledAttention(both)(q, k, v)[0][0, 0, 0, 0] == 1.0


def test_e4m3_probabilities_saturate_when_offset_and_stale_maximum_exceed_the_format() -> None:
    """P reaches 2**(8 + 4), e4m3 ends at 448: the row sum counts it in full, so the output comes out too small."""
    q = np.full((1, 1, 1, 1), 1.0, np.float32)
    k = np.array([0.0, 2.0]).astype(np.float32).reshape(1, 1, 2, 1)
    v = np.ones((1, 1, 2, 1), np.float32)
    arithmetic = Arithmetic.flash("fp32", probabilities="e4m3", tile=1)
    careful = TiledAttention(arithmetic, probability_offset=8)(q, k, v)[0]
    stale = TiledAttention(arithmetic, probability_offset=8, rescale_threshold=4.0)(q, k, v)[0]
    u = formats.e4m3.unit_roundoff
    assert abs(careful[0, 0, 0, 0] - 1) <= 2 * u
    saturated = (256 + 448) / (256 + 256 * math.exp(2))
    assert abs(stale[0, 0, 0, 0] - saturated) <= 2.0**-20


# Every step can be replaced: faults of real kernels, planted in a line or two.


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("query_tile", 0),
        ("key_tile", 0),
        ("splits", 0),
        ("rescale_threshold", -1.0),
        ("rescale_threshold", math.nan),
        ("degree", 6),
        ("exp", "taylor"),
    ],
)
def test_a_bad_setting_is_named(field: str, value: Any) -> None:
    with pytest.raises(InvalidValue, match=f"^{field} is"):
        TiledAttention(**{field: value})


def test_arrays_that_do_not_fit_together_are_refused() -> None:
    q, k, v = inputs(np.float32)[:3]
    with pytest.raises(InvalidValue, match=r"^v holds 8 keys"):
        tiled_attention(q, k, v[:, :, :-1])
