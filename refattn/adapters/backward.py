"""The convention of kernels that return only gradients: kernel(q, k, v, do, *, spec)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from refattn.adapters.base import Kernel, Quantity
from refattn.adapters.native import Native
from refattn.adapters.receiving import invoke_backward, watch_spec
from refattn.adapters.session import Session
from refattn.numbers.formats import Format

if TYPE_CHECKING:
    from refattn.inputs.cases import AttentionCase


class Backward(Native):
    """kernel(q, k, v, do, *, spec[, dlse]) -> (dq, dk, dv[, dbias[, dsinks]]): gradients only."""

    name = "backward"
    summary = "kernel(q, k, v, do, *, spec) -> (dq, dk, dv[, dbias[, dsinks]])"
    quantity: ClassVar[Quantity] = "gradients"
    receives_scales = False

    def usual_claims(self, kernel: Kernel) -> frozenset[str]:
        """The claims of native kernels, and gradients."""
        return super().usual_claims(kernel) | {"backward"}

    def refuses(self, kernel: Kernel, case: Any, *, want_lse: bool = False, want_gradients: bool = False) -> str | None:
        """The kernel returns no log-sum-exp, and always needs an upstream gradient."""
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
        """Run only the backward pass."""
        del output, want_lse, want_gradients
        given = {name: session.give(name, getattr(case, name)) for name in ("q", "k", "v")}
        watch_spec(session, case)
        invoke_backward(session, case, kernel, given)
