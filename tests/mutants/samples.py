"""Ordinary inputs, as a peer's test would draw them: normal q, k, v, and a typical use of each feature."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from refattn.contract.spec import AttentionSpec, Shape, SoftmaxSpec
from refattn.inputs.cases import AttentionCase, SoftmaxCase
from refattn.numbers import formats

Cases = Callable[[], tuple[Any, ...]]
Fields = dict[str, Any]
PAGE = 16


def _documents(rng: np.random.Generator, shape: Shape) -> Fields:
    """Three packed sequences of unlike lengths."""
    ids = []
    for n in (shape.queries, shape.keys):
        cuts = [0, *sorted(rng.integers(0, n + 1, 2).tolist()), n]
        ids.append(np.repeat(np.arange(3), np.diff(cuts)))
    return {"documents": (ids[0], ids[1])}


def _pages(rng: np.random.Generator, shape: Shape) -> Fields:
    """Pages in a shuffled order, the last of which is not full."""
    pages = -(-shape.keys // PAGE)
    slots = (rng.permutation(pages)[:, None] * PAGE + np.arange(PAGE)).ravel()
    positions = np.argsort(np.argsort(slots[: shape.keys]))
    return {"key_positions": np.where(positions < max(1, shape.keys - 5), positions, -1)}


FEATURES: dict[str, Callable[[np.random.Generator, Shape], Fields]] = {
    "causal": lambda _rng, _shape: {"causal": True},
    "strict_causal": lambda _rng, _shape: {"causal": True, "strict": True},
    "window": lambda rng, shape: {"window": (int(rng.integers(1, max(2, shape.keys // 3))), int(rng.integers(0, 9)))},
    "softcap": lambda _rng, _shape: {"softcap": 2.0},
    "alibi": lambda _rng, shape: {"alibi_slopes": 2.0 ** (-8.0 * np.arange(1, shape.heads + 1) / shape.heads)},
    "bias": lambda rng, shape: {
        "bias": formats.bf16.round(rng.standard_normal((1, shape.heads, shape.queries, shape.keys)))
    },
    "mask": lambda rng, shape: {"mask": rng.random((shape.batch, 1, shape.queries, shape.keys)) < 0.7},
    "sinks": lambda rng, shape: {"sinks": formats.fp32.round(rng.standard_normal(shape.heads))},
    "scale": lambda _rng, _shape: {"scale": 0.3},
    "varlen": _documents,
    "paged": _pages,
    "sparse": lambda rng, shape: {"kept_keys": rng.random((shape.batch, shape.heads, shape.keys)) < 0.7},
    "dropout": lambda rng, shape: {
        "dropout": 0.2,
        "keep": rng.random((shape.batch, shape.heads, shape.queries, shape.keys)) < 0.8,
    },
}


def draw(
    rng: np.random.Generator,
    shape: Shape,
    features: tuple[str, ...] = (),
    format: str = "bf16",
    *,
    factor: float = 1.0,
    upstream: bool = False,
    **spec: Any,
) -> AttentionCase:
    """A case of normal inputs with some features; q is multiplied by the factor; `spec` overrides fields."""
    number_format = formats.get(format)
    b, h, hkv, nq, nk, d_qk, d_v = shape
    q, k, v = (rng.standard_normal(size) for size in ((b, h, nq, d_qk), (b, hkv, nk, d_qk), (b, hkv, nk, d_v)))
    fields: Fields = {}
    for feature in features:
        fields |= FEATURES[feature](rng, shape)
    do = dlse = None
    if upstream:
        do, dlse = (
            number_format.round(rng.standard_normal((b, h, nq, d_v))),
            formats.fp32.round(rng.standard_normal((b, h, nq))),
        )
    filled = AttentionSpec(**(fields | spec))
    return AttentionCase(
        number_format.round(q * factor),
        number_format.round(k),
        number_format.round(v),
        filled,
        number_format,
        "peer",
        generic=True,
        do=do,
        dlse=dlse,
    )


def sample(
    *features: str,
    batch: int = 2,
    heads: int = 4,
    kv_heads: int = 2,
    queries: int = 70,
    keys: int = 150,
    d_qk: int = 24,
    d_v: int = 16,
    seed: int = 0,
    repeats: int = 1,
    change: Callable[[AttentionCase], AttentionCase] = lambda case: case,
    **options: Any,
) -> Cases:
    """A maker of one case of a mutant's self-test, given `repeats` times; `change` has the last word."""
    shape = Shape(batch, heads, kv_heads, queries, keys, d_qk, d_v)

    def cases() -> tuple[AttentionCase, ...]:
        case = change(draw(np.random.default_rng(seed), shape, features, **options))
        return (case,) * repeats

    return cases


def softmax_sample(
    rows: int = 8,
    columns: int = 150,
    *,
    kind: Any = "softmax",
    format: str = "bf16",
    factor: float = 1.0,
    offset: float = 0.0,
    repeats: int = 1,
    axis: int = -1,
    change: Callable[[Any], Any] = lambda x: x,
) -> Cases:
    """A maker of one softmax case of a mutant's self-test."""

    def cases() -> tuple[SoftmaxCase, ...]:
        number_format = formats.get(format)
        x = np.random.default_rng(0).standard_normal((rows, columns)) * factor + offset
        return (
            SoftmaxCase(change(number_format.round(x)), SoftmaxSpec(axis=axis, kind=kind), number_format, "peer"),
        ) * repeats

    return cases
