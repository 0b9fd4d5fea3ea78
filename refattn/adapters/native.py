"""refattn's own conventions: kernel(q, k, v, *, spec), and kernels of gradients and of decoding in the same style."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from refattn.adapters import autograd
from refattn.adapters.base import Adapter, Kernel, Quantity
from refattn.adapters.session import CallFailure, Session
from refattn.contract.arithmetic import Arithmetic
from refattn.contract.features import GRADIENTS
from refattn.numbers import formats
from refattn.numbers.formats import Format

if TYPE_CHECKING:
    from refattn.inputs.cases import AttentionCase


class Native(Adapter):
    """kernel(q, k, v, *, spec) -> out or (out, lse), arrays (B, H, N, D) and (B, H, Nq).

    The kernel takes NumPy arrays, or those of its `refattn_library`; spec is the AttentionSpec, with NumPy arrays.
    Gradients come from an attribute kernel.backward(q, k, v, do, *, spec, dlse=None), which returns
    (dq, dk, dv[, dbias[, dsinks]]), or by automatic differentiation of a torch kernel.
    """

    name = "native"
    summary = "kernel(q, k, v, *, spec) -> out or (out, lse), arrays (B, H, N, D)"
    receives_scales = True

    def usual_claims(self, kernel: Kernel) -> frozenset[str]:
        """What any attention kernel is expected to do; everything else must be claimed."""
        backward = {"backward"} if callable(getattr(kernel, "backward", None)) else set()
        return frozenset({"causal", "cross", "dv", "ragged", "scale"} | backward)

    def usual_arithmetic(self, kernel: Kernel, format: Format, spec: Any, shape: Any) -> Arithmetic:
        """A tiled kernel with fp32 sums."""
        del kernel, spec, shape
        return _tiled(format)

    def refuses(self, kernel: Kernel, case: Any, *, want_lse: bool = False, want_gradients: bool = False) -> str | None:
        """Gradients need a way to compute them."""
        general = super().refuses(kernel, case, want_lse=want_lse, want_gradients=want_gradients)
        differentiable = hasattr(kernel, "backward") or self.library(kernel).name == "torch"
        if general is None and want_gradients and not differentiable:
            return "the kernel has no attribute backward: expected backward(q, k, v, do, *, spec, dlse=None)"
        return general

    def keywords(self, kernel: Kernel, case: AttentionCase) -> dict[str, Any]:
        """What the kernel is given beside q, k and v."""
        del kernel
        return {"spec": case.spec}

    def exchange(
        self,
        kernel: Kernel,
        case: AttentionCase,
        session: Session,
        output: Format,
        want_lse: bool,
        want_gradients: bool,
    ) -> None:
        """Forward, and then backward in either of the two ways."""
        given = {name: session.give(name, getattr(case, name)) for name in ("q", "k", "v")}
        watch_spec(session, case)
        backward = getattr(kernel, "backward", None)
        differentiates = want_gradients and backward is None
        if differentiates:
            given = autograd.leaves(given)
        approximation = self.approximation(kernel)
        method = None if approximation is None else getattr(kernel, "scales", None)
        names = ("out", "lse") if approximation is None or method is not None else ("out", "scales")
        returned = session.invoke(kernel, *given.values(), **self.keywords(kernel, case))
        results = receive_outputs(session, case, returned, output, want_lse=want_lse, names=names)
        if approximation is not None:
            scales = results.get("scales") if method is None else _scales(session, method, given, case)
            receive_scales(session, case, scales, approximation.blocks)
        if differentiates:
            upstream = {"do": session.give("do", array_of(case.do))}
            if case.dlse is not None:
                upstream["dlse"] = session.give("dlse", case.dlse, lse_format(case))
            named = {"out": upstream["do"]} | ({"lse": upstream["dlse"]} if "dlse" in upstream else {})
            receive_gradients(session, case, tuple(autograd.pull_back(session, results, named, given).values()))
        elif want_gradients:
            invoke_backward(session, case, backward, given)


class Decode(Native):
    """The native convention for kernels of one query at a time: q is (B, H, 1, D)."""

    name = "decode"
    summary = "kernel(q, k, v, *, spec) -> out or (out, lse), with one query: q is (B, H, 1, D)"
    queries = 1


class Backward(Native):
    """kernel(q, k, v, do, *, spec[, dlse]) -> (dq, dk, dv[, dbias[, dsinks]]): gradients only."""

    name = "backward"
    summary = "kernel(q, k, v, do, *, spec) -> (dq, dk, dv[, dbias[, dsinks]])"
    quantity: ClassVar[Quantity] = "gradients"
    receives_scales = False

    def usual_claims(self, kernel: Kernel) -> frozenset[str]:
        """As for native kernels, and gradients."""
        return super().usual_claims(kernel) | {"backward"}

    def refuses(self, kernel: Kernel, case: Any, *, want_lse: bool = False, want_gradients: bool = False) -> str | None:
        """There is no log-sum-exp, and always a gradient."""
        del kernel, want_gradients
        if want_lse:
            return "the backward convention returns no log-sum-exp"
        return "the case has no upstream gradient do: expected one" if case.do is None else None

    def exchange(
        self,
        kernel: Kernel,
        case: AttentionCase,
        session: Session,
        output: Format,
        want_lse: bool,
        want_gradients: bool,
    ) -> None:
        """Backward alone."""
        del output, want_lse, want_gradients
        given = {name: session.give(name, getattr(case, name)) for name in ("q", "k", "v")}
        watch_spec(session, case)
        invoke_backward(session, case, kernel, given)


@functools.cache
def _tiled(format: Format) -> Arithmetic:
    return Arithmetic.flash(format)


def array_of(values: formats.Array | None) -> formats.Array:
    """The array that an optional one is known to be."""
    assert values is not None
    return values


def lse_format(case: AttentionCase) -> Format:
    """The format of an upstream gradient of the log-sum-exp."""
    return case.format if case.format.precision > formats.fp32.precision else formats.fp32


def watch_spec(session: Session, case: AttentionCase) -> None:
    """Watch the spec's arrays: the kernel is given the case's own."""
    for name, value in case.spec.features().items():
        for array in value if isinstance(value, tuple) else (value,):
            session.watch(name, array if isinstance(array, np.ndarray) else None)


def receive_outputs(
    session: Session,
    case: AttentionCase,
    returned: Any,
    output: Format,
    *,
    want_lse: bool,
    names: tuple[str, ...] = ("out", "lse"),
) -> dict[str, Any]:
    """Receive out, or what `names` says of two values; what was returned, by name.

    Of kernels that return scales three values are (out, lse, scales).
    """
    results = {"out": returned}
    if isinstance(returned, (tuple, list)):
        if len(returned) == 3 and "scales" in names:
            names = ("out", "lse", "scales")
        if not 1 <= len(returned) <= len(names):
            expected = f"out or ({', '.join(names)})"
            raise CallFailure("type", f"the kernel returned {len(returned)} values: expected {expected}")
        results = {name: value for name, value in zip(names, returned, strict=False) if value is not None}
    rows = case.q.shape[:3]
    session.receive("out", results.get("out"), (*rows, case.v.shape[3]), (output,))
    if "lse" in results:
        session.receive("lse", results["lse"], rows, session.wider())
    elif want_lse:
        raise CallFailure("type", "the kernel returned no log-sum-exp: expected (out, lse)")
    return results


def _scales(session: Session, method: Any, given: dict[str, Any], case: AttentionCase) -> Any:
    return session.invoke(method, given["q"], given["k"], spec=case.spec)


def receive_scales(session: Session, case: AttentionCase, scales: Any, blocks: int) -> None:
    """Receive the scales that a kernel says it used."""
    if scales is None:
        raise CallFailure(
            "type", "the kernel returned no scales: expected (out, scales), or a method scales(q, k, *, spec)"
        )
    # tf32 has no dtype of its own: an array of float32 is in fp32.
    stored = tuple(format for format in formats.ALL if format is not formats.tf32)
    session.receive("scales", scales, (*case.q.shape[:3], blocks), stored)


def invoke_backward(session: Session, case: AttentionCase, function: Any, given: dict[str, Any]) -> None:
    """Invoke a kernel of gradients and receive them."""
    keywords: dict[str, Any] = {"spec": case.spec}
    do = session.give("do", array_of(case.do))
    if case.dlse is not None:
        keywords["dlse"] = session.give("dlse", case.dlse, lse_format(case))
    receive_gradients(session, case, session.invoke(function, *given.values(), do, **keywords))


def receive_gradients(session: Session, case: AttentionCase, returned: Any) -> None:
    """Receive (dq, dk, dv[, dbias[, dsinks]])."""
    count = len(returned) if isinstance(returned, (tuple, list)) else 0
    if not 3 <= count <= 3 + len(GRADIENTS):
        raise CallFailure("type", "the kernel returned no (dq, dk, dv[, dbias[, dsinks]]): expected a tuple of these")
    shapes = {"dq": case.q.shape, "dk": case.k.shape, "dv": case.v.shape}
    for name, field in GRADIENTS.items():
        array = getattr(case.spec, field)
        shapes[name] = () if array is None else array.shape
    for (name, shape), value in zip(shapes.items(), returned, strict=False):
        if value is not None:
            session.receive(name, value, shape, session.wider())
