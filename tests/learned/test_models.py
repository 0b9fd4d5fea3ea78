"""The models of block scales: exact ones give attention, predicted ones equal their formula, and none looks ahead."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import refattn as ra
from refattn.contract.arithmetic import Arithmetic
from refattn.contract.block_scales import BlockScales
from refattn.contract.spec import AttentionSpec, problem_shape
from refattn.errors import InvalidValue
from refattn.models import (
    BlockScaledAttention,
    ExactScales,
    LeakyAttention,
    MomentScales,
    PublishedScales,
    StaticScales,
    TiledAttention,
    Uncorrected,
)
from refattn.models.learned import block_log_sum_exps, normalised, scales_of
from refattn.models.moments import growth, mean_and_variance

U = 2.0**-53
RNG = np.random.default_rng(0)
TABLE = RNG.standard_normal((4, 9, 3))
METHODS = {
    "exact": ExactScales(),
    "uncorrected": Uncorrected(),
    "static": StaticScales(TABLE),
    "moments": MomentScales(),
    "groups": MomentScales(centroids=RNG.standard_normal((2, 3, 5)), first=2),
    "basis": MomentScales(basis=RNG.standard_normal((2, 5, 2))),
    "metric": MomentScales(
        centroids=RNG.standard_normal((2, 3, 4)), metric=RNG.standard_normal((2, 5, 4)), first=1, latest=3
    ),
}
SPECS = {
    "everything": AttentionSpec(),
    "causal": AttentionSpec(causal=True),
    "window": AttentionSpec(causal=True, window=(4, None)),
    "mask": AttentionSpec(mask=np.random.default_rng(1).random((2, 1, 13, 13)) < 0.4),
}


def inputs(whole: bool = False) -> tuple[Any, Any, Any]:
    """q (2, 4, 13, 5), k and v (2, 2, 13, 5): small whole numbers, whose products are exact, or any."""
    rng = np.random.default_rng(2)
    draw = (lambda size: rng.integers(-2, 3, size).astype(np.float64)) if whole else rng.standard_normal
    return draw((2, 4, 13, 5)), draw((2, 2, 13, 5)), draw((2, 2, 13, 5))


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_exact_scales_give_attention(spec: AttentionSpec) -> None:
    q, k, v = (array.astype(np.float32) for array in inputs())
    # A sum over blocks is a split whose parts are weighted by exponentials.
    arithmetic = Arithmetic.flash("fp32", splits=4)
    out, scales = BlockScaledAttention(ExactScales(), BlockScales(4))(q, k, v, spec=spec)
    ra.assert_attention(out, q, k, v, spec=spec, arithmetic=arithmetic)
    rolled = BlockScaledAttention(ExactScales(), BlockScales(4, 26))(q, k, v, spec=spec)[1]
    assert not np.array_equal(scales, rolled)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_blocks_log_sum_exp_is_the_oracles(spec: AttentionSpec) -> None:
    q, k, v = inputs()
    blocks = BlockScales(4)
    log_sum_exps = block_log_sum_exps(q, k, spec, blocks)
    shape = problem_shape(q, k, v, spec)
    for block, part in enumerate(blocks.specs(spec, shape)):
        assert part is not None
        truth = ra.oracle.attention(q, k, v, part).lse
        unseen = np.isneginf(truth.mid)
        assert np.array_equal(np.isneginf(log_sum_exps[..., block]), unseen)
        budget = ra.bounds.attention(q, k, v, part, Arithmetic.float64()).lse.certified
        gap = np.abs(np.where(unseen, 0.0, log_sum_exps[..., block] - np.where(unseen, 0.0, truth.mid)))
        assert (gap <= np.where(unseen, 0.0, budget + truth.rad)).all()


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_block_of_which_nothing_is_seen_has_a_scale_of_0_and_others_are_weights(
    name: str, spec: AttentionSpec
) -> None:
    q, k, v = inputs()
    blocks = BlockScales(3)
    scales = METHODS[name](q, k, spec, blocks)
    seen = blocks.seen(spec, problem_shape(q, k, v, spec))
    assert scales.shape == (2, 4, 13, 3)
    assert (scales[~seen] == 0).all()
    assert (scales[seen] >= 0).all()
    if name != "uncorrected":
        # A quotient by the sum of three, and their sum here; exact ones are exponentials of logarithms, each of 4 ulps.
        slack = 12 * U if name != "exact" else 2.0**-44
        assert (np.abs(scales.sum(axis=-1) - seen.any(axis=-1)) <= slack).all()


@pytest.mark.parametrize("name", METHODS)
def test_no_method_looks_at_what_a_query_does_not_see(name: str) -> None:
    q, k, _ = inputs()
    poisoned = k.copy()
    poisoned[:, :, 7:] = np.nan
    for spec in (SPECS["causal"], SPECS["window"]):
        before = METHODS[name](q, k, spec, BlockScales(3))
        with np.errstate(invalid="ignore"):
            after = METHODS[name](q, poisoned, spec, BlockScales(3))
        assert np.array_equal(before[:, :, :7], after[:, :, :7])


@pytest.mark.parametrize("name", METHODS)
def test_decoding_has_the_scales_of_the_whole_sequence(name: str) -> None:
    q, k, _ = inputs(whole=True)
    blocks, spec = BlockScales(3, 12), AttentionSpec(causal=True, scale=0.5)
    whole = METHODS[name](q, k, spec, blocks)
    for stop in (1, 5, 9, 13):
        part = METHODS[name](q[:, :, stop - 1 : stop], k[:, :, :stop], spec, blocks)
        if name == "basis":  # Products that round, one row at a time or all at once.
            assert (np.abs(part - whole[:, :, stop - 1 : stop]) <= 2.0**-30).all()
        else:
            assert np.array_equal(part, whole[:, :, stop - 1 : stop])


def test_moments_are_those_of_the_keys_that_are_seen() -> None:
    rng = np.random.default_rng(3)
    query, key = (rng.integers(-3, 4, size).astype(float) for size in ((6, 3), (7, 3)))
    seen = np.tril(np.ones((6, 7), bool)) & (rng.random((6, 7)) < 0.8)
    count, mean, variance = mean_and_variance(query, key, seen)
    for row in range(6):
        # Sums of 1, k and k k', which say all, whatever the query is.
        keys = [[Fraction(int(x)) for x in key[j]] for j in np.flatnonzero(seen[row])]
        n, q = len(keys), [Fraction(int(x)) for x in query[row]]
        first = [sum((k[a] for k in keys), Fraction(0)) for a in range(3)]
        second = [[sum((k[a] * k[b] for k in keys), Fraction(0)) for b in range(3)] for a in range(3)]
        divisor = max(n, 1)
        mu = sum(q[a] * first[a] for a in range(3)) / divisor
        spread = sum(q[a] * q[b] * second[a][b] for a in range(3) for b in range(3)) / divisor - mu**2
        assert count[row] == n
        assert abs(Fraction(float(mean[row])) - mu) <= abs(mu) * Fraction(2) ** -53
        # Each deviation, of at most 2 * 27, has three roundings and its square one; n + 1 more in their mean.
        assert (
            abs(Fraction(float(variance[row])) - spread) <= Fraction(54**2 * (2 * 3 + 1 + n + 2)) * Fraction(2) ** -53
        )


def test_moments_are_exact_where_nothing_varies_and_of_keys_apart() -> None:
    q, k, _ = inputs()
    blocks, spec = BlockScales(4), SPECS["causal"]
    same = np.broadcast_to(k[:, :, :1], k.shape)
    exact = block_log_sum_exps(q, same, spec, blocks)
    log_sum_exps = MomentScales().log_sum_exps(q, same, spec, blocks)
    seen = np.isfinite(exact)
    # Some ten roundings, of numbers below 16 in size.
    assert (np.abs(log_sum_exps[seen] - exact[seen]) <= 16 * 10 * 2.0**-50).all()
    apart = MomentScales(first=13).log_sum_exps(q, k, spec, blocks)
    assert (np.abs(apart[seen] - block_log_sum_exps(q, k, spec, blocks)[seen]) <= 16 * 10 * 2.0**-50).all()
    latest = MomentScales(latest=13).log_sum_exps(q, k, spec, blocks)
    assert (np.abs(latest[seen] - apart[seen]) <= 2 * 16 * 10 * 2.0**-50).all()
    assert (np.abs(MomentScales().log_sum_exps(q, k, spec, blocks)[seen] - apart[seen])).max() > 0.01


def test_few_keys_grow_no_faster_than_the_largest_of_them() -> None:
    count, variance = np.array([1.0, 2.0, 16.0, 1e9]), 40.0
    grown = growth(count, np.full(4, variance))
    assert grown[0] == 0.0
    assert grown[-1] == variance / 2
    assert (np.diff(grown) > 0).all()
    # The largest of n is about sqrt(2 log n) deviations above the mean, and n e^mean is below e^largest by log n.
    rng = np.random.default_rng(0)
    for n in (16, 256):
        x = rng.standard_normal((4000, n)) * math.sqrt(variance)
        mean = float((np.logaddexp.reduce(x, axis=1) - math.log(n) - x.mean(axis=1)).mean())
        ours, naive = (
            abs(each - mean) for each in (float(growth(np.array(float(n)), np.array(variance))), variance / 2)
        )
        assert ours < naive / 2


def test_a_key_that_dominates_is_seen_as_a_group_of_its_own() -> None:
    q, k, _ = inputs()
    k[:, :, 0] *= 6.0
    blocks, spec = BlockScales(1), AttentionSpec()
    exact = block_log_sum_exps(q, k, spec, blocks)

    def error(method: MomentScales) -> float:
        return float(np.abs(method.log_sum_exps(q, k, spec, blocks) - exact).mean())

    assert error(MomentScales(first=1)) < error(MomentScales()) / 4
    centres = np.stack([k[0, :, 0], np.zeros_like(k[0, :, 0])], axis=1)
    assert MomentScales(centroids=centres).groups(k)[0, 0].tolist() == [0] + [1] * 12
    doubled = MomentScales(centroids=2 * centres, metric=np.broadcast_to(2 * np.eye(5), (2, 5, 5)))
    assert np.array_equal(doubled.groups(k), MomentScales(centroids=centres).groups(k))
    assert error(MomentScales(centroids=centres)) < error(MomentScales()) / 2


def test_a_basis_of_everything_changes_nothing() -> None:
    q, k, _ = inputs(whole=True)
    eye = np.broadcast_to(np.eye(5), (2, 5, 5))
    given = (q, k, AttentionSpec(causal=True, scale=0.25), BlockScales(3))
    assert np.array_equal(MomentScales(basis=eye)(*given), MomentScales()(*given))


@pytest.mark.parametrize("field", ["softcap", "bias", "alibi_slopes"])
def test_moments_refuse_scores_that_are_no_dot_products(field: str) -> None:
    q, k, _ = inputs()
    value = {"softcap": 3.0, "bias": np.zeros((1, 1, 1, 1)), "alibi_slopes": np.ones(4)}[field]
    with pytest.raises(InvalidValue, match=f"^{field} is set: expected a spec without it"):
        MomentScales()(q, k, AttentionSpec(**{field: value}), BlockScales(2))


def test_a_table_is_read_at_the_querys_position_and_its_last_row_beyond() -> None:
    q, k, _ = inputs()
    spec, blocks = SPECS["causal"], BlockScales(3)
    scales = StaticScales(TABLE)(q, k, spec, blocks)
    seen = blocks.seen(spec, problem_shape(q, k, k, spec))
    for row in range(13):
        expected = normalised(np.broadcast_to(TABLE[:, min(row, 8)], (2, 4, 3)), seen[:, :, row])
        assert np.array_equal(scales[:, :, row], expected)
    shared = StaticScales(TABLE[:1])(q, k, spec, blocks)
    assert np.array_equal(shared[:, 0], shared[:, 3])


def test_the_published_method_weighs_keys_to_come_alike() -> None:
    q, k, _ = inputs()
    table = np.full((1, 13, 2), -0.5)
    kernel = BlockScaledAttention(PublishedScales(table), BlockScales(2, 12), LeakyAttention())
    for future in range(6, 13):
        one = np.zeros((2, 2, 13, 1), np.float32)
        one[:, :, future] = 1.0
        out, scales = kernel(q.astype(np.float32), k.astype(np.float32), one, spec=SPECS["causal"])
        assert (scales == 0.5).all()
        # Rows 0 to 5 see nothing of the second block, which has seven keys.
        expected = np.float32(0.5) * (np.float32(1) / np.float32(7))
        assert (out[:, :, :6] == expected).all()
    safe = BlockScaledAttention(PublishedScales(table), BlockScales(2, 12))
    assert (safe(q.astype(np.float32), k.astype(np.float32), one, spec=SPECS["causal"])[0][:, :, :6] == 0).all()


def test_sinks_take_their_weight_from_exact_scales() -> None:
    sinks = np.array([0.0])
    scales = scales_of(np.zeros((1, 1, 2, 3)), AttentionSpec(sinks=sinks))
    assert (np.abs(scales - 0.25) <= 2.0**-50).all()
    assert (scales_of(np.full((1, 1, 2, 3), -np.inf)) == 0).all()


def test_what_is_divided_before_its_row_is_complete_is_refused() -> None:
    q, k, v = (array.astype(np.float32) for array in inputs())
    late = Arithmetic.naive("fp32")
    assert BlockScaledAttention(blocks=BlockScales(2), kernel=TiledAttention(late))(q, k, v)[0].shape == q.shape
    with pytest.raises(InvalidValue, match=r"^cast is 'after': expected all keys of a block in one tile"):
        BlockScaledAttention(blocks=BlockScales(2), kernel=TiledAttention(late, key_tile=4))(q, k, v)
