"""The cost of a method, as a whole and by the block of the query."""

from __future__ import annotations

import math

import pytest

from refattn.contract.block_scales import BlockScales
from tests.support.extras import needed, skip_without

torch = needed("torch")
skip_without("transformers")

from refattn.learned.evaluation import Cost, evaluate, parts
from refattn.learned.methods import build
from refattn.learned.replacement import layers
from tests.support.language_models import WINDOW, tiny, tokens

# Windows of 5 tokens, of which 4 are predicted, in whole numbers of nats.
EXACT = torch.tensor([[1, 3, 2, 2], [3, 1, 4, 0]], dtype=torch.float64)
LOSS = torch.tensor([[2, 4, 2, 2], [6, 2, 3, 1]], dtype=torch.float64)


def test_costs_are_differences_of_mean_losses() -> None:
    whole = Cost.of(LOSS, EXACT)
    assert whole.perplexity == math.exp(2.75)
    # The windows differ by 0.5 and 1.
    assert whole.change == math.expm1(0.75)
    spread = torch.tensor([0.5, 1.0], dtype=torch.float64).std().item()
    assert whole.doubt == (1 + math.expm1(0.75)) * spread / math.sqrt(2)
    assert Cost.of(LOSS, None) == Cost(math.exp(2.75))


def test_each_part_is_of_the_queries_of_a_block() -> None:
    first, last = parts(LOSS, EXACT, BlockScales(2, 4))
    assert (first, last) == (Cost.of(LOSS[:, :2], EXACT[:, :2]), Cost.of(LOSS[:, 2:], EXACT[:, 2:]))
    assert (first.change, last.change, last.doubt) == (math.expm1(1.5), 0.0, 0.0)
    assert parts(LOSS, EXACT, BlockScales(1)) == [Cost.of(LOSS, EXACT)]
    # The last token of a window is no query, and here alone in its block.
    assert parts(LOSS, None, BlockScales(5, 5)) == [Cost.of(LOSS[:, [query]], None) for query in range(4)]


@pytest.mark.parametrize("name", ["original", "original-sealed"])
def test_only_a_leak_lets_the_first_block_depend_on_the_last(name: str) -> None:
    model, windows = tiny(), tokens(2)
    methods = list(build(name, list(layers(model).values()), BlockScales(2, WINDOW)))
    changed = windows.clone()
    changed[:, WINDOW // 2 + 1 :] = tokens(2, seed=9)[:, WINDOW // 2 + 1 :]
    parts, other = (evaluate(model, methods, batch, 2)[0].parts for batch in (windows, changed))
    assert len(parts) == 2
    assert (parts[0] == other[0]) == (name == "original-sealed")
    assert parts[1] != other[1]
