"""Which keys a tile of queries sees, as device functions: the integer predicates of refattn.visibility.

May import: triton.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def first_key(row, left, HAS_LEFT: tl.constexpr, BLOCK_N: tl.constexpr):
    """The start of the first tile of keys that some query from the aligned position `row` on sees."""
    start = 0
    if HAS_LEFT:
        start = tl.maximum(row - left, 0) // BLOCK_N * BLOCK_N
    return start


@triton.jit
def end_of_keys(row, keys, right, HAS_RIGHT: tl.constexpr):
    """One past the last key that some query up to the aligned position `row` sees."""
    end = keys
    if HAS_RIGHT:
        end = tl.minimum(keys, tl.maximum(row + right + 1, 0))
    return end


@triton.jit
def whole_tiles(
    start, end, low, high, keys, left, right, HAS_LEFT: tl.constexpr, HAS_RIGHT: tl.constexpr, BLOCK_N: tl.constexpr
):
    """(first, last) of the whole tiles of keys between start and end: all that the aligned positions low .. high see.

    The tiles from start on and before `first`, and those from `last` on, are at the edges of what is seen. With left
    and right exchanged, the whole tiles of `keys` queries that see all of the keys low .. high.
    """
    first = start
    if HAS_LEFT:
        first = tl.maximum(start, tl.cdiv(tl.maximum(high - left, 0), BLOCK_N) * BLOCK_N)
        first = tl.minimum(first, start + tl.cdiv(tl.maximum(end - start, 0), BLOCK_N) * BLOCK_N)
    last = end_of_keys(low, keys, right, HAS_RIGHT) // BLOCK_N * BLOCK_N
    return first, tl.maximum(last, first)


@triton.jit
def first_query(key, right, HAS_RIGHT: tl.constexpr, BLOCK_M: tl.constexpr):
    """The start of the first tile of queries that see some key from `key` on, a key's index less the alignment."""
    start = 0
    if HAS_RIGHT:
        start = tl.maximum(key - right, 0) // BLOCK_M * BLOCK_M
    return start


@triton.jit
def end_of_queries(key, queries, left, HAS_LEFT: tl.constexpr):
    """One past the last query that sees some key up to `key`, a key's index less the alignment."""
    end = queries
    if HAS_LEFT:
        end = tl.minimum(queries, tl.maximum(key + left + 1, 0))
    return end


@triton.jit
def sees(held, rows, columns, left, right, HAS_LEFT: tl.constexpr, HAS_RIGHT: tl.constexpr):
    """Where it is `held` and the aligned positions `rows` see the keys `columns`, all of two axes.

    A causal mask is a window that ends at 0, or at -1 when it is strict.
    """
    if HAS_LEFT:
        held = held & (columns >= rows - left)
    if HAS_RIGHT:
        held = held & (columns <= rows + right)
    return held
