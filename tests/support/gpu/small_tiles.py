"""refattn_gpu's kernels with the smallest tiles that tl.dot takes, so that short sequences take several.

Imported after Triton was asked for, as the tests do.
"""

from __future__ import annotations

from typing import Any

from refattn_gpu.block_scales.attention import BlockScaledAttention, ExactlyScaled
from refattn_gpu.decoding.decode import Decode
from refattn_gpu.dense.differentiation import DifferentiableAttention
from refattn_gpu.dense.forward import Attention, Tiling
from refattn_gpu.dense.varlen import AttentionVarlen
from refattn_gpu.row_softmax.rows import Softmax
from refattn_gpu.sparse.attention import SparseAttention

TILE = Tiling(16, 16)
ATTENTION = Attention(TILE, TILE)
# Two and a half tiles: the longest sequence that is worth its time where kernels are interpreted.
LARGEST = 40

# By name: the kernel, and the convention by which it is called.
KERNELS: dict[str, tuple[Any, str]] = {
    "attention": (ATTENTION, "native"),
    "attention_varlen": (AttentionVarlen(TILE, TILE), "varlen"),
    "decode": (Decode(tile_keys=16, split_keys=16, most_splits=4), "native"),
    "differentiable_attention": (DifferentiableAttention(ATTENTION), "native"),
    "exactly_scaled": (ExactlyScaled(3, BlockScaledAttention(TILE)), "native"),
    "sparse_attention": (SparseAttention(TILE, TILE), "native"),
    **{kind: (Softmax(kind, columns=16, elements=128), "softmax") for kind in ("softmax", "log_softmax", "logsumexp")},
}
