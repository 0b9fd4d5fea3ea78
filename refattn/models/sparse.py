"""Sparse attention by reordering: gather, run the dense tiled kernel, scatter.

Hash-sparse: queries and keys are sorted by bucket, so that a bucket's pairs lie next to each other and the tiles off
that band hold no visible pair and are skipped. QK-sparse: the kept queries and keys are moved to the front and the rest
is cut off. Causality is decided by the original positions. (Pagliardini, Paliotta, Jaggi and Fleuret, 2023.) Both equal
dense attention whose spec has `buckets`, or `kept_keys` and `kept_queries`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from refattn.contract.spec import AttentionSpec, Shape, problem_shape
from refattn.contract.visibility import Bools, Ints
from refattn.errors import InvalidValue
from refattn.models.tiled import TiledAttention

# The features that do not depend on positions, and causality, which is decided by the original ones.
ORDERLESS = {"scale", "causal", "strict", "alignment", "softcap", "sinks", "empty_rows"}


def hash_sparse_attention(
    q: Any, k: Any, v: Any, *, spec: AttentionSpec, kernel: TiledAttention | None = None
) -> tuple[Any, Any]:
    """(out, lse) of attention within equal buckets (spec.buckets), by a stable sort of the tokens of each head.

    Raises InvalidValue if the spec has no buckets, or a feature that depends on positions other than causality.
    """
    shape = _checked(q, k, v, spec, {"buckets"})
    if spec.buckets is None:
        raise InvalidValue("buckets is None: expected the bucket of every query and key")
    query_buckets, key_buckets = (
        np.broadcast_to(ids, (shape.batch, shape.heads, ids.shape[-1])) for ids in spec.buckets
    )
    rows, columns = (np.argsort(ids, axis=-1, kind="stable") for ids in (query_buckets, key_buckets))
    sorted_query, sorted_key = _gather(query_buckets, rows), _gather(key_buckets, columns)
    seen = sorted_query[..., :, None] == sorted_key[..., None, :]
    return _reordered(q, k, v, spec, shape, rows, columns, seen, kernel)


def qk_sparse_attention(
    q: Any, k: Any, v: Any, *, spec: AttentionSpec, kernel: TiledAttention | None = None
) -> tuple[Any, Any]:
    """(out, lse) of attention among the kept tokens (spec.kept_queries, spec.kept_keys), by compaction.

    Heads keep different numbers of tokens, so each is cut to the longest, and filled up with dropped tokens, which stay
    invisible. A dropped query is an empty row. Raises InvalidValue if the spec has a feature that depends on positions
    other than causality.
    """
    shape = _checked(q, k, v, spec, {"kept_keys", "kept_queries"})
    rows, kept_rows = _compacted(spec.kept_queries, (shape.batch, shape.heads, shape.queries))
    columns, kept_columns = _compacted(spec.kept_keys, (shape.batch, shape.heads, shape.keys))
    seen = kept_rows[..., :, None] & kept_columns[..., None, :]
    return _reordered(q, k, v, spec, shape, rows, columns, seen, kernel)


def _checked(q: Any, k: Any, v: Any, spec: AttentionSpec, own: set[str]) -> Shape:
    for name in spec.features():
        if name not in ORDERLESS | own:
            raise InvalidValue(f"{name} is set: expected a spec without it, as the tokens are reordered")
    return problem_shape(q, k, v, spec)


def _compacted(kept: Any, size: tuple[int, int, int]) -> tuple[Ints, Bools]:
    """The tokens of each head, kept ones first, cut to the largest number kept; and which of them are kept."""
    kept_tokens = np.broadcast_to(np.True_ if kept is None else kept, size)
    order = np.argsort(~kept_tokens, axis=-1, kind="stable")[..., : int(kept_tokens.sum(axis=-1).max(initial=0))]
    return order, _gather(kept_tokens, order)


def _reordered(
    q: Any,
    k: Any,
    v: Any,
    spec: AttentionSpec,
    shape: Shape,
    rows: Ints,
    columns: Ints,
    seen: Bools,
    kernel: TiledAttention | None,
) -> tuple[Any, Any]:
    """Attention of queries `rows` (B, H, n) to keys `columns` (B, H, m) where `seen` (B, H, n, m); empty rows
    elsewhere.
    """
    if spec.causal:
        offset = shape.keys - shape.queries if spec.alignment == "bottom_right" else 0
        position, key = rows[..., :, None] + offset, columns[..., None, :]
        seen = seen & (key < position if spec.strict else key <= position)
    dense = AttentionSpec(
        scale=spec.scale, softcap=spec.softcap, sinks=spec.sinks, empty_rows=spec.empty_rows, mask=seen
    )
    gathered = [_gather(np.asarray(q), rows)]
    gathered += [_gather(np.repeat(np.asarray(x), shape.group, axis=1), columns) for x in (k, v)]
    dense_out, dense_lse = (kernel or TiledAttention())(*gathered, spec=dense)
    nothing = 0.0 if spec.empty_rows == "zero" else np.nan
    out = np.full((*q.shape[:3], shape.d_v), nothing, dense_out.dtype)
    lse = np.full(q.shape[:3], -np.inf, dense_lse.dtype)
    if spec.sinks is not None:
        lse[:] = spec.sinks[:, None]
    np.put_along_axis(out, rows[..., None], dense_out, axis=2)
    np.put_along_axis(lse, rows, dense_lse, axis=2)
    return out, lse


def _gather(array: NDArray[Any], order: Ints) -> NDArray[Any]:
    """The tokens `order` (B, H, n) of an array (B, H, N) or (B, H, N, D)."""
    return np.take_along_axis(array, order if array.ndim == 3 else order[..., None], axis=2)
