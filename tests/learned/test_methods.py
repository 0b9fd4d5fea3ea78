"""Each method of scales equals its NumPy model, and settles to the best scales of its kind on the observed rows."""

from __future__ import annotations

import numpy as np
import pytest

from refattn.contract.block_scales import BlockScales
from refattn.contract.spec import AttentionSpec
from refattn.errors import InvalidValue
from refattn.models.learned import MomentScales, StaticScales
from refattn.numbers.roundoff import gamma
from tests.support.extras import needed, skip_without

torch = needed("torch")
skip_without("transformers")

from refattn.learned.methods import build
from refattn.learned.methods.moments import Moments
from refattn.learned.methods.original import LEAST
from refattn.learned.methods.static import Static
from refattn.learned.rows import Rows
from refattn.learned.scales import block_softmax, divergence, log_normalised
from tests.learned.test_scales import SHAPE, UNIT, WINDOW, rows_of, score_error, summary_error

CAUSAL = AttentionSpec(causal=True)


def moments(blocks: int, rank: int, first: int, latest: int, rows: Rows | None = None) -> Moments:
    method = Moments(SHAPE, BlockScales(blocks, WINDOW), rank, 4, first, latest).double()
    if rows is not None:
        method.observe(rows)
        method.settle()
    return method


@pytest.mark.parametrize("blocks", [1, 2, 5])
@pytest.mark.parametrize("rank", [3, 8])
@pytest.mark.parametrize(("first", "latest"), [(0, 0), (2, 0), (1, 5)])
def test_moments_are_those_of_the_numpy_model(blocks: int, rank: int, first: int, latest: int) -> None:
    rows = rows_of(WINDOW, WINDOW)
    method = moments(blocks, rank, first, latest, rows)
    model = MomentScales(*(array.numpy() for array in (method.basis, method.centroids, method.metric)), first, latest)
    # With one block there is nothing to scale.
    assert len(np.unique(model.groups(rows.key.numpy()))) == (1 if blocks == 1 else 4)
    expected = model(rows.query.numpy(), rows.key.numpy(), CAUSAL, method.blocks)
    scales = method.scales(rows, block_softmax(rows, method.blocks)).numpy()
    assert (np.abs(scales - expected) <= summary_error(rows)).all()


@pytest.mark.parametrize("first", [0, 2])
def test_keys_that_all_stand_apart_make_moments_exact(first: int) -> None:
    rows = rows_of(WINDOW, WINDOW)
    method = moments(3, 8, first, WINDOW, rows)
    softmax = block_softmax(rows, method.blocks)
    seen = softmax.seen
    logits, exact = method.logits(rows, softmax), softmax.log_sum_exps
    assert torch.equal(logits > -torch.inf, seen)
    assert ((logits - exact)[seen].abs() <= score_error(rows)).all()


def test_the_basis_is_orthonormal_and_holds_most_of_the_variance() -> None:
    rows = rows_of(WINDOW, WINDOW, spread=1.0)
    strong = torch.eye(SHAPE.head_dim, dtype=torch.float64)
    strong[0, 0] = strong[5, 5] = 20.0
    rows = Rows(rows.query, rows.key @ strong, rows.value, rows.visible)
    basis = moments(2, 2, 1, 4, rows).basis
    product = basis.transpose(-1, -2) @ basis
    assert ((product - torch.eye(2, dtype=torch.float64)).abs() <= gamma(1000, UNIT)).all()
    # Both directions in which the keys are spread are nearly in it.
    assert (basis[:, [0, 5]].square().sum((1, 2)) > 1.9).all()


def test_static_scales_are_those_of_the_numpy_model() -> None:
    rows = rows_of(WINDOW + 4, WINDOW + 4)
    method = Static(SHAPE, BlockScales(3, WINDOW)).double()
    with torch.no_grad():
        method.table.copy_(torch.randn(method.table.shape, generator=torch.Generator().manual_seed(5)))
    table = method.table.detach().numpy()
    expected = StaticScales(table)(rows.query.numpy(), rows.key.numpy(), CAUSAL, method.blocks)
    scales = method.scales(rows, block_softmax(rows, method.blocks)).detach().numpy()
    assert (np.abs(scales - expected) <= gamma(20, UNIT) * (1 + np.abs(table).max())).all()


def test_settled_static_scales_are_the_mean_of_the_exact_ones() -> None:
    method = Static(SHAPE, BlockScales(3, WINDOW), neighbours=0).double()
    several = [rows_of(WINDOW, WINDOW, seed) for seed in range(3)]
    for rows in several:
        method.observe(rows)
    method.settle()
    exact = torch.stack([block_softmax(rows, method.blocks).exact for rows in several]).mean((0, 1))
    scales = method.scales(several[0], block_softmax(several[0], method.blocks)).detach()
    # A logarithm and an exponential of numbers that are at least the table's smallest, 2**-52.
    assert ((scales - exact).abs() <= gamma(200, UNIT) + 3 * 2.0**-52).all()


def test_no_other_table_has_less_divergence_than_the_settled_one() -> None:
    method = Static(SHAPE, BlockScales(3, WINDOW), neighbours=0).double()
    rows = rows_of(WINDOW, WINDOW)
    method.observe(rows)
    method.settle()
    softmax = block_softmax(rows, method.blocks)

    def total(logits: torch.Tensor) -> float:
        return divergence(softmax.exact, log_normalised(logits, softmax.seen), softmax.seen).sum().item()

    settled = total(method.logits(rows, softmax))
    generator = torch.Generator().manual_seed(0)
    for size in (1e-3, 0.1, 1.0):
        moved = method.table + size * torch.randn(method.table.shape, generator=generator, dtype=torch.float64)
        assert total(moved[None]) > settled


@pytest.mark.parametrize("name", ["original", "original-sealed"])
def test_the_published_method_starts_from_the_mean_over_heads_of_what_it_observed(name: str) -> None:
    blocks, rows = BlockScales(3, WINDOW), rows_of(WINDOW, WINDOW)
    method = build(name, [SHAPE], blocks)[0].double()
    drawn = method.table.detach().clone()
    method.settle()
    assert torch.equal(method.table, drawn)
    method.observe(rows)
    method.settle()
    softmax = block_softmax(rows, blocks)
    mean = softmax.exact.mean((0, 1))
    seen = softmax.seen[0, 0]
    assert ((method.table[0] - mean).abs()[seen] <= gamma(200, UNIT) * mean[seen]).all()
    assert (method.table[0][~seen] == LEAST).all()
    assert (~seen).any()
    # Where one block is seen it has all the weight, and next to nothing leaks.
    assert (method.table[0, :8, 0] == 1.0).all()


def test_neighbours_of_a_position_see_the_same_blocks() -> None:
    method = Static(SHAPE, BlockScales(3, WINDOW), neighbours=4).double()
    rows = rows_of(WINDOW, WINDOW)
    method.observe(rows)
    method.settle()
    softmax = block_softmax(rows, method.blocks)
    scales = method.scales(rows, softmax).detach()
    # The first row of a block has no neighbour on one side, so that it is its own mean.
    first = [0, 8, 16]
    mean = softmax.exact.mean(0)[:, first]
    assert ((scales[0][:, first] - mean).abs() <= gamma(200, UNIT) + 3 * 2.0**-52).all()


def test_descending_brings_corrected_moments_nearer_to_the_exact_scales() -> None:
    rows = rows_of(WINDOW, WINDOW)
    method = build("moments+learned", [SHAPE], BlockScales(3, WINDOW))[0].double()
    with torch.no_grad():
        method.observe(rows)
        method.settle()
    optimizer = torch.optim.Adam(method.parameters(), lr=0.03)
    seen = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = method.loss(rows)
        loss.backward()
        optimizer.step()
        seen.append(loss.item())
    assert all(parameter.grad.isfinite().all() for parameter in method.parameters())
    assert seen[-1] < seen[0] / 2


def test_softcapped_scores_are_no_dot_products() -> None:
    rows = rows_of(WINDOW, WINDOW)
    capped = Rows(rows.query, rows.key, rows.value, rows.visible, softcap=2.0)
    with pytest.raises(InvalidValue, match="softcapped: expected dot products"):
        moments(2, 8, 1, 4)(capped)


def test_a_method_that_nobody_knows_is_refused() -> None:
    with pytest.raises(InvalidValue, match="method is 'exakt': expected one of exact, none"):
        build("exakt", [SHAPE], BlockScales(2, WINDOW))


@pytest.mark.parametrize("name", ["static", "original"])
def test_a_table_needs_a_window(name: str) -> None:
    with pytest.raises(InvalidValue, match="blocks has no window"):
        build(name, [SHAPE], BlockScales(2))


def test_the_seed_decides_the_start() -> None:
    first, same, other = (build("original", [SHAPE], BlockScales(2, WINDOW), seed)[0].table for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
