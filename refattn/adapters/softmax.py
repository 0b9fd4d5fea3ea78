"""Softmax, log-softmax and log-sum-exp along an axis: kernel(x, dim=) or kernel(x, axis=)."""

from __future__ import annotations

import contextlib
import functools
import inspect
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from refattn.adapters.base import Adapter, Kernel, Quantity
from refattn.adapters.origin import library_named
from refattn.adapters.sdpa import flushes
from refattn.adapters.session import Session
from refattn.contract.arithmetic import Arithmetic
from refattn.contract.spec import SoftmaxSpec
from refattn.numbers import formats
from refattn.numbers.formats import Format

if TYPE_CHECKING:
    from refattn.inputs.cases import SoftmaxCase

Kind = Literal["softmax", "log_softmax", "logsumexp"]


class Softmax(Adapter):
    """kernel(x, dim=) of torch, kernel(x, axis=) of NumPy, SciPy and JAX.

    An attribute `refattn_kind`, or else the kernel's name, says which of the three functions it is; `refattn_library`,
    or else its module, says which library's arrays it takes.
    """

    name = "softmax"
    summary = "softmax, log_softmax or logsumexp (x, dim=) or (x, axis=)"
    quantity: ClassVar[Quantity] = "softmax"

    def kind(self, kernel: Kernel) -> Kind:
        """Which function the kernel computes."""
        declared = getattr(kernel, "refattn_kind", None)
        text = str(declared if declared is not None else _name(kernel)).lower().replace("_", "")
        if "logsumexp" in text:
            return "logsumexp"
        return "log_softmax" if "logsoftmax" in text else "softmax"

    def library_name(self, kernel: Kernel) -> str:
        """The library in whose module the kernel was defined, or that its code names."""
        root = _module(kernel).partition(".")[0]
        return root if root in ("torch", "jax") else library_named(kernel) or "numpy"

    def usual_claims(self, kernel: Kernel) -> frozenset[str]:
        """Any length, and the same bits from the same call."""
        del kernel
        return frozenset({"ragged", "deterministic"})

    def usual_arithmetic(self, kernel: Kernel, format: Format, spec: Any, shape: Any) -> Arithmetic:
        """The arithmetic of torch's CPU kernels, of XLA's, or of array code that rounds every intermediate."""
        library = self.library(kernel).name
        if library == "torch":
            return _torch(format, self.kind(kernel), _along_last(spec, shape))
        return _array_code(format, library)

    def refuses(self, kernel: Kernel, case: Any, *, want_lse: bool = False, want_gradients: bool = False) -> str | None:
        """The kernel returns one result, of the function that the case asks for."""
        if want_lse or want_gradients:
            return "the softmax convention returns one result: no separate log-sum-exp, no gradients"
        if case.spec.kind != self.kind(kernel):
            return f"the kernel computes {self.kind(kernel)}: the case is about {case.spec.kind}"
        return None

    def exchange(
        self,
        kernel: Kernel,
        case: SoftmaxCase,
        session: Session,
        output: Format,
        want_lse: bool,
        want_gradients: bool,
    ) -> None:
        """Give one array and receive one."""
        del want_lse, want_gradients
        x = session.give("x", case.x)
        out = session.invoke(kernel, x, **{_keyword(kernel, session.library.name): case.spec.axis})
        shape = list(case.x.shape)
        if case.spec.kind == "logsumexp":
            del shape[case.spec.axis]
        session.receive("out", out, tuple(shape), (output,))


def _name(kernel: Kernel) -> str:
    inner = getattr(kernel, "func", kernel)
    return getattr(inner, "__name__", None) or type(inner).__name__


def _module(kernel: Kernel) -> str:
    inner = getattr(kernel, "func", kernel)
    module = getattr(inner, "__module__", None) or ""
    # torch.softmax is a method of one of torch's classes and has no module.
    owner = getattr(inner, "__self__", None)
    return module or getattr(owner, "__module__", None) or type(owner).__module__


@functools.lru_cache(maxsize=64)
def _keyword(kernel: Kernel, library: str) -> str:
    with contextlib.suppress(TypeError, ValueError):
        parameters = inspect.signature(kernel).parameters
        for name in ("dim", "axis"):
            if name in parameters:
                return name
    return "dim" if library == "torch" else "axis"


def _along_last(spec: Any, shape: Any) -> bool:
    if not isinstance(spec, SoftmaxSpec):
        return True
    return spec.axis == -1 or (shape is not None and spec.axis == len(shape) - 1)


@functools.cache
def _torch(format: Format, kind: Kind, along_last: bool) -> Arithmetic:
    """torch's CPU kernels, read and measured on torch 2.13."""
    wide = format if format.precision >= formats.fp32.precision else formats.fp32
    narrow = format is not wide
    # Vectorized::exp and log are Sleef's, 1 ulp (aten/src/ATen/cpu/vec/vec256/vec256_float.h).
    base = Arithmetic.naive(format, name=f"torch CPU {kind}({format.name})", scores=wide, lse=wide, exp_ulps=1.0)
    if kind == "softmax" and narrow and not along_last:
        # SoftMaxKernel.cpp, vec_softmax: exponentials are stored in the dtype of the result before division, which
        # in fp16 also loses what is subnormal.
        loses = format.emin > wide.emin
        return base.replace(scores=format) if loses else base.replace(exp_relative=format.unit_roundoff)
    if kind == "log_softmax" and narrow and along_last:
        # SoftMaxKernel.cpp, vec_log_softmax_lastdim_chunk_kernel: the sum and its logarithm are of the inputs' dtype.
        rounding = format.unit_roundoff
        return base.replace(row_sum=format, log_ulps=1.0 + rounding / (2 * wide.unit_roundoff))
    if kind == "logsumexp" and narrow:
        # ReduceOps.cpp, logsumexp_out_impl: exp(x - max), its sum, and the logarithm are arrays of the inputs' dtype.
        return base.replace(scores=format, exp_ulps=1.25, lse=format, row_sum=format, log_ulps=0.75)
    return base


@functools.cache
def _array_code(format: Format, library: str) -> Arithmetic:
    # x - max, exp and its sum are arrays of the inputs' dtype; half an ulp of exp_ulps is the sum's rounding. NumPy's
    # own exp errs by up to 2.6 ulp (numpy/_core/tests/test_umath_accuracy.py), XLA's by up to 2.
    return Arithmetic.naive(
        format,
        name=f"{library} array code({format.name})",
        exp_ulps=3.5 if format.precision >= formats.fp32.precision else 1.25,
        lse=format,
        flush_to_zero=library == "jax" and flushes(format),
    )
