"""Which keys a query sees, and which tiles of keys a tile of queries sees or is seen by, as device functions.

The integer predicates of refattn.contract.visibility, on aligned positions: an index of a query plus the alignment, and
an index of a key. A position sees from `back` before it to `ahead` after it, where these are limits. Of a query on the
axis of keys they are the window's left and right, and of a key on the axis of queries its right and left.
"""

from __future__ import annotations

import triton
import triton.language as tl


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


@triton.jit
def first_seen(position, back, HAS_BACK: tl.constexpr, BLOCK: tl.constexpr):
    """The start of the first tile that `position`, or one after it, sees."""
    start = 0
    if HAS_BACK:
        start = tl.maximum(position - back, 0) // BLOCK * BLOCK
    return start


@triton.jit
def end_of_seen(position, length, ahead, HAS_AHEAD: tl.constexpr):
    """One past the last of `length` indices that `position`, or one before it, sees."""
    end = length
    if HAS_AHEAD:
        end = tl.minimum(length, tl.maximum(position + ahead + 1, 0))
    return end


@triton.jit
def tiles_seen(low, high, length, back, ahead, HAS_BACK: tl.constexpr, HAS_AHEAD: tl.constexpr, BLOCK: tl.constexpr):
    """(start, whole, last, end): some of the positions low .. high see from start to end, and all of them see all of
    the tiles from whole to last. The tiles before and after those are the edges.
    """
    start = first_seen(low, back, HAS_BACK, BLOCK)
    end = end_of_seen(high, length, ahead, HAS_AHEAD)
    whole = start
    if HAS_BACK:
        whole = tl.maximum(start, tl.cdiv(tl.maximum(high - back, 0), BLOCK) * BLOCK)
        whole = tl.minimum(whole, start + tl.cdiv(tl.maximum(end - start, 0), BLOCK) * BLOCK)
    last = end_of_seen(low, length, ahead, HAS_AHEAD) // BLOCK * BLOCK
    return start, whole, tl.maximum(last, whole), end


@triton.jit
def number_of_tiles(start, whole, last, end, WHOLE: tl.constexpr, BLOCK: tl.constexpr):
    """How many WHOLE tiles there are, or how many at the edges, of what tiles_seen gives."""
    at_edges = (whole - start) // BLOCK + tl.cdiv(tl.maximum(end - last, 0), BLOCK)
    return (last - whole) // BLOCK if WHOLE else at_edges


@triton.jit
def tile_at(index, start, whole, last, WHOLE: tl.constexpr, BLOCK: tl.constexpr):
    """The start of one of these tiles."""
    if WHOLE:
        tile = whole + index * BLOCK
    else:
        before = (whole - start) // BLOCK
        tile = index * BLOCK + tl.where(index < before, start, last - before * BLOCK)
    return tile
