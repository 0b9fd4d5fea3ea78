"""From "package.module:callable" to the callable."""

from __future__ import annotations

import difflib
import importlib
import os
import pkgutil
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from refattn.errors import TargetError

FORM = "package.module:callable"


def import_target(target: str) -> Callable[..., Any]:
    """The callable that a string such as "package.module:function" or "module:Class.method" names.

    The current directory is importable, as it is for pytest. Raises TargetError, in one sentence, when the string is
    malformed, the module is missing or fails while it is imported, an attribute is missing, or the object is not
    callable.
    """
    if not isinstance(target, str):
        raise TargetError(f"the kernel's name is {type(target).__name__}: expected a string of the form {FORM}")
    module_name, colon, path = target.strip().partition(":")
    if not colon or not _dotted(module_name) or not _dotted(path):
        raise TargetError(f"kernel {target!r} is malformed: {_meant(target.strip())}")
    attribute: Any = _module(module_name)
    walked = module_name
    for name in path.split("."):
        attribute = _attribute(attribute, name, walked)
        walked = f"{walked}{':' if walked == module_name else '.'}{name}"
    if not callable(attribute):
        raise TargetError(f"kernel {target!r} is {type(attribute).__name__} and cannot be called: expected a function")
    kernel: Callable[..., Any] = attribute
    return kernel


def _meant(target: str) -> str:
    """The expected form, and the kernel that the user probably meant."""
    module, _, name = target.rpartition(".")
    meant = f"{module}:{name}" if ":" not in target and _dotted(module) and _dotted(name) else None
    return f"expected {FORM}" + (f", such as {meant}" if meant else "")


def _dotted(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


def _module(name: str) -> ModuleType:
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if isinstance(error, ModuleNotFoundError) and _is_part(error.name, name):
            near = difflib.get_close_matches(str(error.name), _modules_beside(str(error.name)), n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"expected one that can be imported from {here}"
            raise TargetError(f"module {error.name!r} is not found: {hint}") from None
        raise TargetError(f"importing {name!r} failed with {type(error).__name__}: {_first_line(error)}") from error


def _modules_beside(name: str) -> list[str]:
    """The modules of the package that would hold a module; all top-level modules if its name has no dot."""
    package, _, _ = name.rpartition(".")
    path = sys.modules[package].__path__ if package in sys.modules else None
    prefix = f"{package}." if package else ""
    names = (module.name for module in pkgutil.iter_modules(path, prefix))
    return [name for name in names if not name.removeprefix(prefix).startswith("_")]


def _is_part(missing: str | None, name: str) -> bool:
    """True if the missing module is the kernel's or a package that holds it, not one that it imports."""
    return missing is not None and (name == missing or name.startswith(f"{missing}."))


def _attribute(owner: Any, name: str, path: str) -> Any:
    try:
        return getattr(owner, name)
    except AttributeError:
        near = difflib.get_close_matches(name, [n for n in dir(owner) if not n.startswith("__")], n=3)
        hint = f": did you mean {' or '.join(near)}?" if near else f": expected {FORM}"
        raise TargetError(f"{path!r} has no attribute {name!r}{hint}") from None


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0]
