"""The gradients that visible NaN and infinities reach: the rungs get finite numbers only.

A row is reached by a NaN in its query, in a key or value that it sees, in their bias, in its sink, do or dlse. Its dS
is then NaN at every visible pair, since delta = sum_j P dP is: so are its dq, the dk of the keys that it sees, their
dbias and dsinks. dv is reached by NaN in a weight (every column) or in do (that column). Infinities reach the same
elements, but their values are not settled here: the radius is infinite. An invisible pair has no influence, whatever it
holds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refattn.contract.spec import AttentionSpec, Shape
from refattn.contract.visibility import Bools, Visibility, block_of
from refattn.numbers.arrays import all_finite, like, to_numpy
from refattn.oracle.enclosure import Enclosure
from refattn.oracle.specials.forward import BLOCK_ENTRIES, Known
from refattn.oracle.truth import GradientTruth

Array = NDArray[np.float64]
Test = Callable[[Array], Bools]


class Inputs(NamedTuple):
    """The arguments of attention_backward; the arrays are NumPy's, or tensors of one device."""

    q: Any
    k: Any
    v: Any
    do: Any
    dlse: Any
    spec: AttentionSpec

    def in_numpy(self) -> Inputs:
        """The same numbers in NumPy."""
        return self._each(to_numpy)

    def on_device_of(self, other: Inputs) -> Inputs:
        """These NumPy arrays in the library and on the device of another's."""
        return self._each(lambda array: like(array, other.q))

    def _each(self, change: Callable[[Any], Any]) -> Inputs:
        dlse = None if self.dlse is None else change(self.dlse)
        return Inputs(change(self.q), change(self.k), change(self.v), change(self.do), dlse, self.spec)


class Reach(NamedTuple):
    """The elements of each gradient that are reached, in the shapes of the gradients."""

    dq: Bools
    dk: Bools
    dv: Bools
    dbias: Bools | None
    dsinks: Bools | None

    def any(self) -> bool:
        """True if any element is reached."""
        return any(part is not None and bool(part.any()) for part in self)


class Split(NamedTuple):
    """Finite inputs, and the gradients that the removed NaN and infinities reach; None if there are none."""

    inputs: Inputs
    nan: Reach | None = None
    infinite: Reach | None = None

    def settled(self, name: str) -> Bools | None:
        """The elements of the gradient `name` that no rung needs to compute; None if there are none."""
        nan, infinite = getattr(self.nan, name, None), getattr(self.infinite, name, None)
        return None if nan is None or infinite is None else nan | infinite

    def overlay(self, truth: GradientTruth) -> GradientTruth:
        """The truth of the original problem, from that of the finite one."""
        if self.nan is None or self.infinite is None:
            return truth
        nan, infinite = self.nan, self.infinite
        return GradientTruth(
            _overlay(truth.dq, nan.dq, infinite.dq),
            _overlay(truth.dk, nan.dk, infinite.dk),
            _overlay(truth.dv, nan.dv, infinite.dv),
            None if truth.dbias is None else _overlay(truth.dbias, nan.dbias, infinite.dbias),
            None if truth.dsinks is None else _overlay(truth.dsinks, nan.dsinks, infinite.dsinks),
        )


def split_backward(inputs: Inputs, shape: Shape) -> Split:
    """Separate NaN and infinities from the finite numbers of a checked problem."""
    if _finite(inputs):
        return Split(inputs)
    given, inputs = inputs, inputs.in_numpy()
    nan, infinite = reach(inputs, shape, np.isnan), reach(inputs, shape, np.isinf)
    emptied = _emptied(inputs).on_device_of(given)
    return Split(emptied, nan, infinite) if nan.any() or infinite.any() else Split(emptied)


def reach(inputs: Inputs, shape: Shape, test: Test) -> Reach:
    """The elements that the inputs for which `test` holds reach."""
    work = _Work(inputs, shape, test)
    step = max(1, BLOCK_ENTRIES // max(1, shape.batch * shape.heads * shape.keys))
    for start in range(0, shape.queries, step):
        work.add(slice(start, min(start + step, shape.queries)))
    return work.result()


class _Work:
    """The elements that the blocks of queries added so far reach, by query head."""

    def __init__(self, inputs: Inputs, shape: Shape, test: Test) -> None:
        self.inputs, self.shape, self.test = inputs, shape, test
        spec = inputs.spec
        self.visibility = Visibility.of(spec, shape)
        self.bad_key, self.bad_value = (
            np.repeat(test(x).any(axis=-1), shape.group, axis=1)[:, :, None] for x in (inputs.k, inputs.v)
        )
        self.bad_sink = np.zeros(shape.heads, np.bool_)
        if spec.sinks is not None:
            self.bad_sink = test(spec.sinks) & ~np.isneginf(spec.sinks)
        self.dq = np.zeros(inputs.q.shape, np.bool_)
        self.dk = np.zeros((shape.batch, shape.heads, shape.keys), np.bool_)
        self.dv = np.zeros((shape.batch, shape.heads, shape.keys, shape.d_v), np.bool_)
        self.dbias = None if spec.bias is None else np.zeros(spec.bias.shape, np.bool_)
        self.dsinks = self.bad_sink.copy()

    def add(self, rows: slice) -> None:
        q, _, _, do, dlse, spec = self.inputs
        shape, test = self.shape, self.test
        pairs = (shape.batch, shape.heads, rows.stop - rows.start, shape.keys)
        visible = np.broadcast_to(self.visibility.block(rows), pairs)
        sees = visible.any(axis=-1)
        bad_score = self.bad_key | test(q[:, :, rows]).any(axis=-1, keepdims=True)
        if spec.bias is not None:
            bad_score = bad_score | test(np.asarray(block_of(spec.bias, rows), np.float64))
        upstream = test(do[:, :, rows])
        lse_upstream = np.zeros(pairs[:3], np.bool_) if dlse is None else test(dlse[:, :, rows])
        weights: Bools = sees & ((visible & bad_score).any(axis=-1) | self.bad_sink[None, :, None])
        row = np.asarray(
            weights | (visible & self.bad_value).any(axis=-1) | (sees & (upstream.any(axis=-1) | lse_upstream))
        )
        reached = visible & row[..., None]
        self.dq[:, :, rows] = row[..., None]
        self.dk |= reached.any(axis=2)
        through = (upstream | weights[..., None]).astype(np.float32)
        self.dv |= (np.swapaxes(visible, -1, -2).astype(np.float32) @ through) > 0
        # The log-sum-exp of a row that sees no key is its sink's logit.
        self.dsinks |= (row | lse_upstream).any(axis=(0, 2))
        if self.dbias is not None:
            reached_bias = block_of(self.dbias, rows)
            axes = tuple(axis for axis in range(4) if reached_bias.shape[axis] == 1)
            reached_bias |= reached.any(axis=axes, keepdims=True)

    def result(self) -> Reach:
        shape = self.shape
        shared = (shape.batch, shape.kv_heads, shape.group, shape.keys)
        dk = np.repeat(self.dk.reshape(*shared, 1).any(axis=2), shape.d_qk, axis=-1)
        dv = np.asarray(self.dv.reshape(*shared, shape.d_v).any(axis=2))
        return Reach(self.dq, dk, dv, self.dbias, None if self.inputs.spec.sinks is None else self.dsinks)


def _overlay(computed: Enclosure, nan: Bools | None, infinite: Bools | None) -> Enclosure:
    if nan is None or infinite is None:
        return computed
    known = Known(nan | infinite, np.where(nan, np.nan, 0.0), np.where(nan, 0.0, np.inf))
    return known.overlay(computed)


def _finite(inputs: Inputs) -> bool:
    *arrays, spec = inputs
    no_nan = all(extra is None or not np.isnan(extra).any() for extra in (spec.bias, spec.sinks))
    return no_nan and all(array is None or all_finite(array) for array in arrays)


def _emptied(inputs: Inputs) -> Inputs:
    """The inputs with 0 for NaN and infinities, except those that hide a key or remove a sink."""
    q, k, v, do, dlse, spec = inputs
    changes = {
        name: np.where(np.isnan(values), 0.0, values)
        for name, values in (("bias", spec.bias), ("sinks", spec.sinks))
        if values is not None
    }
    q, k, v, do = (np.where(np.isfinite(x), x, 0.0) for x in (q, k, v, do))
    return Inputs(
        q, k, v, do, None if dlse is None else np.where(np.isfinite(dlse), dlse, 0.0), spec.replace(**changes)
    )
