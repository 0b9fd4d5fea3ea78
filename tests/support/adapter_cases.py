"""Cases for adapters, and their exact results by the definition in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from refattn.contract.spec import AttentionSpec
from refattn.contract.visibility import visible
from refattn.inputs.cases import AttentionCase
from refattn.numbers import formats

TORCH_FORMATS = ("fp32", "bf16", "fp16", "fp64")


def random_case(
    format: Any = "fp32",
    spec: AttentionSpec | None = None,
    *,
    batch: int = 2,
    heads: int = 4,
    kv_heads: int = 2,
    queries: int = 5,
    keys: int = 7,
    d: int = 4,
    d_v: int = 4,
) -> AttentionCase:
    generator = np.random.default_rng(0)
    kind = formats.get(format)

    def draw(*shape: int) -> np.ndarray:
        return kind.round(generator.standard_normal(shape))

    return AttentionCase(
        q=draw(batch, heads, queries, d),
        k=draw(batch, kv_heads, keys, d),
        v=draw(batch, kv_heads, keys, d_v),
        do=draw(batch, heads, queries, d_v),
        spec=AttentionSpec() if spec is None else spec,
        format=kind,
    )


def defined(q: Any, k: Any, v: Any, spec: AttentionSpec, shape: Any) -> tuple[Any, Any]:
    """The definition in float64: out and log-sum-exp."""
    group = q.shape[1] // k.shape[1]
    k, v = np.repeat(k, group, 1), np.repeat(v, group, 1)
    scale = 1 / math.sqrt(q.shape[-1]) if spec.scale is None else spec.scale
    scores = scale * (q @ np.swapaxes(k, -1, -2)) + (0.0 if spec.bias is None else spec.bias)
    scores = np.where(visible(spec, shape), scores, -np.inf)
    top = np.maximum(scores.max(-1, initial=-np.inf, keepdims=True), -1e300)
    weights = np.exp(scores - top)
    total = weights.sum(-1, keepdims=True)
    with np.errstate(divide="ignore"):
        lse = (top + np.log(total))[..., 0]
    return (weights / np.where(total > 0, total, 1)) @ v, lse


def wanted(case: AttentionCase) -> Any:
    return defined(case.q, case.k, case.v, case.spec, case.shape)[0]


def near(actual: Any, case: AttentionCase) -> bool:
    """Within the budget of a sloppy kernel: only which keys were seen, and in what order, is tested here."""
    return bool(np.abs(actual - wanted(case)).max() <= 2**-6 * np.abs(case.v).max())


def native(q: Any, k: Any, v: Any, *, spec: Any) -> Any:
    """A NumPy kernel of the native convention, with log-sum-exp."""
    from refattn.contract.spec import problem_shape

    shape = problem_shape(q, k, v, spec)
    out, lse = defined(*(a.astype(np.float64) for a in (q, k, v)), spec, shape)
    return out.astype(q.dtype), lse.astype(np.float32 if q.dtype.itemsize < 8 else np.float64)


BIAS = formats.bf16.round(np.random.default_rng(4).standard_normal((4, 5, 7)))
MASK = np.random.default_rng(5).random((5, 7)) < 0.6
SDPA_SPECS = [
    AttentionSpec(),
    AttentionSpec(scale=0.75),
    AttentionSpec(causal=True, alignment="top_left"),
    AttentionSpec(causal=True, alignment="bottom_right"),
    AttentionSpec(causal=True, strict=True),
    AttentionSpec(mask=MASK),
    AttentionSpec(mask=MASK, causal=True, alignment="top_left"),
    AttentionSpec(bias=BIAS),
    AttentionSpec(bias=BIAS, mask=MASK, causal=True),
    AttentionSpec(window=(2, 1)),
    AttentionSpec(kept_keys=np.array([True, False, True, True, False, True, True])),
]
