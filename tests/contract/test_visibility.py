"""Visibility: matrices written by hand, and an element-by-element reading of the spec's docstring."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from refattn.contract.spec import AttentionSpec, Shape
from refattn.contract.visibility import Visibility, visible


def matrix(text: str) -> np.ndarray:
    """Rows of '#' (visible) and '.' (not)."""
    return np.array([[letter == "#" for letter in row] for row in text.split()])


def shape_of(queries: int, keys: int, batch: int = 1, heads: int = 1) -> Shape:
    return Shape(batch, heads, 1, queries, keys, 4, 4)


def seen(spec: AttentionSpec, queries: int, keys: int) -> np.ndarray:
    return visible(spec, shape_of(queries, keys))[0, 0]


TWO_DOCUMENTS = {"documents": ([7, 3], [7, 7, 3]), "causal": True}

BY_HAND: list[tuple[str, dict[str, Any], str]] = [
    ("everything", {}, "#### ####"),
    ("causal, square", {"causal": True}, "#... ##.. ###. ####"),
    ("causal, bottom right, more keys", {"causal": True}, "###. ####"),
    ("causal, bottom right, more queries", {"causal": True}, ".. .. #. ##"),
    ("causal, top left, more keys", {"causal": True, "alignment": "top_left"}, "#... ##.."),
    ("causal, top left, more queries", {"causal": True, "alignment": "top_left"}, "#. ## ## ##"),
    ("strict", {"causal": True, "strict": True}, "... #.. ##."),
    ("window to the left", {"window": (1, 0)}, "#... ##.. .##. ..##"),
    ("window to both sides", {"window": (1, 1)}, "##.. ###. .### ..##"),
    ("window without a left limit", {"window": (None, 1)}, "###. #### ####"),
    ("window without a right limit", {"window": (0, None)}, "#### .### ..## ...#"),
    ("window of one key, decoding", {"window": (0, 0)}, "...#"),
    ("causal window", {"causal": True, "window": (1, 2)}, "#... ##.. .##. ..##"),
    ("window, top left", {"window": (0, 0), "alignment": "top_left"}, "#... .#.."),
    ("documents", {"documents": ([0, 0, 1], [0, 1, 1])}, "#.. #.. .##"),
    ("causal documents, bottom right", {"causal": True, "documents": ([7, 7, 3], [7, 3, 3])}, "... #.. .##"),
    (
        "causal documents, top left",
        {"causal": True, "alignment": "top_left", "documents": ([7, 7, 3], [7, 3, 3])},
        "#.. #.. .#.",
    ),
    ("documents in pieces", {"causal": True, "documents": ([0, 1, 0], [0, 1, 0])}, "#.. .#. #.#"),
    ("a document without queries", {"documents": ([0], [0, 9])}, "#."),
    ("buckets", {"buckets": ([1, 2], [2, 1, 1])}, ".## #.."),
    ("dropped key", {"kept_keys": [True, False, True]}, "#.# #.#"),
    ("dropped query", {"kept_queries": [True, False]}, "### ..."),
    ("causal does not move when a key is dropped", {"causal": True, "kept_keys": [False, True, True]}, "... .#. .##"),
    ("pages out of order", {"causal": True, "key_positions": [2, 0, 1]}, ".## ###"),
    ("an unused slot", {"causal": True, "key_positions": [1, -1, 0]}, "..# #.#"),
    ("an unused slot without causal", {"key_positions": [1, -1, 0]}, "#.#"),
    ("mask", {"mask": [[True, False], [False, False]]}, "#. .."),
    ("queries at positions of their own", {"causal": True, "query_positions": [2, 0]}, "### #.."),
    (
        "queries of two documents",
        {"strict": True, "query_positions": [1, 1]} | TWO_DOCUMENTS,
        "#.. ..#",
    ),
    ("mask of one column", {"mask": [[True], [False]]}, "## .."),
    ("bias of minus infinity", {"bias": [[0.0, -np.inf], [-1e308, np.nan]]}, "#. ##"),
]


@pytest.mark.parametrize(("fields", "expected"), [case[1:] for case in BY_HAND], ids=[case[0] for case in BY_HAND])
def test_matrices_written_by_hand(fields: dict[str, Any], expected: str) -> None:
    rows = matrix(expected)
    np.testing.assert_array_equal(seen(AttentionSpec(**fields), *rows.shape), rows)


def entry(array: Any, *index: int) -> Any:
    """The element of a broadcast array: trailing axes align, and an axis of size 1 stands for all."""
    array = np.asarray(array)
    picked = index[len(index) - array.ndim :]
    return array[tuple(0 if size == 1 else i for size, i in zip(array.shape, picked, strict=True))]


def is_visible(spec: AttentionSpec, shape: Shape, b: int, h: int, i: int, j: int) -> bool:
    """The docstring of AttentionSpec, read one element at a time."""
    position, key, n_queries, n_keys = i, j, shape.queries, shape.keys
    if spec.key_positions is not None:
        slots = [int(entry(spec.key_positions, b, slot)) for slot in range(shape.keys)]
        key, n_keys = slots[j], sum(slot >= 0 for slot in slots)
        if key < 0:
            return False
    if spec.documents is not None:
        query_ids = [int(entry(spec.documents[0], b, n)) for n in range(shape.queries)]
        key_ids = [int(entry(spec.documents[1], b, n)) for n in range(shape.keys)]
        if query_ids[i] != key_ids[j]:
            return False
        position, key = query_ids[:i].count(query_ids[i]), key_ids[:j].count(key_ids[j])
        n_queries, n_keys = query_ids.count(query_ids[i]), key_ids.count(key_ids[j])
    if spec.alignment == "bottom_right":
        position += n_keys - n_queries
    left, right = spec.window
    return not (
        (spec.causal and key > position)
        or (spec.strict and key == position)
        or (left is not None and key < position - left)
        or (right is not None and key > position + right)
        or (spec.buckets is not None and entry(spec.buckets[0], b, h, i) != entry(spec.buckets[1], b, h, j))
        or (spec.kept_keys is not None and not entry(spec.kept_keys, b, h, j))
        or (spec.kept_queries is not None and not entry(spec.kept_queries, b, h, i))
        or (spec.mask is not None and not entry(spec.mask, b, h, i, j))
        or (spec.bias is not None and entry(spec.bias, b, h, i, j) == -np.inf)
    )


def broadcastable(draw: st.DrawFn, full: tuple[int, ...], elements: st.SearchStrategy[Any]) -> np.ndarray:
    """An array that broadcasts to `full`: leading axes missing, some axes of size 1."""
    missing = draw(st.integers(0, len(full) - 1))
    sizes = [draw(st.sampled_from([1, size])) for size in full[missing:]]
    count = int(np.prod(sizes))
    return np.array(draw(st.lists(elements, min_size=count, max_size=count))).reshape(sizes)


def per_token(draw: st.DrawFn, batch: int, n: int, elements: st.SearchStrategy[int]) -> np.ndarray:
    shape = draw(st.sampled_from([(n,), (batch, n)]))
    count = int(np.prod(shape))
    return np.array(draw(st.lists(elements, min_size=count, max_size=count)), dtype=np.int64).reshape(shape)


def paged_positions(draw: st.DrawFn, batch: int, keys: int) -> np.ndarray:
    rows = []
    for _ in range(batch):
        used = draw(st.integers(0, keys))
        rows.append(draw(st.permutations([*range(used), *[-1] * (keys - used)])))
    return np.array(rows, dtype=np.int64).reshape(batch, keys)


@st.composite
def problems(draw: st.DrawFn) -> tuple[AttentionSpec, Shape]:
    shape = Shape(draw(st.integers(1, 2)), draw(st.integers(1, 2)), 1, *draw(st.tuples(*[st.integers(1, 5)] * 2)), 4, 4)
    full = (shape.batch, shape.heads, shape.queries, shape.keys)
    causal = draw(st.booleans())
    side = st.none() | st.integers(0, 4)
    fields: dict[str, Any] = {
        "causal": causal,
        "strict": causal and draw(st.booleans()),
        "alignment": draw(st.sampled_from(["bottom_right", "top_left"])),
        "window": draw(st.tuples(side, side)),
    }
    arrays = draw(st.sets(st.sampled_from(["paged", "documents", "buckets", "keys", "queries", "mask", "bias"])))
    small = st.integers(0, 2)
    if "paged" in arrays:
        fields["key_positions"] = paged_positions(draw, shape.batch, shape.keys)
    elif "documents" in arrays:
        fields["documents"] = tuple(per_token(draw, shape.batch, n, small) for n in full[2:])
    if "buckets" in arrays:
        fields["buckets"] = tuple(broadcastable(draw, (*full[:2], n), small) for n in full[2:])
    if "keys" in arrays:
        fields["kept_keys"] = broadcastable(draw, (*full[:2], shape.keys), st.booleans())
    if "queries" in arrays:
        fields["kept_queries"] = broadcastable(draw, full[:3], st.booleans())
    if "mask" in arrays:
        fields["mask"] = broadcastable(draw, full, st.booleans())
    if "bias" in arrays:
        fields["bias"] = broadcastable(draw, full, st.sampled_from([0.0, -1.5, -np.inf]))
    return AttentionSpec(**fields), shape


PER_BATCH = ([[0, 1, 1], [0, 0, 1]], [[0, 1, 1], [1, 0, 0]])


@given(problems())
@example((AttentionSpec(causal=True, documents=PER_BATCH), shape_of(3, 3, batch=2)))
@example((AttentionSpec(causal=True, documents=(PER_BATCH[0], [0, 0, 1])), shape_of(3, 3, batch=2)))
@example((AttentionSpec(buckets=([[[0], [1]]], [0])), shape_of(1, 1, heads=2)))
def test_every_element_is_as_the_docstring_says(problem: tuple[AttentionSpec, Shape]) -> None:
    spec, shape = problem
    full = (shape.batch, shape.heads, shape.queries, shape.keys)
    expected = [is_visible(spec, shape, *index) for index in np.ndindex(full)]
    np.testing.assert_array_equal(visible(spec, shape), np.reshape(expected, full))


@given(problems(), st.data())
def test_a_block_of_queries_is_the_same_rows_of_the_whole(
    problem: tuple[AttentionSpec, Shape], data: st.DataObject
) -> None:
    spec, shape = problem
    start = data.draw(st.integers(0, shape.queries - 1))
    stop = data.draw(st.integers(start + 1, shape.queries))
    block = Visibility.of(spec, shape).block(slice(start, stop))
    expected = visible(spec, shape)[:, :, start:stop]
    np.testing.assert_array_equal(np.broadcast_to(block, expected.shape), expected)


def test_distance_counts_from_the_aligned_position() -> None:
    bottom = Visibility.of(AttentionSpec(), shape_of(2, 4)).distance()
    np.testing.assert_array_equal(bottom[0, 0], [[2, 1, 0, 1], [3, 2, 1, 0]])
    top = Visibility.of(AttentionSpec(alignment="top_left"), shape_of(2, 4)).distance(slice(1, 2))
    np.testing.assert_array_equal(top[0, 0], [[1, 0, 1, 2]])
    paged = Visibility.of(AttentionSpec(key_positions=[1, 2, 0]), shape_of(1, 3)).distance()
    np.testing.assert_array_equal(paged[0, 0], [[1, 0, 2]])


@pytest.mark.parametrize(("queries", "keys"), [(0, 3), (3, 0), (0, 0)])
def test_no_queries_or_no_keys_give_an_empty_matrix(queries: int, keys: int) -> None:
    spec = AttentionSpec(causal=True, window=(1, 1), documents=([0] * queries, [0] * keys))
    assert visible(spec, shape_of(queries, keys)).shape == (1, 1, queries, keys)


def test_the_whole_matrix_is_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        visible(AttentionSpec(), shape_of(2, 2))[0, 0, 0, 0] = False
