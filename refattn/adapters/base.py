"""What a convention is: how its kernels are called, what they usually claim and how they usually compute."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Literal

from refattn.adapters.libraries import Library, library
from refattn.adapters.memory import Layout
from refattn.adapters.origin import other_libraries
from refattn.adapters.session import CallFailure, Outcome, Session
from refattn.contract.arithmetic import Arithmetic
from refattn.contract.block_scales import BlockScales
from refattn.contract.features import CLAIMS
from refattn.contract.spec import Alignment
from refattn.errors import InvalidType, InvalidValue
from refattn.numbers import formats
from refattn.numbers.formats import Format

Kernel = Callable[..., Any]
Quantity = Literal["attention", "softmax", "gradients"]


def checked_claims(claims: Iterable[str]) -> frozenset[str]:
    """The claims as a set. Raises InvalidValue, naming the first that is not in CLAIMS; InvalidType for one string."""
    if isinstance(claims, str):
        raise InvalidType(f"claims is {claims!r}: expected a collection of names")
    names = frozenset(claims)
    for claim in sorted(names - CLAIMS.keys()):
        raise InvalidValue(f"claim {claim!r} is not known: expected some of {', '.join(CLAIMS)}")
    return names


class Adapter(ABC):
    """A convention: how a kernel is called.

    A kernel may carry attributes that override what its convention usually implies: refattn_claims (names),
    refattn_formats (names), refattn_arithmetic or arithmetic_for (an Arithmetic, a dict by format, or a function of the
    format), refattn_library ("numpy", "torch", "jax") and refattn_device (a torch device). The attribute
    refattn_approximation, a BlockScales, declares that the kernel approximates, and with which scales: in native
    conventions it returns (out, scales) or (out, lse, scales), or has a method scales(q, k, *, spec) and returns out or
    (out, lse); scales are (B, H, Nq, blocks), in any format.

    alignment       of causal masks and windows when the numbers of queries and keys differ
    queries         the only number of queries that the convention takes, or None for any
    lse_gradient    whether the backward pass takes an upstream gradient of the log-sum-exp
    receives_scales whether kernels of the convention may declare an approximation
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    quantity: ClassVar[Quantity] = "attention"
    alignment: ClassVar[Alignment] = "bottom_right"
    queries: ClassVar[int | None] = None
    lse_gradient: ClassVar[bool] = True
    receives_scales: ClassVar[bool] = False
    usual_library: ClassVar[str] = "numpy"
    usual_formats: ClassVar[tuple[str, ...]] = ("fp32", "bf16", "fp16", "fp64")

    def __init__(self, library: str | None = None) -> None:
        self._library = library

    def library(self, kernel: Kernel) -> Library:
        """The library whose arrays the kernel takes."""
        name = self._library or getattr(kernel, "refattn_library", None) or self.library_name(kernel)
        return library(name, str(getattr(kernel, "refattn_device", "cpu")))

    def library_name(self, kernel: Kernel) -> str:
        """The library that the convention, or the kernel's origin, implies."""
        del kernel
        return self.usual_library

    def formats(self, kernel: Kernel) -> tuple[Format, ...]:
        """The input formats that the kernel takes."""
        names = getattr(kernel, "refattn_formats", None)
        declared = getattr(kernel, "refattn_arithmetic", None)
        if names is None and isinstance(declared, Mapping):
            names = tuple(declared)
        return tuple(formats.get(name) for name in (self.usual_formats if names is None else names))

    def default_claims(self, kernel: Kernel) -> frozenset[str]:
        """The claims in the kernel's attribute refattn_claims, or the usual claims of the convention."""
        declared = getattr(kernel, "refattn_claims", None)
        return self.usual_claims(kernel) if declared is None else checked_claims(declared)

    def arithmetic(self, kernel: Kernel, format: Format, spec: Any = None, shape: Any = None) -> Arithmetic:
        """The arithmetic that the kernel declares, or the usual one of the convention.

        spec and shape select the path of a kernel that has several; without them, the common path.
        Raises InvalidType or InvalidValue when the kernel's declaration is no arithmetic for the format.
        """
        declared = getattr(kernel, "arithmetic_for", None) or getattr(kernel, "refattn_arithmetic", None)
        if declared is None:
            return self.usual_arithmetic(kernel, format, spec, shape)
        return _resolved(declared, format)

    def approximation(self, kernel: Kernel) -> BlockScales | None:
        """The approximation that the kernel declares, or None.

        Raises InvalidType unless it is a BlockScales, InvalidValue when kernels of the convention cannot declare one.
        """
        declared = getattr(kernel, "refattn_approximation", None)
        if declared is not None and not isinstance(declared, BlockScales):
            raise InvalidType(f"refattn_approximation is {type(declared).__name__}: expected a BlockScales or None")
        if declared is not None and not self.receives_scales:
            raise InvalidValue(
                f"the kernel declares an approximation and call is {self.name!r}: expected 'native' or 'decode'"
            )
        return declared

    @abstractmethod
    def usual_claims(self, kernel: Kernel) -> frozenset[str]:
        """The claims of a kernel that declares none."""

    @abstractmethod
    def usual_arithmetic(self, kernel: Kernel, format: Format, spec: Any, shape: Any) -> Arithmetic:
        """The arithmetic of a kernel that declares none."""

    def call(
        self,
        kernel: Kernel,
        case: Any,
        *,
        want_lse: bool = False,
        want_gradients: bool = False,
        layout: Layout = "contiguous",
        output: Format | None = None,
    ) -> Outcome:
        """Call the kernel on the case, in fresh memory of the given layout.

        output is the expected format of the result, by default that of the kernel's arithmetic. Raises CallFailure.
        """
        refusal = self.refuses(kernel, case, want_lse=want_lse, want_gradients=want_gradients)
        if refusal is not None:
            raise CallFailure("signature", refusal)
        if output is None:
            output = self.arithmetic(kernel, case.format, case.spec, case.shape).output.format
        session = Session(self.library(kernel), case.format, layout)
        try:
            with session.library.recording(want_gradients):
                self.exchange(kernel, case, session, output, want_lse, want_gradients)
        except CallFailure as failure:
            raise CallFailure(failure.kind, failure.message + self._advice(kernel, failure)) from failure
        return session.finish()

    def _advice(self, kernel: Kernel, failure: CallFailure) -> str:
        """Which library or convention may avoid the failure; empty if none would."""
        others = other_libraries(kernel) if failure.kind in ("raised", "type") else []
        if others and self.library(kernel).name == "numpy" and not hasattr(kernel, "refattn_library"):
            return f": it was given NumPy arrays; if it takes {others[0]}'s, give it refattn_library = {others[0]!r}"
        if failure.kind == "signature":
            return f": the {self.name} convention calls {self.summary}; `refattn explain kernels` shows the others"
        return ""

    def refuses(self, kernel: Kernel, case: Any, *, want_lse: bool = False, want_gradients: bool = False) -> str | None:
        """Why the convention cannot express the case, in one sentence; None if it can."""
        del kernel, want_lse
        if want_gradients and case.do is None:
            return "the case has no upstream gradient do: expected one where gradients are wanted"
        if self.queries is not None and case.shape.queries != self.queries:
            return f"the {self.name} convention takes {self.queries} query: the case has {case.shape.queries}"
        return None

    @abstractmethod
    def exchange(
        self, kernel: Kernel, case: Any, session: Session, output: Format, want_lse: bool, want_gradients: bool
    ) -> None:
        """Give the kernel its inputs, invoke it and receive its results."""


def _resolved(declared: Any, format: Format) -> Arithmetic:
    arithmetic = declared
    if isinstance(declared, Mapping):
        by_format = {formats.get(name): value for name, value in declared.items()}
        if format not in by_format:
            raise InvalidValue(f"refattn_arithmetic has no entry for {format.name}: expected one for each format")
        arithmetic = by_format[format]
    elif callable(declared):
        arithmetic = declared(format)
    if not isinstance(arithmetic, Arithmetic):
        raise InvalidType(f"the kernel declares {type(arithmetic).__name__} as its arithmetic: expected an Arithmetic")
    return arithmetic
