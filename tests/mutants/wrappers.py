"""Faults around a right kernel: caches, inputs overwritten, layouts, races, lengths of zero."""

from __future__ import annotations

from typing import Any

import numpy as np

from refattn.models import TiledAttention as Tiled
from tests.mutants.registry import factory, forward, wrapper
from tests.mutants.samples import Cases, sample


def _then(*cases: Cases) -> Cases:
    return lambda: tuple(case for each in cases for case in each())


def _shared_keys(case: Any) -> Any:
    return case.replace(k=np.broadcast_to(case.k[:, :1], case.k.shape))


def _cached(field: str) -> Any:
    kernel, first = Tiled(), {}

    def call(q: Any, k: Any, v: Any, *, spec: Any) -> Any:
        remembered = first.setdefault((q.shape, k.shape, v.shape), getattr(spec, field))
        return kernel(q, k, v, spec=spec.replace(**{field: remembered}))

    return call


@factory("M08", "wrapper", "https://github.com/ml-explore/mlx/pull/2053", shows=_then(sample(), sample("causal")))
def causal_missing_from_the_cache_key() -> Any:
    """The compiled kernel is cached by shapes alone: causal is as in the first call."""
    return _cached("causal")


@factory(
    "M09", "wrapper", "https://github.com/flashinfer-ai/flashinfer/pull/4014", shows=_then(sample(), sample("scale"))
)
def scale_missing_from_the_cache_key() -> Any:
    """The graph is cached by shapes alone: the scale is as in the first call."""
    return _cached("scale")


@factory("P150", "wrapper", "", shows=_then(sample(seed=1), sample()))
def output_of_earlier_call_kept() -> Any:
    """From the second call of a shape on, the first row of the output is what the first call left there."""
    kernel, rows = Tiled(), {}

    def call(q: Any, k: Any, v: Any, *, spec: Any) -> Any:
        out, lse = kernel(q, k, v, spec=spec)
        out[..., :1, :] = rows.setdefault((q.shape, v.shape, out.dtype), out[..., :1, :].copy())
        return out, lse

    return call


@wrapper("P151", "wrapper", "")
def query_scaled_in_place(kernel: Any, q: Any, k: Any, v: Any, spec: Any) -> Any:
    """Q is multiplied by the scale in place: the output is right and the input is destroyed."""
    result = kernel(q, k, v, spec=spec)
    q *= np.asarray(0.5, q.dtype)
    return result


@wrapper("P152", "wrapper", "", claims=("bias",), shows=sample("bias", "causal"))
def bias_masked_in_place(kernel: Any, q: Any, k: Any, v: Any, spec: Any) -> Any:
    """The causal mask is written into the caller's bias."""
    result = kernel(q, k, v, spec=spec)
    if spec.bias is not None and spec.causal:
        spec.bias[...] = np.where(spec.bias < 0, -np.inf, spec.bias)
    return result


@wrapper("P153", "stride", "", shows=sample(), layout="strided")
def memory_taken_for_contiguous(kernel: Any, q: Any, k: Any, v: Any, spec: Any) -> Any:
    """Inputs are read in the order in which they lie in memory."""
    q, k, v = (array.ravel(order="K").reshape(array.shape) for array in (q, k, v))
    return kernel(q, k, v, spec=spec)


@factory("P154", "race", "", claims=("deterministic",), shows=sample(keys=300, repeats=20))
def value_tile_stale() -> Any:
    """Now and then a product reads the tile of values before, for want of a barrier."""
    random = np.random.default_rng(0)

    class Racing(Tiled):
        def values_product(self, problem: Any, tile: Any, operand: Any) -> Any:
            values = self.load_values(problem, tile.columns)
            size = tile.columns.stop - tile.columns.start
            if tile.columns.start >= size and random.random() < 0.02:
                values = self.load_values(problem, slice(tile.columns.start - size, tile.columns.start))
            return self.visible_product(operand, values, tile.seen, problem.stages.accumulator)

    return Racing()


@factory("P155", "race", "", claims=("deterministic",), shows=sample(keys=300, repeats=2))
def order_of_tiles_varies() -> Any:
    """The tiles come in another order at every call (atomic adds), while the kernel claims equal bits."""
    random = np.random.default_rng(0)
    return Tiled(tile_order=lambda count: random.permutation(count).tolist())


@forward("P156", "tail", "", "forward", claims=("zero_length",), shows=sample(keys=0))
def no_keys_is_nan(kernel: Any, problem: Any) -> Any:
    """Without any key the output is NaN."""
    out, lse = Tiled.forward(kernel, problem)
    return (out if problem.shape.keys else np.full_like(out, np.nan)), lse


@wrapper("P157", "stride", "", shows=sample(change=_shared_keys), layout="broadcast0")
def stride_of_zero_taken_for_contiguous(kernel: Any, q: Any, k: Any, v: Any, spec: Any) -> Any:
    """Keys with a stride of 0 are read as if contiguous: the heads beyond the first are garbage."""
    if k.size and 0 in k.strides[:2] and k.shape[1] > 1:
        k = np.concatenate([k[:, :1], np.zeros_like(k[:, 1:])], axis=1)
    return kernel(q, k, v, spec=spec)


@forward("P158", "tail", "", "load_queries", shows=sample(queries=1))
def single_query_of_first_head(kernel: Any, problem: Any, rows: Any) -> Any:
    """With one query, heads are packed into rows, and all rows take the first head's query of their group."""
    queries, shape = Tiled.load_queries(kernel, problem, rows), problem.shape
    if shape.queries != 1 or shape.group == 1:
        return queries
    return np.repeat(queries[:, :: shape.group], shape.group, axis=1)
