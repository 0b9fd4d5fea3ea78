"""Blocks of keys: a key's block depends on nothing that follows it, and a query sees just what visibility says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from refattn.contract.block_scales import BlockScales, checked_blocks
from refattn.contract.spec import AttentionSpec, problem_shape
from refattn.contract.visibility import visible
from refattn.errors import InvalidType, InvalidValue

SPECS = {
    "everything": AttentionSpec(),
    "causal": AttentionSpec(causal=True),
    "window": AttentionSpec(causal=True, window=(3, None)),
    "kept": AttentionSpec(kept_keys=np.arange(11) % 3 == 1),
    "mask": AttentionSpec(mask=np.random.default_rng(0).random((2, 1, 7, 11)) < 0.3),
}


def sizes(blocks: BlockScales, keys: int) -> list[int]:
    return [part.stop - part.start for part in blocks.slices(keys)]


def test_without_a_window_keys_are_divided_as_torch_chunk_divides_them() -> None:
    assert sizes(BlockScales(4), 10) == [3, 3, 3, 1]
    assert sizes(BlockScales(4), 9) == [3, 3, 3, 0]
    assert sizes(BlockScales(4), 2) == [1, 1, 0, 0]
    assert sizes(BlockScales(4), 0) == [0, 0, 0, 0]


def test_with_a_window_a_keys_block_does_not_depend_on_how_many_keys_there_are() -> None:
    for count, window in ((1, 5), (3, 10), (4, 4), (5, 9)):
        blocks = BlockScales(count, window)
        whole = blocks.of_keys(30)
        assert whole.max() == count - 1
        for keys in range(30):
            assert np.array_equal(blocks.of_keys(keys), whole[:keys])
    assert sizes(BlockScales(3, 10), 30) == [4, 4, 22]


@pytest.mark.parametrize("keys", [0, 1, 3, 7, 12, 40])
@pytest.mark.parametrize("blocks", [BlockScales(1), BlockScales(3), BlockScales(4, 12), BlockScales(7, 9)], ids=str)
def test_slices_membership_and_blocks_of_keys_agree(blocks: BlockScales, keys: int) -> None:
    of_keys, members = blocks.of_keys(keys), blocks.membership(keys)
    assert members.shape == (keys, blocks.blocks)
    for block, part in enumerate(blocks.slices(keys)):
        assert np.array_equal(np.arange(keys)[part], np.flatnonzero(of_keys == block))
        assert np.array_equal(members[:, block], of_keys == block)


@pytest.mark.parametrize("name", SPECS)
def test_a_query_sees_a_block_if_it_sees_a_key_of_it(name: str) -> None:
    blocks, spec = BlockScales(4), SPECS[name]
    shape = problem_shape(np.zeros((2, 4, 7, 3)), np.zeros((2, 2, 11, 3)), np.zeros((2, 2, 11, 1)), spec)
    full = visible(spec, shape)
    expected = np.stack([full[..., part].any(axis=-1) for part in blocks.slices(shape.keys)], axis=-1)
    assert np.array_equal(blocks.seen(spec, shape), expected)
    for block, part in enumerate(blocks.specs(spec, shape)):
        assert part is not None
        assert np.array_equal(visible(part, shape), full & blocks.membership(shape.keys)[:, block])


@pytest.mark.parametrize(
    ("fields", "error", "sentence"),
    [
        ((0,), InvalidValue, "^blocks is 0: expected a positive whole number$"),
        ((2.0,), InvalidType, "^blocks is 2.0: expected a positive whole number$"),
        ((True,), InvalidType, "^blocks is True: expected a positive whole number$"),
        ((2, 0), InvalidValue, "^window is 0: expected a positive whole number$"),
        ((4, 3), InvalidValue, "^window is 3: expected at least a key for each of the 4 blocks$"),
        ((4, None, 1), InvalidType, "^normalised is 1: expected True or False$"),
    ],
)
def test_fields_of_no_use_are_refused_in_one_sentence(fields: tuple[Any, ...], error: Any, sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        BlockScales(*fields)


def test_a_number_of_blocks_is_as_good_as_a_declaration() -> None:
    assert checked_blocks(3, 9) == checked_blocks(BlockScales(3, 9)) == BlockScales(3, 9)
    with pytest.raises(InvalidValue, match=r"^window is 9: expected None, as blocks is a BlockScales, which has one$"):
        checked_blocks(BlockScales(3), 9)
