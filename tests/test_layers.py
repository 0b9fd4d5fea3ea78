"""What may import what: the light `import refattn`, and the one direction in which modules know each other."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import refattn

PACKAGE = Path(refattn.__file__).parent
HEAVY = ("torch", "jax", "triton", "flint", "numba", "hypothesis", "pytest", "rich", "click")

# From the ground up: a module imports, when it is imported itself, only what stands on a line above its own or in its
# own package. `models` and `bounds` stand beside the oracle and not on it, or they would be judged by themselves.
LAYERS = [
    {"errors"},
    {"formats", "roundoff", "loading"},
    {"arrays"},
    {"spec", "arithmetic", "tokens", "sources"},
    {"visibility"},
    {"scores", "cases", "rows"},
    {"blocks"},
    {"oracle", "models", "bounds"},
    {"judge"},
    {"comparison", "regimes", "reports", "xfails", "certificates"},
    {"adapters", "strategies", "assertions"},
    {"target"},
    {"properties"},
    {"suite", "options"},
    {"cli", "pytest_plugin", "conformance", "learned"},
    {"__main__"},
]
# Not even inside a function.
NEVER = {
    "models": {"oracle", "bounds", "scores", "judge", "comparison"},
    "oracle": {"models", "bounds", "arithmetic", "judge", "comparison"},
    "bounds": {"models", "oracle", "judge", "comparison"},
    "adapters": {"oracle", "bounds", "judge", "comparison", "properties"},
}
# Third-party modules that are loaded only with the refattn modules named here; of the others, only inside functions.
LOADED_BY = {
    "hypothesis": {"strategies", "suite"},
    "pytest": {"pytest_plugin", "conformance"},
    "rich": {"reports", "cli", "learned"},
    "click": {"cli", "learned"},
    "torch": {"learned"},
    "jax": set(),
    "triton": set(),
    "flint": set(),
    "numba": {"oracle"},
    "llvmlite": {"oracle"},
    "threadpoolctl": {"oracle"},
}


class Import(NamedTuple):
    """`module` (dotted) imports `name` (dotted); deferred inside a function or for type checkers only."""

    module: str
    name: str
    deferred: bool

    @property
    def part(self) -> str:
        """The part of refattn that imports: "oracle" for refattn.oracle.float64.forward."""
        return self.module.split(".")[1]

    @property
    def imported_part(self) -> str | None:
        """The part of refattn that is imported, or None for a module from outside."""
        names = self.name.split(".")
        return names[1] if names[0] == "refattn" and len(names) > 1 else None


def statements(node: ast.AST, deferred: bool = False) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child, deferred
        function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        typing_only = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        yield from statements(child, deferred or function or typing_only)


def imports_of(module: str, source: str) -> Iterator[Import]:
    for statement, deferred in statements(ast.parse(source)):
        if isinstance(statement, ast.Import):
            names = [alias.name for alias in statement.names]
        elif statement.module == "refattn":
            names = [f"refattn.{alias.name}" for alias in statement.names]
        else:
            assert statement.level == 0, f"{module} has a relative import"
            names = [f"{statement.module}.{alias.name}" for alias in statement.names]
        yield from (Import(module, name, deferred) for name in names)


def all_imports() -> list[Import]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        if parts != ("refattn", "__init__"):
            found += imports_of(".".join(parts), path.read_text(encoding="utf-8"))
    return found


def layer_faults(imports: list[Import]) -> list[str]:
    height = {part: level for level, layer in enumerate(LAYERS) for part in layer}
    faults = []
    for found in imports:
        part, wanted = found.part, found.imported_part
        if part not in height:
            faults.append(f"{found.module} has no place in LAYERS")
        elif wanted is None or wanted == part:
            continue
        elif wanted in NEVER.get(part, ()):
            faults.append(f"{found.module} imports {found.name}")
        elif not found.deferred and height.get(wanted, -1) >= height[part]:
            faults.append(f"{found.module} imports {found.name}, which does not stand below it")
    return faults


def third_party_faults(imports: list[Import]) -> list[str]:
    return [
        f"{found.module} imports {found.name} when it is loaded"
        for found in imports
        if not found.deferred and found.part not in LOADED_BY.get(found.name.split(".")[0], {found.part})
    ]


def test_modules_know_only_those_below_them() -> None:
    assert not layer_faults(all_imports())


def test_heavy_libraries_are_loaded_only_where_they_are_the_subject() -> None:
    assert not third_party_faults(all_imports())


def test_nothing_imports_the_kernels_for_the_gpu_and_one_option_their_interpreter() -> None:
    found = [found for found in all_imports() if found.name.split(".")[0] == "refattn_gpu"]
    assert found == [Import("refattn.options", "refattn_interpreter", deferred=True)]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("refattn.models.tiled", "from refattn.oracle import attention"),
        ("refattn.models.tiled", "def f():\n    import refattn.oracle"),
        ("refattn.numbers.formats", "from refattn import spec"),
        ("refattn.contract.spec", "if True:\n    from refattn.contract.visibility import visible"),
        ("refattn.novel", "from refattn import errors"),
    ],
)
def test_a_module_that_knows_too_much_is_caught(module: str, source: str) -> None:
    assert layer_faults(list(imports_of(module, source)))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("refattn.inputs.cases", "def f():\n    from refattn import regimes"),
        ("refattn.suite.findings", "if TYPE_CHECKING:\n    from refattn.reports import json"),
        ("refattn.oracle.exact.ball", "from refattn.oracle.enclosure import Enclosure\nimport numpy"),
    ],
)
def test_a_deferred_import_may_look_up(module: str, source: str) -> None:
    assert not layer_faults(list(imports_of(module, source)))


def test_a_heavy_import_at_module_level_is_caught() -> None:
    assert third_party_faults(list(imports_of("refattn.adapters.sdpa", "import torch.nn")))
    assert not third_party_faults(list(imports_of("refattn.adapters.sdpa", "def f():\n    import torch")))


def loaded_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    return set(done.stdout.split())


@pytest.mark.parametrize("statement", ["import refattn", "import refattn; dir(refattn); refattn.AttentionSpec"])
def test_importing_refattn_loads_nothing_heavy(statement: str) -> None:
    loaded = loaded_after(statement)
    assert "refattn" in loaded
    assert not loaded & set(HEAVY)


def test_importing_refattn_alone_does_not_even_load_numpy() -> None:
    assert "numpy" not in loaded_after("import refattn")


def test_the_table_of_contents_is_complete() -> None:
    assert set(refattn._NAMES) | set(refattn._MODULES) == set(refattn.__all__) <= set(dir(refattn))
    with pytest.raises(AttributeError, match="no attribute 'chekc'"):
        _ = refattn.chekc
