"""Faults of stored keys: grouped heads, pages, packed documents, dropped keys and buckets, strides of V."""

from __future__ import annotations

from typing import Any

import numpy as np

from refattn.models import TiledAttention as Tiled
from tests.mutants.hiding import seen_of
from tests.mutants.registry import forward, forward_class
from tests.mutants.samples import sample


@forward("P110", "gqa", "", "for_each_query_head")
def heads_interleaved(_kernel: Any, problem: Any, array: Any) -> Any:
    """Query head h reads key-value head h % Hkv."""
    return np.tile(array, (1, problem.shape.group, 1, 1))


@forward("P111", "gqa", "", "load_values", shows=sample(heads=6, kv_heads=2))
def values_of_first_group(_kernel: Any, problem: Any, columns: Any) -> Any:
    """With an odd group the values are those of head h // (group - 1), as by a rounded-down power of two."""
    shape = problem.shape
    group = 2 ** (shape.group.bit_length() - 1)
    head = np.minimum(np.arange(shape.heads) // group, shape.kv_heads - 1)
    return problem.v[:, head, columns]


@forward("V01", "paged", "https://github.com/flashinfer-ai/flashinfer/pull/3022", "load_values", claims=("paged",),
         shows=sample("paged"))  # fmt: skip
def second_half_of_values_from_first_page(kernel: Any, problem: Any, columns: Any) -> Any:
    """Paged: the second half of a V tile is read from the pages of the first."""
    values = Tiled.load_values(kernel, problem, columns)
    half = values.shape[2] // 2
    if problem.spec.key_positions is None or half == 0:
        return values
    return np.concatenate([values[:, :, : values.shape[2] - half], values[:, :, :half]], axis=2)


@forward("V02", "paged", "https://github.com/Dao-AILab/flash-attention/commit/e3b2400a", "load_values",
         claims=("paged",), shows=sample("paged", d_qk=16, d_v=32))  # fmt: skip
def wide_values_cut(kernel: Any, problem: Any, columns: Any) -> Any:
    """Paged: the columns of V beyond Q's head dimension are read as zero."""
    values = Tiled.load_values(kernel, problem, columns)
    cut = problem.spec.key_positions is not None
    return np.where((np.arange(values.shape[3]) >= problem.shape.d_qk) & cut, 0.0, values)


@forward("P112", "paged", "", "visible", claims=("paged",), shows=sample("paged"))
def unused_slots_of_last_page_seen(kernel: Any, problem: Any, rows: Any) -> Any:
    """Paged: unused slots are seen, as if the last page were full."""
    seen = Tiled.visible(kernel, problem, rows)
    return seen if problem.spec.key_positions is None else seen | (problem.visibility.key_positions < 0)[:, None, None]


@forward("P113", "paged", "", "visible", claims=("paged",), shows=sample("paged", "causal"))
def causal_by_slot(kernel: Any, problem: Any, rows: Any) -> Any:
    """Paged and causal: the slot's number is taken for the key's position."""
    positions = problem.spec.key_positions
    if positions is None or not problem.spec.causal:
        return Tiled.visible(kernel, problem, rows)
    used = (np.atleast_2d(positions) >= 0)[:, None, None]
    return seen_of(problem, rows, key_positions=None) & used


@forward("P114", "varlen", "", "visible", claims=("varlen",), shows=sample("varlen"))
def document_includes_the_next_key(kernel: Any, problem: Any, rows: Any) -> Any:
    """A document's keys include the first of the next document."""
    documents = problem.spec.documents
    if documents is None:
        return Tiled.visible(kernel, problem, rows)
    queries, keys = (np.atleast_2d(ids) for ids in documents)
    shifted = np.concatenate([keys[:, :1], keys[:, :-1]], axis=1)
    return seen_of(problem, rows, documents=(np.broadcast_to(queries, (len(shifted), queries.shape[1])), shifted))


@forward("P115", "varlen", "", "visible", claims=("varlen",), shows=sample("varlen", "causal"))
def causal_across_documents(kernel: Any, problem: Any, rows: Any) -> Any:
    """In packed documents causality counts from the start of the batch, not of the document."""
    spec = problem.spec
    if spec.documents is None:
        return Tiled.visible(kernel, problem, rows)
    own = seen_of(problem, rows, causal=False, strict=False, window=(None, None))
    return own & seen_of(problem, rows, documents=None)


@forward("P116", "varlen", "", "visible", claims=("varlen",), shows=sample("varlen"))
def documents_see_the_one_before(kernel: Any, problem: Any, rows: Any) -> Any:
    """A document sees the keys of the one before it, too."""
    if problem.spec.documents is None:
        return Tiled.visible(kernel, problem, rows)
    queries, keys = problem.spec.documents
    return Tiled.visible(kernel, problem, rows) | seen_of(problem, rows, documents=(queries, keys + 1))


@forward_class("P117", "sparse", "", claims=("sparse",), shows=sample("sparse"))
class DroppedKeysOnlyZeroed(Tiled):
    """Dropped keys and their values are zeroed and stay in the row sum, with the score 0."""

    def visible(self, problem: Any, rows: Any) -> Any:
        return seen_of(problem, rows, kept_keys=None)

    def scores(self, problem: Any, tile: Any) -> Any:
        kept = self.kept_keys(problem, tile.columns)[:, :, None]
        return np.where(kept | ~tile.seen, Tiled.scores(self, problem, tile), 0.0)

    def load_values(self, problem: Any, columns: Any) -> Any:
        return Tiled.load_values(self, problem, columns) * self.kept_keys(problem, columns)[..., None]

    def kept_keys(self, problem: Any, columns: Any) -> Any:
        size = (problem.shape.batch, problem.shape.heads, problem.shape.keys)
        kept = problem.spec.kept_keys
        return np.broadcast_to(np.True_ if kept is None else kept, size)[..., columns]


@forward("P118", "sparse", "", "visible", claims=("sparse",),
         shows=sample(buckets=(np.arange(70)[None, None] % 4, np.arange(150)[None, None] % 4)))  # fmt: skip
def neighbouring_buckets_seen(kernel: Any, problem: Any, rows: Any) -> Any:
    """A query sees the next hash bucket, too."""
    seen = Tiled.visible(kernel, problem, rows)
    if problem.spec.buckets is None:
        return seen
    queries, keys = problem.spec.buckets
    return seen | seen_of(problem, rows, buckets=(queries + 1, keys))


@forward("P119", "sparse", "", "visible", claims=("sparse",),
         shows=sample(kept_queries=np.arange(70)[None, None] % 2 == 0))  # fmt: skip
def dropped_queries_computed(_kernel: Any, problem: Any, rows: Any) -> Any:
    """Dropped queries get an output like the others."""
    return seen_of(problem, rows, kept_queries=None)


@forward("P168", "sparse", "", "visible", claims=("sparse",),
         shows=sample(buckets=(np.arange(70)[None, None] % 3 - 1, np.arange(150)[None, None] % 3 - 1)))  # fmt: skip
def negative_buckets_dropped(kernel: Any, problem: Any, rows: Any) -> Any:
    """A negative hash bucket marks a dropped query, as in the padding of published kernels."""
    seen = Tiled.visible(kernel, problem, rows)
    if problem.spec.buckets is None:
        return seen
    dropped = problem.spec.buckets[0] < 0
    return seen & seen_of(problem, rows, kept_queries=~dropped)


@forward("X03", "stride", "https://github.com/huggingface/transformers/issues/44554", "forward")
def output_allocated_with_query_dimension(kernel: Any, problem: Any) -> Any:
    """The output has the row pitch of Q's head dimension, and is read with that of V's."""
    out, lse = Tiled.forward(kernel, problem)
    return with_pitch(out, problem.shape.d_qk), lse


def with_pitch(array: Any, pitch: int) -> Any:
    """What is read after rows were written `pitch` apart into memory of zeros, and read at their own length."""
    rows = array.reshape(-1, array.shape[-1])
    memory = np.zeros(len(rows) * max(pitch, rows.shape[1]) + rows.shape[1])
    for place, row in enumerate(rows):
        memory[place * pitch : place * pitch + row.size] = row
    return memory[: rows.size].reshape(array.shape)


@forward("P120", "int", "", "load_values", shows=sample(keys=1200, queries=8))
def value_offset_wraps(kernel: Any, problem: Any, columns: Any) -> Any:
    """The offset into V overflows for long sequences (here beyond 1024 keys)."""
    keys = np.arange(columns.start, columns.stop) % 1024
    return kernel.for_each_query_head(problem, problem.v[:, :, keys])
