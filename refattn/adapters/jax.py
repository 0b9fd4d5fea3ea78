"""jax.nn.dot_product_attention's convention."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from refattn.adapters import rendering
from refattn.adapters.base import Adapter, Kernel
from refattn.adapters.receiving import array_of, receive_gradients
from refattn.adapters.sdpa import flushes
from refattn.adapters.session import CallFailure, Session
from refattn.contract.arithmetic import Arithmetic
from refattn.numbers import formats
from refattn.numbers.formats import Format

if TYPE_CHECKING:
    from refattn.inputs.cases import AttentionCase

_HEADS_LAST = (0, 2, 1, 3)


class JaxAttention(Adapter):
    """kernel(query, key, value, bias=, mask=, scale=, is_causal=, local_window_size=, return_residual=) -> out.

    JAX arrays (B, N, H, D); causal masks and windows are aligned at the top left; fewer key-value heads are allowed; V
    has K's head dimension. The residual is the log-sum-exp (B, N, H), in the inputs' dtype.
    """

    name = "jax"
    summary = "jax.nn.dot_product_attention(query, key, value, bias, mask, scale, is_causal, local_window_size)"
    alignment = "top_left"
    usual_library = "jax"
    usual_formats = ("fp32", "bf16", "fp16")
    lse_gradient = False

    def usual_claims(self, kernel: Kernel) -> frozenset[str]:
        """The features that JAX documents; not empty rows: a row whose keys are all masked gives their mean."""
        del kernel
        features = {"causal", "window", "mask", "bias", "gqa", "cross", "scale", "backward", "ragged"}
        return frozenset(features | {"lse", "deterministic"})

    def usual_arithmetic(self, kernel: Kernel, format: Format, spec: Any, shape: Any) -> Arithmetic:
        """The arithmetic of XLA on a CPU."""
        del kernel, spec, shape
        return _xla(format)

    def refuses(self, kernel: Kernel, case: Any, *, want_lse: bool = False, want_gradients: bool = False) -> str | None:
        """The convention has no softcap, ALiBi, sinks or dropout mask, and one head dimension."""
        if want_gradients and case.dlse is not None:
            return "the jax convention takes no upstream gradient of the log-sum-exp"
        if case.shape.d_v != case.shape.d_qk:
            return "the jax convention takes one head dimension for Q, K and V: the case has two"
        foreign = rendering.foreign_feature(case.spec, {"scale", "bias", *rendering.VISIBILITY}, self.name)
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
        """Run the forward pass, and the backward pass by jax.vjp."""
        given = {name: session.give(name, getattr(case, name).transpose(_HEADS_LAST)) for name in ("q", "k", "v")}
        keywords = self._keywords(case, session)
        batch, heads, queries, _ = case.q.shape
        if want_lse:
            returned = session.invoke(kernel, *given.values(), **keywords, return_residual=True)
            if not isinstance(returned, (tuple, list)) or len(returned) != 2:
                raise CallFailure("type", "the kernel returned no residual: expected (out, lse)")
            session.receive("lse", returned[1], (batch, queries, heads), session.wider(), (0, 2, 1))
            out = returned[0]
        elif not want_gradients:
            out = session.invoke(kernel, *given.values(), **keywords)
        if want_gradients:
            import jax

            biases = [keywords.pop("bias")] if "bias" in keywords else []

            def forward(q: Any, k: Any, v: Any, *biases: Any) -> Any:
                return kernel(q, k, v, *biases, **keywords)

            out, pull_back = session.invoke(jax.vjp, forward, *given.values(), *biases)
            do = session.give("do", array_of(case.do).transpose(_HEADS_LAST))
            gradients = session.invoke(pull_back, do)
            heads_first = [g.transpose(_HEADS_LAST) for g in gradients[:3]]
            bias = [g.reshape(case.spec.bias.shape) for g in gradients[3:]]
            receive_gradients(session, case, (*heads_first, *bias))
        session.receive("out", out, (batch, queries, heads, case.v.shape[3]), (output,), _HEADS_LAST)

    def _keywords(self, case: AttentionCase, session: Session) -> dict[str, Any]:
        spec = case.spec
        keywords: dict[str, Any] = {}
        bias = rendering.bias_of(case)
        if bias is not None:
            keywords["bias"] = session.give("bias", bias[0], bias[1], contiguous=True)
        direct = rendering.only(spec, "causal", "window", "mask") and rendering.aligned(case, self.alignment)
        # local_window_size cannot leave one side open.
        if direct and spec.window.count(None) != 1:
            mask = None if spec.mask is None else rendering.four_axes(spec.mask)
            if spec.causal:
                keywords["is_causal"] = True
            if None not in spec.window:
                keywords["local_window_size"] = spec.window
        else:
            mask = rendering.mask_of(case)
        if mask is not None:
            keywords["mask"] = session.library.plain(mask)
        if spec.scale is not None:
            keywords["scale"] = float(spec.scale)
        return keywords


@functools.cache
def _xla(format: Format) -> Arithmetic:
    """jax/_src/nn/functions.py, _dot_product_attention_core, read and measured on jax 0.10.2."""
    return Arithmetic.naive(
        format,
        name=f"jax XLA({format.name})",
        # preferred_element_type of the logits is at least float32, and softmax is carried out in float32.
        scores=formats.fp32,
        # probs = softmax(...).astype(key.dtype)
        cast="after",
        exp_ulps=2.0,
        # The residual is cast to key.dtype.
        lse=format,
        # XLA's CPU backend runs with subnormal results and operands set to zero.
        flush_to_zero=flushes(format),
        group_sum=format,
    )
