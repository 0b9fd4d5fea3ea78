"""The names that proofs/README.md, Coq's statements, the docstrings and the tests know are the same. Needs no Coq."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from proofs.assumptions import script, theorems
from tests.theorems.test_proofs import FUNCTIONS, OF_NO_BOUND, PROOFS

ROOT = PROOFS.parent
THEORIES = {path.stem: path.read_text(encoding="utf-8") for path in sorted((PROOFS / "theories").glob("*.v"))}
STATEMENTS = {name: text for name, text in THEORIES.items() if name.startswith("Statements")}
STATED = {name for text in STATEMENTS.values() for name in theorems(text)}
README = (PROOFS / "README.md").read_text(encoding="utf-8")
# Coq's real numbers, and nothing else.
AXIOMS = {"sig_forall_dec", "sig_not_dec", "classic", "functional_extensionality_dep"}

_PROVED = re.compile(r"refattn\.(bounds\.theorems|numbers\.roundoff)\b")


class Row(NamedTuple):
    """A row of the index: names of a Python function (or none) and of theorems, its tests, and all of the text."""

    function: str | None
    theorems: list[str]
    tests: list[str]
    text: str


def rows() -> list[Row]:
    entries: list[Row] = []
    tests: list[str] = []
    index = README[README.index("\n## Index") : README.index("\n## Bounds")]
    for line in index.splitlines():
        tests = re.findall(r"`tests/([\w/]+)\.py`", line) or tests
        if line.startswith("| ") and not line.startswith("| bound in Python"):
            cells = line.strip("| ").split(" | ")
            names = [re.findall(r"`(\w+)`", cell) for cell in cells[:2]]
            entries.append(Row(names[0][0] if names[0] else None, names[1], tests, line))
    return entries


ROWS = rows()


def test_the_index_has_every_function_and_every_theorem() -> None:
    assert {row.function for row in ROWS} == {None, *FUNCTIONS}
    assert {name for row in ROWS for name in row.theorems} == {
        name for name in STATED if not name.endswith("_dominates")
    }


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_function_has_a_theorem_about_its_twin(name: str) -> None:
    twins = [text for stem, text in THEORIES.items() if stem.endswith("Rational") and f'line "{name}"' in text]
    assert twins
    ends = ("dominates", "exact", "bounds")
    assert {f"{name}_{end}" for end in ends} & STATED or name == "max_finite_of"


@pytest.mark.parametrize("row", [row for row in ROWS if row.function], ids=lambda row: row.function)
def test_what_the_index_names_is_tested_there(row: Row) -> None:
    tested = "".join((ROOT / "tests" / f"{name}.py").read_text(encoding="utf-8") for name in row.tests)
    assert any(re.search(rf"\b{name}\b", tested) for name in (row.function, *row.theorems) if name)


@pytest.mark.parametrize("file", sorted(path.stem for path in Path(__file__).parent.glob("test_*.py")))
def test_the_index_quotes_the_shares_that_are_reached(file: str) -> None:
    for name, share in getattr(importlib.import_module(f"tests.theorems.{file}"), "TIGHTNESS", {}).items():
        quoted = [row for row in ROWS if f"theorems/{file}" in row.tests and f"`{name}`" in row.text]
        assert any(f"{100 * share:.6g} %" in row.text for row in quoted), f"{name}: {share}"


@pytest.mark.parametrize("name", sorted(set(THEORIES) - set(STATEMENTS)))
def test_every_theorem_is_stated_a_second_time(name: str) -> None:
    closed = set(re.findall(rf"exact \(?@?{name}\.(\w+)", "".join(STATEMENTS.values())))
    assert set(theorems(THEORIES[name])) <= closed


def test_every_grid_is_printed_and_every_statement_is_asked_for_its_axioms() -> None:
    for name, text in THEORIES.items():
        for grid in re.findall(r"^Definition (grid_\w+)", text, re.MULTILINE):
            assert f"{name}.{grid}" in THEORIES["Grid"]
    assert script(PROOFS / "theories") == THEORIES["Assumptions"]


def test_no_axiom_is_new() -> None:
    printed = (PROOFS / "assumptions.txt").read_text(encoding="utf-8")
    assert printed.count("Constant refattn.Assumptions.") == len(STATEMENTS)
    assert set(re.findall(r"^\w+\.(\w+)(?=\s*:|$)", printed, re.MULTILINE)) <= AXIOMS
    checked = (PROOFS / "coqchk.txt").read_text(encoding="utf-8")
    assert {axiom.rpartition(".")[2] for axiom in re.findall(r"^    (\S+)$", checked, re.MULTILINE)} <= AXIOMS
    assert checked.count("<none>") == 3


def test_nothing_is_admitted() -> None:
    for name, text in THEORIES.items():
        code = re.sub(r"\(\*.*?\*\)", "", text, flags=re.DOTALL)
        assert not re.search(r"\b(Admitted|admit|Axiom|Axioms|Parameter|Parameters|Conjecture|Abort)\b", code), name


def test_docstrings_name_theorems_that_there_are() -> None:
    for path in (ROOT / "refattn").rglob("*.py"):
        for named in re.findall(r"\(theorems?\s+([\w,\s]+?)\)", path.read_text(encoding="utf-8")):
            unknown = {*re.findall(r"\w+_\w+", named)} - STATED - set(FUNCTIONS)
            assert not unknown, f"{path.name} names {unknown}"


def test_the_notation_has_names_that_there_are() -> None:
    coq = "".join(THEORIES.values())
    python = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "refattn").rglob("*.py"))
    for line in (PROOFS / "notation.md").read_text(encoding="utf-8").splitlines():
        cells = line.strip("| ").replace("\\|", "").split(" | ")
        for cell, text in zip(cells[2:], (coq, python), strict=False):
            for name in re.findall(r"`([\w.]+)`", cell):
                assert re.search(rf"\b{name.rpartition('.')[2]}\b", text), f"{name} of {line}"


def test_links_lead_somewhere() -> None:
    for page in PROOFS.glob("*.md"):
        for link in re.findall(r"\]\(([\w/.]+)\)", page.read_text(encoding="utf-8")):
            assert (PROOFS / link).exists(), f"{page.name} links {link}"


def callers() -> dict[str, set[str]]:
    """The functions of refattn.bounds, the statistics apart, that call proved functions, and which."""
    calls = {}
    for path in (ROOT / "refattn/bounds").glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imports = [node for node in tree.body if isinstance(node, ast.ImportFrom) and _PROVED.match(node.module or "")]
        known = {alias.asname or alias.name: alias.name for node in imports for alias in node.names}
        scopes: list[tuple[str, ast.AST]] = [] if path.stem.startswith("rms") else [(path.stem, tree)]
        while scopes:
            scope, inside = scopes.pop()
            for node in ast.iter_child_nodes(inside):
                if isinstance(node, ast.ClassDef):
                    scopes.append((f"{scope}.{node.name}", node))
                elif isinstance(node, ast.FunctionDef):
                    called = {known[x.id] for x in ast.walk(node) if isinstance(x, ast.Name) and x.id in known}
                    called |= {
                        x.attr
                        for x in ast.walk(node)
                        if isinstance(x, ast.Attribute) and isinstance(x.value, ast.Name) and x.value.id in known
                    }
                    calls[f"{scope}.{node.name}"] = called & {*FUNCTIONS, *OF_NO_BOUND}
    return {name: called for name, called in calls.items() if called}


def test_every_bound_is_listed_with_what_it_rests_on() -> None:
    listed = {}
    table = README[README.index("\n## Bounds") : README.index("\nOpen gaps")]
    for line in table.splitlines():
        if line.startswith("| `"):
            name, called = line.strip("| ").split(" | ")
            listed[name.strip("`")] = set(re.findall(r"\w+", called))
    assert listed == callers()
