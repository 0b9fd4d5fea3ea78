"""Problems of sparse attention, and which results of a kernel its declared arithmetic does not allow."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

import refattn_interpreter as interpreter
from refattn import bounds, oracle
from refattn.contract.spec import AttentionSpec
from refattn.suite.comparison import compare
from refattn_gpu.launching.arguments import Tiling
from refattn_gpu.sparse.attention import SparseAttention

# Of tiny tiles, so that short sequences take several.
SMALL = SparseAttention(Tiling(16, 16), Tiling(16, 16))
HEADS, QUERIES, KEYS = 2, 20, 37
NUMBERS = np.random.default_rng(3)
QUERY_IDS, KEY_IDS = (NUMBERS.integers(-2, 2, (1, HEADS, n)) for n in (QUERIES, KEYS))
# Query 0 comes last in the order, in a tile that is not full.
QUERY_IDS[..., 0] = 7
KEY_IDS[..., 5:8] = 7
KEPT_QUERIES, KEPT_KEYS = (NUMBERS.random((HEADS, n)) < 0.6 for n in (QUERIES, KEYS))
HASHED = AttentionSpec(buckets=(QUERY_IDS, KEY_IDS))
KEPT = AttentionSpec(kept_queries=KEPT_QUERIES, kept_keys=KEPT_KEYS)
BOTH = AttentionSpec(buckets=(QUERY_IDS, KEY_IDS), kept_queries=KEPT_QUERIES, kept_keys=KEPT_KEYS, causal=True)
NAMES = ("out", "lse", "dq", "dk", "dv")


def problem(dtype: Any = torch.float32, kv_heads: int = 1, d_v: int = 12) -> list[Any]:
    """q, k, v, do and dlse, of query heads that share a key-value head."""
    generator = torch.Generator().manual_seed(2)
    shapes = [(1, HEADS, QUERIES, 8), (1, kv_heads, KEYS, 8), (1, kv_heads, KEYS, d_v), (1, HEADS, QUERIES, d_v)]
    tensors = [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]
    return [*tensors, torch.randn((1, HEADS, QUERIES), generator=generator)]


def results(kernel: Any, spec: AttentionSpec, tensors: list[Any]) -> tuple[Any, ...]:
    """(out, lse, dq, dk, dv)."""
    with interpreter.active():
        forward = kernel(*tensors[:3], spec=spec)
        return (*forward, *kernel.backward(*tensors[:4], spec=spec, dlse=tensors[4]))


def violations(kernel: Any, spec: AttentionSpec, tensors: list[Any], format: str = "fp32") -> set[str]:
    """The results that the arithmetic that the kernel declares does not allow."""
    found = dict(zip(NAMES, results(kernel, spec, tensors), strict=True))
    q, k, v, do, dlse = (x.double().numpy() for x in tensors)
    truth = oracle.attention(q, k, v, spec), oracle.attention_backward(q, k, v, do, spec, dlse=dlse)
    finite = [np.where(np.isfinite(x), x, 0.0) for x in (q, k, v, do)]
    arithmetic = kernel.arithmetic_for(format)
    budget = (
        bounds.attention(*finite[:3], spec, arithmetic),
        bounds.attention_backward(*finite, spec, arithmetic, dlse=dlse),
    )
    return {
        name
        for name, actual in found.items()
        if compare(
            name,
            actual.double().numpy(),
            getattr(truth[name.startswith("d")], name),
            getattr(budget[name.startswith("d")], name),
        ).violated
    }


def faulty(module: str, right: str, wrong: str, folder: Path, monkeypatch: Any) -> Any:
    """A module of refattn_gpu with every occurrence of a piece of its source replaced."""
    source = Path(str(importlib.util.find_spec(f"refattn_gpu.{module}").origin)).read_text()
    assert right in source, f"{module} has no {right!r}"
    file = folder / f"faulty_{module.rpartition('.')[2]}.py"
    file.write_text(source.replace(right, wrong))
    spec = importlib.util.spec_from_file_location(file.stem, file)
    found = importlib.util.module_from_spec(spec)
    # Where dataclasses look their annotations up.
    monkeypatch.setitem(sys.modules, file.stem, found)
    spec.loader.exec_module(found)
    return found
