"""proofs/ and refattn say the same: values of every bound, to the last digit, and names. Needs no Coq.

proofs/grid.json holds Coq's values of each bound at many points. A change in Python alone fails here, at each number
and each operation of each function; a change in Coq alone fails in `make check` there, and then here.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import pkgutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest

from proofs.grid import Line, load
from refattn.bounds import theorems
from refattn.numbers import formats, roundoff
from refattn.oracle.extended import radii

# Higham's lemma, for the oracle: no bound is made of it. What is claimed, or infinity: no formula.
OF_NO_BOUND = {"gamma", "claimed_in_range"}
PROOFS = Path(__file__).parents[2] / "proofs"
MODULES = [roundoff, radii] + [
    importlib.import_module(f"{theorems.__name__}.{module.name}") for module in pkgutil.iter_modules(theorems.__path__)
]


def functions(module: ModuleType) -> dict[str, Callable[..., Any]]:
    """The public functions that a module defines."""
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isfunction(value)
        and value.__module__ == module.__name__
        and name[0] != "_"
        and name not in OF_NO_BOUND
    }


FUNCTIONS = {name: function for module in MODULES for name, function in functions(module).items()}
LINES: dict[str, list[Line]] = defaultdict(list)
for _line in load((PROOFS / "grid.json").read_text(encoding="utf-8")):
    LINES[_line.name].append(_line)


def agrees(function: Callable[..., Any], line: Line) -> bool:
    """Whether the function has the line's value, of exact numbers and as an exact number."""
    value = function(*line.arguments)
    return isinstance(value, (int, Fraction)) and value == line.value


def near(function: Callable[..., Any], line: Line) -> bool:
    """Whether the function of floats is near the line's value, as it is where growths are nearly linear."""
    with np.errstate(all="ignore"):
        value = float(function(*map(float, line.arguments)))
    return abs(value - float(line.value)) <= 1e-6 * abs(float(line.value))


@pytest.mark.parametrize("name", sorted(LINES))
def test_python_has_the_values_that_coq_has(name: str) -> None:
    assert not [line for line in LINES[name] if not agrees(FUNCTIONS[name], line)]


@pytest.mark.parametrize("name", sorted(LINES))
def test_floats_are_near_the_values_that_coq_has(name: str) -> None:
    assert sum(near(FUNCTIONS[name], line) for line in LINES[name]) >= 5


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_function_has_lines(name: str) -> None:
    of_formats = FUNCTIONS[name].__module__ == theorems.formats.__name__
    assert len({line.arguments for line in LINES[name]}) >= (len(formats.ALL) if of_formats else 30)


@pytest.mark.parametrize("name", sorted(LINES))
def test_a_value_that_coq_has_otherwise_is_caught(name: str) -> None:
    for line in LINES[name]:
        assert not agrees(FUNCTIONS[name], line._replace(value=line.value + Fraction(1, 2**200)))


# Replacements of an operation, and of a number (besides one more, one less, and half of it).
_OPPOSITES: dict[type[ast.operator], ast.operator] = {
    ast.Add: ast.Sub(),
    ast.Sub: ast.Add(),
    ast.Mult: ast.Div(),
    ast.Div: ast.Mult(),
}


class Change(NamedTuple):
    """The `place`-th node of a function's syntax tree is replaced; `of` is the function where it stands."""

    module: ModuleType
    of: str
    place: int
    replacement: ast.AST
    label: str


def replacements(node: ast.AST) -> Iterator[ast.AST]:
    """A node that is a number or an operation, each time with another number or operation."""
    if isinstance(node, ast.Constant) and not isinstance(node.value, bool) and isinstance(node.value, (int, float)):
        number = Fraction(node.value)
        for value in sorted({number + 1, number - 1, number / 2} - {number}):
            yield ast.parse(f"__import__('fractions').Fraction({str(value)!r})", mode="eval").body
    if isinstance(node, ast.BinOp) and type(node.op) in _OPPOSITES:
        yield ast.BinOp(node.left, _OPPOSITES[type(node.op)], node.right)


def tree_of(module: ModuleType) -> ast.Module:
    return ast.parse(inspect.getsource(module))


def changes() -> Iterator[Change]:
    """Every change to a function that a bound is computed by, private functions included."""
    for module in MODULES:
        for function in tree_of(module).body:
            if isinstance(function, ast.FunctionDef) and function.name not in OF_NO_BOUND:
                for place, node in enumerate(ast.walk(function)):
                    for number, new in enumerate(replacements(node)):
                        label = f"{function.name}-{ast.unparse(node)}-{place}.{number}"
                        yield Change(module, function.name, place, new, label)


def changed(change: Change) -> dict[str, Any]:
    """The names of the module after the change."""
    tree = tree_of(change.module)
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == change.of)
    old = list(ast.walk(function))[change.place]

    class Replace(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            return change.replacement if node is old else self.generic_visit(node)

    names: dict[str, Any] = {"__name__": change.module.__name__}
    Replace().visit(tree)
    exec(compile(ast.fix_missing_locations(tree), change.module.__file__ or "", "exec"), names)
    return names


@functools.cache
def lines_near(name: str) -> list[Line]:
    """Lines that the function of floats is near to."""
    return [line for line in LINES[name] if near(FUNCTIONS[name], line)]


def seen(change: Change) -> bool:
    """Whether a line disagrees with the module after the change, of exact numbers or of floats; its own lines first."""
    names = changed(change)
    of = functions(change.module)
    for name in sorted(of, key=lambda name: name != change.of):
        try:
            if not all(agrees(names[name], line) for line in LINES[name]):
                return True
            if not all(near(names[name], line) for line in lines_near(name)):
                return True
        except (ArithmeticError, AttributeError, TypeError, ValueError, IndexError):
            return True
    return False


@pytest.mark.parametrize("change", [pytest.param(change, id=change.label) for change in changes()])
def test_every_number_and_operation_matters(change: Change) -> None:
    assert seen(change), f"no line of grid.json sees this change of {change.of}: add one to its grid in proofs/theories"


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_a_change_of_nothing_is_not_seen(name: str) -> None:
    module = next(module for module in MODULES if name in functions(module))
    same = next(node for node in tree_of(module).body if isinstance(node, ast.FunctionDef) and node.name == name)
    assert not seen(Change(module, name, 0, same, "none"))
