"""Small hard problems for the tests of the oracle: every feature of a spec, and numbers from every nasty regime."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st

from refattn.contract.spec import AttentionSpec

Problem = tuple[np.ndarray, np.ndarray, np.ndarray, AttentionSpec]

TAME = st.floats(-4.0, 4.0, width=32)
REGIMES = (
    TAME,
    st.sampled_from([0.0, 1.0, -1.0, 1.0 + 2.0**-23, 0.1]),  # ties and near ties
    st.sampled_from([2.0**-149, -(2.0**-149), 2.0**-126, 2.0**-1074, 0.0]),  # subnormals
    st.sampled_from([1e4, -1e4, 1e4 + 1.0, 3e38, -3e38]),  # overflow edge, huge offsets
    st.sampled_from([1e150, -1e150, 1e-150, 1.0]),  # beyond every short format
)


def arrays(elements: st.SearchStrategy, *shape: int) -> st.SearchStrategy[np.ndarray]:
    size = math.prod(shape)
    return st.lists(elements, min_size=size, max_size=size).map(lambda xs: np.array(xs).reshape(shape))


def maybe(strategy: st.SearchStrategy) -> st.SearchStrategy:
    return st.sampled_from([True, False, False]).flatmap(lambda yes: strategy if yes else st.none())


@st.composite
def specs(draw: st.DrawFn, batch: int, heads: int, queries: int, keys: int) -> AttentionSpec:
    ids = st.integers(0, 1)
    booleans = st.sampled_from([True, True, False])
    bias = st.one_of(TAME, st.sampled_from([-np.inf, 1e4, 2.0**-140]))
    documents = draw(maybe(st.tuples(arrays(ids, queries), arrays(ids, batch, keys))))
    pages = None
    if documents is None and draw(booleans) is False:
        slots = [j if j < draw(st.integers(1, keys + 1)) else -1 for j in range(keys)]
        used = np.cumsum(np.array(slots) >= 0) - 1 if keys else np.zeros(0, int)
        pages = np.where(np.array(slots, int) >= 0, used, -1)
    causal = draw(st.booleans())
    keep = draw(maybe(arrays(booleans, batch, 1, queries, keys)))
    return AttentionSpec(
        scale=draw(st.sampled_from([None, None, 0.7, -1.0, 0.0])),
        causal=causal,
        strict=causal and draw(st.booleans()),
        alignment=draw(st.sampled_from(["bottom_right", "top_left"])),
        window=(draw(maybe(st.integers(0, 3))), draw(maybe(st.integers(0, 3)))),
        softcap=draw(maybe(st.sampled_from([0.5, 30.0]))),
        alibi_slopes=draw(maybe(arrays(TAME, heads))),
        bias=draw(maybe(st.one_of(arrays(bias, queries, keys), arrays(bias, 1, heads, 1, keys)))),
        mask=draw(maybe(arrays(booleans, queries, keys))),
        sinks=draw(maybe(arrays(TAME, heads))),
        documents=documents,
        kept_keys=draw(maybe(arrays(booleans, keys))),
        kept_queries=draw(maybe(arrays(booleans, batch, 1, queries))),
        buckets=draw(maybe(st.tuples(arrays(ids, heads, queries), arrays(ids, heads, keys)))),
        key_positions=pages,
        keep=keep,
        dropout=0.0 if keep is None else draw(st.sampled_from([0.0, 0.1, 0.5])),
        empty_rows=draw(st.sampled_from(["zero", "nan"])),
    )


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Finite q, k, v and a spec that fits them."""
    batch, kv_heads, group = draw(st.sampled_from([(1, 1, 1), (1, 1, 2), (2, 1, 1), (1, 2, 2)]))
    queries, keys, d, dv = draw(st.integers(1, 3)), draw(st.integers(0, 4)), draw(st.integers(1, 3)), 2
    q = draw(arrays(draw(st.sampled_from(REGIMES)), batch, kv_heads * group, queries, d))
    k = draw(arrays(draw(st.sampled_from(REGIMES)), batch, kv_heads, keys, d))
    v = draw(arrays(draw(st.sampled_from(REGIMES)), batch, kv_heads, keys, dv))
    return q, k, v, draw(specs(batch, kv_heads * group, queries, keys))


@st.composite
def backward_problems(draw: st.DrawFn) -> tuple[Problem, np.ndarray, np.ndarray | None]:
    """A problem with upstream gradients do and dlse (or None)."""
    q, k, v, spec = draw(problems())
    elements = draw(st.sampled_from(REGIMES))
    do = draw(arrays(elements, *q.shape[:3], v.shape[3]))
    dlse = draw(maybe(arrays(elements, *q.shape[:3])))
    return (q, k, v, spec), do, dlse


@st.composite
def softmax_rows(draw: st.DrawFn) -> np.ndarray:
    """Two rows of up to six numbers, -inf among them."""
    elements = st.one_of(draw(st.sampled_from(REGIMES)), st.just(-np.inf))
    return draw(arrays(elements, 2, draw(st.integers(1, 6))))
