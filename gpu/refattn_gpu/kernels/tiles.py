"""Which tile of which sequence a program takes, and loads of tiles, as device functions."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def tile_and_head(tiles, schedule):
    """(tile, head) of a program of a grid of tiles * schedule.heads. The last tiles come first: they see
    most under a causal mask.

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
def sequence_extent(starts_base, sequence):
    """(start, length) of a packed sequence. starts_base holds the starts of all sequences, then the total, in int32."""
    start = tl.load(starts_base + sequence)
    return start.to(tl.int64), tl.load(starts_base + sequence + 1) - start


@triton.jit
def load_tile(pointers, in_rows, in_columns, ALL_ROWS: tl.constexpr, ALL_COLUMNS: tl.constexpr):
    """The tile at a block of pointers (M, N), 0 outside in_rows (M, 1) and in_columns (1, N). ALL_ROWS and ALL_COLUMNS
    say that nothing is outside.
    """
    if ALL_ROWS and ALL_COLUMNS:
        tile = tl.load(pointers)
    elif ALL_ROWS:
        tile = tl.load(pointers, mask=in_columns, other=0.0)
    elif ALL_COLUMNS:
        tile = tl.load(pointers, mask=in_rows, other=0.0)
    else:
        tile = tl.load(pointers, mask=in_rows & in_columns, other=0.0)
    return tile


@triton.jit
def row_pointers(base, rows, row_stride, column_stride, BLOCK: tl.constexpr):
    """Pointers (len(rows), BLOCK) to the first BLOCK columns of rows of a matrix at `base`; rows come in any order."""
    columns = tl.arange(0, BLOCK)
    return base + (rows.to(tl.int64)[:, None] * row_stride + columns.to(tl.int64)[None, :] * column_stride)


@triton.jit
def transposed_pointers(base, rows, row_stride, column_stride, BLOCK: tl.constexpr):
    """row_pointers transposed, (BLOCK, len(rows)), as tl.dot(q, k) takes k."""
    columns = tl.arange(0, BLOCK)
    return base + (rows.to(tl.int64)[None, :] * row_stride + columns.to(tl.int64)[:, None] * column_stride)


@triton.jit
def load_rows(
    base, rows, row_mask, row_stride, column_stride, ALL: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr
):
    """Rows (len(rows), BLOCK) of a matrix of WIDTH columns at `base`, 0 outside row_mask and past the last column.

    Rows come in any order. ALL says that row_mask is true everywhere.
    """
    pointers = row_pointers(base, rows, row_stride, column_stride, BLOCK)
    return load_tile(pointers, row_mask[:, None], (tl.arange(0, BLOCK) < WIDTH)[None, :], ALL, WIDTH == BLOCK)


@triton.jit
def load_transposed(
    base, rows, row_mask, row_stride, column_stride, ALL: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr
):
    """load_rows transposed, (BLOCK, len(rows))."""
    pointers = transposed_pointers(base, rows, row_stride, column_stride, BLOCK)
    return load_tile(pointers, (tl.arange(0, BLOCK) < WIDTH)[:, None], row_mask[None, :], WIDTH == BLOCK, ALL)


@triton.jit
def store_rows(x, base, rows, row_mask, row_stride, column_stride, width, BLOCK: tl.constexpr):
    """Store x (len(rows), BLOCK), rounded, as rows of a matrix of `width` columns, within row_mask."""
    pointers = row_pointers(base, rows, row_stride, column_stride, BLOCK)
    mask = row_mask[:, None] & (tl.arange(0, BLOCK) < width)[None, :]
    tl.store(pointers, x.to(base.dtype.element_ty), mask=mask)


@triton.jit
def load_vector(pointers, row_mask, ALL: tl.constexpr):
    """The vector at pointers, 0 outside row_mask; ALL says that row_mask is true everywhere."""
    return tl.load(pointers) if ALL else tl.load(pointers, mask=row_mask, other=0.0)
