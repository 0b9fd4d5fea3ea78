"""Which tile of which sequence a program takes, and loads of tiles, as device functions."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def tile_and_head(tiles, schedule):
    """(tile, head) of a program of a grid of tiles * schedule.heads: the last tiles, which see most under a causal mask,
    come first.

    The programs of schedule.heads_per_wave heads, whose keys and values stay in a GPU's cache, run together: all of one
    tile before those of the next.
    """
    program = tl.program_id(0)
    wave = program // (schedule.heads_per_wave * tiles)
    place = program % (schedule.heads_per_wave * tiles)
    heads = tl.minimum(schedule.heads_per_wave, schedule.heads - wave * schedule.heads_per_wave)
    head = wave * schedule.heads_per_wave + place % heads
    return tiles - 1 - place // heads, tl.cast(head, tl.int64)


@triton.jit
def extent(starts_base, sequence):
    """(start, length) of a sequence among packed tokens, whose starts, and the total last, are int32."""
    start = tl.load(starts_base + sequence)
    return start.to(tl.int64), tl.load(starts_base + sequence + 1) - start


@triton.jit
def load_tile(place, in_rows, in_columns, ALL_ROWS: tl.constexpr, ALL_COLUMNS: tl.constexpr):
    """The tile at a block of pointers, 0 where it is outside: in_rows (M, 1) and in_columns (1, N) say what is inside,
    where it is not all.
    """
    if ALL_ROWS and ALL_COLUMNS:
        tile = tl.load(place)
    elif ALL_ROWS:
        tile = tl.load(place, mask=in_columns, other=0.0)
    elif ALL_COLUMNS:
        tile = tl.load(place, mask=in_rows, other=0.0)
    else:
        tile = tl.load(place, mask=in_rows & in_columns, other=0.0)
    return tile


@triton.jit
def rows_at(base, rows, row_stride, column_stride, BLOCK: tl.constexpr):
    """Pointers (len(rows), BLOCK) to the first BLOCK columns of rows, in any order, of a matrix at `base`."""
    columns = tl.arange(0, BLOCK)
    return base + (rows.to(tl.int64)[:, None] * row_stride + columns.to(tl.int64)[None, :] * column_stride)


@triton.jit
def transposed_at(base, rows, row_stride, column_stride, BLOCK: tl.constexpr):
    """The transposed of rows_at, (BLOCK, len(rows)), as a product with queries takes keys."""
    columns = tl.arange(0, BLOCK)
    return base + (rows.to(tl.int64)[None, :] * row_stride + columns.to(tl.int64)[:, None] * column_stride)


@triton.jit
def load_rows(
    base, rows, inside, row_stride, column_stride, ALL: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr
):
    """(len(rows), BLOCK) of a matrix of WIDTH columns at `base`: rows in any order, 0 where they are not `inside` and
    beyond the last column; ALL says that all of them are inside.
    """
    place = rows_at(base, rows, row_stride, column_stride, BLOCK)
    return load_tile(place, inside[:, None], (tl.arange(0, BLOCK) < WIDTH)[None, :], ALL, WIDTH == BLOCK)


@triton.jit
def load_transposed(
    base, rows, inside, row_stride, column_stride, ALL: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr
):
    """The transposed of load_rows, (BLOCK, len(rows))."""
    place = transposed_at(base, rows, row_stride, column_stride, BLOCK)
    return load_tile(place, (tl.arange(0, BLOCK) < WIDTH)[:, None], inside[None, :], WIDTH == BLOCK, ALL)


@triton.jit
def store_rows(x, base, rows, inside, row_stride, column_stride, width, BLOCK: tl.constexpr):
    """Store x (len(rows), BLOCK), rounded, as rows of a matrix of `width` columns, where they are `inside`."""
    place = rows_at(base, rows, row_stride, column_stride, BLOCK)
    there = inside[:, None] & (tl.arange(0, BLOCK) < width)[None, :]
    tl.store(place, x.to(base.dtype.element_ty), mask=there)


@triton.jit
def load_row(place, inside, ALL: tl.constexpr):
    """The row at a line of pointers, 0 where it is not inside; ALL says that it is all inside."""
    return tl.load(place) if ALL else tl.load(place, mask=inside, other=0.0)
