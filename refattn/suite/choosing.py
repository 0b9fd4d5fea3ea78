"""Which properties a kernel is held to."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from typing import Any

from refattn.adapters import Adapter
from refattn.errors import InvalidType, InvalidValue
from refattn.suite.properties import ALL
from refattn.suite.property import Property


def applicable(adapter: Adapter, kernel: Callable[..., Any]) -> tuple[Property, ...]:
    """The properties of what the convention computes, in order.

    Those of approximations are among them if the kernel declares one, and then replace those of exact kernels.
    """
    approximates = adapter.approximation(kernel) is not None
    return tuple(
        prop
        for prop in ALL
        if adapter.quantity in (prop.quantity, "any") and (approximates or prop.of != "approximate")
    )


def matching(only: str | None, fitting: Sequence[Property]) -> list[Property]:
    """Those of the properties whose names match the pattern. Raises InvalidType or InvalidValue, if none does."""
    if only is None:
        return list(fitting)
    if not isinstance(only, str):
        raise InvalidType(f"only is {only!r}: expected a pattern or None")
    matched = [prop for prop in fitting if fnmatch.fnmatchcase(prop.name, only)]
    if not matched:
        raise InvalidValue(f"only is {only!r}: no property of this calling convention matches it")
    return matched


def named(name: str) -> Property:
    """The property of this name. Raises InvalidValue if there is none."""
    for prop in ALL:
        if prop.name == name:
            return prop
    raise InvalidValue(f"property is {name!r}: expected one of {', '.join(prop.name for prop in ALL)}")
