"""Who may import whom: the one statement of it, held to by every import, deferred ones included."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import refattn
import refattn_gpu

ROOT = Path(refattn.__file__).parent.parent
FOLDERS = {"refattn": ROOT, "refattn_gpu": ROOT / "gpu", "refattn_interpreter": ROOT / "gpu"}
HEAVY = ("torch", "jax", "triton", "flint", "numba", "hypothesis", "pytest", "rich", "click")

# From the ground up: a part of a package imports only what stands on a line above its own, or itself, not even inside a
# function. Rooms on one line do not know each other: models and bounds stand beside the oracle, or they would be judged
# by themselves, and adapters beside both, or a target could see the truth.
LAYERS = {
    "refattn": [
        {"errors"},
        {"numbers"},
        {"contract"},
        {"inputs", "models"},
        {"oracle", "bounds", "adapters"},
        {"suite"},
        {"reports"},
        {"assertions", "options"},
        {"guide"},
        {"cli", "conformance", "learned"},
        {"pytest_plugin", "__main__"},
    ],
    "refattn_gpu": [
        {"kernels"},
        {"launching"},
        {"dense", "row_softmax", "decoding"},
        {"sparse", "block_scales"},
        {"ahead_of_time", "bench"},
    ],
    "refattn_interpreter": [
        {"options", "patches", "dtypes"},
        {"conversions", "device"},
        {"arithmetic", "threads"},
        {"functions", "dot", "shortcuts"},
        {"inline_asm", "libdevice"},
        {"builder"},
        {"reductions"},
        {"language"},
        {"session"},
        {"compare"},
    ],
}
# The rooms of the names in the tables of contents.
PUBLIC = {
    "refattn": {name: module.split(".")[0] for name, module in {**refattn._NAMES, **refattn._MODULES}.items()},
    "refattn_gpu": {name: module.split(".")[1] for name, module in refattn_gpu._CONTENTS.items()},
}
# Rooms that stand below and still are not to be known.
NEVER = {
    ("models", "contract.scores"),
    ("oracle", "models"),
    ("oracle", "contract.arithmetic"),
    ("bounds", "models"),
    ("adapters", "models"),
}
# What each package may know of the others: everything, or these parts. refattn finds an interpreter by an entry point.
OTHERS = {
    "refattn": {},
    "refattn_gpu": {"refattn": None},
    "refattn_interpreter": {"refattn": {"errors", "numbers"}},
}
# Third-party modules that are loaded only with the modules named here; of the others, only inside functions.
LOADED_BY = {
    "hypothesis": {"refattn.inputs.strategies"},
    "pytest": {"refattn.pytest_plugin", "refattn.conformance"},
    "rich": {"refattn.reports", "refattn.cli", "refattn.learned"},
    "click": {"refattn.cli", "refattn.learned"},
    "torch": {"refattn.learned", "refattn_gpu", "refattn_interpreter"},
    "jax": set(),
    "triton": {"refattn_gpu", "refattn_interpreter"},
    "flint": set(),
    "numba": {"refattn.oracle"},
    "llvmlite": {"refattn.oracle"},
    "threadpoolctl": {"refattn.oracle"},
}


class Import(NamedTuple):
    """`module` (dotted) imports `name` (dotted); deferred inside a function or for type checkers only."""

    module: str
    name: str
    deferred: bool

    @property
    def package(self) -> str:
        """The package that imports: "refattn" for refattn.oracle.ladder."""
        return self.module.split(".")[0]

    @property
    def part(self) -> str:
        """The part of the package that imports: "oracle" for refattn.oracle.ladder."""
        return [*self.module.split("."), "__init__"][1]

    @property
    def imported_package(self) -> str:
        """The package that is imported from."""
        return self.name.split(".")[0]

    @property
    def imported_part(self) -> str | None:
        """The part of the package that is imported, or that a public name is of; None for the package itself."""
        names = self.name.split(".")
        if len(names) == 1 or names[1] == "__version__":
            return None
        return PUBLIC.get(names[0], {}).get(names[1], names[1])


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
        else:
            assert statement.level == 0, f"{module} has a relative import"
            names = [f"{statement.module}.{alias.name}" for alias in statement.names]
        yield from (Import(module, name, deferred) for name in names)


def modules() -> dict[str, Path]:
    """The file of each module of the three packages, by its dotted name."""
    paths = {}
    for package, folder in FOLDERS.items():
        for path in sorted((folder / package).rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return paths


def all_imports() -> list[Import]:
    """Every import of the packages, but for the tables of contents, which know everything."""
    return [
        imported
        for module, path in modules().items()
        if module not in FOLDERS
        for imported in imports_of(module, path.read_text(encoding="utf-8"))
    ]


def layer_fault(imported: Import) -> str | None:
    """Why the import is not allowed; None if it is."""
    package, other = imported.package, imported.imported_package
    height = {part: level for level, layer in enumerate(LAYERS[package]) for part in layer}
    if imported.part not in height:
        return f"{imported.module} has no place in LAYERS"
    if other not in LAYERS or imported.imported_part is None:
        return None
    if other != package:
        allowed = OTHERS[package].get(other, set())
        known = allowed is None or imported.imported_part in allowed
        return None if known else f"{imported.module} imports {imported.name}, of a package that it is not to know"
    if imported.imported_part == imported.part:
        return None
    inner = ".".join(imported.name.split(".")[1:])
    if any(part == imported.part and f"{inner}.".startswith(f"{never}.") for part, never in NEVER):
        return f"{imported.module} imports {imported.name}"
    if (
        height.get(imported.imported_part or "", -1) >= 0
        and height[imported.imported_part or ""] < height[imported.part]
    ):
        return None
    return f"{imported.module} imports {imported.name}, which does not stand below it"


def layer_faults(imports: list[Import]) -> list[str]:
    return [fault for fault in map(layer_fault, imports) if fault is not None]


def third_party_faults(imports: list[Import]) -> list[str]:
    def allowed(imported: Import) -> bool:
        owners = LOADED_BY.get(imported.name.split(".")[0])
        return owners is None or any(f"{imported.module}.".startswith(f"{owner}.") for owner in owners)

    return [
        f"{imported.module} imports {imported.name} when it is loaded"
        for imported in imports
        if not imported.deferred and not allowed(imported)
    ]


def circles(imports: list[Import], known: set[str]) -> list[str]:
    """The modules of a circle of imports, deferred ones included; none if there is none."""
    graph: dict[str, set[str]] = {}
    for imported in imports:
        target = imported.name if imported.name in known else imported.name.rpartition(".")[0]
        if target in known and target != imported.module and target not in FOLDERS:
            graph.setdefault(imported.module, set()).add(target)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def test_modules_know_only_those_below_them() -> None:
    assert not layer_faults(all_imports())


def test_no_modules_import_each_other() -> None:
    assert not circles(all_imports(), set(modules()))


def test_a_circle_is_caught() -> None:
    imports = [Import("a.x", "a.y.f", False), Import("a.y", "a.z", True), Import("a.z", "a.x.g", False)]
    assert set(circles(imports, {"a.x", "a.y", "a.z"})) == {"a.x", "a.y", "a.z"}


def test_the_house_has_at_most_twenty_rooms() -> None:
    rooms = [path for path in (ROOT / "refattn").iterdir() if path.name not in ("__pycache__", "py.typed")]
    assert len(rooms) <= 20


def test_heavy_libraries_are_loaded_only_where_they_are_the_subject() -> None:
    assert not third_party_faults(all_imports())


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("refattn.models.tiled", "from refattn.oracle import attention"),
        ("refattn.models.tiled", "def f():\n    import refattn.oracle"),
        ("refattn.models.tiled", "from refattn.contract import scores"),
        ("refattn.numbers.formats", "from refattn.contract import spec"),
        ("refattn.suite.findings", "if TYPE_CHECKING:\n    from refattn.reports import json"),
        ("refattn.novel", "from refattn import errors"),
        ("refattn.adapters.interpreting", "def f():\n    import refattn_interpreter.session"),
        ("refattn_interpreter.dot", "from refattn.models import exp2"),
        ("refattn_interpreter.dot", "from refattn_gpu.kernels import online"),
        ("refattn_gpu.bench.run", "from refattn_interpreter import active"),
        ("refattn_gpu.kernels.online", "from refattn_gpu.launching import arguments"),
    ],
)
def test_a_module_that_knows_too_much_is_caught(module: str, source: str) -> None:
    assert layer_faults(list(imports_of(module, source)))


def test_a_module_may_know_what_is_below_it() -> None:
    source = "from refattn.oracle.enclosure import Enclosure\nimport numpy\nfrom refattn.contract import visibility"
    assert not layer_faults(list(imports_of("refattn.oracle.exact.ball", source)))


def test_a_heavy_import_at_module_level_is_caught() -> None:
    assert third_party_faults(list(imports_of("refattn.adapters.sdpa", "import torch.nn")))
    assert not third_party_faults(list(imports_of("refattn.adapters.sdpa", "def f():\n    import torch")))


def loaded_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
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
