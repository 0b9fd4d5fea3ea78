"""Dynamic sparse attention by refattn_gpu's Triton kernels: within hash buckets, and among kept queries and keys.

Pagliardini, Paliotta, Jaggi and Fleuret, Faster Causal Attention Over Large Sequences Through Sparse Flash Attention
(2023).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch

from refattn.contract.arithmetic import Arithmetic
from refattn.contract.spec import Alignment, AttentionSpec, Shape
from refattn.numbers.formats import get
from refattn_gpu.dense.forward import Attention
from refattn_gpu.launching.arguments import Tiling, checked_upstream
from refattn_gpu.launching.placement import OnThisMachine
from refattn_gpu.sparse.arguments import Selection, checked_sparse
from refattn_gpu.sparse.autograd import sparse_function
from refattn_gpu.sparse.launch import PREFETCHING, Launch

PLAIN = AttentionSpec()


@dataclass(frozen=True)
class SparseAttention(OnThisMachine):
    """(q, k, v, *, spec) -> (out, lse) on torch tensors (B, H, N, D): out in the inputs' dtype, lse (B, H, Nq) in fp32.

    The spec may have `buckets`, `kept_queries` and `kept_keys`, together too; its arrays are copied to the device.
    `hashed` and `kept` take tensors of the device instead, are differentiable, and never wait for it. Tokens are not
    moved: an order of them, from a stable sort of the bucket ids, says what each program reads. Time falls with the
    visible pairs, as a program reads no tile of keys of which its queries see nothing, but for holes between them.

    backward_tiling     that of gradients; None is one that suits the head dimension
    nan_safe            NaN and infinities in invisible values reach no row
    """

    tiling: Tiling = field(default_factory=lambda: Tiling(stages=PREFETCHING))
    backward_tiling: Tiling | None = None
    nan_safe: bool = True

    refattn_library = "torch"
    refattn_formats = ("bf16", "fp16", "fp32")
    refattn_claims = (
        *("causal", "strict_causal", "sparse", "gqa", "cross", "dv", "scale", "lse", "backward", "empty_rows"),
        *("ragged", "deterministic", "batch_invariant", "nan_safe", "zero_length"),
    )

    def arithmetic_for(self, format: Any) -> Arithmetic:
        """The contract that the kernels honour on inputs of a format: that of refattn_gpu.attention."""
        return Attention(self.tiling).arithmetic_for(format).replace(name=f"refattn_gpu sparse({get(format).name})")

    def __call__(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, spec: AttentionSpec = PLAIN
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Raises InvalidValue or InvalidType before anything is launched, naming the argument."""
        shape = checked_sparse(q, k, v, spec)
        return self.launch(Selection.of_spec(spec, q.device), spec, shape, q.device).forward(q, k, v)

    def backward(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        do: torch.Tensor,
        *,
        spec: AttentionSpec = PLAIN,
        dlse: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(dq, dk, dv) of sum(do * out) + sum(dlse * lse), like q, k, v. The forward pass is computed again.

        Raises InvalidValue or InvalidType before anything is launched, naming the argument.
        """
        shape = checked_sparse(q, k, v, spec)
        checked_upstream(q, do, dlse, shape)
        launch = self.launch(Selection.of_spec(spec, q.device), spec, shape, q.device)
        return launch.gradients(q, k, v, do, *launch.forward(q, k, v), dlse)

    def hashed(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        query_buckets: torch.Tensor,
        key_buckets: torch.Tensor,
        *,
        causal: bool = False,
        strict: bool = False,
        scale: float | None = None,
        alignment: Alignment = "bottom_right",
        kept_queries: torch.Tensor | None = None,
        kept_keys: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(out, lse), differentiable: queries (B, H, Nq, D) see the keys (B, Hkv, Nk, D) whose bucket is theirs.

        Buckets are any signed integers, tensors that broadcast to (B, H, Nq) and (B, H, Nk): of query heads, also for
        keys. `causal` leaves the keys up to the query's own position, and with `strict` those before it, as Reformer
        does where K is Q normalised. For `kept_queries` and `kept_keys` see `kept`. Raises InvalidValue or InvalidType
        before anything is launched, naming the argument.
        """
        spec = AttentionSpec(scale=scale, causal=causal, strict=strict, alignment=alignment)
        return self.differentiable(q, k, v, spec, query_buckets, key_buckets, kept_queries, kept_keys)

    def kept(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        kept_queries: torch.Tensor | None,
        kept_keys: torch.Tensor | None,
        *,
        causal: bool = False,
        strict: bool = False,
        scale: float | None = None,
        alignment: Alignment = "bottom_right",
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(out, lse), differentiable: attention of the kept queries (B, H, Nq, D) to the kept keys (B, Hkv, Nk, D).

        kept_queries and kept_keys are booleans that broadcast to (B, H, Nq) and (B, H, Nk), or None where all are kept.
        A dropped key is absent, from the normaliser too; a dropped query gives a row of zeros, whose log-sum-exp is
        -inf. Causality counts the positions of all tokens. Raises InvalidValue or InvalidType before anything is
        launched, naming the argument.
        """
        spec = AttentionSpec(scale=scale, causal=causal, strict=strict, alignment=alignment)
        return self.differentiable(q, k, v, spec, None, None, kept_queries, kept_keys)

    def differentiable(
        self, q: Any, k: Any, v: Any, spec: AttentionSpec, query_buckets: Any, key_buckets: Any, queries: Any, keys: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What `hashed` and `kept` have in common."""
        shape = checked_sparse(q, k, v, spec)
        selection = Selection.of_tensors(
            shape, q.device, query_buckets=query_buckets, key_buckets=key_buckets, kept_queries=queries, kept_keys=keys
        )
        return sparse_function(q, k, v, self.launch(selection, spec, shape, q.device))

    def launch(self, selection: Selection, spec: AttentionSpec, shape: Shape, device: torch.device) -> Launch:
        """The launches of a checked problem."""
        scale = 1.0 / math.sqrt(shape.d_qk) if spec.scale is None else float(spec.scale)
        order = selection.order(spec, shape, device)
        return Launch(shape, order, scale, self.tiling, self.backward_tiling, self.nan_safe)


sparse_attention = SparseAttention()
