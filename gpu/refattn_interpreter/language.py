"""The language that a kernel is written in, while the interpreter is active.

Triton's interpreter runs kernels as Python functions, in which some expressions mean something else than they mean to
the compiler. Here `and`, `or` and `not` of tensors are elementwise, Python numbers that a kernel is given are fp32, and
builtins that a module keeps under its own name (`exp = tl.exp`), libdevice among them, work.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import triton.language.extra.cuda as cuda_extra
import triton.language.extra.cuda.libdevice as cuda_libdevice
import triton.language.extra.libdevice as generic_libdevice
from triton.runtime import interpreter as stock

from refattn_interpreter.patches import Patches
from refattn_interpreter.reductions import truth

tl = stock.tl
_CHOICE = "_refattn_choice"
_NEGATION = "_refattn_negation"


class Logic(ast.NodeTransformer):
    """Rewrites `a and b`, `a or b` and `not a` so that tensors can say what they mean."""

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        self.generic_visit(node)
        expression = node.values[-1]
        for value in reversed(node.values[:-1]):
            later = ast.Lambda(args=ast.arguments([], [], None, [], [], None, []), body=expression)
            method = ast.Constant("logical_and" if isinstance(node.op, ast.And) else "logical_or")
            expression = ast.Call(ast.Name(_CHOICE, ast.Load()), [method, value, later], [])
        return ast.copy_location(expression, node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.op, ast.Not):
            return node
        return ast.copy_location(ast.Call(ast.Name(_NEGATION, ast.Load()), [node.operand], []), node)


class Transformer:
    """Logic first, then what Triton's interpreter rewrites."""

    def __init__(self, then: ast.NodeTransformer) -> None:
        self.then = then

    def visit(self, tree: ast.AST) -> Any:
        return self.then.visit(Logic().visit(tree))


def choice(method: str, value: Any, later: Callable[[], Any]) -> Any:
    """`value and later()`, or `or`: Python's for what is known when a kernel is compiled, elementwise for tensors."""
    if isinstance(value, tl.tensor):
        return getattr(value, method)(later())
    known = bool(value.value if isinstance(value, tl.constexpr) else value)
    return later() if known == (method == "logical_and") else value


def negation(value: Any) -> Any:
    """`not value`."""
    return value.__not__() if isinstance(value, tl.tensor) else not value


def argument(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Triton's conversion of a kernel's arguments, with Python's floats as the fp32 that a launch makes of them."""

    def converted(value: Any) -> Any:
        if isinstance(value, float):
            with np.errstate(over="ignore"):
                handle = stock.TensorHandle(np.array([value], np.float64).astype(np.float32), tl.float32)
            return tl.tensor(handle, tl.float32)
        return convert(value)

    return converted


def _bound(builtin: Any) -> Any:
    def call(*arguments: Any, **keywords: Any) -> Any:
        keywords.pop("_semantic", None)
        return builtin(*arguments, **keywords, _semantic=stock.interpreter_semantic)

    return call


def _original(member: Any) -> Any:
    """The builtin inside a function that Triton's interpreter put in its place and, after a device function, left."""
    return (getattr(member, "__kwdefaults__", None) or {}).get("member", member)


def _builtins(owner: Any) -> list[tuple[Any, str, Any]]:
    """The builtins of a module or class, with Triton's semantics given to them: (owner, name, function)."""
    members = ((name, _original(member)) for name, member in inspect.getmembers(owner))
    return [(owner, name, _bound(builtin)) for name, builtin in members if tl.core.is_builtin(builtin)]


class _Scope(stock._LangPatchScope):  # type: ignore[misc]
    """Triton's record of what it has changed in its language, which says when it is undone."""

    def __init__(self, undone: Callable[[], None]) -> None:
        super().__init__()
        self.undone = undone

    def restore(self) -> None:
        super().restore()
        self.undone()


class Language:
    """Replaces Triton's patching of its language: once for a launch, whatever device functions it calls."""

    def __init__(self, patches: Patches) -> None:
        self.patches = patches
        self.seen: set[int] = set()
        self.launched = False
        self.builtins: list[tuple[Any, str, Any]] = []
        for module in (cuda_libdevice, cuda_extra, generic_libdevice):
            self._bind_extras(module)

    def __call__(self, function: Any) -> Any:
        self._bind_globals(function.__globals__)
        if self.launched:
            return _Scope(lambda: None)
        self.launched = True
        scope = _Scope(self._finished)
        if not self.builtins:
            for owner in (tl, tl.core, tl.math, tl.tensor, tl.core.tensor_descriptor_base):
                self.builtins += _builtins(owner)
        for owner, name, bound in self.builtins:
            scope.set_attr(owner, name, bound)
        stock._patch_lang_tensor(tl.tensor, scope)
        scope.set_attr(tl.tensor, "__bool__", truth)
        scope.set_attr(tl.tensor, "__index__", lambda self: int(self.handle.data.item()))
        for module in (tl, tl.core):
            stock._patch_lang_core(module, scope)
        return scope

    def _finished(self) -> None:
        self.launched = False

    def _bind_extras(self, module: ModuleType) -> None:
        for name, member in inspect.getmembers(module, inspect.isfunction):
            bound = self._interpretable(member)
            if bound is not None:
                self.patches.set(module, name, bound)

    def _bind_globals(self, namespace: dict[str, Any]) -> None:
        if id(namespace) in self.seen:
            return
        self.seen.add(id(namespace))
        if str(namespace.get("__name__", "")).startswith("triton."):
            return
        for name, value in list(namespace.items()):
            bound = self._interpretable(value) if inspect.isfunction(value) else None
            if bound is not None:
                self.patches.set_item(namespace, name, bound)

    def _interpretable(self, function: Any) -> Any:
        """The function with Triton's semantics given to it; None if it is not one that needs them."""
        if tl.core.is_builtin(function):
            return _bound(function)
        # Stubs, for which the compiler takes the functions of the backend.
        if getattr(function, "__module__", None) == generic_libdevice.__name__:
            return getattr(cuda_libdevice, function.__name__, None)
        return None
