"""Which key each query sees: integer predicates, no arithmetic on floating-point numbers.

They are evaluated in NumPy, or where a torch tensor is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refattn.contract.spec import AttentionSpec, Shape
from refattn.numbers.arrays import device, like, namespace

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Visibility:
    """The predicate visible(i, j) of one problem, evaluated a block of queries at a time.

    `query_positions` is (B or 1, Nq), already shifted by the alignment's offset; `key_positions` is (B or 1, Nk), with
    -1 for a slot that holds no key. Results have the library and the device of `model`.
    """

    spec: AttentionSpec
    shape: Shape
    query_positions: Ints
    key_positions: Ints
    model: Any

    @classmethod
    def of(cls, spec: AttentionSpec, shape: Shape, model: Any = None) -> Visibility:
        """The visibility of a problem whose shape refattn.contract.spec.problem_shape has checked, for a NumPy array or
        a torch tensor like `model`; None is NumPy's.
        """
        queries, keys = _positions(spec, shape)
        if spec.query_positions is not None:
            queries = np.atleast_2d(spec.query_positions)
        return cls(spec, shape, queries, keys, np.zeros(()) if model is None else model)

    def block(self, rows: slice = slice(None)) -> Bools:
        """visible(i, j) for the queries in `rows`: (B or 1, H or 1, rows, Nk), to be broadcast."""
        spec = self.spec
        xp = namespace(self.model)
        position, key = self._positions(rows)
        size = np.broadcast_shapes(position.shape, key.shape)
        visible: Bools = xp.empty(size, dtype=xp.bool, device=device(self.model))
        visible[...] = key >= 0
        if spec.causal:
            visible &= key < position if spec.strict else key <= position
        left, right = spec.window
        if left is not None:
            visible &= key >= position - left
        if right is not None:
            visible &= key <= position + right
        if spec.documents is not None:
            query_ids, key_ids = (np.atleast_2d(ids) for ids in spec.documents)
            visible = visible & (self._like(query_ids[:, None, rows, None]) == self._like(key_ids[:, None, None, :]))
        if spec.buckets is not None:
            query_buckets, key_buckets = (_at_least_3d(ids) for ids in spec.buckets)
            query_bucket = self._like(_rows(query_buckets[..., None], rows))
            visible = visible & (query_bucket == self._like(key_buckets[:, :, None, :]))
        if spec.kept_keys is not None:
            visible = visible & self._like(_at_least_3d(spec.kept_keys)[:, :, None, :])
        if spec.kept_queries is not None:
            visible = visible & self._like(_rows(_at_least_3d(spec.kept_queries)[..., None], rows))
        if spec.mask is not None:
            visible = visible & self._like(block_of(spec.mask, rows))
        if spec.bias is not None:
            visible = visible & self._like(~np.isneginf(block_of(spec.bias, rows)))
        return visible

    def distance(self, rows: slice = slice(None)) -> Ints:
        """|position - j| for ALiBi: (B or 1, 1, rows, Nk)."""
        position, key = self._positions(rows)
        distance: Ints = namespace(self.model).abs(position - key)
        return distance

    def _positions(self, rows: slice) -> tuple[Any, Any]:
        """Positions of the queries `rows` and of the keys, to be broadcast."""
        return self._like(self.query_positions[:, None, rows, None]), self._like(self.key_positions[:, None, None, :])

    def _like(self, array: NDArray[Any]) -> Any:
        return like(array, self.model)

    def full(self) -> Bools:
        """visible(i, j) of the whole problem, (B, H, Nq, Nk), read-only."""
        shape = self.shape
        return np.broadcast_to(self.block(), (shape.batch, shape.heads, shape.queries, shape.keys))


def visible(spec: AttentionSpec, shape: Shape) -> Bools:
    """visible(i, j) of the whole problem, (B, H, Nq, Nk), read-only."""
    return Visibility.of(spec, shape).full()


def block_of(array: NDArray[Any], rows: slice) -> NDArray[Any]:
    """The queries `rows` of an array that broadcasts to (B, H, Nq, Nk), with its four axes made explicit."""
    four = array.reshape((1,) * (4 - array.ndim) + array.shape)
    return _rows(four, rows)


def _rows(array: NDArray[Any], rows: slice) -> NDArray[Any]:
    return array if array.shape[2] == 1 else array[:, :, rows]


def _at_least_3d(array: NDArray[Any]) -> NDArray[Any]:
    return array.reshape((1,) * (3 - array.ndim) + array.shape)


def _positions(spec: AttentionSpec, shape: Shape) -> tuple[Ints, Ints]:
    bottom_right = spec.alignment == "bottom_right"
    if spec.documents is not None:
        return _document_positions(spec, shape, bottom_right)
    queries = np.arange(shape.queries, dtype=np.int64)[None]
    if spec.key_positions is None:
        keys = np.arange(shape.keys, dtype=np.int64)[None]
        count = np.array([[shape.keys]])
    else:
        keys = np.atleast_2d(spec.key_positions)
        count = (keys >= 0).sum(axis=1, keepdims=True)
    return (queries + (count - shape.queries) if bottom_right else queries), keys


def _document_positions(spec: AttentionSpec, shape: Shape, bottom_right: bool) -> tuple[Ints, Ints]:
    assert spec.documents is not None
    query_ids, key_ids = (np.atleast_2d(ids) for ids in spec.documents)
    rows = max(len(query_ids), len(key_ids))
    queries = np.zeros((rows, shape.queries), np.int64)
    keys = np.zeros((rows, shape.keys), np.int64)
    for row in range(rows):
        query_document = query_ids[min(row, len(query_ids) - 1)]
        key_document = key_ids[min(row, len(key_ids) - 1)]
        for document in np.unique(np.concatenate([query_document, key_document])):
            own_queries, own_keys = query_document == document, key_document == document
            offset = own_keys.sum() - own_queries.sum() if bottom_right else 0
            queries[row, own_queries] = np.arange(own_queries.sum()) + offset
            keys[row, own_keys] = np.arange(own_keys.sum())
    return queries, keys
