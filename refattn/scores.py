"""Scores in float64, a block of queries of one head at a time: what the float64 oracle and the error budgets share.

May import: numpy, refattn.spec, refattn.visibility.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refattn.spec import AttentionSpec, Shape
from refattn.visibility import Bools, Visibility, block_of

Array = NDArray[np.float64]

# Entries of one block: 8 MB in float64 fit the caches of a server and make GEMMs efficient. Where keys are so many that
# this would be few rows, the work per block that does not depend on them would tell: up to 32 MB then.
BLOCK_ENTRIES = 1 << 20
FEW_ROWS = 128


def entries_for(keys: int) -> int:
    """Scores of one block of a problem with so many keys."""
    return max(BLOCK_ENTRIES, min(FEW_ROWS * keys, 4 * BLOCK_ENTRIES))


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
    keys: slice | NDArray[np.int64]
    query: Array
    key: Array
    visible: Bools | None
    additive: Array | None
    additive_size: Array


def scale_of(spec: AttentionSpec, d_qk: int) -> float:
    """The float64 number nearest to the spec's scale (exact unless the scale is None)."""
    return float(spec.scale) if spec.scale is not None else 1.0 / float(np.sqrt(d_qk))


def hides(spec: AttentionSpec) -> bool:
    """True if the spec can make a key invisible."""
    left, right = spec.window
    features = (
        spec.documents,
        spec.kept_keys,
        spec.kept_queries,
        spec.buckets,
        spec.mask,
        spec.key_positions,
        left,
        right,
    )
    hidden_by_bias = spec.bias is not None and bool(np.isneginf(spec.bias).any())
    return spec.causal or hidden_by_bias or any(feature is not None for feature in features)


def blocks(q: Array, k: Array, spec: AttentionSpec, shape: Shape, entries: int | None = None) -> Iterator[Block]:
    """Every query of the problem once, in blocks of about `entries` scores; heads run fastest."""
    visibility = Visibility.of(spec, shape)
    masked = hides(spec)
    step = max(1, (entries or entries_for(shape.keys)) // max(1, shape.keys))
    for start in range(0, shape.queries, step):
        rows = slice(start, min(start + step, shape.queries))
        seen = visibility.block(rows) if masked else None
        distance = visibility.distance(rows) if spec.alibi_slopes is not None else None
        bias = block_of(spec.bias, rows) if spec.bias is not None else None
        for batch in range(shape.batch):
            for head in range(shape.heads):
                yield _block(q, k, spec, shape, (batch, head, rows), seen, bias, distance)


def _block(
    q: Array,
    k: Array,
    spec: AttentionSpec,
    shape: Shape,
    where: tuple[int, int, slice],
    seen: Bools | None,
    bias: Any,
    distance: Any,
) -> Block:
    batch, head, rows = where
    kv_head = head // shape.group
    visible = None if seen is None else head_of(seen, batch, head)
    keys: slice | NDArray[np.int64] = slice(0, shape.keys)
    if visible is not None:
        used = np.flatnonzero(visible.any(axis=0))
        contiguous = used.size == 0 or used[-1] - used[0] + 1 == used.size
        keys = (slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(0, 0)) if contiguous else used
        visible = visible[:, keys]
        visible = None if visible.all() else visible
    terms: list[Array] = []
    if bias is not None:
        terms.append(np.broadcast_to(head_of(bias, batch, head), (rows.stop - rows.start, shape.keys))[:, keys])
    if distance is not None:
        slope = np.broadcast_to(spec.alibi_slopes, (shape.batch, shape.heads))[batch, head]
        terms.append(-slope * head_of(distance, batch, head)[:, keys])
    if visible is not None:
        terms = [np.where(visible, term, 0.0) for term in terms]
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
        additive_size=sum((np.abs(term).max(axis=1, initial=0.0) for term in terms), np.zeros(rows.stop - rows.start)),
    )


def head_of(array: Any, batch: int, head: int) -> Any:
    """One head of an array whose first two axes broadcast to (B, H)."""
    return array[batch if array.shape[0] > 1 else 0, head if array.shape[1] > 1 else 0]


def scores_of(block: Block, spec: AttentionSpec, scale: float) -> Array:
    """softcap(scale * Q K^T) + bias + ALiBi for one block, (r, n), -inf where invisible; the caller's own."""
    scores = (block.query * scale) @ block.key.T
    if spec.softcap is not None:
        scores /= spec.softcap
        np.tanh(scores, out=scores)
        scores *= spec.softcap
    if block.additive is not None:
        scores += block.additive
    if block.visible is not None:
        scores[~block.visible] = -np.inf
    return scores


def dropout_keep(block: Block, spec: AttentionSpec) -> Any:
    """The keep-mask of one block, (r, n)."""
    keep = head_of(block_of(spec.keep, block.rows), block.batch, block.head)
    rows, n = block.query.shape[0], spec.keep.shape[-1]
    if n == 1:
        return np.broadcast_to(keep, (rows, block.key.shape[0]))
    return np.broadcast_to(keep, (rows, n))[:, block.keys]


def add_to_bias(target: Array, block: Block, terms: Array) -> None:
    """Add a block's (r, n) terms to an array of the bias's four axes, summed over those that it broadcasts along."""
    b, h, rows, keys = target.shape
    # Indexing the head first keeps integers and index arrays apart: together they would move axes.
    of_head = target[block.batch if b > 1 else 0, block.head if h > 1 else 0]
    axes = tuple(axis for axis, size in enumerate((rows, keys)) if size == 1)
    place = (block.rows if rows > 1 else slice(0, 1), block.keys if keys > 1 else slice(0, 1))
    of_head[place] += terms.sum(axis=axes, keepdims=True) if axes else terms
