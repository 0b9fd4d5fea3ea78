"""Which keys a query sees, and which tiles of keys a tile of queries sees or is seen by, as device functions.

The integer predicates of refattn.contract.visibility, on aligned positions: an index of a query plus the alignment, and
an index of a key. A position p sees p - back .. p + ahead; HAS_BACK and HAS_AHEAD say which of the two limits there
are. For a query among keys, these are the window's left and right; for a key among queries, its right and left.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def in_window(mask, rows, columns, left, right, HAS_LEFT: tl.constexpr, HAS_RIGHT: tl.constexpr):
    """`mask` where the aligned positions `rows` see the keys `columns`, all of two axes.

    A causal mask is a window that ends at 0, or at -1 when it is strict.
    """
    if HAS_LEFT:
        mask = mask & (columns >= rows - left)
    if HAS_RIGHT:
        mask = mask & (columns <= rows + right)
    return mask


@triton.jit
def first_visible_tile(position, back, HAS_BACK: tl.constexpr, BLOCK: tl.constexpr):
    """The start of the first tile of which positions from `position` on see something."""
    start = 0
    if HAS_BACK:
        start = tl.maximum(position - back, 0) // BLOCK * BLOCK
    return start


@triton.jit
def visible_end(position, length, ahead, HAS_AHEAD: tl.constexpr):
    """One past the last of `length` indices that positions up to `position` see."""
    end = length
    if HAS_AHEAD:
        end = tl.minimum(length, tl.maximum(position + ahead + 1, 0))
    return end


@triton.jit
def visible_tiles(low, high, length, back, ahead, HAS_BACK: tl.constexpr, HAS_AHEAD: tl.constexpr, BLOCK: tl.constexpr):
    """(start, full_start, full_end, end) for the positions low .. high: some of them see indices from start to end, and
    all of them see the full tiles from full_start to full_end. The tiles before and after these are the edges.
    """
    start = first_visible_tile(low, back, HAS_BACK, BLOCK)
    end = visible_end(high, length, ahead, HAS_AHEAD)
    full_start = start
    if HAS_BACK:
        full_start = tl.maximum(start, tl.cdiv(tl.maximum(high - back, 0), BLOCK) * BLOCK)
        full_start = tl.minimum(full_start, start + tl.cdiv(tl.maximum(end - start, 0), BLOCK) * BLOCK)
    full_end = visible_end(low, length, ahead, HAS_AHEAD) // BLOCK * BLOCK
    return start, full_start, tl.maximum(full_end, full_start), end


@triton.jit
def tile_count(start, full_start, full_end, end, FULL: tl.constexpr, BLOCK: tl.constexpr):
    """How many FULL tiles there are in what visible_tiles gives, or how many at its edges."""
    at_edges = (full_start - start) // BLOCK + tl.cdiv(tl.maximum(end - full_end, 0), BLOCK)
    return (full_end - full_start) // BLOCK if FULL else at_edges


@triton.jit
def tile_start(index, start, full_start, full_end, FULL: tl.constexpr, BLOCK: tl.constexpr):
    """The start of one of the tiles that tile_count counts."""
    if FULL:
        tile = full_start + index * BLOCK
    else:
        before = (full_start - start) // BLOCK
        tile = index * BLOCK + tl.where(index < before, start, full_end - before * BLOCK)
    return tile
