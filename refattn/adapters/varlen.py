"""The convention of the flash-attn package for packed sequences: flash_attn_varlen_func."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refattn.adapters import autograd
from refattn.adapters.base import Kernel
from refattn.adapters.flash_attn import FEATURES, HEADS_LAST, FlashAttn, keywords_of, outputs
from refattn.adapters.receiving import array_of
from refattn.adapters.session import CallFailure, Session
from refattn.numbers.formats import Array, Format

if TYPE_CHECKING:
    from refattn.inputs.cases import AttentionCase


class VarLen(FlashAttn):
    """kernel(q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, ...) -> out, as flash_attn_varlen_func.

    The documents of all batch elements are packed in one sequence: tensors (total, H, D), lse (H, total). The case's
    documents must have increasing ids; without documents, each batch element is one document.
    """

    name = "varlen"
    summary = "flash_attn_varlen_func(q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, ...)"
    features = FEATURES | {"documents"}

    def usual_claims(self, kernel: Kernel) -> frozenset[str]:
        """The claims of flash_attn, and packed documents."""
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
        """Pack the inputs and unpack the results."""
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
            gradients = autograd.pull_back(session, {"out": results["out"]}, {"out": do}, given)
            for name, gradient in gradients.items():
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
        session.receive(name, value, (batch, tokens, heads, width), allowed, HEADS_LAST)


@dataclass(frozen=True, eq=False)
class Packing:
    """The batch row of each document, and its start among the packed queries and keys (int32, the totals last)."""

    rows: NDArray[np.int64]
    query_starts: NDArray[np.int32]
    key_starts: NDArray[np.int32]

    @classmethod
    def of(cls, case: AttentionCase) -> Packing | None:
        """The packing of a case; None if its documents are not contiguous and in order."""
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
    return array.transpose(HEADS_LAST).reshape(batch * tokens, heads, width)


def longest(starts: NDArray[np.int32]) -> int:
    """The length of the longest document."""
    return int(np.diff(starts).max(initial=0))
