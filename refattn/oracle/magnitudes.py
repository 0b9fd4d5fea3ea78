"""The sizes that radii are compared with: of the values that an output averages, of the products in a gradient's sums.

Upper bounds, inflated by more than their own roundings.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refattn.contract.features import hides
from refattn.contract.scores import entries_for
from refattn.contract.spec import AttentionSpec, Shape
from refattn.contract.visibility import Bools, Ints, Visibility
from refattn.numbers.arrays import device, like, namespace, to_numpy

Array = NDArray[np.float64]

# Covers the roundings of the sums below, which have at most 2**30 terms.
INFLATE = 1.0 + 2.0**-20
SMALLEST_NORMAL = 2.0**-1022
# Pairs of a query and a key in one block.
BLOCK_ENTRIES = 1 << 22


class GradientSizes(NamedTuple):
    """At least the sum of the absolute values of the products that make up each element; they broadcast."""

    dq: Array
    dk: Array
    dv: Array
    dbias: Array | None
    dsinks: Array | None


def largest_values(v: Array, spec: AttentionSpec, shape: Shape, wanted: Bools) -> Array:
    """The largest |v| that each query of `wanted` (B, H, Nq) sees in each column, times 1 / (1 - dropout)."""
    sizes = np.zeros((*wanted.shape, shape.d_v))
    visibility = Visibility.of(spec, shape)
    size = np.abs(v) * (INFLATE / (1.0 - spec.dropout))
    for i in np.flatnonzero(wanted.any(axis=(0, 1))):
        full = (shape.batch, shape.heads, 1, shape.keys)
        visible = np.broadcast_to(visibility.block(slice(int(i), int(i) + 1)), full)[:, :, 0]
        for batch, head in np.argwhere(wanted[:, :, i]):
            values = size[batch, head // shape.group][visible[batch, head]]
            sizes[batch, head, i] = values.max(axis=0, initial=0.0)
    return sizes


def likely_largest_values(v: Any, spec: AttentionSpec, shape: Shape) -> Any:
    """The largest |v| in each column over each query's visible keys if these are a run, else over the first and the
    last.

    Cheap, often enough, and computed where v is.
    """
    xp = namespace(v)
    sizes = xp.zeros((shape.batch, shape.heads, shape.queries, shape.d_v), dtype=xp.float64, device=device(v))
    if not shape.keys or not shape.queries:
        return sizes
    first, last, run = _extents(v, spec, shape)
    size = xp.abs(v)
    for batch, head in np.ndindex(shape.batch, shape.heads):
        mine = (batch if len(first) > 1 else 0, head if first.shape[1] > 1 else 0)
        # table[i] is the maximum over 2**level keys from i: two such stretches cover any run.
        table = size[batch, head // shape.group]
        level_of = np.where(run[mine], np.frexp(last[mine] - first[mine] + 1.0)[1] - 1, 0)
        level_of[last[mine] < first[mine]] = -1
        for level in range(level_of.max(initial=-1) + 1):
            if level:
                half = 1 << (level - 1)
                table = xp.maximum(table[:-half], table[half:])
            rows = np.flatnonzero(level_of == level)
            ends = (first[mine][rows], last[mine][rows] - (1 << level) + 1)
            if rows.size:
                low, high = (table[like(end, v)] for end in ends)
                sizes[batch, head, like(rows, v)] = xp.maximum(low, high)
    return sizes


def _extents(v: Any, spec: AttentionSpec, shape: Shape) -> tuple[Ints, Ints, Bools]:
    """The first and the last key that each query sees, and whether it sees all between; last is -1 where it sees none.

    (B or 1, H or 1, Nq) each.
    """
    if not hides(spec):
        first, last = (np.full((1, 1, shape.queries), key) for key in (0, shape.keys - 1))
        return first, last, np.ones(first.shape, np.bool_)
    xp = namespace(v)
    visibility = Visibility.of(spec, shape, v)
    parts = []
    step = max(1, max(BLOCK_ENTRIES, entries_for(shape.keys, v)) // shape.keys)
    for start in range(0, shape.queries, step):
        # torch has no argmax of booleans.
        visible = xp.astype(visibility.block(slice(start, min(start + step, shape.queries))), xp.uint8)
        count = xp.sum(visible, axis=-1, dtype=xp.int64)
        last = xp.where(count > 0, shape.keys - 1 - xp.argmax(xp.flip(visible, axis=-1), axis=-1), -1)
        parts.append([to_numpy(part) for part in (xp.argmax(visible, axis=-1), last, count)])
    firsts, lasts, counts = (np.concatenate(part, axis=2) for part in zip(*parts, strict=True))
    return firsts, lasts, counts == lasts - firsts + 1


def gradient_sizes(
    q: Array, k: Array, v: Array, do: Array, dlse: Array | None, spec: AttentionSpec, shape: Shape
) -> GradientSizes:
    """Sizes of the gradients; a size is 0 only where every term of the sum is 0.

    |dP| and |delta| are at most g sum|do| max|v| for g = 1 / (1 - dropout), and |dS| is at most P (2 that + |dlse|).
    """
    used_keys, used_rows = _used(spec, shape)
    scale = (1.0 if spec.scale is None else abs(float(spec.scale))) * INFLATE
    gain = INFLATE / (1.0 - spec.dropout)
    with np.errstate(over="ignore", invalid="ignore"):
        upstream = np.where(used_rows[..., None], np.abs(do), 0.0) * gain
        keys, values = (np.repeat(np.abs(x), shape.group, axis=1) for x in (k, v))
        visible_keys, visible_values = (np.where(used_keys[..., None], x, 0.0) for x in (keys, values))
        widest = visible_values.max(axis=(2, 3), initial=0.0)[..., None]
        height = 2 * _product(upstream.sum(axis=-1), widest) * INFLATE
        height = height + (0.0 if dlse is None else np.where(used_rows, np.abs(dlse), 0.0))
        key_sizes = _product(height[..., None], np.abs(q)).sum(axis=2, keepdims=True)
        shared = (shape.batch, shape.kv_heads, shape.group, 1)
        sinks = height if dlse is None else height + np.abs(dlse)
        return GradientSizes(
            _product(scale, _product(height[..., None], visible_keys.max(axis=2, keepdims=True, initial=0.0))),
            _product(scale, key_sizes.reshape(*shared, shape.d_qk).sum(axis=2)),
            upstream.sum(axis=2, keepdims=True).reshape(*shared, shape.d_v).sum(axis=2),
            None if spec.bias is None else _of_bias(height, spec.bias, shape),
            None if spec.sinks is None else sinks.sum(axis=(0, 2)),
        )


def _product(a: Array | float, b: Array) -> Array:
    """An upper bound of a b that is 0 only where a or b is."""
    return np.where((a != 0.0) & (b != 0.0), np.maximum(a * b * INFLATE, SMALLEST_NORMAL), 0.0)


def _of_bias(height: Array, bias: Array, shape: Shape) -> Array:
    """Weights sum to at most 1 along a row, so a row counts once however many of its pairs read the same element."""
    sizes = np.zeros((1,) * (4 - bias.ndim) + bias.shape)
    axes = tuple(axis for axis in range(3) if sizes.shape[axis] == 1)
    sizes += np.broadcast_to(height[..., None], (shape.batch, shape.heads, shape.queries, 1)).sum(
        axis=axes, keepdims=True
    )
    return sizes.reshape(bias.shape)


def _used(spec: AttentionSpec, shape: Shape) -> tuple[Bools, Bools]:
    """The keys (B, H, Nk) that some query sees, and the queries (B, H, Nq) that see some key."""
    all_visible = not hides(spec)
    keys = np.full((shape.batch, shape.heads, shape.keys), all_visible and shape.queries > 0)
    rows = np.full((shape.batch, shape.heads, shape.queries), all_visible and shape.keys > 0)
    if all_visible:
        return keys, rows
    visibility = Visibility.of(spec, shape)
    step = max(1, BLOCK_ENTRIES // max(1, shape.keys))
    for start in range(0, shape.queries, step):
        block = slice(start, min(start + step, shape.queries))
        visible = visibility.block(block)
        keys |= visible.any(axis=2)
        rows[:, :, block] = visible.any(axis=3)
    return keys, rows
