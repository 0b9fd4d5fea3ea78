"""Mutants, and the decorators that register one: a function that replaces one method of an honest model."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any

from refattn import adapters
from refattn.adapters import CallFailure
from refattn.adapters.memory import Layout
from refattn.models import TiledAttention, TiledBackward, TiledKernel
from tests.mutants.samples import Cases, sample

Kernel = Callable[..., Any]
Make = Callable[[], Kernel]

BASE = ("causal", "cross", "dv", "ragged", "scale", "gqa", "lse", "empty_rows")
SOFTMAX = ("ragged", "deterministic")


@dataclass(frozen=True, eq=False)
class Mutant:
    """A kernel with one fault, or (in HONEST) without one.

    id       a letter and a number; P.. are faults of no single report, H.. honest variants
    make     makes the kernel; `honest` makes the kernel that it would be without the fault
    claims   what the kernel says of itself; formats are those of the inputs in which the fault can show
    shows    makes cases, given one after another in the memory layout `layout`; the kernels differ on one of them
    """

    id: str
    name: str
    title: str
    family: str
    link: str
    make: Make
    honest: Make
    claims: tuple[str, ...]
    formats: tuple[str, ...]
    shows: Cases
    call: str = "native"
    layout: Layout = "contiguous"


MUTANTS: list[Mutant] = []
HONEST: list[Mutant] = []


def by_id(id: str) -> Mutant:
    """The mutant or the honest variant of that id."""
    return next(mutant for mutant in (*MUTANTS, *HONEST) if mutant.id == id)


def register(
    id: str,
    family: str,
    link: str,
    named: Any,
    make: Make,
    honest: Make,
    *,
    claims: Iterable[str] = (),
    base: tuple[str, ...] = BASE,
    formats: tuple[str, ...] = ("bf16",),
    shows: Cases | None = None,
    call: str = "native",
    layout: Layout = "contiguous",
    into: list[Mutant] = MUTANTS,
) -> None:
    """Add a mutant whose name and title are those of a function or class: the first line of its docstring."""
    title = (named.__doc__ or "").strip().splitlines()[0].rstrip(".")
    claimed = tuple(dict.fromkeys((*base, *claims)))
    shown = shows or sample(format=formats[0])
    into.append(Mutant(id, named.__name__, title, family, link, make, honest, claimed, formats, shown, call, layout))


def forward(id: str, family: str, link: str, replaces: str, **options: Any) -> Callable[[Any], Any]:
    """Register a function that takes the place of a method of TiledAttention; `fields` are those of both kernels."""
    made = options.pop("fields", {})

    def decorate(function: Any) -> Any:
        mutated = type(function.__name__, (TiledAttention,), {replaces: function})
        register(id, family, link, function, lambda: mutated(**made), lambda: TiledAttention(**made), **options)
        return function

    return decorate


def forward_class(id: str, family: str, link: str, **options: Any) -> Callable[[Any], Any]:
    """Register a subclass of TiledAttention: for faults of more than one method."""
    made = options.pop("fields", {})

    def decorate(mutated: Any) -> Any:
        register(id, family, link, mutated, lambda: mutated(**made), lambda: TiledAttention(**made), **options)
        return mutated

    return decorate


def backward(id: str, family: str, link: str, replaces: str, **options: Any) -> Callable[[Any], Any]:
    """Register a function that takes the place of a method of TiledBackward, under an honest forward pass."""
    made = options.pop("fields", {})
    claims = ("backward", *options.pop("claims", ()))
    shows = options.pop("shows", None) or sample(upstream=True)

    def decorate(function: Any) -> Any:
        mutated = type(function.__name__, (TiledBackward,), {replaces: function})
        kernel = type(function.__name__, (TiledAttention,), {"backward_kernel": _with_fields_of_forward(mutated)})
        make, honest = (lambda: kernel(**made)), (lambda: TiledAttention(**made))
        register(id, family, link, function, make, honest, claims=claims, shows=shows, **options)
        return function

    return decorate


def wrapper(id: str, family: str, link: str, **options: Any) -> Callable[[Any], Any]:
    """Register a function (kernel, q, k, v, spec) that calls the honest kernel wrongly."""
    made = options.pop("fields", {})

    def decorate(function: Any) -> Any:
        def make() -> Kernel:
            kernel = TiledAttention(**made)

            def call(q: Any, k: Any, v: Any, *, spec: Any) -> Any:
                return function(kernel, q, k, v, spec)

            call.arithmetic_for = kernel.arithmetic_for
            return call

        register(id, family, link, function, make, lambda: TiledAttention(**made), **options)
        return function

    return decorate


def factory(id: str, family: str, link: str, **options: Any) -> Callable[[Any], Any]:
    """Register a function that makes the faulty kernel; `honest` makes the one without the fault."""
    honest = options.pop("honest", TiledAttention)

    def decorate(make: Any) -> Any:
        register(id, family, link, make, make, honest, **options)
        return make

    return decorate


def _with_fields_of_forward(mutated: Any) -> Callable[[Any], Any]:
    def backward_kernel(kernel: Any) -> Any:
        return mutated(**{shared.name: getattr(kernel, shared.name) for shared in fields(TiledKernel)})

    return backward_kernel


def observed(mutant: Mutant, make: Make) -> list[Any]:
    """A kernel's outcomes on the cases that show a fault: for each the bits, or the message of the failure."""
    adapter, kernel = adapters.get(mutant.call), make()
    outcomes: list[Any] = []
    for case in mutant.shows():
        softmax = adapter.quantity == "softmax"
        wants = {"want_lse": not softmax and "lse" in mutant.claims}
        wants["want_gradients"] = not softmax and case.do is not None
        try:
            outcome = adapter.call(kernel, case, layout=mutant.layout, **wants)
            outcomes.append({name: bits.tobytes() for name, bits in outcome.raw.items()})
        except CallFailure as error:
            outcomes.append(error.message)
    return outcomes
