"""Root mean square errors of gradients, for kernels that cast P and dS to a format narrower than their sums'.

Three roundings then outweigh all others: the casts of P and dS, the rounding of O that Delta = rowsum(dO O) inherits
and a whole row shares, and the output's. A model, as in refattn.bounds.rms.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from refattn.bounds.budget import AttentionBudget, ErrorBudget, GradientBudget
from refattn.bounds.weights import block_weights
from refattn.contract.arithmetic import Arithmetic
from refattn.contract.scores import Block, blocks, scale_of
from refattn.contract.spec import AttentionSpec, Shape

Array = NDArray[np.float64]


def has_model(spec: AttentionSpec, arithmetic: Arithmetic) -> bool:
    """True where the model holds: casts narrower than all else, no softcap, dropout or sinks."""
    wide = (arithmetic.accumulator, arithmetic.gradient_sum, arithmetic.dot, arithmetic.scores, arithmetic.lse)
    narrow = arithmetic.probabilities.format
    outweighed = all(narrow.precision < stage.format.precision for stage in wide)
    # A flushed number is lost whole.
    range_kept = not arithmetic.flush_to_zero or narrow.emin == arithmetic.accumulator.format.emin
    return outweighed and range_kept and spec.softcap is None and spec.keep is None and spec.sinks is None


def with_rms(
    budget: GradientBudget,
    q: Array,
    k: Array,
    v: Array,
    do: Array,
    spec: AttentionSpec,
    shape: Shape,
    arithmetic: Arithmetic,
    forward: AttentionBudget,
) -> GradientBudget:
    """The budgets of dQ, dK and dV with their rms; forward is the forward pass's budget, with rms."""
    scale = scale_of(spec, shape.d_qk)
    values = {"dq": np.zeros(q.shape), "dk": np.zeros(k.shape), "dv": np.zeros(v.shape)}
    squares = {name: np.zeros(array.shape) for name, array in values.items()}
    cast = arithmetic.probabilities.mean_square
    assert forward.out.rms is not None
    for block in blocks(q, k, spec, shape):
        place = (block.batch, block.head, block.rows)
        source = (block.batch, block.kv_head, block.keys)
        upstream = do[place]
        weights, ds = _score_gradient(block, spec, scale, arithmetic, shape, upstream, v[source])
        delta_square = (upstream**2 * forward.out.rms[place] ** 2).sum(axis=1)[:, None]
        values["dq"][place] += scale * (ds @ block.key)
        squares["dq"][place] += scale**2 * (cast * (ds**2 @ block.key**2) + delta_square * (weights @ block.key) ** 2)
        values["dk"][source] += scale * (ds.T @ block.query)
        squares["dk"][source] += scale**2 * ((cast * ds**2 + delta_square * weights**2).T @ block.query**2)
        values["dv"][source] += weights.T @ upstream
        squares["dv"][source] += cast * (weights**2).T @ upstream**2
    rms = {}
    for name, square in squares.items():
        rounding = arithmetic.output.format.ulp(values[name]) ** 2 / 12
        rms[name] = np.sqrt(square + rounding)
    return budget._replace(**{name: _with(getattr(budget, name), rms[name]) for name in rms})


def _score_gradient(
    block: Block,
    spec: AttentionSpec,
    scale: float,
    arithmetic: Arithmetic,
    shape: Shape,
    upstream: Array,
    value: Array,
) -> tuple[Array, Array]:
    weights = block_weights(block, spec, scale, arithmetic, shape.keys).weights
    dp = upstream @ value.T
    return weights, weights * (dp - (weights * dp).sum(axis=1, keepdims=True))


def _with(budget: ErrorBudget, rms: Array) -> ErrorBudget:
    return replace(budget, rms=rms)
