"""Blocks of keys, each with a softmax of its own: where they begin, and which of them a query sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from refattn.contract.spec import AttentionSpec, Shape
from refattn.contract.visibility import Bools, Ints, Visibility
from refattn.errors import InvalidType, InvalidValue


@dataclass(frozen=True)
class BlockScales:
    """The approximation softmax(s)_j ~ a_i softmax(s of block i)_j for each key j of block i, with a scale a_i a block.

    Key j, counted from 0 in the order in which keys are stored, is in block min(j // size, blocks - 1), where size is
    window / blocks rounded up; so a key's block does not depend on how many keys follow it, and decoding divides them
    as a whole sequence does. Fewer keys than the window leave the last blocks empty, and more make the last one longer.
    With window None it is the number of keys, and they are divided as torch.chunk divides.

    blocks      number of blocks
    window      keys that the blocks divide, at least as many as blocks; None is the number of keys
    normalised  the kernel claims to divide the scales of each row by their sum: in a row that sees a key they add up to
                1 but for a few roundings

    Raises InvalidType or InvalidValue, naming the field.
    """

    blocks: int
    window: int | None = None
    normalised: bool = False

    def __post_init__(self) -> None:
        for name, value in (("blocks", self.blocks), ("window", self.window)):
            if name == "window" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
                raise InvalidType(f"{name} is {value!r}: expected a positive whole number")
            if value < 1:
                raise InvalidValue(f"{name} is {value!r}: expected a positive whole number")
        if self.window is not None and self.window < self.blocks:
            raise InvalidValue(f"window is {self.window}: expected at least a key for each of the {self.blocks} blocks")
        if not isinstance(self.normalised, bool):
            raise InvalidType(f"normalised is {self.normalised!r}: expected True or False")

    def size(self, keys: int) -> int:
        """Keys of each block but the last, in a problem of `keys` keys."""
        return max(1, -(-(keys if self.window is None else self.window) // self.blocks))

    def of_keys(self, keys: int) -> Ints:
        """The block of each key, (Nk,)."""
        return np.minimum(np.arange(keys, dtype=np.int64) // self.size(keys), self.blocks - 1)

    def slices(self, keys: int) -> list[slice]:
        """The keys of each block, in order; an empty slice where there are none."""
        size = self.size(keys)
        starts = [min(block * size, keys) for block in range(self.blocks)]
        return [slice(start, stop) for start, stop in zip(starts, [*starts[1:], keys], strict=True)]

    def membership(self, keys: int) -> Bools:
        """Whether key j is in block i, (Nk, blocks)."""
        return np.asarray(self.of_keys(keys)[:, None] == np.arange(self.blocks))

    def seen(self, spec: AttentionSpec, shape: Shape) -> Bools:
        """Whether a query sees a key of a block, (B, H, Nq, blocks)."""
        visibility = Visibility.of(spec, shape)
        rows = (shape.batch, shape.heads, shape.queries)
        sees = np.zeros((*rows, self.blocks), np.bool_)
        visible = visibility.block()
        for block, keys in enumerate(self.slices(shape.keys)):
            sees[..., block] = np.broadcast_to(visible[..., keys].any(axis=-1), rows)
        return sees

    def specs(self, spec: AttentionSpec, shape: Shape) -> list[AttentionSpec | None]:
        """For each block the spec of attention within it, None for one without keys.

        It has no sinks, which only change scales, and gives 0 for a row that sees no key of the block.
        """
        kept = np.ones((1, 1, shape.keys), np.bool_) if spec.kept_keys is None else spec.kept_keys
        within_blocks: list[AttentionSpec | None] = []
        for member in self.membership(shape.keys).T:
            within = spec.replace(kept_keys=kept & member, sinks=None, empty_rows="zero")
            within_blocks.append(within if member.any() else None)
        return within_blocks


def checked_blocks(blocks: Any, window: int | None = None) -> BlockScales:
    """A BlockScales of a number of blocks, or the given one. Raises InvalidType or InvalidValue."""
    if not isinstance(blocks, BlockScales):
        return BlockScales(blocks, window)
    if window is not None:
        raise InvalidValue(f"window is {window!r}: expected None, as blocks is a BlockScales, which has one")
    return blocks
