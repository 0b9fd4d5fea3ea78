"""Faults in the returned log-sum-exp, beside a right output."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from refattn.models import TiledAttention as Tiled
from tests.mutants.registry import forward
from tests.mutants.samples import sample
from tests.mutants.scores import BF16


@forward("L04", "lse", "https://github.com/lightseekorg/tokenspeed/pull/571", "log_sum_exp")
def log_sum_exp_in_base_2(kernel: Any, problem: Any, state: Any) -> Any:
    """The log-sum-exp is in base 2."""
    return Tiled.log_sum_exp(kernel, problem, state) * math.log2(math.e)


@forward("L03", "lse", "https://github.com/pytorch/pytorch/issues/181645", "log_sum_exp")
def log_sum_exp_converted_twice(kernel: Any, problem: Any, state: Any) -> Any:
    """A natural log-sum-exp is multiplied by ln 2, as if it were in base 2."""
    return Tiled.log_sum_exp(kernel, problem, state) * math.log(2.0)


@forward("L15", "lse", "", "log_sum_exp")
def log_sum_exp_of_unscaled_maximum(kernel: Any, problem: Any, state: Any) -> Any:
    """The maximum in the log-sum-exp is not scaled."""
    return kernel.guarded(state.maximum) / kernel.scale(problem) + np.log(state.normaliser)


@forward("P85", "lse", "", "log_sum_exp")
def log_sum_exp_without_maximum(_kernel: Any, problem: Any, state: Any) -> Any:
    """The log-sum-exp is the logarithm of the row sum alone."""
    return problem.stages.lse(np.log(state.normaliser))


@forward("L06", "lse", "https://github.com/ROCm/aiter/pull/3334", "rows")
def log_sum_exp_of_centred_keys(kernel: Any, problem: Any, rows: Any) -> Any:
    """The keys' mean is subtracted for accuracy, and the shift of the log-sum-exp is not added back."""
    out, lse = Tiled.rows(kernel, problem, rows)
    if not problem.shape.keys:
        return out, lse
    mean = kernel.for_each_query_head(problem, problem.k.mean(axis=2, keepdims=True))
    shift = (problem.q[:, :, rows] * mean).sum(axis=-1) * kernel.scale(problem)
    return out, problem.stages.lse(lse - shift)


@forward("L08", "lse", "https://github.com/facebookresearch/xformers/commit/41646dbbc53d7019512275337c09614af2f01e45",
         "forward", shows=sample(queries=1, heads=4, kv_heads=1))  # fmt: skip
def log_sum_exp_of_other_heads(kernel: Any, problem: Any) -> Any:
    """One query and one key-value head: the log-sum-exps are stored in the wrong order of heads."""
    out, lse = Tiled.forward(kernel, problem)
    remapped = problem.shape.queries == 1 and problem.shape.kv_heads == 1
    return out, lse[:, ::-1] if remapped else lse


@forward("L09", "lse", "https://github.com/flashinfer-ai/flashinfer/pull/3838", "forward")
def log_sum_exp_not_written(kernel: Any, problem: Any) -> Any:
    """The log-sum-exp is never written."""
    out, lse = Tiled.forward(kernel, problem)
    return out, np.zeros_like(lse)


@forward("L10", "lse", "https://github.com/Dao-AILab/flash-attention/issues/2842", "forward", claims=("varlen",),
         shows=sample(batch=1, queries=30, documents=(np.repeat([0, 1, 2], 10), np.repeat([0, 2], 75))))  # fmt: skip
def empty_document_overwrites_others(kernel: Any, problem: Any) -> Any:
    """A document without keys writes its -inf by the offsets of another layout, over another document's rows."""
    out, lse = Tiled.forward(kernel, problem)
    if problem.spec.documents is None:
        return out, lse
    queries, keys = (np.atleast_2d(ids)[0] for ids in problem.spec.documents)
    longest = int(np.bincount(queries).max(initial=0))
    flat = lse[0].reshape(-1)
    for place, document in enumerate(np.unique(queries)):
        if document not in keys:
            for head in range(problem.shape.heads):
                offset = (place * problem.shape.heads + head) * longest
                flat[offset : offset + longest] = -np.inf
    return out, lse


@forward("L11", "lse", "https://github.com/vllm-project/flash-attention/pull/87", "forward", fields={"splits": 3},
         shows=sample(queries=1, keys=300, heads=6))  # fmt: skip
def log_sum_exp_of_transposed_groups(kernel: Any, problem: Any) -> Any:
    """Decoding with splits and grouped heads: the log-sum-exps are stored with group and head exchanged."""
    out, lse = Tiled.forward(kernel, problem)
    shape = problem.shape
    if shape.queries != 1 or shape.group == 1:
        return out, lse
    swapped = lse.reshape(shape.batch, shape.kv_heads, shape.group).swapaxes(1, 2)
    return out, swapped.reshape(lse.shape)


@forward("P86", "lse", "", "log_sum_exp")
def log_sum_exp_rounded_to_bf16(kernel: Any, problem: Any, state: Any) -> Any:
    """The log-sum-exp is stored in bf16 although fp32 is declared."""
    return BF16(Tiled.log_sum_exp(kernel, problem, state))


@forward("P87", "lse", "", "log_sum_exp", claims=("sinks",), shows=sample("sinks"))
def log_sum_exp_without_sink(kernel: Any, problem: Any, state: Any) -> Any:
    """The log-sum-exp does not count the sink."""
    lse = Tiled.log_sum_exp(kernel, problem, state)
    if problem.spec.sinks is None:
        return lse
    return problem.stages.lse(lse + np.log1p(-np.exp(np.minimum(kernel.sink(problem) - lse, 0.0))))


@forward("P88", "lse", "", "log_sum_exp", claims=("dropout",), shows=sample("dropout"))
def log_sum_exp_counts_dropout(kernel: Any, problem: Any, state: Any) -> Any:
    """With dropout, log(1 - p) is added to the log-sum-exp."""
    return Tiled.log_sum_exp(kernel, problem, state) + math.log1p(-problem.spec.dropout)


@forward("P89", "lse", "", "log_sum_exp")
def log_sum_exp_in_fast_logarithm(kernel: Any, _problem: Any, state: Any) -> Any:
    """The logarithm is read off the exponent bits: linear between powers of two."""
    fraction, exponent = np.frexp(state.normaliser)
    linear = (exponent - 2 + 2 * fraction) * math.log(2.0)
    return kernel.guarded(state.maximum) + np.where(state.normaliser > 0, linear, -np.inf)


@forward("E06", "empty", "https://github.com/flashinfer-ai/flashinfer/issues/4452", "log_sum_exp", claims=("mask",),
         shows=sample("causal", queries=150, keys=70))  # fmt: skip
def log_sum_exp_of_empty_row_is_finite(kernel: Any, problem: Any, state: Any) -> Any:
    """The log-sum-exp of a row that sees no key is a sentinel, -5e4."""
    lse = Tiled.log_sum_exp(kernel, problem, state)
    return np.where(state.normaliser == 0.0, -5e4, lse)
