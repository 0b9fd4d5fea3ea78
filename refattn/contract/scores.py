"""Scores in float64, a block of queries of one head at a time, for the float64 oracle and the error budgets.

The same code takes NumPy arrays and torch tensors, which stay on their device.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from refattn.contract.features import hides
from refattn.contract.spec import AttentionSpec, Shape
from refattn.contract.visibility import Visibility, block_of
from refattn.numbers.arrays import device, like, namespace

# float64, int64 or booleans, of NumPy or torch.
Array = Any

# Entries of one block: 8 MB in float64 fit the caches of a server and make GEMMs efficient. With so many keys that this
# would be few rows, the fixed work per block would tell: up to 32 MB then.
BLOCK_ENTRIES = 1 << 20
FEW_ROWS = 128
# An accelerator needs many more to be busy: 512 MB, and gradients hold a dozen such arrays at a time.
DEVICE_ENTRIES = 1 << 26
ARRAYS_AT_A_TIME = 16


def entries_for(keys: int, model: Any = None) -> int:
    """Number of scores in one block of a problem with `keys` keys, for an array like `model` (NumPy's if None)."""
    place = "cpu" if model is None else device(model)
    if str(place).startswith("cpu"):
        return max(BLOCK_ENTRIES, min(FEW_ROWS * keys, 4 * BLOCK_ENTRIES))
    return max(BLOCK_ENTRIES, min(DEVICE_ENTRIES, _free_bytes(model) // (8 * ARRAYS_AT_A_TIME)))


def _free_bytes(model: Any) -> int:
    """Free memory of an accelerator; enough for the largest blocks where its library does not tell."""
    import torch

    memory = getattr(getattr(torch, model.device.type, None), "mem_get_info", None)
    return 8 * ARRAYS_AT_A_TIME * DEVICE_ENTRIES if memory is None else int(memory(model.device)[0])


@dataclass(frozen=True, eq=False)
class Block:
    """The queries `rows` of one head and the keys that at least one of them sees.

    query (r, D) is not yet scaled; key (n, D); `keys` indexes the keys of the problem; `visible` (r, n) is None when
    every key of the block is seen by every query; `additive` (r, n) is bias plus ALiBi, None when there is neither, and
    `additive_size` (r,) is the largest |bias| + |ALiBi| that the row sees.
    """

    batch: int
    head: int
    kv_head: int
    rows: slice
    keys: slice | Array
    query: Array
    key: Array
    visible: Array | None
    additive: Array | None
    additive_size: Array


def scale_of(spec: AttentionSpec, d_qk: int) -> float:
    """The float64 number nearest to the spec's scale (exact unless the scale is None)."""
    return float(spec.scale) if spec.scale is not None else 1.0 / float(np.sqrt(d_qk))


def blocks(q: Array, k: Array, spec: AttentionSpec, shape: Shape, entries: int | None = None) -> Iterator[Block]:
    """Every query of the problem once, in blocks of about `entries` scores; heads vary fastest."""
    visibility = Visibility.of(spec, shape, q)
    xp = namespace(q)
    masked = hides(spec)
    step = max(1, (entries or entries_for(shape.keys, q)) // max(1, shape.keys))
    for start in range(0, shape.queries, step):
        rows = slice(start, min(start + step, shape.queries))
        visible = visibility.block(rows) if masked else None
        # Integers times a slope would be numbers of torch's default dtype.
        distance = xp.astype(visibility.distance(rows), xp.float64) if spec.alibi_slopes is not None else None
        bias = like(block_of(spec.bias, rows), q) if spec.bias is not None else None
        for batch in range(shape.batch):
            for head in range(shape.heads):
                yield _block(q, k, spec, shape, (batch, head, rows), visible, bias, distance)


def _block(
    q: Array,
    k: Array,
    spec: AttentionSpec,
    shape: Shape,
    where: tuple[int, int, slice],
    block_visible: Array | None,
    bias: Any,
    distance: Any,
) -> Block:
    batch, head, rows = where
    xp = namespace(q)
    kv_head = head // shape.group
    visible = None if block_visible is None else head_of(block_visible, batch, head)
    keys: slice | Array = slice(0, shape.keys)
    if visible is not None:
        used = xp.nonzero(xp.any(visible, axis=0))[0]
        count = used.shape[0]
        contiguous = count == 0 or int(used[-1]) - int(used[0]) + 1 == count
        keys = (slice(int(used[0]), int(used[-1]) + 1) if count else slice(0, 0)) if contiguous else used
        visible = visible[:, keys]
        visible = None if xp.all(visible) else visible
    terms: list[Array] = []
    if bias is not None:
        terms.append(xp.broadcast_to(head_of(bias, batch, head), (rows.stop - rows.start, shape.keys))[:, keys])
    if distance is not None:
        slope = float(np.broadcast_to(spec.alibi_slopes, (shape.batch, shape.heads))[batch, head])
        terms.append(-slope * head_of(distance, batch, head)[:, keys])
    if visible is not None:
        terms = [xp.where(visible, term, 0.0) for term in terms]
    sizes = [largest(xp.abs(term), 0.0) for term in terms]
    no_terms = xp.zeros(rows.stop - rows.start, dtype=xp.float64, device=device(q))
    return Block(
        batch,
        head,
        kv_head,
        rows,
        keys,
        query=q[batch, head, rows],
        key=k[batch, kv_head, keys],
        visible=visible,
        additive=sum(terms[1:], terms[0]) if terms else None,
        additive_size=sum(sizes[1:], sizes[0]) if sizes else no_terms,
    )


def largest(array: Array, initial: float, axis: int = -1) -> Array:
    """The largest number along an axis; `initial` if the axis is empty."""
    xp = namespace(array)
    if array.shape[axis]:
        return xp.max(array, axis=axis)
    rest = [size for i, size in enumerate(array.shape) if i != axis % array.ndim]
    return xp.full(tuple(rest), initial, dtype=xp.float64, device=device(array))


def head_of(array: Any, batch: int, head: int) -> Any:
    """One head of an array whose first two axes broadcast to (B, H)."""
    return array[batch if array.shape[0] > 1 else 0, head if array.shape[1] > 1 else 0]


def scores_of(block: Block, spec: AttentionSpec, scale: float) -> Array:
    """softcap(scale * Q K^T) + bias + ALiBi for one block, (r, n), -inf where invisible; a new array."""
    xp = namespace(block.query)
    scores = xp.matmul(block.query * scale, block.key.T)
    if spec.softcap is not None:
        scores /= spec.softcap
        xp.tanh(scores, out=scores)
        scores *= spec.softcap
    if block.additive is not None:
        scores += block.additive
    if block.visible is not None:
        scores[~block.visible] = -math.inf
    return scores


def dropout_keep(block: Block, spec: AttentionSpec) -> Array:
    """The keep-mask of one block, (r, n)."""
    keep = like(head_of(block_of(spec.keep, block.rows), block.batch, block.head), block.query)
    xp = namespace(block.query)
    rows, n = block.query.shape[0], spec.keep.shape[-1]
    if n == 1:
        return xp.broadcast_to(keep, (rows, block.key.shape[0]))
    return xp.broadcast_to(keep, (rows, n))[:, block.keys]


def add_to_bias(target: Array, block: Block, terms: Array) -> None:
    """Add a block's (r, n) terms to an array of the bias's four axes, summed over its broadcast axes."""
    b, h, rows, keys = target.shape
    # Indexing the head first keeps integers and index arrays apart: together they would move axes.
    head = target[block.batch if b > 1 else 0, block.head if h > 1 else 0]
    axes = tuple(axis for axis, size in enumerate((rows, keys)) if size == 1)
    place = (block.rows if rows > 1 else slice(0, 1), block.keys if keys > 1 else slice(0, 1))
    head[place] += namespace(terms).sum(terms, axis=axes, keepdims=True) if axes else terms
