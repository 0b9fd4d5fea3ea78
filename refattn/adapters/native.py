"""The native convention: kernel(q, k, v, *, spec)."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from refattn.adapters import autograd
from refattn.adapters.base import Adapter, Kernel
from refattn.adapters.receiving import (
    array_of,
    invoke_backward,
    lse_format,
    receive_gradients,
    receive_outputs,
    receive_scales,
    watch_spec,
)
from refattn.adapters.session import Session
from refattn.contract.arithmetic import Arithmetic
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
        """The features expected of any attention kernel; it must claim all others."""
        backward = {"backward"} if callable(getattr(kernel, "backward", None)) else set()
        return frozenset({"causal", "cross", "dv", "ragged", "scale"} | backward)

    def usual_arithmetic(self, kernel: Kernel, format: Format, spec: Any, shape: Any) -> Arithmetic:
        """The arithmetic of a tiled kernel with fp32 sums."""
        del kernel, spec, shape
        return _tiled(format)

    def refuses(self, kernel: Kernel, case: Any, *, want_lse: bool = False, want_gradients: bool = False) -> str | None:
        """Gradients need kernel.backward or automatic differentiation."""
        general = super().refuses(kernel, case, want_lse=want_lse, want_gradients=want_gradients)
        differentiable = hasattr(kernel, "backward") or self.library(kernel).name == "torch"
        if general is None and want_gradients and not differentiable:
            return "the kernel has no attribute backward: expected backward(q, k, v, do, *, spec, dlse=None)"
        return general

    def keywords(self, kernel: Kernel, case: AttentionCase) -> dict[str, Any]:
        """The keyword arguments of the kernel."""
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
        """Run the forward pass, then the backward pass: kernel.backward or automatic differentiation."""
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


@functools.cache
def _tiled(format: Format) -> Arithmetic:
    return Arithmetic.flash(format)


def _scales(session: Session, method: Any, given: dict[str, Any], case: AttentionCase) -> Any:
    return session.invoke(method, given["q"], given["k"], spec=case.spec)
