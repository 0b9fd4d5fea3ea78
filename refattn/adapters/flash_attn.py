"""The conventions of the flash-attn package: flash_attn_func and flash_attn_varlen_func."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refattn.adapters import autograd, rendering
from refattn.adapters.base import Adapter, Kernel
from refattn.adapters.native import array_of
from refattn.adapters.session import CallFailure, Session
from refattn.contract.arithmetic import Arithmetic
from refattn.contract.spec import AttentionSpec
from refattn.numbers import formats
from refattn.numbers.formats import Array, Format

if TYPE_CHECKING:
    from refattn.inputs.cases import AttentionCase

_HEADS_LAST = (0, 2, 1, 3)
_FEATURES = frozenset({"scale", "causal", "alignment", "window", "softcap", "alibi_slopes", "empty_rows"})


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
    features = _FEATURES

    def usual_claims(self, kernel: Kernel) -> frozenset[str]:
        """What the package documents."""
        del kernel
        features = {"causal", "window", "softcap", "alibi", "gqa", "cross", "scale", "lse", "backward"}
        return frozenset(features | {"empty_rows", "ragged"})

    def usual_arithmetic(self, kernel: Kernel, format: Format, spec: Any, shape: Any) -> Arithmetic:
        """The package's GPU kernels."""
        del kernel, spec, shape
        return _gpu(format)

    def refuses(self, kernel: Kernel, case: Any, *, want_lse: bool = False, want_gradients: bool = False) -> str | None:
        """There is no mask, bias or sink, and one alignment."""
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
        """Exchange the axes of heads and tokens on the way in and out."""
        given = {name: session.give(name, getattr(case, name).transpose(_HEADS_LAST)) for name in ("q", "k", "v")}
        if want_gradients:
            given = autograd.leaves(given)
        results = outputs(
            session.invoke(kernel, *given.values(), **keywords_of(case.spec, session, want_lse)), want_lse
        )
        batch, heads, queries, _ = case.q.shape
        session.receive("out", results["out"], (batch, queries, heads, case.v.shape[3]), (output,), _HEADS_LAST)
        if "lse" in results:
            session.receive("lse", results["lse"], (batch, heads, queries), session.wider())
        if want_gradients:
            do = session.give("do", array_of(case.do).transpose(_HEADS_LAST))
            found = autograd.pull_back(session, {"out": results["out"]}, {"out": do}, given)
            for name, gradient in found.items():
                shape = tuple(getattr(case, name).transpose(_HEADS_LAST).shape)
                session.receive(f"d{name}", gradient, shape, session.wider(), _HEADS_LAST)


class VarLen(FlashAttn):
    """kernel(q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, ...) -> out, as flash_attn_varlen_func.

    All documents of all batch elements lie behind each other: tensors (total, H, D), lse (H, total). The case's
    documents must have increasing ids; without documents, each batch element is one.
    """

    name = "varlen"
    summary = "flash_attn_varlen_func(q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, ...)"
    features = _FEATURES | {"documents"}

    def usual_claims(self, kernel: Kernel) -> frozenset[str]:
        """As for flash_attn, and packed documents."""
        return super().usual_claims(kernel) | {"varlen"}

    def refuses(self, kernel: Kernel, case: Any, *, want_lse: bool = False, want_gradients: bool = False) -> str | None:
        """Documents must be contiguous and in order."""
        if case.spec.documents is not None and Packing.of(case) is None:
            return "the varlen convention takes documents as increasing ids: the case has them in another order"
        return super().refuses(kernel, case, want_lse=want_lse, want_gradients=want_gradients)

    def exchange(
        self,
        kernel: Kernel,
        case: AttentionCase,
        session: Session,
        output: Format,
        want_lse: bool,
        want_gradients: bool,
    ) -> None:
        """Pack, and unpack."""
        packing = Packing.of(case)
        if packing is None:
            raise CallFailure("signature", "the varlen convention takes documents as increasing ids")
        given = {name: session.give(name, packed(getattr(case, name))) for name in ("q", "k", "v")}
        if want_gradients:
            given = autograd.leaves(given)
        lengths = (
            session.library.plain(packing.query_starts),
            session.library.plain(packing.key_starts),
            longest(packing.query_starts),
            longest(packing.key_starts),
        )
        spec = case.spec
        if spec.alibi_slopes is not None and spec.alibi_slopes.ndim == 2:
            spec = spec.replace(alibi_slopes=spec.alibi_slopes[packing.rows])
        returned = session.invoke(kernel, *given.values(), *lengths, **keywords_of(spec, session, want_lse))
        results = outputs(returned, want_lse)
        self._receive(session, "out", results["out"], (*case.q.shape[:3], case.v.shape[3]), (output,))
        if "lse" in results:
            batch, heads, queries, _ = case.q.shape
            flat = results["lse"]
            if session.library.owns(flat) and tuple(flat.shape) == (heads, batch * queries):
                flat = flat.reshape(heads, batch, queries)
            session.receive("lse", flat, (heads, batch, queries), session.wider(), (1, 0, 2))
        if want_gradients:
            do = session.give("do", packed(array_of(case.do)))
            found = autograd.pull_back(session, {"out": results["out"]}, {"out": do}, given)
            for name, gradient in found.items():
                self._receive(session, f"d{name}", gradient, getattr(case, name).shape, session.wider())

    def _receive(
        self,
        session: Session,
        name: str,
        value: Any,
        shape: tuple[int, ...],
        allowed: tuple[Format, ...],
    ) -> None:
        batch, heads, tokens, width = shape
        if session.library.owns(value) and tuple(value.shape) == (batch * tokens, heads, width):
            value = value.reshape(batch, tokens, heads, width)
        session.receive(name, value, (batch, tokens, heads, width), allowed, _HEADS_LAST)


@dataclass(frozen=True, eq=False)
class Packing:
    """The batch row that each document is of, and where it starts among the packed queries and keys, int32, with the
    totals last.
    """

    rows: NDArray[np.int64]
    query_starts: NDArray[np.int32]
    key_starts: NDArray[np.int32]

    @classmethod
    def of(cls, case: AttentionCase) -> Packing | None:
        """None if the documents are not contiguous and in order."""
        shape = case.shape
        if case.spec.documents is None:
            starts = (np.arange(shape.batch + 1) * n for n in (shape.queries, shape.keys))
            return cls(np.arange(shape.batch), *(s.astype(np.int32) for s in starts))
        ids = [
            np.broadcast_to(np.atleast_2d(side), (shape.batch, n))
            for side, n in zip(case.spec.documents, (shape.queries, shape.keys), strict=True)
        ]
        if any((np.diff(side, axis=1) < 0).any() for side in ids):
            return None
        lengths: list[list[int]] = [[], []]
        rows: list[int] = []
        for row in range(shape.batch):
            for document in np.unique(np.concatenate([side[row] for side in ids])):
                rows.append(row)
                for side, counts in zip(ids, lengths, strict=True):
                    counts.append(int((side[row] == document).sum()))
        queries, keys = (np.cumsum([0, *counts]).astype(np.int32) for counts in lengths)
        return cls(np.array(rows, np.int64), queries, keys)


def packed(array: Array) -> Array:
    """(B, H, N, D) as (B N, H, D)."""
    batch, heads, tokens, width = array.shape
    return array.transpose(_HEADS_LAST).reshape(batch * tokens, heads, width)


def longest(starts: NDArray[np.int32]) -> int:
    """The length of the longest document."""
    return int(np.diff(starts).max(initial=0))


def keywords_of(spec: AttentionSpec, session: Session, want_lse: bool) -> dict[str, Any]:
    """The keywords of flash_attn_func, but for those at their defaults; -1 in window_size is no limit."""
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
    """Out, and lse if it was asked for, by name."""
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
