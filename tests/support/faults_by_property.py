"""One planted fault for every property of the conformance suite: small, and such that the property alone finds it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

import tests.support.faulty_block_scales as approximate
from refattn import models
from refattn.contract.arithmetic import Arithmetic, Stage
from refattn.models import TiledAttention, TiledBackward, TiledKernel
from refattn.numbers import formats
from refattn.suite import checking
from refattn.suite.findings import Finding
from refattn.suite.profile import PROFILES

BASE = ("causal", "cross", "ragged", "scale")


@dataclass(frozen=True)
class Fault:
    """A faulty kernel, the one without the fault, and their claims besides BASE."""

    make: Callable[[], Any]
    honest: Callable[[], Any] = TiledAttention
    claims: tuple[str, ...] = ()
    call: str = "native"
    dtype: str = "bf16"

    @property
    def all_claims(self) -> tuple[str, ...]:
        """All claims of both kernels."""
        return self.claims if self.call == "softmax" else (*BASE, *self.claims)


# Shrinking has its own tests.
SMALL = replace(PROFILES["quick"], name="small", examples=10, shrinks=0, longest=512)


def examined(name: str, kernel: Any, fault: Fault) -> Finding:
    """The finding of one property on a kernel with the fault's claims, in the profile SMALL."""
    report = checking.check(
        kernel, call=fault.call, dtypes=(fault.dtype,), claims=fault.all_claims, profile=SMALL.name, only=name
    )
    (finding,) = report.findings
    assert finding.property == name
    return finding


def wrapped(change: Callable[..., Any]) -> Callable[[], Any]:
    """A kernel that is change(honest, q, k, v, spec)."""

    def make() -> Any:
        honest = TiledAttention()
        return lambda q, k, v, *, spec: change(honest, q, k, v, spec)

    return make


def after(change: Callable[..., Any]) -> Callable[[], Any]:
    """A kernel whose (out, lse) are changed afterwards."""
    return wrapped(lambda honest, q, k, v, spec: change(*honest(q, k, v, spec=spec)))


def respecified(**changes: Any) -> Callable[[], Any]:
    """A kernel that ignores some of the spec."""
    return wrapped(lambda honest, q, k, v, spec: honest(q, k, v, spec=spec.replace(**changes)))


def method(name: str, function: Any, **options: Any) -> Callable[[], Any]:
    """The tiled model with one method replaced."""
    return lambda: type("Faulty", (TiledAttention,), {name: function})(**options)


def backwards(change: Callable[..., Any]) -> Callable[[], Any]:
    """An honest forward pass, whose gradients are changed afterwards."""

    class Changed(TiledAttention):
        def backward(self, q: Any, k: Any, v: Any, do: Any, *, spec: Any, dlse: Any = None) -> Any:
            gradients = TiledAttention.backward(self, q, k, v, do, spec=spec, dlse=dlse)
            return gradients._replace(**change(gradients, spec))

    return Changed


def _scaled(x: Any, factor: float) -> Any:
    return (x.astype(np.float64) * factor).astype(x.dtype)


def _without_nan(x: Any) -> Any:
    return np.where(np.isnan(x.astype(np.float64)), 0.0, x.astype(np.float64)).astype(x.dtype)


def _without_the_last_key(honest: Any, q: Any, k: Any, v: Any, spec: Any) -> Any:
    if spec.features().keys() - {"scale", "alignment"} or k.shape[2] < 2:
        return honest(q, k, v, spec=spec)
    return honest(q, k[:, :, :-1], v[:, :, :-1], spec=spec)


def _only_whole_tiles_of_8(honest: Any, q: Any, k: Any, v: Any, spec: Any) -> Any:
    whole = k.shape[2] - k.shape[2] % 8
    if spec.features().keys() - {"scale", "alignment"} or not whole:
        return honest(q, k, v, spec=spec)
    return honest(q, k[:, :, :whole], v[:, :, :whole], spec=spec)


def _ties_count_once(self: Any, problem: Any, s: Any, maximum: Any) -> Any:
    p = TiledAttention.probabilities(self, problem, s, maximum)
    repeated = (s == maximum[..., None]) & ((s == maximum[..., None]).cumsum(axis=-1) > 1)
    return np.where(repeated, 0.0, p)


def _never_rescales(self: Any, problem: Any, old: Any, new: Any) -> Any:
    del self, problem
    return np.where(np.isneginf(old), 0.0, np.ones_like(new))


def _no_maximum(self: Any, s: Any) -> Any:
    del self
    return np.where(np.isneginf(s.max(axis=-1)), -math.inf, 0.0)


def _additive_mask(self: Any, s: Any, tile: Any) -> Any:
    del self
    return s + np.where(tile.seen, 0.0, -1e4)


def _contiguous_only(honest: Any, q: Any, k: Any, v: Any, spec: Any) -> Any:
    wrong = not all(x.flags.c_contiguous for x in (q, k, v))
    return honest(q, k, -v if wrong else v, spec=spec)


def _remembers_the_spec() -> Any:
    seen: dict[Any, Any] = {}
    honest = TiledAttention()

    def kernel(q: Any, k: Any, v: Any, *, spec: Any) -> Any:
        # What a compiled kernel is cached by, but for the scale.
        key = (q.shape, k.shape, str(spec.replace(scale=None)))
        return honest(q, k, v, spec=seen.setdefault(key, spec))

    return kernel


def _other_bits_each_time() -> Any:
    calls = []
    honest = [TiledAttention(key_tile=64), TiledAttention(key_tile=7)]

    def kernel(q: Any, k: Any, v: Any, *, spec: Any) -> Any:
        calls.append(None)
        return honest[len(calls) % 2](q, k, v, spec=spec)

    return kernel


def _other_bits_in_a_batch(honest: Any, q: Any, k: Any, v: Any, spec: Any) -> Any:
    kernel = honest if q.shape[0] == 1 else TiledAttention(key_tile=7)
    return kernel(q, k, v, spec=spec)


def _top_left_for_one_query(honest: Any, q: Any, k: Any, v: Any, spec: Any) -> Any:
    return honest(q, k, v, spec=spec.replace(alignment="top_left") if q.shape[2] == 1 else spec)


def _last_slots_are_used(honest: Any, q: Any, k: Any, v: Any, spec: Any) -> Any:
    slots = spec.key_positions
    if slots is not None and slots.ndim == 1:
        used = np.count_nonzero(slots >= 0)
        spec = spec.replace(key_positions=np.where(slots < 0, used + np.cumsum(slots < 0) - 1, slots))
    return honest(q, k, v, spec=spec)


def _wrong_without_groups(honest: Any, q: Any, k: Any, v: Any, spec: Any) -> Any:
    wrong = q.shape[1] == k.shape[1] > 1
    return honest(q, k, -v if wrong else v, spec=spec)


class _NarrowBackward(TiledBackward):
    def arithmetic_for(self, format: Any) -> Arithmetic:
        return TiledBackward.arithmetic_for(self, format).replace(accumulator="bf16")


class _NarrowBackwardKernel(TiledAttention):
    def backward_kernel(self) -> TiledBackward:
        return _NarrowBackward(**{shared.name: getattr(self, shared.name) for shared in fields(TiledKernel)})


def undeclared(**changes: Any) -> Callable[[], Any]:
    """A kernel in another arithmetic than the native convention's."""

    def make() -> Any:
        kernel = TiledAttention(arithmetic=Arithmetic.flash("bf16", **changes))
        return lambda q, k, v, *, spec: kernel(q, k, v, spec=spec)

    return make


def softmax(change: Callable[..., Any] | None = None) -> Callable[[], Any]:
    """The safe softmax in fp32, or change(x, axis)."""

    def make() -> Any:
        def kernel(x: Any, axis: int) -> Any:
            return models.safe_softmax(x, axis) if change is None else change(x, axis)

        kernel.refattn_kind = "softmax"
        kernel.refattn_arithmetic = lambda format: Arithmetic.flash(format, tile=None)
        return kernel

    return make


def _softmax_of_narrow_sums(x: Any, axis: int) -> Any:
    return models.safe_softmax(x, axis, arithmetic=Arithmetic.flash("bf16", tile=None, normaliser="bf16"))


WRONG_SCALE = wrapped(lambda honest, q, k, v, spec: honest(_scaled(q, 1.25), k, v, spec=spec))
LEAKY = method("visible_product", lambda self, weights, values, seen, accumulate: accumulate.product(weights, values))
SOFTMAX = {"call": "softmax", "honest": softmax()}
GRADIENTS = ("backward", "dv")

FAULTS: dict[str, Fault] = {
    "values/needles": Fault(wrapped(_without_the_last_key)),
    "values/features": Fault(respecified(softcap=None), claims=("softcap",)),
    "values/generic": Fault(WRONG_SCALE),
    "values/ties": Fault(method("probabilities", _ties_count_once)),
    "values/maxima": Fault(method("rescale_factor", _never_rescales)),
    "values/signs": Fault(after(lambda out, lse: (np.abs(out), lse))),
    "values/scores": Fault(method("tile_maximum", _no_maximum)),
    "values/masks": Fault(respecified(empty_rows="nan"), claims=("mask", "empty_rows")),
    "values/shapes": Fault(wrapped(_only_whole_tiles_of_8)),
    "values/terms": Fault(respecified(sinks=None), claims=("sinks",)),
    "values/search": Fault(wrapped(_without_the_last_key)),
    "lse/search": Fault(after(lambda out, lse: (out, lse * np.float32(math.log2(math.e)))), claims=("lse",)),
    "visibility/garbage": Fault(method("mask", _additive_mask)),
    "visibility/nan": Fault(LEAKY, claims=("nan_safe",)),
    "visibility/inf": Fault(LEAKY, claims=("nan_safe",)),
    "approximation/scales": Fault(approximate.empty_blocks_with_scales, approximate.exact),
    "approximation/leak": Fault(approximate.published, approximate.exact),
    "approximation/row_sums": Fault(approximate.unnormalised, approximate.exact),
    "approximation/values": Fault(approximate.boundary_off_by_one, approximate.exact),
    "approximation/certificate": Fault(approximate.understated, approximate.exact),
    "approximation/layouts": Fault(approximate.contiguous_only, approximate.exact),
    "specials/nan": Fault(after(lambda out, lse: (_without_nan(out), lse))),
    "specials/inf": Fault(
        after(lambda out, lse: (np.where(np.isinf(out.astype(np.float32)), out.dtype.type(0), out), lse)),
        claims=("ieee",),
    ),
    "specials/poison": Fault(LEAKY, claims=("nan_safe",)),
    "gradients/generic": Fault(
        backwards(lambda gradients, spec: {"dq": _scaled(gradients.dq, 1.25)}), claims=GRADIENTS
    ),
    "gradients/features": Fault(
        backwards(lambda gradients, spec: {"dk": _scaled(gradients.dk, 1.0 if spec.softcap is None else 1.25)}),
        claims=(*GRADIENTS, "softcap"),
    ),
    "gradients/masks": Fault(backwards(lambda gradients, spec: {"dv": -gradients.dv}), claims=(*GRADIENTS, "mask")),
    "gradients/terms": Fault(
        backwards(lambda gradients, spec: {} if gradients.dsinks is None else {"dsinks": -gradients.dsinks}),
        claims=(*GRADIENTS, "sinks"),
    ),
    "gradients/shapes": Fault(
        backwards(lambda gradients, spec: {"dk": _scaled(gradients.dk, gradients.dk.shape[1] / gradients.dq.shape[1])}),
        claims=(*GRADIENTS, "gqa"),
    ),
    "gradients/search": Fault(backwards(lambda gradients, spec: {"dv": -gradients.dv}), claims=GRADIENTS),
    "gradients/row_sums": Fault(
        backwards(lambda gradients, spec: {} if gradients.dbias is None else {"dbias": np.abs(gradients.dbias)}),
        claims=(*GRADIENTS, "bias"),
    ),
    "memory/layouts": Fault(wrapped(_contiguous_only)),
    "memory/shared_heads": Fault(wrapped(_contiguous_only)),
    "memory/state": Fault(_remembers_the_spec),
    "determinism/repeat": Fault(_other_bits_each_time, claims=("deterministic",)),
    "determinism/batch": Fault(wrapped(_other_bits_in_a_batch), claims=("batch_invariant",)),
    "invariance/key_order": Fault(wrapped(_without_the_last_key)),
    "invariance/shift": Fault(respecified(bias=None), claims=("bias", "lse")),
    "invariance/heads": Fault(wrapped(_wrong_without_groups), claims=("gqa",)),
    "invariance/decode": Fault(wrapped(_top_left_for_one_query)),
    "invariance/paged": Fault(wrapped(_last_slots_are_used), claims=("paged",)),
    "invariance/packed": Fault(respecified(documents=None), claims=("varlen",)),
    "invariance/hull": Fault(after(lambda out, lse: (_scaled(out, 8.0), lse))),
    "invariance/split": Fault(after(lambda out, lse: (out, lse * np.float32(2.0))), claims=("lse",)),
    "softmax/values": Fault(softmax(models.naive_softmax), **SOFTMAX),
    "softmax/empty": Fault(softmax(lambda x, axis: _without_nan(models.safe_softmax(x, axis))), **SOFTMAX),
    "softmax/nan": Fault(softmax(lambda x, axis: models.safe_softmax(_without_nan(x), axis)), **SOFTMAX),
    "softmax/inf": Fault(
        softmax(lambda x, axis: _without_nan(models.safe_softmax(x, axis))), claims=("ieee",), **SOFTMAX
    ),
    "statistics/rms": Fault(undeclared(accumulator="tf32", tile=1)),
    "statistics/bias": Fault(undeclared(probabilities=Stage(formats.bf16, "truncate"))),
    "statistics/lse": Fault(after(lambda out, lse: (out, lse * np.float32(1 + 2.0**-20))), claims=("lse",)),
    "statistics/long": Fault(undeclared(normaliser="bf16")),
    "statistics/dq": Fault(_NarrowBackwardKernel, claims=GRADIENTS),
    "statistics/dk": Fault(_NarrowBackwardKernel, claims=GRADIENTS),
    "statistics/dv": Fault(_NarrowBackwardKernel, claims=GRADIENTS),
    "statistics/softmax": Fault(softmax(_softmax_of_narrow_sums), **SOFTMAX),
}
