"""Contract: the order of sparse attention's tokens says who sees whom, without a host's help, and saves work."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refattn.contract.spec import AttentionSpec, problem_shape
from refattn.contract.visibility import visible
from tests.support.extras import needed, skip_without

torch = needed("torch")
skip_without("triton")

import refattn_interpreter as interpreter
from refattn_gpu.launching.arguments import Tiling
from refattn_gpu.sparse.arguments import Selection
from refattn_gpu.sparse.attention import SparseAttention
from refattn_gpu.sparse.order import Order

CPU = torch.device("cpu")
INT64 = np.iinfo(np.int64)
IDS = np.array([INT64.min, -2, -1, 0, 1, INT64.max])
TILE = 16
TOKENS = 64


def drawn(seed: int) -> tuple[AttentionSpec, Any]:
    """A small spec with buckets, dropped tokens or both, whose arrays may be shared by heads and by sequences."""
    rng = np.random.default_rng(seed)
    b, h = (int(n) for n in rng.integers(1, 3, 2))
    queries, keys = (int(n) for n in rng.integers(1, 9, 2))

    def size(n: int) -> tuple[int, ...]:
        sizes: list[tuple[int, ...]] = [(n,), (1,), (h, n), (b, h, n), (b, 1, n)]
        return sizes[int(rng.integers(len(sizes)))]

    fields: dict[str, Any] = {}
    if rng.random() < 0.6:
        fields["buckets"] = (rng.choice(IDS, size(queries)), rng.choice(IDS, size(keys)))
    if rng.random() < 0.6:
        fields["kept_keys"] = rng.random(size(keys)) < 0.6
    if rng.random() < 0.6:
        fields["kept_queries"] = rng.random(size(queries)) < 0.6
    if rng.random() < 0.6:
        strict, top = (bool(x) for x in rng.random(2) < 0.5)
        fields |= {"causal": True, "strict": strict, "alignment": "top_left" if top else "bottom_right"}
    spec = AttentionSpec(**fields)
    q, k = np.zeros((b, h, queries, 1)), np.zeros((b, h, keys, 1))
    return spec, problem_shape(q, k, k, spec)


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 2**32 - 1))
def test_intervals_in_the_order_are_the_visible_pairs(seed: int) -> None:
    spec, shape = drawn(seed)
    found = Selection.of_spec(spec, CPU).order(spec, shape, CPU)
    assert found is not None
    rows, columns = found.rows.long().numpy(), found.columns.long().numpy()
    assert (np.sort(rows) == np.arange(shape.queries)).all()
    assert (np.sort(columns) == np.arange(shape.keys)).all()
    wanted = np.take_along_axis(visible(spec, shape), rows[..., None], 2)
    wanted = np.take_along_axis(wanted, columns[:, :, None], 3)
    starts, ends, lows, highs = (x.numpy() for x in (found.starts, found.ends, found.lows, found.highs))
    slot = np.arange(shape.keys)
    assert np.array_equal((starts[..., None] <= slot) & (slot < ends[..., None]), wanted)
    slot = np.arange(shape.queries)[:, None]
    assert np.array_equal((lows[:, :, None] <= slot) & (slot < highs[:, :, None]), wanted)
    assert found.hides or wanted.all()


def test_the_order_is_found_without_waiting_for_the_device() -> None:
    spec = AttentionSpec(causal=True)
    q = torch.empty((2, 4, 6, 1), device="meta")
    tokens = torch.empty((2, 4, 6), dtype=torch.bool, device="meta")
    ids = torch.empty((1, 4, 6), dtype=torch.int32, device="meta")
    # Whatever asks a tensor of no device for its numbers raises.
    found = Selection((ids, ids), tokens, tokens).order(spec, problem_shape(q, q, q, spec), q.device)
    assert isinstance(found, Order)
    assert found.lows.shape == (2, 4, 6)


def visits(spec: AttentionSpec, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The tiles that each kernel takes, of 64 queries and 64 keys of one head in tiles of 16."""
    counts = {}
    for name in ("forward", "backward_queries", "backward_keys"):
        module = importlib.import_module(f"refattn_gpu.kernels.sparse_{name}")
        counts[name] = 0

        def counted(*arguments: Any, name: str = name, original: Any = module.in_intervals) -> Any:
            counts[name] += 1
            return original(*arguments)

        monkeypatch.setattr(module, "in_intervals", counted)
    kernel = SparseAttention(Tiling(TILE, TILE), Tiling(TILE, TILE))
    q = torch.ones((1, 1, TOKENS, 2))
    with interpreter.active():
        kernel.backward(q, q, q, q, spec=spec)
    return counts


SHUFFLED = np.random.default_rng(0).permutation(TOKENS)
EVEN = np.arange(TOKENS) % 2 == 0
NOBODY = np.zeros(TOKENS, bool)


@pytest.mark.parametrize(
    ("spec", "tiles"),
    [
        (AttentionSpec(), 16),
        (AttentionSpec(causal=True), 10),
        (AttentionSpec(buckets=(SHUFFLED // 16, SHUFFLED // 16)), 4),
        (AttentionSpec(buckets=(SHUFFLED // 32, SHUFFLED // 32)), 8),
        (AttentionSpec(buckets=(SHUFFLED // 32, SHUFFLED // 32), causal=True), 6),
        (AttentionSpec(kept_queries=EVEN, kept_keys=EVEN), 4),
        (AttentionSpec(kept_queries=EVEN, kept_keys=EVEN, causal=True), 3),
        (AttentionSpec(kept_keys=EVEN), 8),
        (AttentionSpec(buckets=(SHUFFLED // 16, SHUFFLED // 16), kept_keys=SHUFFLED < 16), 1),
        (AttentionSpec(kept_keys=NOBODY), 0),
        (AttentionSpec(kept_queries=NOBODY), 0),
        (AttentionSpec(buckets=(np.zeros(1, int), np.ones(1, int))), 0),
    ],
)
def test_tiles_without_a_visible_pair_are_not_visited(
    spec: AttentionSpec, tiles: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = visits(spec, monkeypatch)
    assert counts == dict.fromkeys(counts, tiles)
