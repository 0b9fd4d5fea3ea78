"""Contract: refattn_gpu.sparse_attention and its gradients conform like anybody's, and wrong ones are found out."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

import refattn
from refattn.contract.spec import AttentionSpec
from tests.support.extras import needed

torch = needed("torch")
triton = needed("triton")
tl = triton.language

import refattn_interpreter as interpreter
from refattn_gpu.launching.arguments import Tiling
from refattn_gpu.sparse import launch as sparse_launch
from refattn_gpu.sparse import order as sparse_order
from refattn_gpu.sparse.attention import SparseAttention
from tests.support.gpu.sparse_cases import (
    BOTH,
    HASHED,
    KEPT,
    KEY_IDS,
    QUERY_IDS,
    SMALL,
    faulty,
    problem,
    results,
    violations,
)

CAUSAL = {"causal": True}
STRICT = {"causal": True, "strict": True, "alignment": "top_left"}
WIDE = AttentionSpec(buckets=(QUERY_IDS * 2**32, KEY_IDS * 2**32))
# Interpreted kernels are slow: the sharpest properties here, all by `refattn check refattn_gpu:sparse_attention`.
PROPERTIES = [("bf16", "values/masks"), ("fp32", "visibility/nan"), ("fp16", "gradients/masks")]


@pytest.mark.parametrize(("format", "only"), PROPERTIES)
def test_sparse_attention_conforms(format: str, only: str) -> None:
    with interpreter.active():
        report = refattn.check(interpreter.in_any_thread(SMALL), "native", (format,), only=only)
    assert report.conforms, [finding.message for finding in report.findings if finding.fails]
    assert len(report.findings) == 1


@pytest.mark.parametrize(
    "spec",
    [
        AttentionSpec(**CAUSAL),
        HASHED,
        HASHED.replace(**CAUSAL),
        HASHED.replace(**STRICT),
        WIDE,
        KEPT,
        KEPT.replace(**CAUSAL, scale=-0.3),
        KEPT.replace(**STRICT),
        BOTH,
    ],
    ids=["dense", "hashed", "hashed-causal", "hashed-strict", "wide", "kept", "kept-causal", "kept-strict", "both"],
)
def test_results_lie_within_the_bounds_of_the_declared_arithmetic(spec: AttentionSpec) -> None:
    assert violations(SMALL, spec, problem()) == set()


@pytest.mark.parametrize("kv_heads", [1, 2])
def test_half_precision_results_lie_within_their_bounds(kv_heads: int) -> None:
    assert violations(SMALL, BOTH, problem(torch.bfloat16, kv_heads), "bf16") == set()


@pytest.mark.parametrize("place", range(4), ids=["q", "k", "v", "do"])
def test_nan_reaches_what_depends_on_it_and_nothing_else(place: int) -> None:
    tensors = problem()
    tensors[place][0, -1, -2, 1] = torch.nan
    if place > 1:
        tensors[place][0, -1, 0, 0] = torch.inf
    assert violations(SMALL, BOTH, tensors) == set()


def test_tilings_strides_and_repetition() -> None:
    tensors = problem()
    apart = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in tensors]
    first, again = (results(SMALL, BOTH, x) for x in (tensors, apart))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    uneven = SparseAttention(Tiling(32, 16), Tiling(16, 32))
    assert violations(uneven, BOTH, tensors) == set()


@triton.jit
def zero_for_the_unseen(products, seen, scale):  # type: ignore[no-untyped-def]
    """A key that is not seen has the score 0."""
    return tl.where(seen, products * (scale * 1.4426950408889634), 0.0)


@triton.jit
def without_the_last(starts, ends, most):  # type: ignore[no-untyped-def]
    """A range that is one short."""
    some = starts < ends
    return tl.min(tl.where(some, starts, most), 0), tl.max(tl.where(some, ends, 0), 0) - 1


@triton.jit
def without_an_end(slots, starts, ends):  # type: ignore[no-untyped-def]
    """Slots after the interval are seen: other buckets, dropped tokens, what lies beyond the ragged tail."""
    return (slots[None, :] >= starts[:, None]) & (ends[:, None] == ends[:, None])


FORWARD, ON_QUERIES, ON_KEYS = "sparse_forward", "sparse_backward_queries", "sparse_backward_keys"
FUNCTIONS = [
    (FORWARD, "interval_scores", zero_for_the_unseen, KEPT, {"out", "lse"}),
    (FORWARD, "interval_span", without_the_last, HASHED, {"out", "lse"}),
    (ON_QUERIES, "interval_span", without_the_last, HASHED, {"dq"}),
    (ON_KEYS, "interval_span", without_the_last, HASHED, {"dk", "dv"}),
    (FORWARD, "in_intervals", without_an_end, HASHED, {"out", "lse"}),
    (ON_KEYS, "in_intervals", without_an_end, HASHED, {"dk", "dv"}),
]


@pytest.mark.parametrize(("kernel", "name", "fault", "spec", "wrong"), FUNCTIONS)
def test_a_wrong_piece_of_a_kernel_is_found(
    kernel: str, name: str, fault: Any, spec: AttentionSpec, wrong: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.import_module(f"refattn_gpu.kernels.{kernel}"), name, fault)
    found = violations(SMALL, spec, problem())
    # Gradients start from the results of the forward pass.
    assert wrong <= found
    assert kernel == FORWARD or found == wrong


STORED = "dq_base, row_place, row_mask,"
SOURCES = [
    # The last tile of queries is not full, and its missing lanes stand for query 0.
    (ON_QUERIES, STORED, STORED.replace("row_mask", "slots == slots"), HASHED, {"dq"}),
    # Right only where tiles of queries and of keys are equally long.
    (ON_KEYS, "range(start, end, TILE.M)", "range(start, end, TILE.N)", HASHED, {"dk", "dv"}),
    (ON_QUERIES, "head * columns_order.head", "head * rows_order.head", HASHED, {"dq"}),
    (FORWARD, "row_place = program * queries + rows", "row_place = program * queries + slots", HASHED, {"out", "lse"}),
    (ON_KEYS, "kv_head = head // sizes.group", "kv_head = head % sizes.group", HASHED, {"dk", "dv"}),
]


@pytest.mark.parametrize(("kernel", "right", "wrong", "spec", "changed"), SOURCES)
def test_a_wrong_kernel_is_found(
    kernel: str,
    right: str,
    wrong: str,
    spec: AttentionSpec,
    changed: set[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(
        sparse_launch, kernel, getattr(faulty(f"kernels.{kernel}", right, wrong, tmp_path, monkeypatch), kernel)
    )
    found = violations(SparseAttention(SMALL.tiling, Tiling(16, 32)), spec, problem())
    assert changed <= found
    assert kernel == FORWARD or found == changed


ORDERS = [
    ("(rows + reach)", "(rows + reach - 1)", KEPT.replace(**CAUSAL)),
    ("(rows + reach)", "(torch.arange(shape.queries) + reach)", HASHED.replace(**CAUSAL)),
    # A sentinel that is somebody's bucket.
    ("masked_fill(dropped_columns, LARGEST)", "masked_fill(dropped_columns, 3)", BOTH),
    ("torch.sort(ids.", "torch.sort(ids.to(torch.int32).", WIDE),
    ("slots >= count", "slots > count", KEPT),
]


@pytest.mark.parametrize(("right", "wrong", "spec"), ORDERS)
def test_a_wrong_order_is_found(
    right: str, wrong: str, spec: AttentionSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sparse_order.Order, "of", faulty("sparse.order", right, wrong, tmp_path, monkeypatch).Order.of)
    assert violations(SMALL, spec, problem()) == {"out", "lse", "dq", "dk", "dv"}


def test_heads_that_are_not_added_up_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse_launch, "sum_over_group", lambda x, shape: x[:, :: shape.group].contiguous())
    assert violations(SMALL, HASHED, problem()) == {"dk", "dv"}


def test_unguarded_operands_are_found() -> None:
    kernel = SparseAttention(SMALL.tiling, SMALL.backward_tiling, nan_safe=False)
    tensors = problem()
    tensors[1][0, 0, -1] = tensors[2][0, 0, -1] = torch.nan
    assert {"out", "dq"} <= violations(kernel, HASHED, tensors)
