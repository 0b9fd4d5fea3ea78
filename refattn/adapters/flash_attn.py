"""The convention of the flash-attn package: flash_attn_func."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from refattn.adapters import autograd, rendering
from refattn.adapters.base import Adapter, Kernel
from refattn.adapters.receiving import array_of
from refattn.adapters.session import CallFailure, Session
from refattn.contract.arithmetic import Arithmetic
from refattn.contract.spec import AttentionSpec
from refattn.numbers import formats
from refattn.numbers.formats import Format

if TYPE_CHECKING:
    from refattn.inputs.cases import AttentionCase

HEADS_LAST = (0, 2, 1, 3)
FEATURES = frozenset({"scale", "causal", "alignment", "window", "softcap", "alibi_slopes", "empty_rows"})


class FlashAttn(Adapter):
    """kernel(q, k, v, softmax_scale=, causal=, window_size=, softcap=, alibi_slopes=, return_attn_probs=) -> out.

    torch tensors (B, N, H, D); with return_attn_probs the kernel returns (out, lse (B, H, Nq), anything). Masks are
    aligned at the bottom right, as in flash-attn since 2.1. Only keywords that differ from their defaults are given.
    """

    name = "flash_attn"
    summary = "flash_attn_func(q, k, v, softmax_scale, causal, window_size, ...), tensors (B, N, H, D)"
    usual_library = "torch"
    usual_formats = ("bf16", "fp16")
    lse_gradient = False
    features = FEATURES

    def usual_claims(self, kernel: Kernel) -> frozenset[str]:
        """The features that the package documents."""
        del kernel
        features = {"causal", "window", "softcap", "alibi", "gqa", "cross", "scale", "lse", "backward"}
        return frozenset(features | {"empty_rows", "ragged"})

    def usual_arithmetic(self, kernel: Kernel, format: Format, spec: Any, shape: Any) -> Arithmetic:
        """The arithmetic of the package's GPU kernels."""
        del kernel, spec, shape
        return _gpu(format)

    def refuses(self, kernel: Kernel, case: Any, *, want_lse: bool = False, want_gradients: bool = False) -> str | None:
        """The convention has no mask, bias or sinks, and one alignment."""
        if want_gradients and case.dlse is not None:
            return f"the {self.name} convention takes no upstream gradient of the log-sum-exp"
        positional = case.spec.features().keys() & {"causal", "window", "alibi_slopes"}
        if positional and not rendering.aligned(case, self.alignment):
            return f"the {self.name} convention aligns masks at the bottom right: the case's are at the top left"
        if case.spec.strict:
            return f"the {self.name} convention has no argument for strict"
        foreign = rendering.foreign_feature(case.spec, self.features, self.name)
        return foreign or super().refuses(kernel, case, want_lse=want_lse, want_gradients=want_gradients)

    def exchange(
        self,
        kernel: Kernel,
        case: AttentionCase,
        session: Session,
        output: Format,
        want_lse: bool,
        want_gradients: bool,
    ) -> None:
        """Transpose heads and tokens of inputs and results."""
        given = {name: session.give(name, getattr(case, name).transpose(HEADS_LAST)) for name in ("q", "k", "v")}
        if want_gradients:
            given = autograd.leaves(given)
        results = outputs(
            session.invoke(kernel, *given.values(), **keywords_of(case.spec, session, want_lse)), want_lse
        )
        batch, heads, queries, _ = case.q.shape
        session.receive("out", results["out"], (batch, queries, heads, case.v.shape[3]), (output,), HEADS_LAST)
        if "lse" in results:
            session.receive("lse", results["lse"], (batch, heads, queries), session.wider())
        if want_gradients:
            do = session.give("do", array_of(case.do).transpose(HEADS_LAST))
            gradients = autograd.pull_back(session, {"out": results["out"]}, {"out": do}, given)
            for name, gradient in gradients.items():
                shape = tuple(getattr(case, name).transpose(HEADS_LAST).shape)
                session.receive(f"d{name}", gradient, shape, session.wider(), HEADS_LAST)


def keywords_of(spec: AttentionSpec, session: Session, want_lse: bool) -> dict[str, Any]:
    """The keywords of flash_attn_func that differ from their defaults; -1 in window_size is no limit."""
    keywords: dict[str, Any] = {}
    if spec.scale is not None:
        keywords["softmax_scale"] = float(spec.scale)
    if spec.causal:
        keywords["causal"] = True
    if spec.window != (None, None):
        keywords["window_size"] = tuple(-1 if side is None else side for side in spec.window)
    if spec.softcap is not None:
        keywords["softcap"] = float(spec.softcap)
    if spec.alibi_slopes is not None:
        keywords["alibi_slopes"] = session.give("alibi_slopes", spec.alibi_slopes, formats.fp32, contiguous=True)
    if want_lse:
        keywords["return_attn_probs"] = True
    return keywords


def outputs(returned: Any, want_lse: bool) -> dict[str, Any]:
    """The results by name: out, and lse if it is wanted."""
    if not want_lse:
        return {"out": returned}
    if not isinstance(returned, (tuple, list)) or len(returned) < 2:
        raise CallFailure("type", "the kernel returned no log-sum-exp: expected (out, lse, ...)")
    return {"out": returned[0], "lse": returned[1]}


@functools.cache
def _gpu(format: Format) -> Arithmetic:
    # csrc/flash_attn/src/softmax.h of flash-attn: exp2(fma(score, scale log2 e, -max scale log2 e)) by the hardware's
    # ex2.approx, 2 ulp, which flushes subnormal numbers; P is cast before P V.
    return Arithmetic.flash(format, name=f"flash-attn({format.name})", exponent="fma", exp_ulps=2.0, flush_to_zero=True)
