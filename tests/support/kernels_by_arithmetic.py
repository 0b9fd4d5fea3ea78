"""Many arithmetics, and the errors of kernels that keep to them: for the tests of the bounds."""

from __future__ import annotations

from typing import Any

import numpy as np

from refattn import bounds, oracle
from refattn.contract.arithmetic import Arithmetic, Stage
from refattn.inputs.cases import AttentionCase
from refattn.models import TiledAttention
from refattn.numbers import formats
from refattn.suite.comparison import compare
from refattn.suite.findings import Evidence


def _truncating(format: Any) -> Stage:
    return Stage(formats.get(format), "truncate")


def arithmetics(dtype: str) -> dict[str, Arithmetic]:
    """Contracts that TiledAttention can keep to, for inputs of the format."""
    narrow = dict.fromkeys(("dot", "scores", "normaliser", "accumulator", "lse", "group_sum"), dtype)
    wide = formats.fp32
    return {
        "flash": Arithmetic.flash(dtype),
        "naive": Arithmetic.naive(dtype),
        "naive, sums narrow": Arithmetic.naive(dtype, dot=dtype, normaliser=dtype, accumulator=dtype, lse=dtype),
        "naive, softmax wide": Arithmetic.naive(dtype, scores=wide),
        "everything narrow": Arithmetic.flash(dtype, tile=4, **narrow),
        "accumulator narrow": Arithmetic.flash(dtype, tile=4, accumulator=dtype),
        "normaliser narrow": Arithmetic.flash(dtype, tile=4, normaliser=dtype),
        "truncating": Arithmetic.flash(
            dtype,
            tile=4,
            exp_ulps=2.0,
            **dict.fromkeys(("dot", "scores", "normaliser", "accumulator", "lse", "group_sum"), _truncating(wide)),
            **dict.fromkeys(("probabilities", "output"), _truncating(dtype)),
        ),
        "flushing": Arithmetic.flash(dtype, flush_to_zero=True),
        "flushing, narrow": Arithmetic.flash(dtype, flush_to_zero=True, tile=2, **narrow),
        "fma": Arithmetic.flash(dtype, exponent="fma", tile=4),
        "fma, scores narrow": Arithmetic.flash(dtype, exponent="fma", tile=4, scores=dtype),
        "subtract_exp2": Arithmetic.flash(dtype, exponent="subtract_exp2", tile=4),
        "chained": Arithmetic.flash(dtype, chained=True, tile=4),
        "sum of cast": Arithmetic.flash(dtype, sum_of_cast=True, tile=4),
        "query scaled": Arithmetic.flash(dtype, scale_query=True, tile=4),
        "splits": Arithmetic.flash(dtype, tile=2, splits=3),
        "splits, lse narrow": Arithmetic.flash(dtype, tile=2, splits=3, lse=dtype),
        "fp8 probabilities": Arithmetic.flash(dtype, probabilities="e5m2"),
    }


def kernel_of(arithmetic: Arithmetic) -> TiledAttention:
    """The tiled model in that arithmetic."""
    return TiledAttention(arithmetic=arithmetic, splits=arithmetic.splits, query_tile=4)


def _stored(case: AttentionCase) -> list[Any]:
    return [array.astype(case.format.storage) for array in (case.q, case.k, case.v)]


def judged(case: AttentionCase, kernel: TiledAttention) -> dict[str, Evidence]:
    """Output and log-sum-exp of the kernel, compared."""
    out, lse = kernel(*_stored(case), spec=case.spec)
    truth = oracle.attention(case.q, case.k, case.v, case.spec)
    budget = bounds.attention(case.q, case.k, case.v, case.spec, kernel.arithmetic_for(case.format))
    return {
        "out": compare("out", np.asarray(out, np.float64), truth.out, budget.out),
        "lse": compare("lse", np.asarray(lse, np.float64), truth.lse, budget.lse),
    }


def judged_gradients(case: AttentionCase, kernel: TiledAttention) -> dict[str, Evidence]:
    """Gradients of the kernel, compared."""
    assert case.do is not None
    gradients = kernel.backward(*_stored(case), case.do.astype(case.format.storage), spec=case.spec, dlse=case.dlse)
    truth = oracle.attention_backward(case.q, case.k, case.v, case.do, case.spec, dlse=case.dlse)
    arithmetic = kernel.arithmetic_for(case.format)
    budget = bounds.attention_backward(case.q, case.k, case.v, case.do, case.spec, arithmetic, dlse=case.dlse)
    return {
        name: compare(
            name, np.asarray(getattr(gradients, name), np.float64), getattr(truth, name), getattr(budget, name)
        )
        for name in ("dq", "dk", "dv", "dbias", "dsinks")
        if getattr(truth, name) is not None
    }
