"""Softmax over blocks in torch: the exact scales, the distances, and the leak, which only the published method has."""

from __future__ import annotations

import math

import numpy as np
import pytest

from refattn import oracle
from refattn.contract.block_scales import BlockScales
from refattn.contract.spec import AttentionSpec
from refattn.numbers.roundoff import gamma
from refattn.suite import certificates
from tests.support.extras import needed, skip_without

torch = needed("torch")
skip_without("transformers")

from refattn.learned.methods import METHODS, LayerShape, build
from refattn.learned.rows import Rows
from refattn.learned.scales import block_softmax, distances

UNIT = 2.0**-53
WINDOW = 24
SHAPE = LayerShape(heads=4, kv_heads=2, head_dim=8)
LEAKS = ("original",)


def rows_of(queries: int, keys: int, seed: int = 0, spread: float = 2.0) -> Rows:
    """Causal rows in float64, the last query seeing all keys."""
    generator = torch.Generator().manual_seed(seed)

    def normal(heads: int, length: int) -> torch.Tensor:
        return spread * torch.randn(2, heads, length, SHAPE.head_dim, generator=generator, dtype=torch.float64)

    visible = torch.ones(1, 1, queries, keys, dtype=torch.bool).tril(keys - queries)
    return Rows(normal(4, queries), normal(2, keys), normal(2, keys), visible)


def last(rows: Rows, queries: int, keys: int) -> Rows:
    """As a cache has them: the last `queries` of the first `keys` tokens."""
    return Rows(
        rows.query[:, :, keys - queries : keys],
        rows.key[:, :, :keys],
        rows.value[:, :, :keys],
        rows.visible[:, :, keys - queries : keys, :keys],
    )


def method_of(name: str, blocks: int, rows: Rows | None = None) -> torch.nn.Module:
    """A method in float64 that has observed the rows."""
    method = build(name, [SHAPE], BlockScales(blocks, WINDOW), seed=3)[0].double()
    if rows is not None:
        with torch.no_grad():
            method.observe(rows)
            method.settle()
    return method


def score_error(rows: Rows) -> float:
    """Twice the largest error of a score, or of a log-sum-exp of scores, in float64."""
    sizes = (rows.scaled_query.abs() @ rows.for_heads(rows.key).abs().transpose(-1, -2)).max().item()
    return 2 * (gamma(SHAPE.head_dim + 3, UNIT) * sizes + gamma(rows.keys + 10, UNIT) * (1 + sizes))


def scale_error(rows: Rows) -> float:
    """The largest difference of two float64 computations of an exact scale, which is at most 1."""
    return math.expm1(2 * score_error(rows)) + gamma(10, UNIT)


@pytest.mark.parametrize("blocks", [1, 2, 5, 24])
def test_exact_scales_and_distances_are_those_of_the_certificate(blocks: int) -> None:
    rows = rows_of(WINDOW, WINDOW)
    division = BlockScales(blocks, WINDOW)
    softmax = block_softmax(rows, division)
    scales = method_of("original", blocks).scales(rows, softmax).detach()
    computed = distances(softmax, scales)
    spec = AttentionSpec(causal=True)
    q, k, v = rows.query.numpy(), rows.key.numpy(), rows.value.numpy()
    known = certificates.certificate(q, k, v, spec, scales=scales.numpy(), blocks=division)
    error = scale_error(rows)
    assert (np.abs(softmax.exact.numpy() - known.exact.mid) <= known.exact.rad + error).all()
    slack = blocks * error + gamma(blocks + 2, UNIT) * scales.sum(-1).numpy()
    assert (np.abs(computed.distance.numpy() - known.distance.mid) <= known.distance.rad + slack).all()
    assert (np.abs(computed.leak.numpy() - known.leak) <= slack).all()
    assert (
        np.abs(computed.row_sum_error.numpy() - np.abs(known.row_sum_error.mid)) <= known.row_sum_error.rad + slack
    ).all()


def test_the_distance_is_that_of_the_weights() -> None:
    rows = rows_of(WINDOW, WINDOW)
    method = method_of("original", 3)
    softmax = block_softmax(rows, method.blocks)
    scales = method.scales(rows, softmax).detach()
    weights = method.weights(softmax, scales).detach()
    exact = softmax.weights(softmax.exact)
    difference = (weights - exact).abs().sum(-1)
    # Each weight is its scale times a quotient of sums; the quotients of a block add up to 1 but for roundings.
    roundings = gamma(2 * WINDOW + 10, UNIT) * (scales.sum(-1) + 1)
    assert ((difference - distances(softmax, scales).distance).abs() <= roundings).all()


@pytest.mark.parametrize("softcap", [None, 3.0])
def test_exact_is_attention(softcap: float | None) -> None:
    rows = rows_of(WINDOW - 5, WINDOW)
    rows = Rows(rows.query, rows.key, rows.value, rows.visible, 0.25, softcap)
    spec = AttentionSpec(causal=True, scale=0.25, softcap=softcap)
    truth = oracle.attention(rows.query.numpy(), rows.key.numpy(), rows.value.numpy(), spec).out
    out = method_of("exact", 3)(rows).numpy()
    # A weight's relative error is that of its scores, twice, and of a few roundings; weights sum to 1.
    relative = math.expm1(2 * score_error(rows)) + gamma(WINDOW + 10, UNIT)
    assert (np.abs(out - truth.mid) <= truth.rad + relative * rows.value.abs().max().item()).all()


@pytest.mark.parametrize("name", [name for name in METHODS if name not in LEAKS])
@pytest.mark.parametrize("blocks", [1, 3, 24])
def test_invisible_keys_weigh_exactly_nothing(name: str, blocks: int) -> None:
    rows = rows_of(WINDOW, WINDOW)
    method = method_of(name, blocks, rows)
    softmax = block_softmax(rows, method.blocks)
    scales = method.scales(rows, softmax)
    assert not distances(softmax, scales).leak.any()
    assert not method.weights(softmax, scales)[~rows.visible.expand_as(rows.scores)].any()


def test_the_published_method_leaks_and_is_seen_to() -> None:
    rows = rows_of(WINDOW, WINDOW)
    method = method_of("original", 2)
    softmax = block_softmax(rows, method.blocks)
    scales = method.scales(rows, softmax)
    computed = distances(softmax, scales)
    future = method.weights(softmax, scales).masked_fill(rows.visible, 0.0).sum(-1)
    assert (computed.leak[..., : WINDOW // 2] > 0).all()
    assert ((future - computed.leak).abs() <= gamma(WINDOW + 2, UNIT) * computed.leak).all()


@pytest.mark.parametrize("name", ["exact", "static", "moments", "moments+learned"])
def test_scales_sum_to_one(name: str) -> None:
    rows = rows_of(WINDOW, WINDOW)
    method = method_of(name, 5, rows)
    scales = method.scales(rows, block_softmax(rows, method.blocks))
    assert (scales >= 0).all()
    assert ((scales.sum(-1) - 1).abs() <= gamma(2 * 5 + 10, UNIT) + 5 * UNIT).all()


@pytest.mark.parametrize("name", list(METHODS))
def test_a_row_that_sees_nothing_gives_zero(name: str) -> None:
    rows = rows_of(WINDOW, WINDOW)
    visible = rows.visible.clone()
    visible[..., 4, :] = False
    blind = Rows(rows.query, rows.key, rows.value, visible)
    out = method_of(name, 3, rows)(blind)
    assert out.isfinite().all()
    if name not in LEAKS:
        assert not out[:, :, 4].any()


@pytest.mark.parametrize("name", [name for name in METHODS if name not in LEAKS])
@pytest.mark.parametrize("keys", [1, 7, WINDOW, WINDOW + 6])
def test_decoding_gives_the_scales_of_the_whole(name: str, keys: int) -> None:
    whole = rows_of(WINDOW + 6, WINDOW + 6)
    method = method_of(name, 3, last(whole, WINDOW, WINDOW))
    one = last(whole, 1, keys)
    alone = method.scales(one, block_softmax(one, method.blocks))
    together = method.scales(whole, block_softmax(whole, method.blocks))[:, :, keys - 1 : keys]
    assert ((alone - together).abs() <= summary_error(whole)).all()


def summary_error(rows: Rows) -> float:
    """The largest difference of two float64 computations of a scale whose logits are moments and features of keys.

    A mean is off by no more than its scores, and a variance by 4 times their size times that; a correction's factors
    and its features' exponents are small numbers times these, by far less than 64.
    """
    sizes = (rows.scaled_query.abs() @ rows.for_heads(rows.key).abs().transpose(-1, -2)).max().item()
    return math.expm1(64 * (1 + sizes) * score_error(rows))


def test_blocks_without_keys_have_no_scale() -> None:
    rows = rows_of(5, 5)
    for name in METHODS:
        method = method_of(name, 4, rows)
        scales = method.scales(rows, block_softmax(rows, method.blocks))
        assert not scales[..., 1:].any(), name
        assert scales.shape == (2, 4, 5, 4)
