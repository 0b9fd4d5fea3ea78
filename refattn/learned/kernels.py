"""The methods as kernels for refattn to judge: `refattn check refattn.learned.kernels:moments`.

Learned numbers are drawn at random, as a kernel must be right for any of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from refattn.contract.arithmetic import Arithmetic
from refattn.contract.block_scales import BlockScales
from refattn.contract.spec import AttentionSpec, problem_shape
from refattn.contract.visibility import visible
from refattn.learned.methods import METHODS, LayerShape, Method
from refattn.learned.rows import Rows
from refattn.learned.scales import block_softmax
from refattn.numbers import formats

NO_SPEC = AttentionSpec()


@dataclass(frozen=True, eq=False)
class BlockScaledKernel:
    """(q, k, v, *, spec) -> (out, scales) of torch tensors, by a method with `blocks` blocks of `window` keys.

    Numbers are float32 or, if the inputs are, float64; the output has the inputs' format.
    """

    name: str
    blocks: int = 3
    window: int = 48
    refattn_library: ClassVar[str] = "torch"
    refattn_claims: ClassVar[tuple[str, ...]] = (
        *("causal", "strict_causal", "window", "mask", "gqa", "cross", "dv", "scale", "empty_rows", "ragged"),
        *("deterministic",),
    )

    @property
    def refattn_approximation(self) -> BlockScales:
        """The blocks, which the kernel declares."""
        sums_to_one = self.name not in ("none", "original", "original-sealed")
        return BlockScales(self.blocks, self.window, normalised=sums_to_one)

    def arithmetic_for(self, format: Any) -> Arithmetic:
        """All stages in float32, or in the inputs' format if that is wider; whole rows at a time."""
        inputs = formats.get(format)
        wide = inputs if inputs.precision > formats.fp32.precision else formats.fp32
        changes = {"name": f"blocks({inputs.name})", "probabilities": wide, "cast": "after"}
        return Arithmetic.flash(inputs).replace(**changes, scale_query=True, tile=None)

    def method(self, layer: LayerShape, like: Tensor) -> Method:
        """The method of one layer, the same each time."""
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            method = METHODS[self.name](layer, self.refattn_approximation)
            for parameter in method.parameters():
                parameter.add_(0.3 * torch.randn(parameter.shape))
        return method.to(like)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, *, spec: AttentionSpec = NO_SPEC) -> tuple[Tensor, Tensor]:
        """out (B, H, Nq, Dv) in q's dtype, and the scales used, (B, H, Nq, blocks)."""
        shape = problem_shape(q, k, v, spec)
        wide = torch.promote_types(q.dtype, torch.float32)
        query, key, value = (array.to(wide) for array in (q, k, v))
        seen = torch.from_numpy(visible(spec, shape).copy()).to(q.device)
        with torch.no_grad():
            method = self.method(LayerShape(shape.heads, shape.kv_heads, shape.d_qk), query)
            rows = Rows(query, key, value, seen, spec.scale, spec.softcap)
            softmax = block_softmax(rows, method.blocks)
            scales = method.scales(rows, softmax)
            return rows.output(method.weights(softmax, scales)).to(q.dtype), scales


exact = BlockScaledKernel("exact")
none = BlockScaledKernel("none")
original = BlockScaledKernel("original")
sealed = BlockScaledKernel("original-sealed")
static = BlockScaledKernel("static")
moments = BlockScaledKernel("moments")
corrected = BlockScaledKernel("moments+learned")
