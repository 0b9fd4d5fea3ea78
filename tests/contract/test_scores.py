"""refattn.contract.scores: every query once, only the keys that it sees, and exact scores of integers."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from refattn.contract.features import hides
from refattn.contract.scores import Block, add_to_bias, blocks, dropout_keep, scale_of, scores_of
from refattn.contract.spec import AttentionSpec, Shape, problem_shape
from refattn.contract.visibility import Visibility
from tests.support.attention_problems import KEYS, QUERIES, SPECS

SHAPE = Shape(2, 4, 2, QUERIES, KEYS, 3, 5)
SIZES = (1, KEYS, 4 * KEYS, 10**6)


def integers(shape: tuple[int, ...], seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(-9, 10, shape).astype(np.float64)


Q, K = integers((2, 4, QUERIES, 3)), integers((2, 2, KEYS, 3), 1)


def blocks_of(spec: AttentionSpec, entries: int = 10**6) -> list[Block]:
    return list(blocks(Q, K, spec, problem_shape(Q, K, np.zeros((2, 2, KEYS, 5)), spec), entries))


def spread(block: Block, values: Any, filler: float) -> Any:
    """A block's (r, n) array at its place among all keys."""
    whole = np.full((values.shape[0], KEYS), filler)
    whole[:, block.keys] = values
    return whole


@pytest.mark.parametrize("entries", SIZES)
@pytest.mark.parametrize("name", SPECS)
def test_every_query_of_every_head_comes_once(name: str, entries: int) -> None:
    visited = [(b.batch, b.head, row) for b in blocks_of(SPECS[name], entries) for row in range(QUERIES)[b.rows]]
    assert sorted(visited) == list(itertools.product(range(2), range(4), range(QUERIES)))


@pytest.mark.parametrize("entries", SIZES)
@pytest.mark.parametrize("name", SPECS)
def test_a_block_sees_what_the_spec_says_and_holds_no_other_key(name: str, entries: int) -> None:
    seen = Visibility.of(SPECS[name], SHAPE).full()
    for block in blocks_of(SPECS[name], entries):
        inside = np.ones((len(block.query), len(block.key)), bool) if block.visible is None else block.visible
        np.testing.assert_array_equal(
            spread(block, inside.astype(float), 0.0) == 1.0, seen[block.batch, block.head, block.rows]
        )
        # A slice may contain keys that no query of the block sees; each key taken by index is seen by some.
        if not isinstance(block.keys, slice):
            assert inside.any(axis=0).all()


@pytest.mark.parametrize("entries", [1, 3 * KEYS, 10**6])
def test_a_block_holds_no_more_scores_than_asked_for_or_one_row(entries: int) -> None:
    sizes = [block.query.shape[0] * block.key.shape[0] for block in blocks_of(AttentionSpec(), entries)]
    assert max(sizes) <= max(entries, KEYS)
    assert len(sizes) == 8 * math.ceil(QUERIES / max(1, min(QUERIES, entries // KEYS)))


def test_query_heads_read_the_key_head_of_their_group() -> None:
    for block in blocks_of(AttentionSpec()):
        assert block.kv_head == block.head // 2
        np.testing.assert_array_equal(block.key, K[block.batch, block.head // 2])
        np.testing.assert_array_equal(block.query, Q[block.batch, block.head])


WHOLE_NUMBERS = {
    "plain": AttentionSpec(scale=2.0),
    "causal": AttentionSpec(scale=-1.0, causal=True, window=(3, None)),
    "bias": AttentionSpec(scale=1.0, bias=integers((4, QUERIES, KEYS), 2)),
    "bias_of_a_key": AttentionSpec(scale=1.0, bias=integers((2, 1, 1, KEYS), 2)),
    "bias_of_a_query": AttentionSpec(scale=1.0, bias=integers((QUERIES, 1), 2)),
    "bias_hides": AttentionSpec(scale=1.0, bias=np.where(integers((QUERIES, KEYS), 3) > 2, -np.inf, 1.0)),
    "alibi": AttentionSpec(scale=1.0, alibi_slopes=integers((4,), 4)),
    "alibi_and_bias": AttentionSpec(scale=1.0, alibi_slopes=integers((2, 4), 4), bias=integers((1, KEYS), 5)),
    "paged_alibi": AttentionSpec(
        scale=1.0, alibi_slopes=np.ones(4), key_positions=np.array([3, -1, 0, 1, 5, 2, -1, 4, 6])
    ),
    "sparse": AttentionSpec(scale=1.0, kept_keys=np.arange(KEYS) % 2 == 0, bias=integers((1, KEYS), 5)),
}


@pytest.mark.parametrize("entries", [1, 10**6])
@pytest.mark.parametrize("name", WHOLE_NUMBERS)
def test_scores_of_whole_numbers_are_exact(name: str, entries: int) -> None:
    spec = WHOLE_NUMBERS[name]
    visibility = Visibility.of(spec, SHAPE)
    seen = visibility.full()
    wanted = float(spec.scale or 0.0) * Q @ np.swapaxes(np.repeat(K, 2, axis=1), -1, -2)
    if spec.bias is not None:
        wanted = wanted + np.where(np.isneginf(spec.bias), 0.0, spec.bias)
    size = np.zeros(wanted.shape) if spec.bias is None else np.abs(np.broadcast_to(spec.bias, wanted.shape))
    if spec.alibi_slopes is not None:
        slopes = np.broadcast_to(spec.alibi_slopes, (2, 4))[:, :, None, None]
        wanted = wanted - slopes * visibility.distance()
        size = size + np.abs(slopes) * visibility.distance()
    for block in blocks_of(spec, entries):
        place = (block.batch, block.head, block.rows)
        scores = spread(block, scores_of(block, spec, float(spec.scale or 0.0)), -np.inf)
        np.testing.assert_array_equal(scores, np.where(seen[place], wanted[place], -np.inf))
        largest = np.where(seen[place], size[place], 0.0).max(axis=1)
        assert (block.additive_size >= largest).all()
        assert (block.additive is None) == (spec.bias is None and spec.alibi_slopes is None)


def test_softcap_is_applied_before_the_bias() -> None:
    spec = AttentionSpec(scale=1.0, softcap=4.0, bias=np.full((1, 1), 100.0))
    for block in blocks_of(spec):
        scores = scores_of(block, spec, 2.0**40)
        raw = block.query @ block.key.T
        np.testing.assert_array_equal(scores, 100.0 + 4.0 * np.sign(raw))


def test_the_default_scale_is_the_nearest_number_to_the_inverse_root() -> None:
    for d in range(1, 300):
        # Two correctly rounded operations.
        assert abs(scale_of(AttentionSpec(), d) * math.sqrt(d) - 1.0) <= 2.0**-51
    assert scale_of(AttentionSpec(scale=0.0), 4) == 0.0
    assert scale_of(AttentionSpec(scale=-3.5), 4) == -3.5


@pytest.mark.parametrize("name", SPECS)
def test_hides_is_true_wherever_a_key_is_invisible(name: str) -> None:
    if not Visibility.of(SPECS[name], SHAPE).full().all():
        assert hides(SPECS[name])


@pytest.mark.parametrize("name", ["plain", "scale", "softcap", "alibi", "bias", "sinks", "dropout"])
def test_hides_is_false_where_nothing_can_be_invisible(name: str) -> None:
    assert not hides(SPECS[name])


@pytest.mark.parametrize("shape", [(2, 4, QUERIES, KEYS), (4, QUERIES, KEYS), (QUERIES, 1), (1, KEYS), (2, 1, 1, 1)])
@pytest.mark.parametrize("entries", [1, 10**6])
def test_the_keep_mask_is_that_of_the_block(shape: tuple[int, ...], entries: int) -> None:
    keep = integers(shape, 6) > 0
    spec = AttentionSpec(keep=keep, dropout=0.5, kept_keys=np.arange(KEYS) % 3 != 1)
    whole = np.broadcast_to(keep, (2, 4, QUERIES, KEYS))
    for block in blocks_of(spec, entries):
        wanted = whole[block.batch, block.head, block.rows][:, block.keys]
        np.testing.assert_array_equal(np.broadcast_to(dropout_keep(block, spec), wanted.shape), wanted)


@pytest.mark.parametrize("axes", list(itertools.product([False, True], repeat=4)))
@pytest.mark.parametrize("entries", [1, 10**6])
def test_terms_of_a_bias_are_summed_where_it_broadcasts(axes: tuple[bool, ...], entries: int) -> None:
    full = (2, 4, QUERIES, KEYS)
    terms = integers(full, 7)
    spec = AttentionSpec(kept_keys=np.arange(KEYS) % 3 != 1)
    target = np.zeros([1 if axis else n for axis, n in zip(axes, full, strict=True)])
    for block in blocks_of(spec, entries):
        add_to_bias(target, block, terms[block.batch, block.head, block.rows][:, block.keys])
    summed = tuple(axis for axis in range(4) if axes[axis])
    np.testing.assert_array_equal(target, (terms * spec.kept_keys).sum(axis=summed, keepdims=True))
