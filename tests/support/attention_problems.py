"""Small attention problems, one for each feature of AttentionSpec, for the models' tests."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from refattn.contract.spec import AttentionSpec
from refattn.numbers import formats

RNG = np.random.default_rng(20)
HEADS, QUERIES, KEYS = 4, 7, 9


def _bias(*shape: int, hidden: float = 0.0) -> Any:
    bias = RNG.standard_normal(shape)
    return np.where(RNG.random(shape) < hidden, -np.inf, bias)


SPECS: dict[str, AttentionSpec] = {
    "plain": AttentionSpec(),
    "scale": AttentionSpec(scale=1.75),
    "negative_scale": AttentionSpec(scale=-0.5),
    "causal": AttentionSpec(causal=True),
    "causal_top_left": AttentionSpec(causal=True, alignment="top_left"),
    "strict": AttentionSpec(causal=True, strict=True, alignment="top_left"),
    "strict_nan": AttentionSpec(causal=True, strict=True, alignment="top_left", empty_rows="nan"),
    "window": AttentionSpec(window=(2, 1)),
    "window_left": AttentionSpec(causal=True, window=(3, None)),
    "softcap": AttentionSpec(softcap=1.5),
    "alibi": AttentionSpec(alibi_slopes=np.array([0.5, 0.25, 0.125, 1.0])),
    "alibi_batched": AttentionSpec(alibi_slopes=RNG.random((2, 4)), causal=True),
    "bias": AttentionSpec(bias=_bias(2, 1, QUERIES, KEYS)),
    "bias_of_a_key": AttentionSpec(bias=_bias(4, 1, KEYS)),
    "bias_of_a_query": AttentionSpec(bias=_bias(QUERIES, 1)),
    "bias_hides": AttentionSpec(bias=_bias(2, 4, QUERIES, KEYS, hidden=0.3)),
    "mask": AttentionSpec(mask=RNG.random((2, 1, QUERIES, KEYS)) < 0.4),
    "mask_hides_all": AttentionSpec(mask=np.zeros((1, KEYS), np.bool_)),
    "sinks": AttentionSpec(sinks=np.array([-3.0, 0.5, 40.0, -np.inf])),
    "sinks_empty": AttentionSpec(sinks=np.array([-3.0, 0.5, 4.0, -np.inf]), mask=RNG.random((QUERIES, KEYS)) < 0.15),
    "documents": AttentionSpec(
        documents=(np.array([0, 0, 0, 1, 1, 3, 3]), np.array([0, 0, 1, 1, 1, 1, 2, 2, 3])), causal=True
    ),
    "kept": AttentionSpec(kept_keys=RNG.random((2, 4, KEYS)) < 0.6, kept_queries=RNG.random((4, QUERIES)) < 0.6),
    "buckets": AttentionSpec(
        buckets=(RNG.integers(0, 3, (2, 4, QUERIES)), RNG.integers(0, 3, (2, 4, KEYS))), causal=True
    ),
    "paged": AttentionSpec(
        key_positions=np.array([[3, -1, 0, 1, 5, 2, -1, 4, 6], [1, 2, 0, 3, 4, 5, 8, 7, 6]]), causal=True
    ),
    "dropout": AttentionSpec(keep=RNG.random((2, 4, QUERIES, KEYS)) < 0.7, dropout=0.3),
    "dropout_of_keys": AttentionSpec(keep=RNG.random((1, KEYS)) < 0.7, dropout=0.25, sinks=np.ones(4)),
    "everything": AttentionSpec(
        scale=0.6,
        causal=True,
        window=(6, None),
        softcap=3.0,
        alibi_slopes=np.array([0.5, 0.25, 0.125, 1.0]),
        bias=_bias(1, 4, 1, KEYS, hidden=0.1),
        mask=RNG.random((QUERIES, KEYS)) < 0.8,
        sinks=np.array([-1.0, 0.0, 1.0, 2.0]),
        keep=RNG.random((2, 1, QUERIES, KEYS)) < 0.8,
        dropout=0.2,
        kept_keys=RNG.random(KEYS) < 0.8,
    ),
}


class Inputs(NamedTuple):
    """Arrays of one problem in a dtype: q, k, v, and the upstream gradients."""

    q: Any
    k: Any
    v: Any
    do: Any
    dlse: Any


def inputs(
    dtype: Any = np.float64,
    seed: int = 0,
    batch: int = 2,
    kv_heads: int = 2,
    queries: int = QUERIES,
    keys: int = KEYS,
    d_qk: int = 3,
    d_v: int = 5,
    heads: int = HEADS,
    size: float = 1.5,
) -> Inputs:
    """Normal numbers, rounded to the dtype."""
    rng = np.random.default_rng(seed)
    format = formats.get(np.dtype(dtype))
    shapes = (
        (batch, heads, queries, d_qk),
        (batch, kv_heads, keys, d_qk),
        (batch, kv_heads, keys, d_v),
        (batch, heads, queries, d_v),
    )
    q, k, v, do = (format.round(rng.standard_normal(shape) * size).astype(dtype) for shape in shapes)
    return Inputs(q, k, v, do, rng.standard_normal((batch, heads, queries)).astype(np.float32).astype(np.float64))


def float64(x: Any) -> Any:
    """The same numbers in float64."""
    return np.asarray(x).astype(np.float64)
