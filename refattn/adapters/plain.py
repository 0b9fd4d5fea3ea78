"""The convention of kernels of q, k and v without a spec: their signature shows what they can do."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from refattn.adapters import rendering
from refattn.adapters.base import Kernel
from refattn.adapters.native import Native
from refattn.adapters.origin import library_named
from refattn.adapters.sdpa import flushes
from refattn.contract.arithmetic import Arithmetic
from refattn.numbers.formats import Format

if TYPE_CHECKING:
    from refattn.inputs.cases import AttentionCase

CAUSAL = ("causal", "is_causal")
SCALE = ("scale", "sm_scale", "softmax_scale")
_TENSORS = 3


class Plain(Native):
    """kernel(q, k, v[, causal=, scale=]) -> out or (out, lse), arrays (B, H, N, D) and (B, H, Nq).

    A parameter `causal` or `is_causal` is a causal mask, aligned at the bottom right where the numbers of queries and
    keys differ; `scale`, `sm_scale` or `softmax_scale` is the factor of Q K^T. The arrays are those of the library that
    the kernel's code names, torch, JAX or NumPy, unless the kernel has an attribute `refattn_library`. Gradients of a
    torch kernel are taken by automatic differentiation, if it claims `backward`.
    """

    name = "plain"
    summary = "kernel(q, k, v[, causal=, scale=]) -> out or (out, lse), arrays (B, H, N, D)"
    receives_scales = False

    def library_name(self, kernel: Kernel) -> str:
        """The library that the kernel's code names."""
        return library_named(kernel) or self.usual_library

    def usual_claims(self, kernel: Kernel) -> frozenset[str]:
        """The usual claims, with a causal mask or a scale only if the signature has a parameter for it."""
        claims = {"cross", "dv", "ragged"}
        for claim, names in (("causal", CAUSAL), ("scale", SCALE)):
            if _parameter(kernel, names) is not None:
                claims.add(claim)
        return frozenset(claims)

    def usual_arithmetic(self, kernel: Kernel, format: Format, spec: Any, shape: Any) -> Arithmetic:
        """fp32 sums in one chain, as a library's matrix product adds up all keys; XLA's exponential and flushing."""
        del spec, shape
        if self.library(kernel).name == "jax":
            name = f"chained flash({format.name}), XLA's exp and flushing"
            return Arithmetic.flash(format, name=name, chained=True, exp_ulps=2.0, flush_to_zero=flushes(format))
        return Arithmetic.flash(format, name=f"chained flash({format.name})", chained=True)

    def refuses(self, kernel: Kernel, case: Any, *, want_lse: bool = False, want_gradients: bool = False) -> str | None:
        """The signature decides on a causal mask and a scale; only torch kernels have gradients."""
        known = {"alignment", "empty_rows"}
        known |= {"causal"} if _parameter(kernel, CAUSAL) else set()
        known |= {"scale"} if _parameter(kernel, SCALE) else set()
        foreign = rendering.foreign_feature(case.spec, known, self.name)
        if foreign is None and case.spec.causal and not rendering.aligned(case, self.alignment):
            foreign = f"the {self.name} convention aligns masks at the bottom right: the case's are at the top left"
        if foreign is None and want_gradients and self.library(kernel).name != "torch":
            foreign = f"the {self.name} convention differentiates torch kernels: this one takes other arrays"
        return foreign or super().refuses(kernel, case, want_lse=want_lse, want_gradients=want_gradients)

    def keywords(self, kernel: Kernel, case: AttentionCase) -> dict[str, Any]:
        """The mask and the scale, if the case has them or the kernel has no default."""
        given: dict[str, Any] = {}
        causal, scale = _parameter(kernel, CAUSAL), _parameter(kernel, SCALE)
        if causal is not None and (case.spec.causal or causal.default is causal.empty):
            given[causal.name] = case.spec.causal
        if scale is not None and (case.spec.scale is not None or scale.default is scale.empty):
            given[scale.name] = float(case.shape.d_qk**-0.5 if case.spec.scale is None else case.spec.scale)
        return given


def is_plain(kernel: Kernel) -> bool:
    """True if the signature has three arrays and no required parameter that the convention does not know."""
    try:
        parameters = list(inspect.signature(kernel).parameters.values())
    except (TypeError, ValueError):
        return False
    arrays, rest = parameters[:_TENSORS], parameters[_TENSORS:]
    return (
        len(arrays) == _TENSORS
        and all(array.kind in (array.POSITIONAL_ONLY, array.POSITIONAL_OR_KEYWORD) for array in arrays)
        and all(array.default is array.empty for array in arrays)
        and all(_fits(parameter) for parameter in rest)
    )


def _fits(parameter: inspect.Parameter) -> bool:
    by_keyword = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    return by_keyword and (parameter.default is not parameter.empty or parameter.name in CAUSAL + SCALE)


def _parameter(kernel: Kernel, names: tuple[str, ...]) -> inspect.Parameter | None:
    """The first parameter of the kernel that has one of the names."""
    try:
        parameters = inspect.signature(kernel).parameters
    except (TypeError, ValueError):
        return None
    return next((parameters[name] for name in names if name in parameters), None)
